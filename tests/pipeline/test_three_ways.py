"""The three ways of use, with real processes on a small recipe: Dagster's command line, *Materialize all* in the UI, a
schedule that re-crawls and refreshes what follows by itself.
"""

import json
import re

import polars as pl
import pytest

from llm_assets.graph import GRAPH
from llm_assets.recipes import SampleWeb
from llm_assets.sample_web import make_web
from tests.support.commands import command, dagster_dev
from tests.support.small_recipe import recipe_file
from tests.support.warcs import page, story, write

ASSETS = [stage.name for stage in GRAPH]
SCALE = 0.05
SAMPLE = f"SampleWeb(scale={SCALE})"
HELD_OUT = 'search_only_hosts=("quietarchive.example",),'


def records(project, asset):
    """The records of an asset in the store, by partition (the newest of each)."""
    found = {}
    for path in sorted(
        (project / "data" / "artifacts" / asset).glob("*/*/artifact.json"), key=lambda path: path.stat().st_mtime
    ):
        found[path.parts[-3]] = json.loads(path.read_text())
    return found


def made_by(project, asset, run):
    """The record of an asset that a run of Dagster's built."""
    built = [
        json.loads(path.read_text()) for path in (project / "data" / "artifacts" / asset).glob("*/*/artifact.json")
    ]
    (record,) = (record for record in built if record["dagster_run_id"] == run)
    return record


def test_dagsters_command_line_builds_every_asset_in_a_fresh_folder(tmp_path):
    recipe_file(tmp_path / "recipe.py", f'{{"sample": {SAMPLE}}}', HELD_OUT)
    assert command(tmp_path, "llm-assets", "setup").returncode == 0
    line = ("dagster", "asset", "materialize", "--select", "*", "--partition", "sample", "-m", "llm_assets.definitions")
    done = command(tmp_path, *line)
    assert done.returncode == 0, done.stderr[-5000:]
    assert {asset: list(records(tmp_path, asset)) for asset in ASSETS} == {
        stage.name: ["sample" if stage.per_crawl else "_"] for stage in GRAPH
    }
    again = command(tmp_path, *line)
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
    assert command(tmp_path, "llm-assets", "setup").returncode == 0
    with dagster_dev(tmp_path) as server:
        yield tmp_path, server


def test_the_ui_builds_two_crawls_and_a_schedule_goes_on_from_there(ui):
    """One project, as time goes by: what each step asserts is told by its function."""
    project, server = ui
    materialize_all_builds_every_asset_of_both_crawls(project, server)
    first = records(project, "base_checkpoint")["_"]
    for name in ("recrawl_sample", "recrawl_files"):
        server.start_schedule(name)
    a_schedule_recrawls_and_what_follows_is_refreshed(project, server)
    # The next crawl is built while the model of the one before is trained.
    refresh_after(server, "recrawl_files")
    server.start_schedule("recrawl_last")
    a_second_tick_on_one_day_says_why_it_is_skipped(server)
    a_recipe_chosen_in_the_launchpad_reaches_what_follows(project, server)
    the_model_is_continued_on_some_tokens(project, server, first)
    the_model_is_trained_anew_on_all_crawls(project, server, first)
    assert [run for run in server.runs() if run["status"] != "SUCCESS"] == []
    an_unknown_partition_fails_clearly(server)


def materialize_all_builds_every_asset_of_both_crawls(project, server):
    backfill = server.materialize_all(ASSETS, ["sample", "files"])
    ended = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
    status = server.wait(lambda: one if (one := server.backfill_status(backfill)) in ended else "", 480)
    assert status == "COMPLETED_SUCCESS", server.log.read_text()[-5000:]
    for stage in GRAPH:
        assert sorted(records(project, stage.name)) == (["files", "sample"] if stage.per_crawl else ["_"])
    (newest, *_) = server.materialisations("corpus_report")
    assert json.loads(newest["metadata"]["crawls"]["jsonString"]) == ["files", "sample"]
    # One partition's event tells that partition's rows and version, also where one run took both.
    by_partition = {
        event["partition"]: event["metadata"] for event in reversed(server.materialisations("extracted_text"))
    }
    for crawl, record in records(project, "extracted_text").items():
        assert by_partition[crawl]["dagster/partition_row_count"]["intValue"] == record["rows"]["text"]
    # Models are trained once, on both.
    assert len(list((project / "data" / "artifacts" / "base_checkpoint" / "_").iterdir())) == 1
    assert {"token_shards/files", "token_shards/sample"} < set(
        records(project, "base_checkpoint")["_"]["fields"]["inputs"]
    )


def refresh_after(server, schedule):
    """The run that follows the first crawl of a schedule, once that is built and the run is asked for."""
    (*_, first) = server.wait(lambda: [tick for tick in server.ticks(schedule) if tick["runIds"]], 120)
    (crawl,) = first["runIds"]
    assert server.end(crawl) == "SUCCESS", server.log.read_text()[-5000:]
    after = {"key": "llm-assets/after", "value": crawl}
    (run,) = server.wait(lambda: [run for run in server.runs() if after in run["tags"]], 60)
    return run


def a_schedule_recrawls_and_what_follows_is_refreshed(project, server):
    before = {asset: records(project, asset) for asset in ("page_versions", "search_index", "corpus_report")}
    run = refresh_after(server, "recrawl_sample")
    assert server.end(run["runId"]) == "SUCCESS", server.log.read_text()[-5000:]
    refreshed_assets = ["corpus_report", "page_versions", "search_index"]
    assert sorted(key["path"][0] for key in run["assetSelection"]) == refreshed_assets
    # Only what changed was fetched; the rest was revalidated.
    name = min(crawl for crawl in records(project, "raw_warc") if crawl.startswith("sample-"))
    assert re.fullmatch(r"sample-\d{4}-\d\d-\d\d", name)
    folder = next((project / "data" / "artifacts" / "raw_warc" / name).glob("*"))
    captures = pl.read_parquet(sorted(folder.glob("captures/*.parquet")))
    first, second = (make_web(1, SCALE, day) for day in (1, 2))
    urls = {
        kind: {url for url in captures.filter(pl.col("record_type") == kind)["url"] if not url.endswith("/robots.txt")}
        for kind in ("response", "revisit")
    }
    tags = [{url: found.headers.get("ETag") for url, found in web.pages.items()} for web in (first, second)]
    unchanged = {url for url, tag in tags[1].items() if tag is not None and tags[0].get(url) == tag}
    assert urls["revisit"] and urls["revisit"] <= unchanged
    assert urls["response"] and not urls["response"] & unchanged
    # Search index and report are of this crawl too; the model is left alone.
    for asset in refreshed_assets:
        now = records(project, asset)["_"]
        assert now["identity"] != before[asset]["_"]["identity"]
        assert any(key.endswith(f"/{name}") for key in now["fields"]["inputs"])
    assert not records(project, "token_shards").keys() & {name}


def model_after(project, server, schedule):
    """The base model's record that the refresh after a schedule's crawl made, and the crawls that it read."""
    run = refresh_after(server, schedule)
    assert run["jobName"] == "model"
    assert server.end(run["runId"], 480) == "SUCCESS", server.log.read_text()[-5000:]
    record = made_by(project, "base_checkpoint", run["runId"])
    return record, {key.partition("/")[2] for key in record["fields"]["inputs"] if key.startswith("token_shards/")}


def the_model_is_continued_on_some_tokens(project, server, first):
    record, crawls = model_after(project, server, "recrawl_files")
    assert record["fields"]["inputs"]["base_checkpoint@before"] == first["data_version"]
    assert record["stats"]["continued_from"] == first["identity"][:16]
    assert record["stats"]["steps"] == round(first["stats"]["steps"] * 0.25)
    assert record["stats"]["tokens"] < first["stats"]["tokens"]
    # The crawl that leaves the model alone is not among them, nor the one that was built while it was trained.
    (crawl,) = crawls - {"files", "sample"}
    assert re.fullmatch(r"files-\d{4}-\d\d-\d\d", crawl)


def the_model_is_trained_anew_on_all_crawls(project, server, first):
    record, crawls = model_after(project, server, "recrawl_last")
    assert "base_checkpoint@before" not in record["fields"]["inputs"] and "continued_from" not in record["stats"]
    assert record["stats"]["tokens"] == first["stats"]["tokens"]
    assert sorted(crawl.partition("-")[0] for crawl in crawls) == ["files", "files", "last", "sample"]


def a_second_tick_on_one_day_says_why_it_is_skipped(server):
    skipped = server.wait(
        lambda: [
            tick
            for tick in server.ticks("recrawl_sample")
            if tick["status"] == "SKIPPED" and "built already" in (tick["skipReason"] or "")
        ],
        240,
    )
    assert "this schedule makes one crawl a day" in skipped[0]["skipReason"]


def a_recipe_chosen_in_the_launchpad_reaches_what_follows(project, server):
    other = project / "other.py"
    other.write_text(
        (project / "recipe.py")
        .read_text()
        .replace('name="mine"', 'name="other"')
        .replace("vocabulary=360", "vocabulary=380")
    )
    config = json.dumps({"resources": {"recipe": {"config": {"name": f"{other}:mine"}}}})
    run = server.launch(["clean_corpus"], "files", config)
    assert server.end(run) == "SUCCESS", server.log.read_text()[-5000:]
    (after,) = server.wait(
        lambda: [one for one in server.runs() if {"key": "llm-assets/after", "value": run} in one["tags"]], 60
    )
    assert server.end(after["runId"]) == "SUCCESS"
    query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { runConfigYaml } } }"
    assert f"{other}:mine" in server.ask(query, id=after["runId"])["runOrError"]["runConfigYaml"]


def an_unknown_partition_fails_clearly(server):
    server.ask(
        """mutation { addDynamicPartition(partitionKey: "nobody", partitionsDefName: "crawl",
          repositorySelector: {repositoryLocationName: "llm_assets.definitions", repositoryName: "__repository__"}) { __typename } }"""
    )
    assert server.end(server.launch(["raw_warc"], "nobody")) == "FAILURE"
    assert "no crawl 'nobody'" in server.log.read_text()


def test_the_sample_webs_days_differ():
    """What the schedule's counts rest on."""
    assert make_web(1, SCALE, 1).pages.keys() != make_web(1, SCALE, 2).pages.keys()
    assert SampleWeb(day=2).day == 2
