"""Materialising: what rebuilds, what does not, and what an explanation says before anything runs."""

import json
from dataclasses import replace

import polars as pl
import pytest

from llm_assets.artifacts import Graph, NotBuilt, materialize
from llm_assets.artifacts.explain import explain
from llm_assets.artifacts.gc import find_garbage
from llm_assets.artifacts.identity import ABSENT, artifact_key
from llm_assets.artifacts.lineage import upstream
from llm_assets.artifacts.record import RECORD
from tests.support.toy import (
    GRAPH,
    LETTERS,
    TOTAL,
    WORDS,
    Frozen,
    Letters,
    ToyRecipe,
    WordsConfig,
    make_folder,
    workspace,
)


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path / "in", "a")
    return make_folder(tmp_path / "in", "b", files=2)


def build_all(tmp_path, folder, **fields):
    """Materialise every stage; the keys of the artifacts that were built."""
    recipe = ToyRecipe(folder=str(folder), **{"crawls": {"a": "a", "b": "b"}, **fields})
    ws = workspace(tmp_path / "store", recipe)
    return {
        artifact_key(stage.name, crawl)
        for stage in GRAPH
        for crawl in (recipe.corpus() if stage.per_crawl else [None])
        if not materialize(stage, crawl, ws).cached
    }


def test_a_second_run_does_no_work(tmp_path, folder):
    assert build_all(tmp_path, folder) == {"letters/a", "letters/b", "words/a", "words/b", "total"}
    assert build_all(tmp_path, folder) == set()


def test_a_config_field_rebuilds_its_stage_and_everything_downstream(tmp_path, folder):
    build_all(tmp_path, folder)
    assert build_all(tmp_path, folder, factor=2) == {"words/a", "words/b", "total"}
    assert build_all(tmp_path, folder, factor=2, offset=1) == {"total"}


def test_unchanged_bytes_upstream_stop_the_rebuild(tmp_path, folder):
    build_all(tmp_path, folder)
    # Upper case changes `letters`. `words` has no names, so it is rebuilt with the same bytes; `total` stays cached.
    assert build_all(tmp_path, folder, upper=True) == {"letters/a", "letters/b", "words/a", "words/b"}


def test_reverting_a_field_restores_the_earlier_version(tmp_path, folder):
    build_all(tmp_path, folder)
    build_all(tmp_path, folder, factor=2)
    assert build_all(tmp_path, folder) == set()


def test_execution_settings_rebuild_nothing(tmp_path, folder):
    build_all(tmp_path, folder)
    assert build_all(tmp_path, folder, slow=0.0001) == set()


def test_a_changed_input_file_rebuilds_only_its_crawl(tmp_path, folder):
    build_all(tmp_path, folder)
    (folder / "a" / "file0.txt").write_text("another line")
    assert build_all(tmp_path, folder) == {"letters/a", "words/a", "total"}


def test_a_moved_folder_rebuilds_nothing(tmp_path, folder):
    build_all(tmp_path, folder)
    folder.rename(tmp_path / "moved")
    assert build_all(tmp_path, tmp_path / "moved") == set()


def test_one_worker_and_four_give_the_same_bytes(tmp_path, folder):
    recipe = ToyRecipe(folder=str(folder))
    by_one = materialize(LETTERS, "a", workspace(tmp_path / "one", recipe, 1)).artifact
    by_four = materialize(LETTERS, "a", workspace(tmp_path / "four", recipe, 4)).artifact
    assert by_one.record.files == by_four.record.files
    assert by_one.data_version == by_four.data_version


def test_a_missing_input_is_a_clear_error(tmp_path, folder):
    with pytest.raises(NotBuilt, match=r"words/a cannot be built: letters/a not built under recipe 'toy'.*\*words"):
        materialize(WORDS, "a", workspace(tmp_path / "store", ToyRecipe(folder=str(folder))))


def explanations(tmp_path, folder, **fields):
    recipe = ToyRecipe(folder=str(folder), **fields)
    return {item.key: item for item in explain(workspace(tmp_path / "store", recipe))}


def test_explain_names_the_field_before_anything_runs(tmp_path, folder):
    build_all(tmp_path, folder, crawls={"a": "a"})
    by_key = explanations(tmp_path, folder, factor=3)
    assert by_key["letters/a"].state == "cached"
    assert by_key["words/a"].state == "build"
    assert by_key["words/a"].differences == [("config.factor", 1, 3)]
    assert by_key["total"].state == "depends"
    assert by_key["total"].waits_for == ["words/a"]
    assert "config.factor: 1 → 3" in by_key["words/a"].text()


def test_explain_reports_what_was_never_built(tmp_path, folder):
    by_key = explanations(tmp_path, folder)
    assert by_key["letters/a"].never_built
    assert by_key["total"].waits_for == ["words/a"]


def test_explain_names_a_changed_code_version(tmp_path, folder, monkeypatch):
    build_all(tmp_path, folder, crawls={"a": "a"})
    monkeypatch.setitem(GRAPH.stages, "words", replace(WORDS, code_version="2"))
    assert explanations(tmp_path, folder)["words/a"].differences == [("code_version", "1", "2")]


class OldWordsConfig(Frozen):
    """The config of `words` before a rename: `factor` was called `times`, and `note` has been removed since."""

    times: int
    note: str | None


def test_explain_compares_an_artifact_built_under_old_names(tmp_path, folder, monkeypatch):
    old_words = replace(
        WORDS,
        build=lambda step, config: WORDS.build(step, WordsConfig(factor=config.times)),
        config=lambda recipe, _: OldWordsConfig(times=1, note=None),
    )
    with monkeypatch.context() as patch:
        patch.setitem(GRAPH.stages, "words", old_words)
        ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))
        materialize(LETTERS, "a", ws)
        old = materialize(old_words, "a", ws).artifact
    # Version 0.1 also called tasks parts, here and in the timings.
    record = json.loads((old.path / RECORD).read_text())
    record["parts"] = record.pop("tasks")
    record["timings"]["resumed_parts"] = record["timings"].pop("resumed_tasks")
    (old.path / RECORD).write_text(json.dumps(record))
    (stored,) = workspace(tmp_path / "store", ToyRecipe(folder=str(folder))).store.artifacts("words")
    assert stored.record.tasks == old.record.tasks and stored.record.tasks.keys() == {"words"}
    explanation = explanations(tmp_path, folder)["words/a"]
    assert explanation.differences == [
        ("config.factor", ABSENT, 1),
        ("config.note", None, ABSENT),
        ("config.times", 1, ABSENT),
    ]
    assert explanation.text() == (
        "would build: config.factor added: 1; config.note removed: was None; config.times removed: was 1"
    )
    # The old artifact keeps its place: a build adds the new one beside it.
    assert not materialize(WORDS, "a", workspace(tmp_path / "store", ToyRecipe(folder=str(folder)))).cached
    assert len(list(ws.store.artifacts("words"))) == 2


def test_drift_is_reported_and_rebuilds_nothing(tmp_path, folder, monkeypatch):
    build_all(tmp_path, folder, crawls={"a": "a"})
    monkeypatch.setattr("llm_assets.artifacts.source._digest", lambda path: "another")
    outcome = materialize(TOTAL, None, workspace(tmp_path / "store", ToyRecipe(folder=str(folder))))
    assert outcome.cached
    assert outcome.drifted == ["tests.support.toy"]


def test_an_unbuilt_crawl_is_left_out_and_reported(tmp_path, folder):
    both = ToyRecipe(folder=str(folder), crawls={"a": "a", "b": "b"})
    ws = workspace(tmp_path / "store", both)
    for stage in (LETTERS, WORDS):
        materialize(stage, "a", ws)
    events = []
    outcome = materialize(TOTAL, None, ws, [events.append])
    assert (outcome.crawls, outcome.unbuilt_crawls) == (["a"], ["b"])
    assert [event.message for event in events if event.kind == "warning"] == ["without b: in the recipe, but not built"]
    assert (
        explanations(tmp_path, folder, crawls={"a": "a", "b": "b"})["total"].text().endswith("; without b (not built)")
    )
    for stage in (LETTERS, WORDS):
        materialize(stage, "b", ws)
    later = materialize(TOTAL, None, ws)
    assert not later.cached and (later.crawls, later.unbuilt_crawls) == (["a", "b"], [])


def test_if_no_crawl_is_built_the_error_names_the_first(tmp_path, folder):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder), crawls={"a": "a", "b": "b"}))
    with pytest.raises(NotBuilt, match=r"total cannot be built: words/a not built.*--crawl a --select '\*total'"):
        materialize(TOTAL, None, ws)


def test_a_recipes_name_is_no_part_of_an_identity(tmp_path, folder):
    build_all(tmp_path, folder)
    assert build_all(tmp_path, folder, name="another") == set()


SHARES = replace(
    WORDS,
    name="shares",
    inputs=("words", "total"),
    description="Per crawl, but built with an artifact of all crawls, as token shards are.",
)
SUM = replace(TOTAL, name="sum", inputs=("shares",), checks=(), views=())


def build_shares(step, config) -> None:
    total = pl.read_parquet(step.input("total").table("letters"))["letters"].item()
    with step.task("shares") as task:
        task.table("letters", Letters).append({"name": "share", "letters": total, "doc_id": "share"})


def test_a_missing_artifact_of_a_built_crawl_is_an_error_and_the_crawl_is_not_left_out(tmp_path, folder):
    graph = Graph([LETTERS, WORDS, TOTAL, replace(SHARES, build=build_shares), SUM])
    assert graph.crawl_stages("shares") == {"words"}

    def ws(*crawls):
        recipe = ToyRecipe(folder=str(folder), crawls={name: name for name in crawls})
        return replace(workspace(tmp_path / "store", recipe), graph=graph)

    for stage, crawl in ((LETTERS, "a"), (WORDS, "a"), (TOTAL, None), (graph["shares"], "a"), (SUM, None)):
        materialize(stage, crawl, ws("a"))
    # A second crawl changes the total, so the share of the first crawl has to be built again.
    for stage, crawl in ((LETTERS, "b"), (WORDS, "b"), (TOTAL, None), (graph["shares"], "b")):
        materialize(stage, crawl, ws("a", "b"))
    with pytest.raises(NotBuilt, match=r"sum cannot be built: shares/a not built .* --crawl a --select '\*sum'"):
        materialize(SUM, None, ws("a", "b"))


def test_an_artifact_continues_its_predecessor(tmp_path, folder):
    def earlier_recipe(recipe, crawls):
        return recipe.model_copy(update={"crawls": {name: name for name in crawls[:-1]}}) if len(crawls) > 1 else None

    graph = Graph([LETTERS, WORDS, replace(TOTAL, continues=earlier_recipe)])

    def total(*crawls):
        recipe = ToyRecipe(folder=str(folder), crawls={name: name for name in crawls})
        ws = replace(workspace(tmp_path / "store", recipe), graph=graph)
        for crawl in crawls:
            materialize(LETTERS, crawl, ws)
            materialize(WORDS, crawl, ws)
        return materialize(graph["total"], None, ws), ws

    first, _ = total("a")
    second, ws = total("a", "b")
    assert second.artifact.record.fields["inputs"]["total@before"] == first.artifact.data_version
    assert "total@before" not in first.artifact.record.fields["inputs"]
    assert first.artifact in upstream(ws.store, second.artifact)
    assert find_garbage(ws, keep_last=0).artifacts == []


def test_each_of_a_long_chain_of_predecessors_is_resolved_once(tmp_path, folder, monkeypatch):
    """30 states of a recipe that continue one another, with `total` built in none: no state is resolved twice."""

    def earlier_recipe(recipe, crawls):
        crawls_before = sorted(recipe.crawls)[:-1]
        return recipe.model_copy(update={"crawls": dict.fromkeys(crawls_before, "a")}) if crawls_before else None

    graph = Graph([LETTERS, WORDS, replace(TOTAL, continues=earlier_recipe)])
    monkeypatch.setattr("llm_assets.artifacts.resolver.Resolver._recipe_of", lambda self, stage, unbuilt: self.recipe)
    recipe = ToyRecipe(folder=str(folder), crawls={f"c{number:02}": "a" for number in range(30)})
    for number in range(30):
        make_folder(folder, f"c{number:02}", files=1, lines=1)
    ws = replace(workspace(tmp_path / "store", recipe), graph=graph)
    for name in recipe.crawls:
        materialize(LETTERS, name, ws)
        materialize(WORDS, name, ws)
    lookups = []
    lookup = ws.store.lookup
    monkeypatch.setattr(ws.store, "lookup", lambda identity: lookups.append(identity.key) or lookup(identity))
    ws.resolver().resolve("total", None)
    assert lookups.count("total") == 30


def test_crawls_are_ordered_after_those_that_they_continue():
    since = {"a": "c", "b": None, "c": "b"}
    stage = replace(
        LETTERS, earlier_artifacts=lambda recipe, crawl: [("letters", since[crawl])] if since[crawl] else []
    )
    assert Graph([stage]).crawl_order(None, ["a", "b", "c"]) == ["b", "c", "a"]
    assert Graph([stage]).crawl_order(None, ["a"]) == ["a"]
