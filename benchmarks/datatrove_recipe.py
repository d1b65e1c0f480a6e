"""datatrove's FineWeb chain over a folder of WARC files, in one process; prints its counts and times as JSON.

    PYTHON benchmarks/datatrove_recipe.py FOLDER FASTTEXT_MODEL

PYTHON is an interpreter with datatrove, spacy, trafilatura and fasttext-numpy2-wheel; nothing of this project is
imported. `benchmarks/curation.py` runs this on the same files as the project's stages.
"""

import json
import resource
import sys
import tempfile
import time

import fasttext
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    URLFilter,
)
from datatrove.pipeline.readers import WarcReader

counts = {}


def cpu_seconds():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def counted(name, documents):
    """The documents, counted under a name as they pass."""
    counts[name] = 0
    for document in documents:
        counts[name] += 1
        yield document


def english(documents, model):
    """English documents. datatrove's LanguageFilter downloads its model; this is the same call on a local one."""
    for document in documents:
        labels, scores = model.predict(document.text.replace("\n", " "), k=1)
        if labels and labels[0] == "__label__en" and scores[0] >= 0.65:
            yield document


def deduplicate(documents):
    """How many documents MinHash deduplication keeps."""
    config = MinhashConfig()
    with tempfile.TemporaryDirectory() as scratch:
        MinhashDedupSignature(f"{scratch}/s", config=config).run(documents, 0, 1)
        for bucket in range(config.num_buckets):
            buckets = MinhashDedupBuckets(f"{scratch}/s", f"{scratch}/b", config=config)
            buckets.run(None, bucket, config.num_buckets)
        MinhashDedupCluster(f"{scratch}/b", f"{scratch}/r", config=config).run(None, 0, 1)
        return sum(1 for _ in MinhashDedupFilter(f"{scratch}/r").run(documents, 0, 1))


folder, model_path = sys.argv[1:]
model = fasttext.load_model(model_path)
began, wall = cpu_seconds(), time.time()
documents = counted("captures", WarcReader(folder, glob_pattern="*.gz").run(None, 0, 1))
documents = Trafilatura(favour_precision=True, timeout=5).run(URLFilter().run(documents, 0, 1), 0, 1)
documents = counted("english", english(counted("texts", documents), model))
quality_filters = (
    GopherRepetitionFilter(),
    GopherQualityFilter(),
    C4QualityFilter(filter_no_terminal_punct=False),
    FineWebQualityFilter(),
)
for quality_filter in quality_filters:
    documents = quality_filter.run(documents, 0, 1)
documents = list(counted("quality", documents))
to_quality = cpu_seconds() - began
counts["deduplicated"] = deduplicate(documents)
result = {
    "counts": counts,
    "to_quality_cpu_seconds": to_quality,
    "cpu_seconds": cpu_seconds() - began,
    "seconds": time.time() - wall,
}
print(json.dumps(result))
