"""The commands of the README on a small project, MLflow's runs, and real crawls from the UI."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from llm_assets.graph import GRAPH
from resources.jobs import crawl_assets
from resources.tracking import metric_name
from tests.support.commands import command, dagster_dev, environment_for
from tests.support.small_recipe import CORPUS, recipe_file
from tests.support.warcs import page, story, write

STAGES = len(GRAPH.stages)


@pytest.fixture
def project(tmp_path):
    """An empty folder with a crawl of two WARC files, as a user would set it up."""
    for i in range(2):
        write(
            tmp_path / "warc" / f"{i}.warc.gz",
            [page(f"http://host{i}.example/{j}", story(10 * i + j)) for j in range(5)]
            + [page(f"http://host{i}.example/lost", b"x", "404 Not Found")],
        )
    recipe_file(tmp_path / "recipe.py", f"{{'c': WarcFiles(path={str(tmp_path / 'warc')!r})}}")
    return tmp_path


def test_a_session_on_the_command_line(project):
    setup = command(project, "llm-assets", "setup")
    assert setup.returncode == 0, setup.stderr
    assert f"DAGSTER_HOME={project}/data/dagster" in (project / ".env").read_text()

    first = command(project, "llm-assets", "run")
    assert first.returncode == 0, first.stdout + first.stderr
    # Checks of quality do not pass on a model this small; which ones depends on how the machine rounds.
    below = [line for line in first.stdout.splitlines() if line.startswith("✗ ")]
    assert f"{STAGES} built, 0 cached, {len(below)} checks not passed" in first.stdout
    assert below[0].startswith("✗ base_evaluation: better_than_baselines") and all(
        "_evaluation: " in line or "reward_checkpoint: " in line for line in below
    )
    assert "10 kept + 2 rejected = 12 captures" in first.stdout
    second = command(project, "llm-assets", "run")
    assert f"0 built, {STAGES} cached, {len(below)} checks not passed" in second.stdout
    checks = [[line for line in run.stdout.splitlines() if line[:2] in ("✓ ", "✗ ")] for run in (first, second)]
    assert sorted(checks[0]) == sorted(checks[1]) and len(checks[0]) > STAGES

    # Dagster's own command line finds the same artifacts.
    theirs = command(
        project,
        "dagster",
        "asset",
        "materialize",
        "--select",
        "*",
        "--partition",
        "c",
        "-m",
        "llm_assets.definitions",
        dagster_home=str(project / "data" / "dagster"),
    )
    assert theirs.returncode == 0, theirs.stderr[-3000:]
    assert theirs.stderr.count(": cached") == STAGES

    listed = command(project, "llm-assets", "artifacts", "list").stdout
    assert listed.count("* ") == STAGES and "extracted_text/c" in listed
    explained = command(project, "llm-assets", "artifacts", "explain").stdout
    assert explained.count(": cached ") == STAGES

    (project / "recipe.py").write_text(
        (project / "recipe.py")
        .read_text()
        .replace(
            "Recipe(name",
            "Recipe(extraction=__import__('llm_assets.recipes').recipes.Extraction(min_characters=100_000), name",
        )
    )
    told = command(project, "llm-assets", "artifacts", "explain").stdout
    assert "extracted_text/c: would build: config.min_characters: 1 → 100000" in told
    assert "language_filtered_text/c: open: rebuilds if the bytes of extracted_text/c change" in told
    assert (
        "deduplicated_text/c: open: rebuilds if the bytes of quality_filtered_text/c, text_signatures/c change" in told
    )
    third = command(project, "llm-assets", "run")
    assert third.returncode == 1 and "0 kept + 12 rejected = 12 captures" in third.stdout
    assert f"{len(CORPUS) - 2} built, 4 cached, 1 checks not passed" in third.stdout
    assert "corpus_report: corpus_not_empty: the corpus is empty" in third.stdout
    assert (
        "failed: tokenizer: " in third.stderr
        and "the corpus is empty: no page of any crawl came through" in third.stderr
    )

    shown = json.loads(command(project, "llm-assets", "artifacts", "show", "extracted_text/c").stdout.split("\n", 1)[1])
    assert shown["stats"]["rejects"] == {"no_text": 10}
    old = next(line.split()[0] for line in listed.replace("* ", "  ").splitlines() if "extracted_text/c" in line)
    difference = command(project, "llm-assets", "artifacts", "diff", old, "extracted_text/c").stdout
    assert "field config.min_characters: 1 → 100000" in difference and "rows text: 10 → 0" in difference
    trace = command(project, "llm-assets", "artifacts", "trace", "http://host0.example/3").stdout
    assert "raw_warc/c" in trace and "rule: no_text" in trace and "threshold: 100000" in trace
    up = command(project, "llm-assets", "artifacts", "trace", "reject_ledger/c").stdout
    assert "built from:" in up and "extracted_text/c" in up
    collected = command(project, "llm-assets", "artifacts", "gc", "--keep-last", "0", "--delete").stdout
    assert "nothing to collect" in collected and "recipe mine@" in collected
    words = ("gc", "--keep-last", "0", "--forget", "mine", "--delete")
    collected = command(project, "llm-assets", "artifacts", *words).stdout
    assert f"deleting extracted_text/c {old}" in collected and "freed" in collected

    tried = command(project, "llm-assets", "artifacts", "show", "nothing")
    assert tried.returncode == 1 and tried.stderr.startswith("error: no artifact") and "Traceback" not in tried.stderr


def test_a_terminal_shows_progress_as_it_happens(project):
    import pty

    main, terminal = pty.openpty()
    environment = environment_for(
        project / "data", LLM_ASSETS_RECIPE=f"{project}/recipe.py:mine", TERM="xterm-256color", COLUMNS="120"
    )
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("llm-assets")), "run", "--select", "group:web,group:curation"],
        cwd=project,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        close_fds=True,
    )
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
    assert (
        "was registered already"
        in command(project, "llm-assets", "crawls", "add", "more", "--warc", str(project / "warc" / "0.warc.gz")).stdout
    )
    ran = command(project, "llm-assets", "run", "--crawl", "more", "--select", "*extracted_text")
    assert ran.returncode == 0 and "extracted_text/more" in ran.stdout
    listed = command(project, "llm-assets", "crawls", "list").stdout
    assert "more" in listed and "warc_files" in listed
    for words, problem in [
        (("more", "--seed", "http://x.example/"), "is registered with another source"),
        (("bad/name", "--sample-web"), "crawl name 'bad/name'"),
        (("x", "--seed", "ftp://x.example/"), "is not an http(s) URL"),
        (
            ("x", "--seed", "http://x.example/", "--set", "max_pagse=3"),
            "crawl.max_pagse: extra input is not permitted; did you mean max_pages?",
        ),
        (
            ("x", "--seed", "http://x.example/", "--set", "max_depth=-1"),
            "crawl.max_depth: Input should be greater than or equal to 0",
        ),
        (("x", "--sample-web", "--since", "never"), "--since never: no such crawl"),
        (("x",), "give exactly one of"),
        (("x", "--common-crawl", "CC/../x"), "common_crawl.snapshot"),
    ]:
        tried = command(project, "llm-assets", "crawls", "add", *words)
        assert tried.returncode != 0 and problem in tried.stderr and "Traceback" not in tried.stderr, (
            words,
            tried.stderr,
        )
    unknown = command(project, "llm-assets", "run", "--crawl", "never")
    assert unknown.returncode == 1 and "no crawl 'never'" in unknown.stderr


def test_what_spans_all_crawls_is_built_once_and_with_all_of_them(project):
    """A recipe that asks for registered crawls: a crawl that is not built is a warning, not a wall."""
    recipe_file(project / "recipe.py", f"{{'c': WarcFiles(path={str(project / 'warc')!r})}}", 'registered="all",')
    command(project, "llm-assets", "crawls", "add", "more", "--warc", str(project / "warc" / "0.warc.gz"))
    to_model = ("--select", "*base_checkpoint,*corpus_report")
    one = command(project, "llm-assets", "run", "--crawl", "c", *to_model)
    assert one.returncode == 0, one.stdout + one.stderr
    assert "page_versions: warning: without more, which the recipe names and nobody has built" in one.stdout
    assert "✗ page_versions: every_crawl_is_built: made from c; not built: more" in one.stdout
    assert "corpus_report: corpus_not_empty: 10 pages" in one.stdout
    both = command(project, "llm-assets", "run", *to_model)
    assert both.returncode == 0, both.stdout + both.stderr
    assert (
        both.stdout.count("corpus_report: started") == 1 and "corpus_report: corpus_not_empty: 10 pages" in both.stdout
    )
    assert both.stdout.count("base_checkpoint: started") == 1 and "warning" not in both.stdout
    assert "✓ page_versions: every_crawl_is_built: made from c, more" in both.stdout
    again = command(project, "llm-assets", "run", *to_model)
    assert "0 built" in again.stdout


def test_a_registered_crawl_that_the_recipe_does_not_read_can_be_built(project):
    command(project, "llm-assets", "crawls", "add", "more", "--warc", str(project / "warc" / "0.warc.gz"))
    ran = command(project, "llm-assets", "run", "--crawl", "more", "--select", "*clean_corpus")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "clean_corpus/more" in ran.stdout
    report = command(project, "llm-assets", "run", "--select", "*corpus_report")
    assert "corpus_report: corpus_not_empty: 10 pages" in report.stdout


def test_several_crawls_in_one_command_of_dagsters(project):
    recipe_file(project / "recipe.py", f"{{'c': WarcFiles(path={str(project / 'warc')!r})}}", 'registered="all",')
    command(project, "llm-assets", "crawls", "add", "more", "--warc", str(project / "warc" / "0.warc.gz"))
    command(project, "llm-assets", "setup")
    done = command(
        project,
        "dagster",
        "asset",
        "materialize",
        "--select",
        "*base_checkpoint,*corpus_report",
        "--partition-range",
        "more...c",
        "-m",
        "llm_assets.definitions",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("token_shards/c: finished") == done.stderr.count("token_shards/more: finished") == 1
    assert done.stderr.count("base_checkpoint: finished") == 1


def test_the_instance_of_the_env_file_stays_where_the_environment_names_another(project):
    command(project, "llm-assets", "setup")
    kept = (project / ".env").read_text()
    other = command(project, "llm-assets", "setup", dagster_home=str(project / "other"))
    assert other.returncode == 0 and ".env is left as it is" in other.stdout
    assert (project / ".env").read_text() == kept and (project / "other" / "dagster.yaml").exists()


def test_a_missing_source_fails_the_run_with_one_clear_line(project):
    (project / "warc" / "0.warc.gz").unlink()
    (project / "warc" / "1.warc.gz").unlink()
    ran = command(project, "llm-assets", "run")
    assert ran.returncode == 1
    assert (
        "failed: raw_warc:" in ran.stderr
        and "no WARC or ARC file in this folder" in ran.stderr
        and "Traceback" not in ran.stderr
    )


def test_an_empty_crawl_fails_and_is_not_kept(project):
    for path in (project / "warc").iterdir():
        path.write_bytes(b"")
    ran = command(project, "llm-assets", "run")
    assert ran.returncode == 1
    assert "failed: raw_warc: " in ran.stderr and "no capture in 2 WARC files" in ran.stderr
    assert "filtered_urls" not in ran.stdout
    assert not (project / "data" / "artifacts" / "raw_warc").exists()


def test_malformed_recipes_name_the_field(project):
    (project / "recipe.py").write_text(
        "from llm_assets.recipes import Recipe, UrlFilter\ndef mine():\n    return Recipe(name='mine', crawls={}, url_filter={'soft_word_limit': 0, 'typo': 1})\n"
    )
    ran = command(project, "llm-assets", "run")
    assert ran.returncode == 1
    assert (
        "url_filter.soft_word_limit: Input should be greater than or equal to 1 (got '0')" in ran.stderr
        and "url_filter.typo: extra input is not permitted" in ran.stderr
    )


def test_real_crawls_from_the_ui(project, shared_data):
    """Registered while the UI runs; the equation is a blocking check, so success means that it holds."""
    command(project, "llm-assets", "setup")
    with dagster_dev(project) as server:
        for crawl, path, captures in [("2026-11", "2026-11", 2_045), ("samples", "samples/*", 669)]:
            added = command(project, "llm-assets", "crawls", "add", crawl, "--warc", f"{shared_data}/web/{path}")
            assert added.returncode == 0, added.stderr
            run = server.launch(crawl_assets(GRAPH), crawl)
            assert server.end(run) == "SUCCESS", server.log.read_text()[-3000:]
            found = (project / "data" / "artifacts").glob(f"reject_ledger/{crawl}/*/artifact.json")
            stats = json.loads(next(found).read_text())["stats"]
            assert stats["captures"] == stats["kept"] + stats["rejected"] == captures
        (event, *_) = server.materialisations("extracted_text")
        assert event["metadata"]["cached"]["boolValue"] is False
        assert event["metadata"]["dagster/partition_row_count"]["intValue"] > 0
        assert "http" in event["metadata"]["preview"]["mdStr"]


def test_mlflow_keeps_one_run_for_each_build(project):
    built = {
        stage.name: stage
        for stage in (*CORPUS, *(GRAPH[name] for name in ("tokenizer", "token_shards", "base_checkpoint")))
    }
    for _ in range(2):
        command(project, "llm-assets", "run", "--select", "*base_checkpoint,*corpus_report", llm_assets_tracking="on")
    with sqlite3.connect(project / "data" / "mlflow" / "mlflow.db") as database:
        runs = database.execute("SELECT run_uuid, name, status FROM runs ORDER BY name").fetchall()
        assert [(name, status) for _, name, status in runs] == [
            (name, "FINISHED")
            for name in sorted(f"{name}/c" if stage.per_crawl else name for name, stage in built.items())
        ]
        identity = next(identity for identity, name, _ in runs if name == "extracted_text/c")
        parameters = dict(database.execute("SELECT key, value FROM params WHERE run_uuid = ?", (identity,)).fetchall())
        assert parameters["min_characters"] == "1"
        metrics = dict(database.execute("SELECT key, value FROM metrics WHERE run_uuid = ?", (identity,)).fetchall())
        assert metrics["rows.text"] == 10 and metrics["kept"] == 10 and metrics["seconds"] > 0
        training = next(identity for identity, name, _ in runs if name == "base_checkpoint")
        steps = [
            step
            for (step,) in database.execute(
                "SELECT step FROM metrics WHERE run_uuid = ? AND key = 'loss' ORDER BY step", (training,)
            ).fetchall()
        ]
        assert (
            steps
            and len(steps) == len(set(steps))
            and steps[-1]
            == json.loads(next((project / "data" / "artifacts").glob("base_checkpoint/*/*/artifact.json")).read_text())[
                "stats"
            ]["steps"]
        )
        tags = dict(database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (identity,)).fetchall())
        assert len(tags["dagster/run_id"]) == 36 and tags["data_version"]
        inputs = {
            name: digest
            for name, digest in database.execute(
                "SELECT d.name, d.digest FROM datasets d JOIN inputs i ON i.source_id = d.dataset_uuid WHERE i.destination_id = ?",
                (identity,),
            ).fetchall()
        }
    record = json.loads(next((project / "data" / "artifacts").glob("extracted_text/c/*/artifact.json")).read_text())
    assert inputs == record["fields"]["inputs"]
    assert record["mlflow_run_id"] == identity and record["dagster_run_id"] == tags["dagster/run_id"]


def test_metrics_have_names_that_mlflow_takes():
    from mlflow.utils.validation import _validate_metric_name

    for name in (
        "passed.rl.arithmetic, level 0.pass@1",
        "wins.rlhf against sft",
        "rows.text",
        "it's 5% (of all)",
        "x" * 400,
    ):
        _validate_metric_name(metric_name(name))
    assert metric_name("passed.rl.arithmetic, level 0.pass@1") == "passed.rl.arithmetic level 0.pass1"
