"""Dagster: all definitions, the commands of the README, the UI's own API, checks that block, schedules, tracking."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from llm_assets.graph import GRAPH, registry
from llm_assets.recipes import Recipe, Recrawl, SampleWeb, WarcFiles, WebCrawl
from llm_assets.settings import load_settings
from llm_assets.web.schedules import next_crawl
from resources.tracking import metric_name
from tests.conftest import environment_for
from tests.support.small import CORPUS, recipe_file
from tests.support.warcs import page, story, write

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).with_name("definitions.json")
STAGES = len(GRAPH.stages)


def describe_definitions() -> dict:
    from llm_assets.definitions import defs

    graph = defs.resolve_asset_graph()
    assets = {}
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        assets[key.to_user_string()] = {
            "group": node.group_name, "kinds": sorted(node.kinds), "owners": list(node.owners), "code_version": node.code_version,
            "description": node.description, "partitions": getattr(node.partitions_def, "name", None), "deps": sorted(k.to_user_string() for k in node.parent_keys),
        }  # fmt: skip
    checks = {f"{key.asset_key.to_user_string()}: {key.name}": {"blocking": graph.get_check_spec(key).blocking, "description": graph.get_check_spec(key).description} for key in sorted(graph.asset_check_keys, key=str)}
    repository = defs.get_repository_def()
    return {
        "assets": assets, "checks": checks, "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        "schedules": {s.name: s.cron_schedule for s in repository.schedule_defs}, "sensors": sorted(s.name for s in repository.sensor_defs), "resources": sorted(repository.get_top_level_resources()),
    }  # fmt: skip


def test_all_definitions_are_as_recorded():
    """After a wanted change: python -m tests.pipeline.test_dagster writes the snapshot anew."""
    assert describe_definitions() == json.loads(SNAPSHOT.read_text())


def test_every_asset_is_a_stage_with_the_same_inputs_and_version():
    described = describe_definitions()["assets"]
    assert described.keys() == GRAPH.stages.keys()
    for stage in GRAPH:
        assert described[stage.name]["deps"] == sorted(stage.inputs)
        assert described[stage.name]["code_version"] == stage.code_version
        assert described[stage.name]["description"] and described[stage.name]["kinds"] and described[stage.name]["owners"]


def test_importing_the_code_location_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", "import sys, llm_assets.definitions; print([m for m in ('torch', 'mlflow', 'scrapy', 'twisted', 'matplotlib', 'tiktoken', 'rustbpe', 'safetensors') if m in sys.modules])"], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.fixture
def project(tmp_path):
    """An empty folder with a crawl of two WARC files, as a user would set it up."""
    for i in range(2):
        write(tmp_path / "warc" / f"{i}.warc.gz", [page(f"http://host{i}.example/{j}", story(10 * i + j)) for j in range(5)] + [page(f"http://host{i}.example/lost", b"x", "404 Not Found")])
    recipe_file(tmp_path / "recipe.py", f"{{'c': WarcFiles(path={str(tmp_path / 'warc')!r})}}")
    return tmp_path


def command(project, *words, **extra):
    environment = environment_for(project / "data", LLM_ASSETS_RECIPE=f"{project}/recipe.py:mine", **{k.upper(): v for k, v in extra.items()})
    return subprocess.run([str(Path(sys.executable).with_name(words[0])), *words[1:]], cwd=project, env=environment, capture_output=True, text=True, timeout=400)


def test_a_session_on_the_command_line(project):
    setup = command(project, "llm-assets", "setup")
    assert setup.returncode == 0, setup.stderr
    assert f"DAGSTER_HOME={project}/data/dagster" in (project / ".env").read_text()

    first = command(project, "llm-assets", "run")
    assert first.returncode == 0, first.stdout + first.stderr
    # Checks of quality do not pass on a model this small; which ones depends on how the machine rounds.
    below = [line for line in first.stdout.splitlines() if line.startswith("✗ ")]
    assert f"{STAGES} built, 0 cached, {len(below)} checks not passed" in first.stdout
    assert below[0].startswith("✗ base_evaluation: better_than_baselines") and all("_evaluation: " in line or "reward_checkpoint: " in line for line in below)
    assert "10 kept + 2 rejected = 12 captures" in first.stdout
    second = command(project, "llm-assets", "run")
    assert f"0 built, {STAGES} cached, {len(below)} checks not passed" in second.stdout and "nothing has changed since the last run" in second.stdout
    assert [line for line in second.stdout.splitlines() if line[:2] in ("✓ ", "✗ ")] == [line for line in first.stdout.splitlines() if line[:2] in ("✓ ", "✗ ")]
    # Another run in Dagster's history may have shown it something else: then it is asked.
    os.utime(project / "data" / "dagster" / "history" / "runs.db")
    asked = command(project, "llm-assets", "run")
    assert f"0 built, {STAGES} cached, {len(below)} checks not passed" in asked.stdout and "nothing has changed" not in asked.stdout

    # Dagster's own command line finds the same artifacts.
    theirs = command(project, "dagster", "asset", "materialize", "--select", "*", "--partition", "c", "-m", "llm_assets.definitions", dagster_home=str(project / "data" / "dagster"))
    assert theirs.returncode == 0, theirs.stderr[-3000:]
    assert theirs.stderr.count(": cached") == STAGES

    listed = command(project, "llm-assets", "artifacts", "list").stdout
    assert listed.count("* ") == STAGES and "extracted_text/c" in listed
    explained = command(project, "llm-assets", "artifacts", "explain").stdout
    assert explained.count(": cached ") == STAGES

    (project / "recipe.py").write_text((project / "recipe.py").read_text().replace("Recipe(name", "Recipe(extraction=__import__('llm_assets.recipes').recipes.Extraction(min_characters=100_000), name"))
    told = command(project, "llm-assets", "artifacts", "explain").stdout
    assert "extracted_text/c: would build: literals.extraction.min_characters: 1 → 100000" in told
    assert "language_filtered_text/c: open: rebuilds if the bytes of extracted_text/c change" in told
    assert "deduplicated_text/c: open: rebuilds if the bytes of quality_filtered_text/c, text_signatures/c change" in told
    third = command(project, "llm-assets", "run")
    assert third.returncode == 1 and "0 kept + 12 rejected = 12 captures" in third.stdout
    assert f"{len(CORPUS) - 3} built, 4 cached, 1 checks not passed" in third.stdout
    assert "corpus_report: corpus_not_empty: the corpus is empty" in third.stdout
    assert "failed: tokenizer: " in third.stderr and "the corpus is empty: no page of any crawl came through" in third.stderr

    shown = json.loads(command(project, "llm-assets", "artifacts", "show", "extracted_text/c").stdout.split("\n", 1)[1])
    assert shown["stats"]["rejects"] == {"no_text": 10}
    old = next(line.split()[0] for line in listed.replace("* ", "  ").splitlines() if "extracted_text/c" in line)
    difference = command(project, "llm-assets", "artifacts", "diff", old, "extracted_text/c").stdout
    assert "field literals.extraction.min_characters: 1 → 100000" in difference and "rows text: 10 → 0" in difference
    trace = command(project, "llm-assets", "artifacts", "trace", "http://host0.example/3").stdout
    assert "raw_warc/c" in trace and "rule: no_text" in trace and "threshold: 100000" in trace
    up = command(project, "llm-assets", "artifacts", "trace", "reject_ledger/c").stdout
    assert "built from:" in up and "extracted_text/c" in up
    collected = command(project, "llm-assets", "artifacts", "gc", "--keep-last", "0", "--delete").stdout
    assert f"deleting extracted_text/c {old}" in collected and "freed" in collected

    tried = command(project, "llm-assets", "artifacts", "show", "nothing")
    assert tried.returncode == 1 and tried.stderr.startswith("error: no artifact") and "Traceback" not in tried.stderr


def test_a_terminal_shows_progress_as_it_happens(project):
    import pty

    main, terminal = pty.openpty()
    environment = environment_for(project / "data", LLM_ASSETS_RECIPE=f"{project}/recipe.py:mine", TERM="xterm-256color", COLUMNS="120")
    process = subprocess.Popen([str(Path(sys.executable).with_name("llm-assets")), "run", "--select", f"*{CORPUS[-1].name}"], cwd=project, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, close_fds=True)
    os.close(terminal)
    shown = b""
    while True:
        try:
            piece = os.read(main, 65_536)
        except OSError:  # the terminal is closed when the process ends
            break
        if not piece:
            break
        shown += piece
    os.close(main)
    assert process.wait(60) == 0, shown[-2000:]
    text = shown.decode()
    assert text.count("raw_warc/c") >= 4  # drawn again and again, not once at the end
    assert "running" in text and f"{len(CORPUS)} built, 0 cached" in text


def test_crawls_are_registered_once_and_with_clear_errors(project):
    added = command(project, "llm-assets", "crawls", "add", "more", "--warc", str(project / "warc" / "0.warc.gz"))
    assert added.returncode == 0 and "registered more" in added.stdout, added.stderr
    assert "was registered already" in command(project, "llm-assets", "crawls", "add", "more", "--warc", str(project / "warc" / "0.warc.gz")).stdout
    ran = command(project, "llm-assets", "run", "--crawl", "more", "--select", "*extracted_text")
    assert ran.returncode == 0 and "extracted_text/more" in ran.stdout
    listed = command(project, "llm-assets", "crawls", "list").stdout
    assert "more" in listed and "warc_files" in listed
    for words, problem in [
        (("more", "--seed", "http://x.example/"), "is registered with another source"),
        (("bad/name", "--sample-web"), "crawl name 'bad/name'"),
        (("x", "--seed", "ftp://x.example/"), "is not an http(s) URL"),
        (("x", "--seed", "http://x.example/", "--set", "max_pagse=3"), "crawl.max_pagse: Extra inputs are not permitted"),
        (("x", "--seed", "http://x.example/", "--set", "max_depth=-1"), "crawl.max_depth: Input should be greater than or equal to 0"),
        (("x", "--sample-web", "--since", "never"), "--since never: no such crawl"),
        (("x",), "give exactly one of"),
        (("x", "--common-crawl", "CC/../x"), "common_crawl.snapshot"),
    ]:
        tried = command(project, "llm-assets", "crawls", "add", *words)
        assert tried.returncode != 0 and problem in tried.stderr and "Traceback" not in tried.stderr, (words, tried.stderr)
    unknown = command(project, "llm-assets", "run", "--crawl", "never")
    assert unknown.returncode == 1 and "no crawl 'never'" in unknown.stderr


def test_what_spans_all_crawls_is_built_once_and_with_all_of_them(project):
    command(project, "llm-assets", "crawls", "add", "more", "--warc", str(project / "warc" / "0.warc.gz"))
    one = command(project, "llm-assets", "run", "--crawl", "more")
    assert one.returncode == 0, one.stdout + one.stderr
    spanning = sorted({stage.name for stage in GRAPH if GRAPH.spans_crawls(stage)} | {"token_shards"})
    assert "base_checkpoint" in spanning and "scorecard" in spanning
    assert f"left out: {', '.join(spanning)} (every crawl of the recipe goes into it, and c is not built" in one.stdout and "clean_corpus/more" in one.stdout
    to_model = ("--select", "*base_checkpoint,*corpus_report")
    both = command(project, "llm-assets", "run", *to_model)
    assert both.returncode == 0, both.stdout + both.stderr
    assert both.stdout.count("corpus_report: started") == 1 and "corpus_report: corpus_not_empty: 15 pages" in both.stdout
    again = command(project, "llm-assets", "run", "--crawl", "more", *to_model)
    assert "left out" not in again.stdout and f"0 built, {len(CORPUS) + 4} cached" in again.stdout  # the shards of both


def test_a_missing_source_fails_the_run_with_one_clear_line(project):
    (project / "warc" / "0.warc.gz").unlink()
    (project / "warc" / "1.warc.gz").unlink()
    ran = command(project, "llm-assets", "run")
    assert ran.returncode == 1
    assert "failed: raw_warc:" in ran.stderr and "no WARC or ARC file in this folder" in ran.stderr and "Traceback" not in ran.stderr


def test_an_empty_crawl_is_stopped_by_its_check(project):
    for path in (project / "warc").iterdir():
        path.write_bytes(b"")
    ran = command(project, "llm-assets", "run")
    assert ran.returncode == 1
    assert "✗ raw_warc/c: has_captures: 0 captures" in ran.stdout
    assert "filtered_urls" not in ran.stdout


def test_malformed_recipes_name_the_field(project):
    (project / "recipe.py").write_text("from llm_assets.recipes import Recipe, UrlFilter\ndef mine():\n    return Recipe(name='mine', crawls={}, url_filter={'soft_word_limit': 0, 'typo': 1})\n")
    ran = command(project, "llm-assets", "run")
    assert ran.returncode == 1
    assert "url_filter.soft_word_limit: Input should be greater than or equal to 1 (got '0')" in ran.stderr and "url_filter.typo: Extra inputs" in ran.stderr


@pytest.fixture
def graphql(project):
    """A running `dagster dev` on the project; gives a function that asks its GraphQL API."""
    command(project, "llm-assets", "setup")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = environment_for(project / "data", LLM_ASSETS_RECIPE=f"{project}/recipe.py:mine", DAGSTER_HOME=str(project / "data" / "dagster"))
    process = subprocess.Popen([str(Path(sys.executable).with_name("dagster")), "dev", "-m", "llm_assets.definitions", "-p", str(port), "-h", "127.0.0.1"], cwd=project, env=environment, stdout=open(project / "dev.log", "wb"), stderr=subprocess.STDOUT, start_new_session=True)  # noqa: SIM115

    def ask(query, **variables):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", json.dumps({"query": query, "variables": variables}).encode(), {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
            return json.loads(response.read())["data"]

    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                if ask("{ assetNodes { assetKey { path } } }")["assetNodes"]:
                    break
            except (OSError, KeyError, TypeError):
                pass
            assert time.monotonic() < deadline and process.poll() is None, (project / "dev.log").read_text()[-3000:]
            time.sleep(0.3)
        yield ask
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its code servers outlive it by a minute, and would take their share of what runs next


LAUNCH = """mutation($assets: [AssetKeyInput!]!, $crawl: String!) { launchRun(executionParams: {
  selector: {repositoryLocationName: "llm_assets.definitions", repositoryName: "__repository__", jobName: "__ASSET_JOB", assetSelection: $assets},
  executionMetadata: {tags: [{key: "dagster/partition", value: $crawl}]}, runConfigData: "{}" }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
MATERIALIZATIONS = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset { assetMaterializations(limit: 1) {
  runId partition metadataEntries { label __typename ... on BoolMetadataEntry { boolValue } ... on MarkdownMetadataEntry { mdStr } ... on IntMetadataEntry { intValue } } } } } }"""


def launch(ask, crawl, assets):
    run = ask(LAUNCH, assets=[{"path": [name]} for name in assets], crawl=crawl)["launchRun"]
    assert run["__typename"] == "LaunchRunSuccess", run
    identity = run["run"]["runId"]
    deadline = time.monotonic() + 300
    while (status := ask(STATUS, id=identity)["runOrError"]["status"]) not in ("SUCCESS", "FAILURE", "CANCELED"):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return identity, status


def test_a_run_launched_as_the_ui_does(project, graphql):
    # To the first model: the one kind of stage besides the corpus's is that which trains in a process of its own.
    stages = [*(stage.name for stage in CORPUS), "tokenizer", "token_shards", "base_checkpoint"]
    for cached in (False, True):
        identity, status = launch(graphql, "c", stages)
        assert status == "SUCCESS", (project / "dev.log").read_text()[-3000:]
        (event,) = graphql(MATERIALIZATIONS, key={"path": ["extracted_text"]})["assetOrError"]["assetMaterializations"]
        metadata = {entry["label"]: entry for entry in event["metadataEntries"]}
        assert (event["runId"], event["partition"]) == (identity, "c")
        assert metadata["cached"]["boolValue"] is cached
        assert metadata["dagster/row_count"]["intValue"] == 10
        assert "http://host0.example/0" in metadata["preview"]["mdStr"]


def test_real_crawls_from_the_ui(project, shared_data, graphql):
    """Registered while the UI runs; the equation is a blocking check, so success means that it holds."""
    for crawl, path, captures in [("2026-11", "2026-11", 2_045), ("samples", "samples/*", 669)]:
        added = command(project, "llm-assets", "crawls", "add", crawl, "--warc", f"{shared_data}/web/{path}")
        assert added.returncode == 0, added.stderr
        # Not the report, which spans every crawl of the recipe.
        _, status = launch(graphql, crawl, [stage.name for stage in CORPUS if stage.name != "corpus_report"])
        assert status == "SUCCESS", (project / "dev.log").read_text()[-3000:]
        record = json.loads(next((project / "data" / "artifacts").glob(f"reject_ledger/{crawl}/*/artifact.json")).read_text())
        assert record["stats"]["captures"] == record["stats"]["kept"] + record["stats"]["rejected"] == captures


def test_mlflow_keeps_one_run_for_each_build(project):
    built = {stage.name: stage for stage in (*CORPUS, *(GRAPH[name] for name in ("tokenizer", "token_shards", "base_checkpoint")))}
    for _ in range(2):
        command(project, "llm-assets", "run", "--select", "*base_checkpoint,*corpus_report", llm_assets_tracking="on")
    with sqlite3.connect(project / "data" / "mlflow" / "mlflow.db") as database:
        runs = database.execute("SELECT run_uuid, name, status FROM runs ORDER BY name").fetchall()
        assert [(name, status) for _, name, status in runs] == [(name, "FINISHED") for name in sorted(f"{name}/c" if stage.per_crawl else name for name, stage in built.items())]
        identity = next(identity for identity, name, _ in runs if name == "extracted_text/c")
        parameters = dict(database.execute("SELECT key, value FROM params WHERE run_uuid = ?", (identity,)).fetchall())
        assert parameters["extraction.min_characters"] == "1"
        metrics = dict(database.execute("SELECT key, value FROM metrics WHERE run_uuid = ?", (identity,)).fetchall())
        assert metrics["rows.text"] == 10 and metrics["kept"] == 10 and metrics["seconds"] > 0
        training = next(identity for identity, name, _ in runs if name == "base_checkpoint")
        steps = [step for (step,) in database.execute("SELECT step FROM metrics WHERE run_uuid = ? AND key = 'loss' ORDER BY step", (training,)).fetchall()]
        assert steps and len(steps) == len(set(steps)) and steps[-1] == json.loads(next((project / "data" / "artifacts").glob("base_checkpoint/*/*/artifact.json")).read_text())["stats"]["steps"]
        tags = dict(database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (identity,)).fetchall())
        assert len(tags["dagster/run_id"]) == 36 and tags["data_version"]
        inputs = {name: digest for name, digest in database.execute("SELECT d.name, d.digest FROM datasets d JOIN inputs i ON i.source_id = d.dataset_uuid WHERE i.destination_id = ?", (identity,)).fetchall()}
    record = json.loads(next((project / "data" / "artifacts").glob("extracted_text/c/*/artifact.json")).read_text())
    assert inputs == record["fields"]["inputs"]
    assert record["mlflow_run_id"] == identity and record["dagster_run_id"] == tags["dagster/run_id"]


def test_a_recrawl_continues_the_latest_of_its_prefix():
    recipe = Recipe(name="t", crawls={"site": SampleWeb(), "site-2026-10-12": SampleWeb(day=2, since="site"), "sitemap": SampleWeb(), "site-2026-12-01": SampleWeb()})
    assert next_crawl(recipe, Recrawl(prefix="site", cron="0 0 * * *", source=SampleWeb(day=2)), "2026-11-21") == ("site-2026-11-21", SampleWeb(day=2, since="site-2026-10-12"))
    assert next_crawl(recipe, Recrawl(prefix="site", cron="0 0 * * *", source=WebCrawl(seeds=("http://x.example/",)), incremental=False), "2026-11-21")[1].since is None
    assert next_crawl(recipe, Recrawl(prefix="fresh", cron="0 0 * * *", source=SampleWeb()), "2026-11-21")[1].since is None
    assert next_crawl(recipe, Recrawl(prefix="site", cron="0 0 * * *", source=WarcFiles(path="x")), "2026-11-21")[1] == WarcFiles(path="x")


def test_the_schedule_registers_the_crawl_and_asks_for_its_run(tmp_path):
    from llm_assets.definitions import defs

    schedule = defs.get_schedule_def("recrawl_sample")
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        for _ in range(2):  # a tick that is tried again changes nothing
            context = dg.build_schedule_context(instance=instance, repository_def=defs.get_repository_def(), scheduled_execution_time=datetime(2026, 11, 23, 3, tzinfo=UTC))
            (request,) = schedule.evaluate_tick(context).run_requests
            assert (request.run_key, request.partition_key) == ("sample-2026-11-23", "sample-2026-11-23")
        assert instance.get_dynamic_partitions("crawl") == ["sample-2026-11-23"]
    assert registry(load_settings()).sources() == {"sample-2026-11-23": SampleWeb(day=2, since="sample")}


def test_the_sensor_shows_every_crawl_as_a_partition(tmp_path):
    from llm_assets.definitions import defs

    registry(load_settings()).add("mine", SampleWeb())
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        tick = defs.get_sensor_def("registered_crawls").evaluate_tick(dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def()))
        assert [list(request.partition_keys) for request in tick.dynamic_partitions_requests] == [["mine", "sample", "unread"]]
        instance.add_dynamic_partitions("crawl", ["mine", "sample", "unread"])
        tick = defs.get_sensor_def("registered_crawls").evaluate_tick(dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def()))
        assert not tick.dynamic_partitions_requests and tick.skip_message


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(describe_definitions(), indent=2, sort_keys=True) + "\n")


def test_metrics_have_names_that_mlflow_takes():
    from mlflow.utils.validation import _validate_metric_name

    for name in ("passed.rl.arithmetic, level 0.pass@1", "wins.rlhf against sft", "rows.text", "it's 5% (of all)", "x" * 400):
        _validate_metric_name(metric_name(name))
    assert metric_name("passed.rl.arithmetic, level 0.pass@1") == "passed.rl.arithmetic level 0.pass1"
