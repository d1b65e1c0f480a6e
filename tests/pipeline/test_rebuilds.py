"""What is rebuilt, and with the same bytes: after changed fields, kills, new crawls, and moved or missing files."""

import json
import subprocess
import sys

import pytest

from llm_assets.artifacts import materialize
from llm_assets.artifacts.explain import explain
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import (
    Deduplication,
    Extraction,
    Language,
    PersonalData,
    Quality,
    Recipe,
    Report,
    UrlFilter,
    WarcFiles,
)
from llm_assets.web.errors import SourceError
from tests.support.commands import environment_for
from tests.support.crawl_builds import TEXT, build_crawl, rejects, warc_crawl
from tests.support.small_recipe import CORPUS, SMALL, SMALL_SOURCE, STAGES
from tests.support.warcs import page, story, write


def test_one_worker_and_four_write_the_same_bytes(tmp_path, monkeypatch):
    for i in range(5):
        pages = [page(f"http://host{i}.example/{j}", story(10 * i + j % 5)) for j in range(7)]
        write(tmp_path / "warc" / f"{i}.warc.gz", [*pages, page(f"http://host{i}.example/short", TEXT)])
    by_workers = {}
    for workers in (1, 4):
        monkeypatch.setenv("LLM_ASSETS_STORE", str(tmp_path / f"store-{workers}"))
        by_workers[workers] = build_crawl(warc_crawl(tmp_path / "warc"), workers=workers)
    for name, artifact in by_workers[1].items():
        other = by_workers[4][name]
        assert artifact.path != other.path
        assert artifact.record.files.keys() == other.record.files.keys()
        assert artifact.data_version == other.data_version
    assert by_workers[1]["reject_ledger"].record.stats["rejects"] == {
        "deduplicated_text": {"exact_duplicate": 10},
        "quality_filtered_text": {"top_3_gram": 5},
    }


AFTER_CORPUS = {"reject_ledger", "page_versions", "training_pages", "corpus_report"}
AFTER_QUALITY = {"text_signatures", "deduplicated_text", "clean_corpus", *AFTER_CORPUS}
AFTER_TEXT = {"language_filtered_text", "text_statistics", "quality_filtered_text", *AFTER_QUALITY}


@pytest.fixture
def rebuilt(tmp_path):
    """A function of recipe fields: the assets that are rebuilt when they change from their defaults."""
    address = b"<p>Please write to the harbour office at harbour@mail.example for more.</p></article>"
    pages = [
        page("http://host.example/", story(0)),
        page("http://host.example/sexy", story(1)),
        page("http://host.example/2", story(2).replace(b"</article>", address)),
        page("http://host.example/3", story(0)),
    ]
    write(tmp_path / "warc" / "a.warc.gz", pages)
    base = build_crawl(warc_crawl(tmp_path / "warc"))

    def assets(**fields):
        changed = build_crawl(warc_crawl(tmp_path / "warc", **fields))
        return {name for name in base if base[name].record.identity != changed[name].record.identity}

    return assets


def test_a_changed_field_rebuilds_only_what_reads_it(rebuilt):
    # The same bytes with the other limit, so nothing downstream is rebuilt.
    assert rebuilt(url_filter=UrlFilter(soft_word_limit=9)) == {"filtered_urls"}
    assert rebuilt(url_filter=UrlFilter(soft_word_limit=1)) == {"filtered_urls", "extracted_text", *AFTER_TEXT}
    assert rebuilt(extraction=Extraction(min_characters=5)) == {"extracted_text"}
    # The report shows the target languages.
    assert rebuilt(language=Language(targets=("en", "de"))) == {"language_filtered_text", "corpus_report"}
    assert rebuilt(language=Language(threshold=0.6)) == {"language_filtered_text"}
    # A threshold recomputes the verdicts, not the statistics. The report shows the source of each rule, and the
    # thresholds of the rejected pages.
    assert rebuilt(quality=Quality(thresholds={"min_words": 60})) == {"quality_filtered_text"}
    assert rebuilt(quality=Quality(thresholds={"min_words": None})) == {"quality_filtered_text", "corpus_report"}
    assert rebuilt(quality=Quality(thresholds={"min_words": 5_000})) == {"quality_filtered_text", *AFTER_QUALITY}
    assert rebuilt(personal_data=PersonalData(phone_region="DE")) == {"clean_corpus", "corpus_report"}
    assert rebuilt(deduplication=Deduplication(memory_bytes=1 << 20)) == set()
    assert rebuilt(deduplication=Deduplication(seed=2)) == {"text_signatures", "deduplicated_text"}
    assert rebuilt(report=Report(samples=1)) == {"corpus_report"}


def test_a_second_crawl_builds_its_own_partition_and_is_deduplicated_against_the_first(tmp_path):
    write(tmp_path / "one" / "a.warc.gz", [page(f"http://host.example/{i}", story(i)) for i in range(4)])
    write(tmp_path / "two" / "a.warc.gz", [page(f"http://other.example/long/{i}", story(i)) for i in (2, 3, 4)])
    first_source, second_source = WarcFiles(path=str(tmp_path / "one")), WarcFiles(path=str(tmp_path / "two"))
    recipe = Recipe(name="t", crawls={"c-1": first_source}, deduplication=Deduplication(scope="corpus"))
    first = build_crawl(recipe, "c-1")
    both = recipe.replace(crawls={"c-1": first_source, "c-2": second_source})
    workspace = open_workspace(both)
    for stage in CORPUS:
        if stage.per_crawl:
            assert materialize(stage, "c-1", workspace).cached, stage.name
    second = build_crawl(both, "c-2")
    reasons = {row["url"]: row["value"] for row in rejects(second).to_dicts()}
    assert reasons == {f"http://other.example/long/{i}": f"same text as http://host.example/{i}" for i in (2, 3)}
    assert second["clean_corpus"].record.rows["text"] == 1 and first["clean_corpus"].record.rows["text"] == 4
    assert second["corpus_report"].record.stats["pages"] == 5
    # By default, each crawl is deduplicated by itself.
    separate = both.replace(deduplication=Deduplication())
    build_crawl(separate.replace(crawls={"c-1": first_source}), "c-1")
    assert build_crawl(separate, "c-2")["clean_corpus"].record.rows["text"] == 3


# Builds in forks, which import nothing again: each is killed in a stage that the arguments name, and the last is not.
BUILD_EVERYTHING = """
import os
import signal
import sys
from llm_assets.artifacts import materialize
from llm_assets.compute import LocalEngine
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import Recipe, WarcFiles

def build(folder):
    workspace = open_workspace(Recipe(name="t", crawls={"c": WarcFiles(path=folder)}, SETTINGS))
    workspace.engine = LocalEngine(1)
    for stage in GRAPH:
        if stage.name in GRAPH.left_out(workspace.recipe):
            continue
        listeners = [lambda event: print(event.kind, stage.name, flush=True)]
        outcome = materialize(stage, "c" if stage.per_crawl else None, workspace, listeners)
        print("done", stage.name, outcome.artifact.data_version, flush=True)

def build_until(stage, folder):
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.dup2(writing, 1)
        build(folder)
        os._exit(0)
    os.close(writing)
    with open(reading) as lines:
        assert any(line.split()[:2] == ["started", stage] for line in lines), stage
        os.kill(process, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL

if __name__ == "__main__":
    folder, *killed_stages = sys.argv[1:]
    for stage in killed_stages:
        build_until(stage, folder)
    build(folder)
""".replace("SETTINGS", SMALL_SOURCE)
KILLED_STAGES = (
    "text_statistics",
    "quality_filtered_text",
    "text_signatures",
    "deduplicated_text",
    "clean_corpus",
    "corpus_report",
    "tokenizer",
    "token_shards",
    "base_checkpoint",
    "base_evaluation",
)


def test_builds_that_are_killed_in_stage_after_stage_end_with_the_same_bytes(tmp_path, monkeypatch):
    for i in range(4):
        pages = [page(f"http://host{i}.example/{j}", story(10 * i + j % 4)) for j in range(6)]
        write(tmp_path / "warc" / f"{i}.warc.gz", pages)
    (tmp_path / "build.py").write_text(BUILD_EVERYTHING)
    words = [sys.executable, "build.py", "warc", *KILLED_STAGES]
    environment = environment_for(tmp_path / "data")
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    versions = {line.split()[1]: line.split()[2] for line in done.stdout.splitlines() if line.startswith("done")}
    monkeypatch.setenv("LLM_ASSETS_STORE", str(tmp_path / "uninterrupted"))
    uninterrupted = build_crawl(warc_crawl(tmp_path / "warc", **SMALL), stages=STAGES)
    assert versions.keys() == uninterrupted.keys()
    for name, artifact in uninterrupted.items():
        # The scorecard holds times.
        assert versions[name] == artifact.data_version or name == "scorecard", name


def test_a_missing_path_a_folder_without_archives_and_an_unknown_crawl_are_named(tmp_path):
    with pytest.raises(SourceError, match=r"missing: no such file or folder"):
        build_crawl(warc_crawl(tmp_path / "missing"))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    with pytest.raises(SourceError, match=r"texts: no WARC or ARC file in this folder"):
        build_crawl(warc_crawl(tmp_path / "texts"))
    with pytest.raises(SourceError, match="no crawl 'other'; available: c; register one with"):
        build_crawl(warc_crawl(tmp_path / "texts"), crawl="other")


def explanations(workspace):
    """What `explain` reports, by key."""
    return {explanation.key: explanation.text() for explanation in explain(workspace)}


def test_a_crawl_whose_folder_is_out_of_reach_stays_in_the_corpus(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/", TEXT)])
    first = build_crawl(warc_crawl(tmp_path / "warc"))
    (tmp_path / "warc").rename(tmp_path / "elsewhere")
    workspace = open_workspace(warc_crawl(tmp_path / "warc"))
    assert workspace.resolver().artifact("corpus_report", None).record == first["corpus_report"].record
    explanation = explanations(workspace)["raw_warc/c"]
    assert explanation.startswith("cached") and "as it was last built: " in explanation
    with pytest.raises(SourceError, match="warc: no such file or folder"):
        materialize(GRAPH["raw_warc"], "c", workspace)


def test_a_crawl_whose_folder_never_existed_is_not_built(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/", TEXT)])
    recipe = warc_crawl(tmp_path / "warc")
    build_crawl(recipe)
    both = recipe.replace(crawls={**recipe.crawls, "lost": WarcFiles(path=str(tmp_path / "missing"))})
    outcome = materialize(GRAPH["page_versions"], None, open_workspace(both))
    assert (outcome.crawls, outcome.unbuilt_crawls) == (["c"], ["lost"])
    assert "missing: no such file or folder" in explanations(open_workspace(both))["raw_warc/lost"]


def test_moved_files_are_found_again(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/", TEXT)])
    first = build_crawl(warc_crawl(tmp_path / "warc"))
    (tmp_path / "warc").rename(tmp_path / "moved")
    second = build_crawl(warc_crawl(tmp_path / "moved"))
    assert first["raw_warc"].record.identity == second["raw_warc"].record.identity
    assert second["raw_warc"].file("warc/a.warc.gz") == tmp_path / "moved" / "a.warc.gz"
    assert json.loads((second["raw_warc"].path / "locations.json").read_text())
