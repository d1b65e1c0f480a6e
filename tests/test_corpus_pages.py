"""The current pages of the corpus are read file by file: what is kept in memory does not grow with the pages."""

import pickle
from types import SimpleNamespace

import polars as pl
import pytest

from llm_assets.corpus_pages import PAGE_VERSIONS, TRAINING_PAGES, CorpusPages
from llm_assets.finetuning.search_index import SearchIndexConfig, build_search_index
from llm_assets.recipes.training_pages import TrainingPages

FILES = 3


class Inputs:
    """A crawl of `pages` pages in FILES files, of which every second is current; lists of both assets."""

    def __init__(self, folder, pages):
        rows = pl.DataFrame(
            {
                "warc_file": [f"w{n * FILES // pages}" for n in range(pages)],
                "warc_offset": range(pages),
                "host": [f"h{n % 3}.example" for n in range(pages)],
                "text": [f"text {n}" for n in range(pages)],
            }
        )
        current = pl.int_range(pl.len()) % 2 == 0
        (folder / "versions").mkdir(parents=True)
        states = pl.when(current).then(pl.lit("current")).otherwise(pl.lit("superseded"))
        rows.with_columns(state=states, in_corpus=pl.lit(True)).write_parquet(folder / "versions" / "c.parquet")
        (folder / "pages").mkdir()
        rows.filter(current).write_parquet(folder / "pages" / "c.parquet")
        for (name,), frame in rows.group_by("warc_file"):
            frame.write_parquet(folder / f"{name}.parquet")
        texts = sorted(folder.glob("w*.parquet"))
        self.corpus = SimpleNamespace(table=lambda name: texts)
        self.folder = folder

    def __contains__(self, name):
        return name == TRAINING_PAGES

    def by_crawl(self, name):
        return {"c": self.corpus}

    def artifact(self, name):
        return SimpleNamespace(record=SimpleNamespace(asset=name), file=lambda file: self.folder / file)


@pytest.mark.parametrize("asset", [PAGE_VERSIONS, TRAINING_PAGES])
def test_the_current_pages_are_read_in_order(tmp_path, asset):
    inputs = Inputs(tmp_path / "c", 30)
    assert list(CorpusPages(inputs, asset).texts()) == [f"text {n}" for n in range(0, 30, 2)]
    pages = CorpusPages(inputs, asset, TrainingPages(search_only_hosts=("h0.example",)))
    assert list(pages.texts()) == [f"text {n}" for n in range(0, 30, 2) if n % 3]
    assert pl.concat(pages.file_batches(1, ["text"]))["text"].to_list() == ["text 10", "text 14", "text 16"]


def test_a_worker_receives_no_more_for_more_pages(tmp_path):
    sizes = [len(pickle.dumps(CorpusPages(Inputs(tmp_path / f"{n:05}", n), TRAINING_PAGES).files)) for n in (30, 900)]
    assert sizes[0] == sizes[1]


def test_a_segment_of_the_search_index_is_given_the_files_that_it_reads_and_no_others(tmp_path):
    tasks = {}
    step = SimpleNamespace(inputs=Inputs(tmp_path / "c", 30), run_tasks=lambda work, given, label: tasks.update(given))
    build_search_index(step, SearchIndexConfig(passage_characters=100, sqlite="", segment_files=2))
    names = [[path.stem for path, _ in pages.files] for pages, _ in tasks.values()]
    assert names == [["w0", "w1"], ["w2"]]
    assert list(tasks["index-00001"][0].texts()) == [f"text {n}" for n in range(20, 30, 2)]
