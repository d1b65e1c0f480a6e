"""Look-up first: what rebuilds, what does not, and what is told before anything runs."""

from dataclasses import replace

import polars as pl
import pytest

from llm_assets.artifacts import Graph, NotBuilt, materialize
from llm_assets.artifacts.explain import explain
from llm_assets.artifacts.gc import find_garbage
from llm_assets.artifacts.lineage import upstream
from tests.support.toy import GRAPH, LETTERS, TOTAL, WORDS, Letters, ToyRecipe, make_folder, workspace


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path / "in", "a")
    return make_folder(tmp_path / "in", "b", files=2)


def run(tmp_path, folder, **fields):
    """Materialise everything; what was built, by key."""
    recipe = ToyRecipe(folder=str(folder), **{"crawls": {"a": "a", "b": "b"}, **fields})
    ws = workspace(tmp_path / "store", recipe)
    return {
        f"{stage.name}/{p}" if p else stage.name
        for stage in GRAPH
        for p in (recipe.corpus() if stage.per_crawl else [None])
        if not materialize(stage, p, ws).cached
    }


def test_second_run_does_no_work(tmp_path, folder):
    assert run(tmp_path, folder) == {"letters/a", "letters/b", "words/a", "words/b", "total"}
    assert run(tmp_path, folder) == set()


def test_a_config_field_rebuilds_what_reads_it_and_what_its_bytes_reach(tmp_path, folder):
    run(tmp_path, folder)
    assert run(tmp_path, folder, factor=2) == {"words/a", "words/b", "total"}
    assert run(tmp_path, folder, factor=2, offset=1) == {"total"}


def test_the_same_bytes_upstream_stop_the_rebuild(tmp_path, folder):
    run(tmp_path, folder)
    # Upper case changes letters; words does not hold names, so it comes out with the same bytes and total is cached.
    assert run(tmp_path, folder, upper=True) == {"letters/a", "letters/b", "words/a", "words/b"}


def test_reverting_a_field_restores_the_earlier_version(tmp_path, folder):
    run(tmp_path, folder)
    run(tmp_path, folder, factor=2)
    assert run(tmp_path, folder) == set()


def test_execution_settings_rebuild_nothing(tmp_path, folder):
    run(tmp_path, folder)
    assert run(tmp_path, folder, slow=0.0001) == set()


def test_a_changed_input_file_rebuilds_its_crawl_only(tmp_path, folder):
    run(tmp_path, folder)
    (folder / "a" / "file0.txt").write_text("another line")
    assert run(tmp_path, folder) == {"letters/a", "words/a", "total"}


def test_the_folder_may_move(tmp_path, folder):
    run(tmp_path, folder)
    folder.rename(tmp_path / "moved")
    assert run(tmp_path, tmp_path / "moved") == set()


def test_one_worker_and_four_give_the_same_bytes(tmp_path, folder):
    recipe = ToyRecipe(folder=str(folder))
    one = materialize(LETTERS, "a", workspace(tmp_path / "one", recipe, 1)).artifact
    four = materialize(LETTERS, "a", workspace(tmp_path / "four", recipe, 4)).artifact
    assert one.record.files == four.record.files
    assert one.data_version == four.data_version


def test_missing_input_is_a_clear_error(tmp_path, folder):
    with pytest.raises(NotBuilt, match=r"words/a cannot be built: letters/a not built under recipe 'toy'.*\*words"):
        materialize(WORDS, "a", workspace(tmp_path / "store", ToyRecipe(folder=str(folder))))


def explained(tmp_path, folder, **fields):
    recipe = ToyRecipe(folder=str(folder), **fields)
    return {item.key: item for item in explain(workspace(tmp_path / "store", recipe))}


def test_explain_names_the_field_before_anything_runs(tmp_path, folder):
    run(tmp_path, folder, crawls={"a": "a"})
    told = explained(tmp_path, folder, factor=3)
    assert told["letters/a"].state == "cached"
    assert told["words/a"].state == "build"
    assert told["words/a"].differences == [("config.factor", 1, 3)]
    assert told["total"].state == "depends"
    assert told["total"].waits_for == ["words/a"]
    assert "config.factor: 1 → 3" in told["words/a"].text()


def test_explain_says_never_built(tmp_path, folder):
    told = explained(tmp_path, folder)
    assert told["letters/a"].never_built
    assert told["total"].waits_for == ["words/a"]


def test_explain_names_a_code_version(tmp_path, folder, monkeypatch):
    run(tmp_path, folder, crawls={"a": "a"})
    monkeypatch.setitem(GRAPH.stages, "words", replace(WORDS, code_version="2"))
    assert explained(tmp_path, folder)["words/a"].differences == [("code_version", "1", "2")]


def test_drift_is_told_and_not_acted_on(tmp_path, folder, monkeypatch):
    run(tmp_path, folder, crawls={"a": "a"})
    monkeypatch.setattr("llm_assets.artifacts.source._digest", lambda path: "another")
    outcome = materialize(TOTAL, None, workspace(tmp_path / "store", ToyRecipe(folder=str(folder))))
    assert outcome.cached
    assert outcome.drifted == ["tests.support.toy"]


def test_an_unbuilt_crawl_is_left_out_and_told(tmp_path, folder):
    both = ToyRecipe(folder=str(folder), crawls={"a": "a", "b": "b"})
    ws = workspace(tmp_path / "store", both)
    for stage in (LETTERS, WORDS):
        materialize(stage, "a", ws)
    heard = []
    outcome = materialize(TOTAL, None, ws, [heard.append])
    assert (outcome.crawls, outcome.unbuilt_crawls) == (["a"], ["b"])
    assert [event.message for event in heard if event.kind == "warning"] == [
        "without b, which the recipe names and nobody has built"
    ]
    assert explained(tmp_path, folder, crawls={"a": "a", "b": "b"})["total"].text().endswith("; without b, not built")
    for stage in (LETTERS, WORDS):
        materialize(stage, "b", ws)
    later = materialize(TOTAL, None, ws)
    assert not later.cached and (later.crawls, later.unbuilt_crawls) == (["a", "b"], [])


def test_with_no_crawl_built_the_first_is_named(tmp_path, folder):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(folder), crawls={"a": "a", "b": "b"}))
    with pytest.raises(NotBuilt, match=r"total cannot be built: words/a not built.*--crawl a --select '\*total'"):
        materialize(TOTAL, None, ws)


def test_a_recipes_name_is_nobodys_identity(tmp_path, folder):
    run(tmp_path, folder)
    assert run(tmp_path, folder, name="another") == set()


SHARES = replace(
    WORDS, name="shares", inputs=("words", "total"), description="Of a crawl, as a tokenizer of all crawls makes them."
)
SUM = replace(TOTAL, name="sum", inputs=("shares",), checks=(), views=())


def build_shares(step, config) -> None:
    total = pl.read_parquet(step.input("total").table("letters"))["letters"].item()
    with step.task("shares") as task:
        task.table("letters", Letters).append({"name": "share", "letters": total, "doc_id": "share"})


def test_an_artifact_that_is_missing_of_a_built_crawl_is_an_error_not_a_crawl_to_leave_out(tmp_path, folder):
    graph = Graph([LETTERS, WORDS, TOTAL, replace(SHARES, build=build_shares), SUM])
    assert graph.crawl_stages("shares") == {"words"}

    def ws(*crawls):
        recipe = ToyRecipe(folder=str(folder), crawls={name: name for name in crawls})
        return replace(workspace(tmp_path / "store", recipe), graph=graph)

    for stage, crawl in ((LETTERS, "a"), (WORDS, "a"), (TOTAL, None), (graph["shares"], "a"), (SUM, None)):
        materialize(stage, crawl, ws("a"))
    # With another crawl the total is another, and so the first crawl's share has to be made again.
    for stage, crawl in ((LETTERS, "b"), (WORDS, "b"), (TOTAL, None), (graph["shares"], "b")):
        materialize(stage, crawl, ws("a", "b"))
    with pytest.raises(NotBuilt, match=r"sum cannot be built: shares/a not built .* --crawl a --select '\*sum'"):
        materialize(SUM, None, ws("a", "b"))


def test_an_artifact_goes_on_from_its_predecessor(tmp_path, folder):
    def before(recipe, crawls):
        return recipe.model_copy(update={"crawls": {name: name for name in crawls[:-1]}}) if len(crawls) > 1 else None

    graph = Graph([LETTERS, WORDS, replace(TOTAL, continues=before)])

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


def test_a_long_chain_of_predecessors_is_worked_out_once_each(tmp_path, folder, monkeypatch):
    """30 crawls that each go on from the one before, none of them built: no state is resolved twice."""

    def before(recipe, crawls):
        kept = sorted(recipe.crawls)[:-1]
        return recipe.model_copy(update={"crawls": dict.fromkeys(kept, "a")}) if kept else None

    graph = Graph([LETTERS, WORDS, replace(TOTAL, continues=before)])
    monkeypatch.setattr("llm_assets.artifacts.stage.Resolver._recipe_of", lambda self, stage, unbuilt: self.recipe)
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


def test_crawls_come_after_those_that_they_continue():
    since = {"a": "c", "b": None, "c": "b"}
    stage = replace(
        LETTERS, earlier_artifacts=lambda recipe, crawl: [("letters", since[crawl])] if since[crawl] else []
    )
    assert Graph([stage]).crawl_order(None, ["a", "b", "c"]) == ["b", "c", "a"]
    assert Graph([stage]).crawl_order(None, ["a"]) == ["a"]
