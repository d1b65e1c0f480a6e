"""Which crawl a re-crawl continues, and which runs follow it: search index, report, and by policy the model."""

import dagster as dg
import pytest

from llm_assets.artifacts import materialize
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import Recipe, Recrawl, SampleWeb, Tokenizer, WarcFiles, WebCrawl
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry
from resources.jobs import crawl_assets
from resources.recrawls import (
    REFRESHES_TAG,
    builds_a_crawl,
    crawls_of_run,
    next_source,
    reason_to_skip_backfill,
    refresh_requests,
)
from tests.support.building import build
from tests.support.small_recipe import CORPUS
from tests.support.warcs import page, story, write

SOURCE = SampleWeb(scale=0.05, day=2)
RECRAWL = Recrawl(prefix="site", cron="0 0 * * 1", source=SOURCE)
CRAWL = "site-2026-11-21"
REFRESHED = {"page_versions", "search_index", "corpus_report"}  # read by no model


def recrawled_recipe(policy="leave", **fields):
    """A recipe that re-crawls `site`. policy: what becomes of the model after a crawl."""
    return Recipe(name="t", **{"crawls": {}, "recrawls": (RECRAWL.replace(model=policy),), **fields})


def run_of(job, partition=CRAWL, assets=None, recipe="", **tags):
    """A run of Dagster as its storage holds it."""
    config = {"resources": {"recipe": {"config": {"name": recipe}}}} if recipe else {}
    selection = frozenset(dg.AssetKey(name) for name in assets) if assets else None
    return dg.DagsterRun(
        job_name=job, run_config=config, asset_selection=selection, tags={"dagster/partition": partition, **tags}
    )


@pytest.mark.slow
def test_a_crawl_continues_the_latest_built_one_of_its_prefix():
    registry = open_registry(load_settings())
    for name in ("site-2026-10-12", "site-2026-10-19", "sitemap"):
        registry.add(name, SampleWeb(scale=0.05))
    recipe = recrawled_recipe(crawls={"site": SampleWeb(scale=0.05)}).with_registered(registry.sources())
    build(recipe, [GRAPH[name] for name in crawl_assets(GRAPH)], ("site", "site-2026-10-12"))
    workspace = open_workspace(recipe)
    # A crawl that was fetched but not built up to its corpus is read by nothing, so nothing continues it.
    materialize(GRAPH["raw_warc"], "site-2026-10-19", workspace)
    assert next_source(workspace, RECRAWL, CRAWL) == SOURCE.replace(since="site-2026-10-12")
    assert next_source(workspace, RECRAWL.replace(incremental=False), CRAWL).since is None
    assert next_source(workspace, RECRAWL.replace(prefix="fresh"), "fresh-2026-11-21").since is None
    files = WarcFiles(path="x")
    assert next_source(workspace, RECRAWL.replace(source=files), CRAWL) == files
    web = WebCrawl(seeds=("http://x.example/",))
    assert next_source(workspace, RECRAWL.replace(source=web), CRAWL).since == "site-2026-10-12"


def test_after_a_crawl_search_and_report_are_refreshed_with_the_same_recipe():
    (request,) = refresh_requests(run_of("crawl", recipe="mine.py:mine"), recrawled_recipe(), [CRAWL])
    assert request.job_name == "model"
    assert {key.to_user_string() for key in request.asset_selection} == REFRESHED
    assert request.run_config["resources"]["recipe"] == {"config": {"name": "mine.py:mine"}}


def test_the_runs_after_a_crawl_read_the_crawls_that_are_built_by_then():
    run, built = run_of("crawl", recipe="mine.py:mine"), [CRAWL, "site"]
    requests = refresh_requests(run, recrawled_recipe("retrain"), [CRAWL], lambda: ["site", CRAWL], built)
    config = {"name": "mine.py:mine", "crawls": ["site", CRAWL]}
    assert [request.run_config["resources"] for request in requests] == [{"recipe": {"config": config}}] * 2
    (request,) = refresh_requests(run_of("crawl"), recrawled_recipe("retrain"), ["mine"], built=["mine"])
    assert request.run_config == {"resources": {"recipe": {"config": {"crawls": ["mine"]}}}}


@pytest.mark.parametrize("assets", [None, [stage.name for stage in CORPUS if stage.per_crawl]])
def test_a_refresh_follows_a_crawl_built_by_a_schedule_or_by_hand(assets):
    assert builds_a_crawl(run_of("__ASSET_JOB" if assets else "crawl", assets=assets))


@pytest.mark.parametrize(
    ("job", "assets"),
    [
        ("model", None),
        ("__ASSET_JOB", ["raw_warc"]),
        ("__ASSET_JOB", ["clean_corpus", "page_versions", "search_index", "corpus_report"]),
    ],
)
def test_no_refresh_follows_a_run_that_built_no_crawl_or_refreshed_by_itself(job, assets):
    assert not builds_a_crawl(run_of(job, assets=assets))


def test_no_refresh_follows_a_command_that_refreshes_in_another_run():
    assert not builds_a_crawl(run_of("crawl", **{REFRESHES_TAG: "yes"}))


@pytest.mark.parametrize("policy", ["continue", "retrain"])
def test_the_model_is_trained_after_a_crawl_if_the_recipe_says_so(policy):
    (request,) = refresh_requests(run_of("crawl"), recrawled_recipe(policy), [CRAWL])
    assert (request.job_name, request.partition_key, request.asset_selection) == ("model", CRAWL, None)
    (other,) = refresh_requests(run_of("crawl", "mine"), recrawled_recipe(policy), ["mine"])
    assert other.asset_selection is not None


def test_missing_shards_are_requested_together_with_the_model():
    run = run_of("crawl", CRAWL)
    shards, model = refresh_requests(run, recrawled_recipe("retrain"), [CRAWL], lambda: ["site-2026-11-14", CRAWL])
    assert (shards.partition_key, list(shards.asset_selection)) == ("site-2026-11-14", [dg.AssetKey("token_shards")])
    assert (model.partition_key, model.asset_selection) == (CRAWL, None)
    assert shards.run_key != model.run_key and model.tags["dagster/max_retries"] == "2"


def test_a_run_of_several_crawls_follows_the_policy_of_the_latest():
    partitions = ["site", "site-2026-11-14", CRAWL, "mine"]
    partition_range = {"dagster/asset_partition_range_start": "site", "dagster/asset_partition_range_end": CRAWL}
    run = dg.DagsterRun(job_name="crawl", tags=partition_range)
    crawls = crawls_of_run(run, partitions)
    assert crawls == partitions[:3]
    (request,) = refresh_requests(run, recrawled_recipe("continue"), crawls)
    assert (request.job_name, request.partition_key) == ("model", CRAWL)


def test_a_backfill_requests_one_refresh_after_all_its_runs_have_ended(instance):
    runs = [run_of("crawl", name, **{"dagster/backfill": "abc"}) for name in ("site-2026-11-14", CRAWL)]
    instance.add_run(runs[0].with_status(dg.DagsterRunStatus.SUCCESS))
    instance.add_run(runs[1].with_status(dg.DagsterRunStatus.STARTED))
    assert "1 runs of backfill abc are not finished" in reason_to_skip_backfill(instance, "abc")
    instance.report_run_failed(instance.get_run_by_id(runs[1].run_id), "lost")
    assert reason_to_skip_backfill(instance, "abc") == ""
    recipe = recrawled_recipe()
    run_keys = {refresh_requests(run, recipe, [run.tags["dagster/partition"]])[0].run_key for run in runs}
    assert run_keys == {"abc"}


def test_a_new_crawl_leaves_the_tokenizer_and_by_default_the_model_as_they_are():
    recipe = recrawled_recipe(crawls={"site": SampleWeb()})
    later = recipe.with_registered({CRAWL: SOURCE, "mine": SOURCE})
    assert later.corpus() == ["site", CRAWL] and list(later.other_crawls) == ["mine"]
    assert later.tokenizer_crawls() == later.trained_crawls() == ["site"]
    retrained = recrawled_recipe("retrain", crawls={"site": SampleWeb()}).with_registered({CRAWL: SOURCE})
    assert (retrained.tokenizer_crawls(), retrained.trained_crawls()) == (["site"], ["site", CRAWL])
    named = recipe.replace(tokenizer=Tokenizer(crawls=("site",)), registered_crawls="all").with_registered(
        {"mine": SOURCE}
    )
    assert (named.tokenizer_crawls(), named.corpus()) == (["site"], ["mine", "site"])


def test_a_crawl_that_leaves_the_model_alone_makes_no_input_of_a_model_stale(tmp_path):
    """It is read by the page versions, the search index and the report, and by nothing that a model depends on."""
    for number, name in enumerate(("site", "site-2026-11-09")):
        write(tmp_path / name / "a.warc.gz", [page(f"http://host.example/{number}", story(number))])
    crawls = {name: WarcFiles(path=str(tmp_path / name)) for name in ("site", "site-2026-11-09")}
    recipe = recrawled_recipe(crawls=crawls)
    build(recipe, CORPUS, tuple(crawls))
    alone = recipe.without_crawl("site-2026-11-09")
    after, before = open_workspace(recipe).resolver(), open_workspace(alone).resolver()
    readers = {
        stage.name
        for stage in GRAPH
        if not stage.per_crawl and after.dependencies(stage, None) != before.dependencies(stage, None)
    }
    assert readers == REFRESHED
    assert not any(set(stage.inputs) & readers for stage in GRAPH if stage.name not in readers)
    for stage in GRAPH:
        if stage.name not in readers and not stage.per_crawl:
            assert stage.config(recipe, None) == stage.config(alone, None)
