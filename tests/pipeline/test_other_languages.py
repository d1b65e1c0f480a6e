"""German, Spanish and Chinese pages of real crawls, from WARC to the clean corpus, by the preset of their language."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.warcwriter import WARCWriter

from llm_assets.recipes import RECIPES, WarcFiles
from llm_assets.recipes.language_tags import language_of
from tests.support.building import build, check
from tests.support.small_recipe import CORPUS

MODEL_STAGES = ("page_versions", "training_pages", "corpus_report")


@dataclass(frozen=True)
class Pages:
    """Where pages of a language are, and what their corpus must contain and leave out."""

    file: str
    host: str
    phrase: str  # of a page that stays
    rejected_by: str  # a rule that rejects some of these pages


PAGES = {
    "german": Pages(
        "2026-10/crawl-2026-10-00000.warc.gz", "www.gesellschaftundkontingenz.de", " nicht ", "alpha_words"
    ),
    "spanish": Pages("2026-11/crawl-2026-11-00000.warc.gz", "cartochaco.com", " que ", "terminal_lines"),
    "chinese": Pages("2026-11/crawl-2026-11-00001.warc.gz", "l1n.wang", "的", "alpha_words"),
}


def cut_out(source: Path, host: str, target: Path) -> int:
    """Copy the responses of a host, and twenty of others, into a new WARC file; returns how many."""
    count, others = 0, 0
    with source.open("rb") as archive, target.open("wb") as output:
        writer = WARCWriter(output, gzip=True)
        for record in ArchiveIterator(archive, no_record_parse=True):
            url = record.rec_headers.get_header("WARC-Target-URI") or ""
            ours = f"//{host}/" in url
            if record.rec_type == "response" and (ours or others < 20):
                writer.write_record(record)
                count, others = count + ours, others + (not ours)
    return count


@pytest.mark.parametrize("name", PAGES)
def test_a_crawl_becomes_a_corpus_of_its_language(name, shared_data, tmp_path):
    pages = PAGES[name]
    (tmp_path / "warc").mkdir()
    assert cut_out(shared_data / "web" / pages.file, pages.host, tmp_path / "warc" / "a.warc.gz") > 5
    recipe = RECIPES[name]().replace(crawls={"c": WarcFiles(path=str(tmp_path / "warc"))}, registered_crawls=())
    built = build(recipe, [stage for stage in CORPUS if stage.name not in MODEL_STAGES])
    corpus = pl.concat([pl.read_parquet(path) for path in built["clean_corpus/c"].table("text")])
    rejects = pl.concat([pl.read_parquet(path) for path in built["quality_filtered_text/c"].table("rejects")])
    assert {language_of(label) for label in corpus["language"]} == set(recipe.language.targets)
    assert len(corpus) > 1 and corpus["text"].str.contains(pages.phrase, literal=True).any()
    assert pages.rejected_by in rejects["rule"].to_list()
    assert check(recipe, "clean_corpus", "no_personal_data", "c").passed
    assert check(recipe, "clean_corpus", "target_language_share", "c").passed
