"""datatrove's FineWeb chain over a folder of WARC files, in one process; prints its counts and times as JSON.

    PYTHON benchmarks/datatrove_recipe.py FOLDER FASTTEXT_MODEL

PYTHON is an interpreter with datatrove[io,processing], spacy, trafilatura, lxml_html_clean and fasttext-numpy2-wheel;
nothing of this project is imported. `benchmarks/curation.py` runs this on the same files as the project's stages.
"""

import json
import resource
import sys
import tempfile
import time

import fasttext
from datatrove.data import Document
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


def check_extractor(extractor):
    """Exit if the extractor's process does not start: it would spend its timeout on each page, and give no text."""
    paragraph = "The mill on the river was rebuilt by the guild after the fire, and the town paid for the new wheel. "
    page = f"<html><body><article><p>{paragraph * 5}</p></article></body></html>"
    extractor.extract("")  # imports trafilatura here, so that a missing package ends this program with its message
    if not any(extractor.run([Document(text=page, id="check")], 0, 1)):
        sys.exit("datatrove's extractor gives no text for a page of one paragraph")


def main():
    folder, model_path = sys.argv[1:]
    model = fasttext.load_model(model_path)
    check_extractor(Trafilatura(favour_precision=True, timeout=5))
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


if __name__ == "__main__":  # the extractor's process may import this file
    main()
