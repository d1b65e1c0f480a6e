"""Stores that the tests of the pipeline share. Tests read them; a test that writes to a store gets a copy."""

import shutil

import dagster as dg
import pytest

from llm_assets.graph import GRAPH
from llm_assets.recipes import load_recipe
from resources.jobs import crawl_assets
from tests.support.building import build
from tests.support.byte_search import places
from tests.support.commands import command_here
from tests.support.sample_pipeline import build_sample_pipeline, stages_up_to_corpus_and
from tests.support.shared_folders import shared_folder
from tests.support.small_recipe import CORPUS, recipe_file, warc_recipe, warc_sources
from tests.support.takedown_corpus import COUNT, is_taken_down, page_urls, unique_texts, write_project
from tests.support.warcs import page, story, write

TO_BASE_MODEL = stages_up_to_corpus_and("tokenizer token_shards base_checkpoint training_search_index")


@pytest.fixture
def pipeline(shared_pipeline, monkeypatch):
    """The whole graph on a small sample web, for tests that only read it."""
    folder, built_pipeline = shared_pipeline
    monkeypatch.setenv("LLM_ASSETS_DATA", str(folder / "data"))
    return built_pipeline


@pytest.fixture
def pipeline_copy(shared_pipeline, tmp_path):
    """The same in a separate store, in which the test may build and delete."""
    folder, _ = shared_pipeline
    shutil.copytree(folder / "data", tmp_path / "data")
    return build_sample_pipeline()


@pytest.fixture(scope="session")
def shared_base(tmp_path_factory):
    """A small recipe of two WARC files, built up to its base model, and the folder that holds it."""
    with shared_folder(tmp_path_factory, "base-model") as folder:
        recipe = warc_recipe(folder)
        build(recipe, TO_BASE_MODEL)
    return folder, recipe


@pytest.fixture
def base_recipe(shared_base, tmp_path):
    """A small recipe of two WARC files whose base model is built in a separate store."""
    folder, recipe = shared_base
    shutil.copytree(folder / "data", tmp_path / "data")
    return recipe


@pytest.fixture(scope="session")
def shared_takedown_corpus(tmp_path_factory):
    """A crawl with pages to take down, built up to its clean corpus, and the folder that holds it."""
    with shared_folder(tmp_path_factory, "takedown-corpus") as folder, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LLM_ASSETS_RECIPE", write_project(folder))
        build(load_recipe(), CORPUS, ["files"])
    return folder


@pytest.fixture
def takedown_corpus(shared_takedown_corpus, tmp_path, monkeypatch):
    """A separate data folder with that crawl, and runs of text that only the pages to take down hold."""
    shutil.copytree(shared_takedown_corpus / "data", tmp_path / "data")
    shutil.copy(shared_takedown_corpus / "recipe.py", tmp_path / "recipe.py")
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    data = tmp_path / "data"
    texts = unique_texts(data / "artifacts")
    assert len([url for url in page_urls(data, "clean_corpus") if is_taken_down(url)]) == COUNT
    assert {"bytes", "parquet", "gzip"} <= places(data, texts).keys()
    return data, texts


@pytest.fixture(scope="session")
def shared_recrawl_project(tmp_path_factory):
    """A folder with a recipe that re-crawls the sample web every week; its first crawl is built up to its corpus."""
    with shared_folder(tmp_path_factory, "recrawls") as folder, pytest.MonkeyPatch.context() as monkeypatch:
        recipe_file(
            folder / "recipe.py",
            '{"site": SampleWeb(scale=0.05)}',
            'recrawls=(Recrawl(prefix="site", cron="0 0 * * 1", source=SampleWeb(scale=0.05, day=2)),),',
        )
        monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{folder}/recipe.py:mine")
        build(load_recipe(), [GRAPH[name] for name in crawl_assets(GRAPH)], ("site",))
    return folder


@pytest.fixture
def recrawl_project(shared_recrawl_project, tmp_path, monkeypatch):
    """A copy of that folder, whose recipe is chosen in the environment."""
    shutil.copytree(shared_recrawl_project / "data", tmp_path / "data")
    shutil.copy(shared_recrawl_project / "recipe.py", tmp_path / "recipe.py")
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    return tmp_path


@pytest.fixture
def instance(tmp_path):
    """A temporary Dagster instance."""
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        yield instance


@pytest.fixture
def project(tmp_path):
    """A folder as a user would set it up: a recipe of one crawl `c`, of two WARC files with five good pages each."""
    for i in range(2):
        pages = [page(f"http://host{i}.example/{j}", story(10 * i + j)) for j in range(5)]
        lost = page(f"http://host{i}.example/lost", b"x", "404 Not Found")
        write(tmp_path / "warc" / f"{i}.warc.gz", [*pages, lost])
    recipe_file(tmp_path / "recipe.py", warc_sources(tmp_path / "warc"))
    return tmp_path


FURTHER_RECIPES = """

def slow():
    recipe = mine()
    return recipe.replace(pretraining=recipe.pretraining.replace(tokens=4_000_000, batch_tokens=256))


def web():
    return mine().replace(name="web", crawls={{"site": SampleWeb(scale=1.0)}})


def two():
    recipe = mine()
    return recipe.replace(name="two", crawls={{**recipe.crawls, "d": WarcFiles(path={path!r})}})
"""


@pytest.fixture(scope="session")
def shared_run_project(tmp_path_factory):
    """A folder with a recipe `mine`, built up to its token shards, and three further recipes.

    `slow` trains for minutes, `web` crawls the sample web, and `two` reads a second crawl.
    """
    with shared_folder(tmp_path_factory, "run-project") as folder:
        if not (folder / "data").exists():
            for crawl in ("c", "d"):
                pages = [page(f"http://{crawl}.example/{n}", story(100 * ord(crawl) + n)) for n in range(8)]
                write(folder / "warc" / crawl / "0.warc.gz", pages)
            recipe_file(folder / "recipe.py", warc_sources(folder / "warc" / "c"))
            with (folder / "recipe.py").open("a") as file:
                file.write(FURTHER_RECIPES.format(path=str(folder / "warc" / "d")))
            done = command_here(folder, "run", "--select", "*token_shards,page_versions,training_pages")
            assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def run_project(shared_run_project, tmp_path):
    """A copy of that folder."""
    shutil.copytree(shared_run_project / "data", tmp_path / "data")
    shutil.copy(shared_run_project / "recipe.py", tmp_path / "recipe.py")
    return tmp_path
