"""Runs that wait, are killed, interrupted, or cannot start: what they say, and what they leave for others."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import click
import dagster as dg
import pytest

from llm_assets.cli import main
from llm_assets.cli.run import chosen_assets
from llm_assets.graph import open_workspace
from resources.live_runs import announced
from tests.support.commands import command, environment_for
from tests.support.small_recipe import recipe_file
from tests.support.warcs import page, story, write

LINE = "interrupted; run again to resume\n"
SECONDS = 90  # until a started command says something, on a busy machine


class Started:
    """A command that runs in the background, in a process group of its own as a terminal gives it."""

    def __init__(self, project: Path, name: str, *words: str, recipe: str = "mine", **extra: str):
        self.out, self.err = project / f"{name}.out", project / f"{name}.err"
        environment = environment_for(project / "data", LLM_ASSETS_RECIPE=f"{project}/recipe.py:{recipe}", **extra)
        program = str(Path(sys.executable).with_name("llm-assets"))
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [program, *words], cwd=project, env=environment, stdout=out, stderr=err, start_new_session=True
            )

    def says(self, text: str, seconds: float = SECONDS) -> str:
        """What was printed, once `text` is in it."""
        deadline = time.monotonic() + seconds
        while text not in (said := self.out.read_text()):
            assert self.process.poll() is None and time.monotonic() < deadline, said + self.err.read_text()
            time.sleep(0.1)
        return said

    def interrupt(self) -> float:
        """Ctrl-C, which a terminal sends to every process of the group; seconds until the command has ended."""
        began = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)
        return time.monotonic() - began

    def group_is_gone(self) -> bool:
        """Whether every process of the command ends within some seconds."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.1)
        return False


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project whose corpus is built, up to the tokens of a training; `slow` is a recipe whose training takes long."""
    project = tmp_path_factory.mktemp("runs")
    for crawl in ("c", "d"):
        pages = [page(f"http://{crawl}.example/{number}", story(100 * ord(crawl) + number)) for number in range(8)]
        write(project / "warc" / crawl / "0.warc.gz", pages)
    recipe_file(project / "recipe.py", f"{{'c': WarcFiles(path={str(project / 'warc' / 'c')!r})}}")
    with (project / "recipe.py").open("a") as file:
        file.write(
            "def slow():\n    recipe = mine()\n"
            "    return recipe.replace(pretraining=recipe.pretraining.replace(tokens=4_000_000, batch_tokens=256))\n"
            "def web():\n    return mine().replace(name='web', crawls={'site': SampleWeb(scale=1.0)})\n"
            "def two():\n    recipe = mine()\n    return recipe.replace(name='two', crawls={**recipe.crawls, "
            f"'d': WarcFiles(path={str(project / 'warc' / 'd')!r})}})\n"
        )
    done = command(project, "llm-assets", "run", "--select", "*token_shards,page_versions,training_pages")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def home(built, monkeypatch):
    """The Dagster instance and the settings of that project, in this process."""
    monkeypatch.setenv("DAGSTER_HOME", str(built / "data" / "dagster"))
    monkeypatch.setenv("LLM_ASSETS_DATA", str(built / "data"))
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{built}/recipe.py:mine")
    with dg.DagsterInstance.get() as instance:
        yield instance


@contextlib.contextmanager
def training(instance, step="sft_checkpoint"):
    """A run of another process, here of this one, that holds the pool's slot while it trains."""

    @dg.job
    def other(): ...

    run = instance.create_run_for_job(other, status=dg.DagsterRunStatus.STARTED)
    instance.event_log_storage.initialize_concurrency_limit_to_default("gpu")
    with announced(run.run_id):
        assert instance.event_log_storage.claim_concurrency_slot("gpu", run.run_id, step).is_claimed
        try:
            yield run
        finally:
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            instance.report_run_canceled(run)


def test_a_killed_run_hands_its_turn_to_a_live_one(built, home):
    """B waits first, then A; B is killed. The slot that gets free is B's turn: A takes it all the same."""
    with training(home):
        killed = Started(built, "b", "run", "--select", "base_checkpoint")
        killed.says("base_checkpoint: waiting for run")
        live = Started(built, "a", "run", "--select", "base_checkpoint")
        live.says("base_checkpoint: waiting for run")
        os.killpg(killed.process.pid, signal.SIGKILL)
        killed.process.wait()
    assert live.process.wait(SECONDS) == 0, live.out.read_text() + live.err.read_text()
    assert "base_checkpoint: finished" in live.out.read_text()
    statuses = [run.status for run in home.get_runs(limit=2)]
    assert sorted(status.value for status in statuses) == ["FAILURE", "SUCCESS"]
    info = home.event_log_storage.get_concurrency_info("gpu")
    assert (info.claimed_slots, info.pending_steps) == ([], [])


def test_a_run_says_which_run_it_waits_for_and_an_interrupt_ends_it(built, home):
    with training(home) as other:
        run = Started(built, "waits", "run", "--select", "base_checkpoint", recipe="slow")
        said = run.says("waiting")
        expected = f"base_checkpoint: waiting for run {other.run_id[:8]} (sft_checkpoint), which holds the pool 'gpu'\n"
        assert expected in said
        shown = command(built, "llm-assets", "status").stdout.splitlines()
        mine = home.get_runs(limit=1)[0]
        assert (
            len(shown) == 3 and f"run {mine.run_id[:8]} (base_checkpoint waits for run {other.run_id[:8]}" in shown[2]
        )
        assert run.interrupt() < 8
    assert run.process.returncode == 130 and run.err.read_text() == LINE
    assert home.get_run_by_id(mine.run_id).status == dg.DagsterRunStatus.CANCELED
    assert home.event_log_storage.get_concurrency_info("gpu").pending_steps == []


def test_a_run_says_which_run_builds_what_it_waits_for(built, home):
    identity = open_workspace().resolver().resolve("search_index", None).identity
    with open_workspace().store.lock(identity, run_id="0123456789abcdef"):
        run = Started(built, "locked", "run", "--select", "search_index")
        said = run.says("waiting")
        assert (
            f"search_index: waiting for run 01234567 (process {os.getpid()} on " in said and "which builds it" in said
        )
        running = command(built, "llm-assets", "status").stdout.splitlines()[2]
        assert f"build of search_index by run 01234567 (process {os.getpid()} on " in running and " since 20" in running
        assert run.interrupt() < 8
    assert run.process.returncode == 130 and run.err.read_text() == LINE


def test_an_interrupt_ends_a_training_at_once_and_the_next_run_goes_on(built, home):
    tracking = {"LLM_ASSETS_TRACKING": "on"}
    run = Started(built, "trains", "run", "--select", "base_checkpoint", recipe="slow", **tracking)
    run.says("base_checkpoint: started")
    time.sleep(4)  # its process has begun by then; a line of progress comes later, on a fast machine after its end
    assert run.interrupt() < 8
    assert run.process.returncode == 130 and run.err.read_text().endswith(LINE)  # after MLflow's own lines
    assert "Traceback" not in run.out.read_text() + run.err.read_text() and run.group_is_gone()
    assert home.get_runs(limit=1)[0].status == dg.DagsterRunStatus.CANCELED
    with sqlite3.connect(built / "data" / "mlflow" / "mlflow.db") as database:
        assert database.execute("SELECT name, status FROM runs").fetchall() == [("base_checkpoint", "KILLED")]
    again = Started(built, "again", "run", "--select", "base_checkpoint", recipe="slow")
    assert "waiting" not in again.says("base_checkpoint: started")
    os.kill(again.process.pid, signal.SIGTERM)
    assert again.process.wait(30) == 143 and again.err.read_text() == LINE and again.group_is_gone()


def test_an_interrupt_ends_a_crawl_at_once(built, home):
    run = Started(built, "crawls", "run", "--select", "raw_warc", recipe="web")
    run.says("raw_warc/site: started")
    time.sleep(3)
    assert run.interrupt() < 8
    assert run.process.returncode == 130 and run.err.read_text() == LINE and run.group_is_gone()


@pytest.fixture
def said(home, monkeypatch, capsys):
    """Exit code and standard error of a command that is run in this process."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["llm-assets", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    return run


def test_a_misspelt_asset_is_one_line(built, said):
    for words, problem in [
        (("artifacts", "list", "--asset", "corpus_reprt"), "no asset 'corpus_reprt'"),
        (("artifacts", "explain", "corpus_reprt"), "nothing in the graph is called corpus_reprt"),
        (("artifacts", "show", "corpus_reprt"), "no artifact and no asset is called 'corpus_reprt'"),
        (("artifacts", "adopt", "corpus_reprt", "--from", "."), "no asset 'corpus_reprt'"),
        (("artifacts", "render", "corpus_reprt"), "nothing in the graph is called corpus_reprt"),
    ]:
        code, told = said(*words)
        assert code in (1, 2) and problem in told and len(told.splitlines()) == 1, (words, told)
    tried = command(built, "llm-assets", "run", "--select", "*corpus_reprt")
    assert (tried.returncode, tried.stderr) == (
        1,
        "Error: --select: no asset 'corpus_reprt'; did you mean corpus_report?\n",
    )


def test_a_selection_is_understood_or_one_line_says_why_not():
    from llm_assets.definitions import defs

    chosen = {key.to_user_string() for key in chosen_assets("*filtered_urls,group:tokens", defs)}
    assert {"raw_warc", "filtered_urls", "tokenizer", "token_shards"} <= chosen and "clean_corpus" not in chosen
    for select, problem in [
        ("group:wbe", "selects no asset; groups are web, curation"),
        ("corpus_report,,", "Invalid selection string"),
        ("corpus_report and", "Invalid selection string"),
    ]:
        with pytest.raises(click.ClickException) as error:
            chosen_assets(select, defs)
        assert problem in error.value.message and len(error.value.message.splitlines()) == 1


def test_an_exception_in_a_recipe_names_file_line_and_type(built, said):
    path = built / "broken.py"
    path.write_text("from pathlib import Path\n\ndef mine():\n    return Path('never').read_text()\n")
    for words in (("run",), ("artifacts", "explain"), ("status",), ("corpus", "report"), ("plan",)):
        code, told = said(*words, "--recipe", f"{path}:mine")
        assert code in (1, 2) and len(told.splitlines()) == 1, (words, told)
        assert f"{path}, line 4" in told and "FileNotFoundError: " in told and "'never'" in told


def advice(text):
    """The command that a message advises."""
    words = text[text.index("llm-assets run") :].splitlines()[0]
    return [word.strip("'") for word in words.split()]


def test_advice_works_when_it_is_followed(built):
    """What one of several crawls lacks is named with its crawl, and with the recipe that was chosen."""
    recipe = ("--recipe", f"{built}/recipe.py:two")
    one = command(built, "llm-assets", "run", *recipe, "--crawl", "d", "--select", "*corpus_report")
    assert one.returncode == 0, one.stdout + one.stderr
    tried = command(built, "llm-assets", "run", *recipe, "--crawl", "d", "--select", "token_shards")
    # No crawl but c has shards of this recipe's tokenizer, and that is not built.
    assert tried.returncode == 1, tried.stdout
    told = advice(tried.stderr)
    assert told[2:] == [*recipe, "--crawl", "d", "--select", "*token_shards"]
    assert command(built, *told).returncode == 0
    tried = command(built, "llm-assets", "run", *recipe, "--crawl", "d", "--select", "base_checkpoint")
    told = advice(tried.stderr)
    assert told[2:] == [*recipe, "--crawl", "c", "--select", "*base_checkpoint"], tried.stderr
    followed = command(built, *told)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    shown = command(built, "llm-assets", "complete", *recipe, "The", "--max-tokens", "2", "--checkpoint", "sft")
    assert advice(shown.stderr)[2:] == [*recipe, "--select", "*sft_checkpoint"]


def test_a_failed_blocking_check_fails_the_run(tmp_path):
    """Both ways of running; the check of the last asset too, after which nothing comes that it could stop."""
    write(tmp_path / "warc" / "0.warc.gz", [page("http://host.example/0", b"x", "404 Not Found")])
    recipe_file(tmp_path / "recipe.py", f"{{'c': WarcFiles(path={str(tmp_path / 'warc')!r})}}")
    for _ in range(2):  # built, and found in the store
        ran = command(tmp_path, "llm-assets", "run", "--select", "*corpus_report")
        assert ran.returncode == 1, ran.stdout + ran.stderr
        assert "failed: corpus_report: blocking check corpus_not_empty: the corpus is empty" in ran.stderr
    theirs = command(
        tmp_path,
        "dagster",
        "asset",
        "materialize",
        "--select",
        "*corpus_report",
        "--partition",
        "c",
        "-m",
        "llm_assets.definitions",
        dagster_home=str(tmp_path / "data" / "dagster"),
    )
    assert theirs.returncode == 1 and "corpus_not_empty" in theirs.stderr


def test_status_without_and_with_an_instance(tmp_path):
    write(
        tmp_path / "warc" / "0.warc.gz", [page(f"http://host.example/{number}", story(number)) for number in range(4)]
    )
    recipe_file(tmp_path / "recipe.py", f"{{'c': WarcFiles(path={str(tmp_path / 'warc')!r})}}")
    built, open_ones, running = command(tmp_path, "llm-assets", "status").stdout.splitlines()
    assert built.startswith("built: 0 of ") and built.endswith("of each crawl: c 0 of 11")
    assert open_ones.startswith("stale or missing: missing url_blocklists, raw_warc/c, ")
    assert running == "running: nothing" and not (tmp_path / "data" / "dagster").exists()
    assert command(tmp_path, "llm-assets", "run", "--select", "*extracted_text").returncode == 0
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        recipe.read_text().replace("Recipe(name", "Recipe(extraction=recipes.Extraction(min_characters=2), name")
    )
    built, open_ones, running = command(tmp_path, "llm-assets", "status").stdout.splitlines()
    assert built.startswith("built: 3 of ") and built.endswith("of each crawl: c 2 of 11")
    assert open_ones.startswith("stale or missing: stale extracted_text/c; missing language_filtered_text/c, ")
    assert running == "running: nothing"
