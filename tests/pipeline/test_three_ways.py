"""The three ways of use, with real processes on a small recipe.

Dagster's command line, *Materialize all* in the UI, and a schedule that re-crawls and refreshes what is downstream.
"""

import json
import re

import polars as pl
import pytest

from llm_assets.recipes import SampleWeb
from llm_assets.sample_web import make_web
from tests.support.commands import command_here, dagster_dev, dagster_materialize
from tests.support.small_recipe import DEFAULT_STAGES, STAGES, recipe_file
from tests.support.warcs import page, story, write

ASSETS = [stage.name for stage in STAGES]
SCALE = 0.05
SAMPLE = f"SampleWeb(scale={SCALE})"
HELD_OUT = 'search_only_hosts=("quietarchive.example",),'


def records(project, asset):
    """The newest record of an asset for each partition."""
    paths = (project / "data" / "artifacts" / asset).glob("*/*/artifact.json")
    oldest_first = sorted(paths, key=lambda path: path.stat().st_mtime)
    return {path.parts[-3]: json.loads(path.read_text()) for path in oldest_first}


def record_of_run(project, asset, run):
    """The record of the artifact that a Dagster run built of an asset."""
    paths = (project / "data" / "artifacts" / asset).glob("*/*/artifact.json")
    (record,) = (record for path in paths if (record := json.loads(path.read_text()))["dagster_run_id"] == run)
    return record


def test_dagsters_command_line_builds_every_asset_in_a_fresh_folder(tmp_path):
    recipe_file(tmp_path / "recipe.py", f'{{"sample": {SAMPLE}}}', HELD_OUT)
    assert command_here(tmp_path, "setup").returncode == 0
    done = dagster_materialize(tmp_path, "*", "--partition", "sample")
    assert done.returncode == 0, done.stderr[-5000:]
    assert {asset: list(records(tmp_path, asset)) for asset in ASSETS} == {
        stage.name: ["sample" if stage.per_crawl else "_"] for stage in STAGES
    }
    again = dagster_materialize(tmp_path, "*", "--partition", "sample")
    assert again.returncode == 0 and again.stderr.count(": cached") == len(ASSETS)


@pytest.fixture
def ui(tmp_path):
    """A project of two crawls with schedules that tick every minute, and Dagster's webserver and daemon on it."""
    for place, folder in enumerate(("warc", "later", "last")):
        numbers = range(12 * place, 12 * place + 12)
        write(tmp_path / folder / "0.warc.gz", [page(f"http://host.example/{n}", story(n)) for n in numbers])
    sources = f'{{"sample": {SAMPLE}, "files": WarcFiles(path={str(tmp_path / "warc")!r})}}'
    every_minute = 'cron="* * * * *"'
    recrawls = f"""recrawls=(
        Recrawl(prefix="sample", {every_minute}, source=SampleWeb(scale={SCALE}, day=2)),
        Recrawl(
            prefix="files", {every_minute}, source=WarcFiles(path={str(tmp_path / "later")!r}),
            model="continue", continue_share=0.25,
        ),
        Recrawl(prefix="last", {every_minute}, source=WarcFiles(path={str(tmp_path / "last")!r}), model="retrain"),
    ),"""
    recipe_file(tmp_path / "recipe.py", sources, HELD_OUT + recrawls)
    assert command_here(tmp_path, "setup").returncode == 0
    with dagster_dev(tmp_path) as server:
        yield tmp_path, server


def test_the_ui_builds_two_crawls_and_schedules_continue_from_there(ui):
    """The life of one project, step by step; each function below asserts one step."""
    project, server = ui
    check_materialize_all(project, server)
    first = records(project, "base_checkpoint")["_"]
    for name in ("recrawl_sample", "recrawl_files"):
        server.start_schedule(name)
    check_recrawl_and_refresh(project, server)
    # The next crawl is built while the model of the one before is trained.
    refresh_after(server, "recrawl_files")
    server.start_schedule("recrawl_last")
    check_second_tick_of_a_day(server)
    check_recipe_from_the_launchpad(project, server)
    check_continued_model(project, server, first)
    check_retrained_model(project, server, first)
    assert [run for run in server.runs() if run["status"] != "SUCCESS"] == []
    check_unknown_partition(server)


def check_materialize_all(project, server):
    """It builds all but the demonstrations for both crawls, and each cross-crawl asset once."""
    backfill = server.materialize_all([stage.name for stage in DEFAULT_STAGES], ["sample", "files"])
    ended = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")

    def final_status():
        status = server.backfill_status(backfill)
        return status if status in ended else ""

    status = server.wait(final_status, 480)
    assert status == "COMPLETED_SUCCESS", server.log.read_text()[-5000:]
    for stage in DEFAULT_STAGES:
        assert sorted(records(project, stage.name)) == (["files", "sample"] if stage.per_crawl else ["_"])
    (newest, *_) = server.materialisations("corpus_report")
    assert json.loads(newest["metadata"]["crawls"]["jsonString"]) == ["files", "sample"]
    # Each partition's event has that partition's row count and version, even if one run built both.
    by_partition = {
        event["partition"]: event["metadata"] for event in reversed(server.materialisations("extracted_text"))
    }
    for crawl, record in records(project, "extracted_text").items():
        assert by_partition[crawl]["dagster/partition_row_count"]["intValue"] == record["rows"]["text"]
    # The model is trained once, on both crawls.
    assert len(list((project / "data" / "artifacts" / "base_checkpoint" / "_").iterdir())) == 1
    inputs = records(project, "base_checkpoint")["_"]["fields"]["inputs"]
    assert {"token_shards/files", "token_shards/sample"} < set(inputs)


def refresh_after(server, schedule):
    """The run that is requested after the first crawl of a schedule has been built."""
    (*_, first) = server.wait(lambda: [tick for tick in server.ticks(schedule) if tick["runIds"]], 120)
    (crawl,) = first["runIds"]
    assert server.end(crawl) == "SUCCESS", server.log.read_text()[-5000:]
    after = {"key": "llm-assets/after", "value": crawl}
    (run,) = server.wait(lambda: [run for run in server.runs() if after in run["tags"]], 60)
    return run


def check_recrawl_and_refresh(project, server):
    """A schedule fetches only what has changed; search index and report are refreshed, the model is not."""
    before = {asset: records(project, asset) for asset in ("page_versions", "search_index", "corpus_report")}
    run = refresh_after(server, "recrawl_sample")
    assert server.end(run["runId"]) == "SUCCESS", server.log.read_text()[-5000:]
    refreshed_assets = ["corpus_report", "page_versions", "search_index"]
    assert sorted(key["path"][0] for key in run["assetSelection"]) == refreshed_assets
    # Only changed pages were fetched; the others were revalidated.
    name = min(crawl for crawl in records(project, "raw_warc") if crawl.startswith("sample-"))
    assert re.fullmatch(r"sample-\d{4}-\d\d-\d\d", name)
    folder = next((project / "data" / "artifacts" / "raw_warc" / name).glob("*"))
    captures = pl.read_parquet(sorted(folder.glob("captures/*.parquet")))
    first, second = (make_web(1, SCALE, day) for day in (1, 2))
    urls = {
        kind: {url for url in captures.filter(pl.col("record_type") == kind)["url"] if not url.endswith("/robots.txt")}
        for kind in ("response", "revisit")
    }
    etags = [{url: served.headers.get("ETag") for url, served in web.pages.items()} for web in (first, second)]
    unchanged = {url for url, etag in etags[1].items() if etag is not None and etags[0].get(url) == etag}
    assert urls["revisit"] and urls["revisit"] <= unchanged
    assert urls["response"] and not urls["response"] & unchanged
    for asset in refreshed_assets:
        record = records(project, asset)["_"]
        assert record["identity"] != before[asset]["_"]["identity"]
        assert any(key.endswith(f"/{name}") for key in record["fields"]["inputs"])
    assert not records(project, "token_shards").keys() & {name}


def model_after(project, server, schedule):
    """The record of the base model that is trained after a schedule's crawl, and the crawls that it read."""
    run = refresh_after(server, schedule)
    assert run["jobName"] == "model"
    assert server.end(run["runId"], 480) == "SUCCESS", server.log.read_text()[-5000:]
    record = record_of_run(project, "base_checkpoint", run["runId"])
    return record, {key.partition("/")[2] for key in record["fields"]["inputs"] if key.startswith("token_shards/")}


def check_continued_model(project, server, first):
    """With `model="continue"` the first model is trained further, on a quarter of its steps."""
    record, crawls = model_after(project, server, "recrawl_files")
    assert record["fields"]["inputs"]["base_checkpoint@before"] == first["data_version"]
    assert record["stats"]["continued_from"] == first["identity"][:16]
    assert record["stats"]["steps"] == round(first["stats"]["steps"] * 0.25)
    assert record["stats"]["tokens"] < first["stats"]["tokens"]
    # Neither the crawl that leaves the model alone nor the one built during the training is among them.
    (crawl,) = crawls - {"files", "sample"}
    assert re.fullmatch(r"files-\d{4}-\d\d-\d\d", crawl)


def check_retrained_model(project, server, first):
    """With `model="retrain"` the model is trained from scratch on all crawls that models read."""
    record, crawls = model_after(project, server, "recrawl_last")
    assert "base_checkpoint@before" not in record["fields"]["inputs"] and "continued_from" not in record["stats"]
    assert record["stats"]["tokens"] == first["stats"]["tokens"]
    assert sorted(crawl.partition("-")[0] for crawl in crawls) == ["files", "files", "last", "sample"]


def check_second_tick_of_a_day(server):
    """It is skipped, with the reason."""

    def skipped_ticks():
        skipped = [tick for tick in server.ticks("recrawl_sample") if tick["status"] == "SKIPPED"]
        return [tick for tick in skipped if "built already" in (tick["skipReason"] or "")]

    skipped = server.wait(skipped_ticks, 240)
    assert "this schedule makes one crawl a day" in skipped[0]["skipReason"]


def check_recipe_from_the_launchpad(project, server):
    """A recipe chosen for a run of a crawl is that of the refresh after it, too."""
    other = project / "other.py"
    other.write_text(
        (project / "recipe.py")
        .read_text()
        .replace('name="mine"', 'name="other"')
        .replace("'vocabulary': 360", "'vocabulary': 380")
    )
    config = json.dumps({"resources": {"recipe": {"config": {"name": f"{other}:mine"}}}})
    run = server.launch(["clean_corpus"], "files", config)
    assert server.end(run) == "SUCCESS", server.log.read_text()[-5000:]
    tag = {"key": "llm-assets/after", "value": run}
    (refresh,) = server.wait(lambda: [other for other in server.runs() if tag in other["tags"]], 60)
    assert server.end(refresh["runId"]) == "SUCCESS"
    query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { runConfigYaml } } }"
    assert f"{other}:mine" in server.ask(query, id=refresh["runId"])["runOrError"]["runConfigYaml"]


ADD_PARTITION = """mutation {
  addDynamicPartition(
    partitionKey: "nobody", partitionsDefName: "crawl",
    repositorySelector: {repositoryLocationName: "llm_assets.definitions", repositoryName: "__repository__"}
  ) { __typename } }"""


def check_unknown_partition(server):
    """A partition without a crawl fails with a clear message."""
    server.ask(ADD_PARTITION)
    assert server.end(server.launch(["raw_warc"], "nobody")) == "FAILURE"
    assert "no crawl 'nobody'" in server.log.read_text()


def test_the_days_of_the_sample_web_differ():
    """The steps above rely on it."""
    assert make_web(1, SCALE, 1).pages.keys() != make_web(1, SCALE, 2).pages.keys()
    assert SampleWeb(day=2).day == 2
