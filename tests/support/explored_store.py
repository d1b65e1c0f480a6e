"""A small store to explore: a crawl whose pages are kept, dropped and hostile, pairs to rank, and a trace index."""

import contextlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from unittest import mock

from llm_assets.artifacts import Graph, Store, Workspace, materialize
from llm_assets.compute import LocalEngine
from llm_assets.curation.stages import STAGES as CURATION
from llm_assets.preference.human_rankings import HUMAN_RANKINGS
from llm_assets.preference.response_pairs import pair_digest
from llm_assets.recipes import Recipe, WarcFiles
from llm_assets.recipes.preference import HumanRankings, RankingFile
from llm_assets.serving.explorer.ranking_versions import RankingsBuilds
from llm_assets.settings import load_settings
from llm_assets.warc import read_captures
from llm_assets.web.stages import STAGES as WEB
from tests.support.model_server import ModelServer, write_checkpoint
from tests.support.stand_ins import stand_in
from tests.support.tiny_models import TEXTS
from tests.support.trace_indexes import ENCODING as TRACED
from tests.support.trace_indexes import write_trace_index
from tests.support.warcs import page, story, write

HOSTILE = "http://hostile.example/page"
SHORT = "http://short.example/page"
MAIL = "ann.smith@mail.example"
PAIRS = 12
QUESTION = "Tell me something."  # of the conversations
RANKED = {  # the ranking that is there from the start
    "question": "Which came first?",
    "first": "The hen.",
    "second": "The egg.",
    "preferred": "first",
    "labeller": "ann",
}


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


def pairs():
    rows = []
    for number in range(PAIRS):
        question, first, second = f"Who is person {number}?", f"A painter, {number}.", f"A doctor, {number}."
        rows.append(
            {
                "pair": pair_digest(question, first, second),
                "prompt": number,
                "question": question,
                "subject": f"person {number}",
                "subject_exists": True,
                "first": first,
                "second": second,
            }
        )
    return rows


def conversations_stage():
    """The conversations that the trace index has: two, whose answers are texts of the tiny models."""
    rows = [
        {
            "conversation": number,
            "source": "generated",
            "sources": json.dumps(["known"]),
            "line": number,
            "messages": json.dumps([{"role": "user", "content": QUESTION}, {"role": "assistant", "content": text}]),
        }
        for number, text in enumerate(TEXTS[:2])
    ]
    return stand_in("conversations", {"conversations": rows})


def trace_stage(folder, warc):
    """A trace index over the texts of the tiny models, at the places that a WARC file has for the same URLs."""
    documents = [[TRACED.bos, *TRACED.encode(text)] for text in TEXTS[:20]]
    write_trace_index(folder, documents, documents[:2])
    tables = {name: [path for path in (folder / name).glob("*.parquet")] for name in ("documents", "conversations")}

    def copy(staging):
        for path in folder.iterdir():
            if path.is_file():
                shutil.copy(path, staging)

    import polars as pl

    frames = {name: pl.read_parquet(paths) for name, paths in tables.items()}
    offsets = {capture.url: capture.offset for capture in read_captures(warc)}
    url, places = pl.col("url"), {"warc_offset": offsets, "warc_file": dict.fromkeys(offsets, warc.name)}
    replaced = [url.replace_strict(by_url, default=pl.col(name)).alias(name) for name, by_url in places.items()]
    frames["documents"] = frames["documents"].with_columns(replaced)
    return stand_in("trace_index", frames, write=copy)


def explored_workspace(folder: Path, build_further=None):
    """The workspace, with everything built but `rlhf_checkpoint`, and the settings of its data folder.

    build_further: builds further stages in a store under a recipe, and returns them.
    """
    data = folder / "data"
    write_crawl(folder / "warc")
    (data / "rankings").mkdir(parents=True)
    (data / "rankings" / "ann.jsonl").write_text(json.dumps(RANKED) + "\n")
    files = (RankingFile(path=str(data / "rankings" / "ann.jsonl"), name="ann"),)
    recipe = Recipe(
        name="explored",
        crawls={"c": WarcFiles(path=str(folder / "warc"))},
        human_rankings=HumanRankings(files=files),
    )
    corpus = [stage for stage in (*WEB, *CURATION) if stage.name != "corpus_report"]
    corpus += build_further(data / "artifacts", recipe) if build_further else []
    prompts = [{"question": row["question"], "split": "train"} for row in pairs()]
    stages = [*corpus, stand_in("response_pairs", {"pairs": pairs(), "prompts": prompts}), HUMAN_RANKINGS]
    stages += [trace_stage(folder / "trace", folder / "warc" / "a.warc.gz"), stand_in("rlhf_checkpoint")]
    stages.append(conversations_stage())
    workspace = Workspace(recipe, Store(data / "artifacts"), Graph(stages), LocalEngine(1))
    for name, crawl in workspace.graph.keys(recipe):
        if name != "rlhf_checkpoint":
            materialize(workspace.graph[name], crawl, workspace)
    return workspace, replace(load_settings(), data=data, dagster_url="http://dagster.test:3000/")


@contextlib.contextmanager
def explored_server(folder, build_further=None):
    """A server of this workspace, with two chat models in folders.

    No command can load its stages, which stand in for others, so that a build of `human_rankings` does nothing.
    """
    with (
        mock.patch.dict(os.environ, {"LLM_ASSETS_DATA": str(folder / "data")}),
        mock.patch.object(RankingsBuilds, "command", lambda self: ["true"]),
    ):
        workspace, settings = explored_workspace(folder, build_further)
        folders = {"one": write_checkpoint(folder / "one"), "two": write_checkpoint(folder / "two", seed=5)}
        with ModelServer(folders, workspace=workspace, settings=settings) as server:
            yield server
