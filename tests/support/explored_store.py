"""A small store to explore: a crawl whose pages are kept, dropped and hostile, built up to its corpus."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from unittest import mock

from llm_assets.artifacts import Store, Workspace, materialize
from llm_assets.compute import LocalEngine
from llm_assets.graph import GRAPH
from llm_assets.recipes import Recipe, WarcFiles
from llm_assets.settings import load_settings
from tests.support.model_server import LIMITS, ModelServer, write_checkpoint
from tests.support.small_recipe import CORPUS
from tests.support.warcs import page, story, write

HOSTILE = "http://hostile.example/page"
SHORT = "http://short.example/page"
MAIL = "ann.smith@mail.example"


def hostile_page():
    """A page that is kept, with everything that a page of somebody else should not do in a frame."""
    attack = (
        b'<script>document.title = "taken over"</script><img src="http://remote.example/pixel.png" onerror="alert(1)">'
        b'<meta http-equiv="refresh" content="0; url=http://remote.example/"><form action="http://remote.example/">'
        b'<iframe src="http://remote.example/frame"></iframe></form><nav><a href="/">Home</a></nav>'
    )
    mail = f"<p>Write to {MAIL} if you know more about the people of this town and their work.</p>".encode()
    return story(3).replace(b"<article>", attack + b"<article>" + mail)


def write_crawl(folder):
    stories = [page(f"http://host.example/{number}", story(number + 10)) for number in range(6)]
    copy = page("http://copy.example/0", story(10))
    odd = [page(HOSTILE, hostile_page()), page(SHORT, b"<p>Too short to be of use.</p>" + b"<p>Much too short.</p>")]
    write(folder / "a.warc.gz", [*stories, copy, *odd])


def explored_workspace(folder: Path):
    """The workspace of the crawl, of which nothing is built after the corpus, and the settings of its data folder."""
    data = folder / "data"
    write_crawl(folder / "warc")
    recipe = Recipe(name="explored", crawls={"c": WarcFiles(path=str(folder / "warc"))})
    workspace = Workspace(recipe, Store(data / "artifacts"), GRAPH, LocalEngine(1))
    for stage in CORPUS:
        materialize(stage, "c" if stage.per_crawl else None, workspace)
    urls = {"dagster_url": "http://dagster.test:3000/", "mlflow_url": "http://mlflow.test:5000/"}
    return workspace, replace(load_settings(), data=data, **urls)


@contextlib.contextmanager
def explored_server(folder):
    """A server of this workspace, with two chat models in folders."""
    with mock.patch.dict(os.environ, {"LLM_ASSETS_DATA": str(folder / "data")}):
        workspace, settings = explored_workspace(folder)
        folders = {"one": write_checkpoint(folder / "one"), "two": write_checkpoint(folder / "two", seed=5)}
        with ModelServer(folders, workspace=workspace, settings=settings) as server:
            yield server


def narrow_server(explored):
    """A server of the same store and models that samples three tokens for an answer, and one answer at a time."""
    service = explored.service
    limits = replace(LIMITS, max_tokens=3, sequences=1)
    return ModelServer(explored.folders, limits, workspace=service.checkpoints.workspace, settings=service.settings)
