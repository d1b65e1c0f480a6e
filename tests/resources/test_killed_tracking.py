"""MLflow runs of killed processes are ended by the next process that tracks to the same place, or builds anything."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from llm_assets.cli.dagster_runs import _end_killed_tracking
from llm_assets.cli.takedown_history import databases
from llm_assets.settings import PROJECT, load_settings
from resources.tracking import Tracking, end_killed_runs
from tests.support.toy import ToyRecipe, workspace

# Tracks a build of three steps. The second argument is the step after which the process is killed.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from resources.tracking import Tracking
from tests.support.toy import ToyRecipe, workspace

recipe = ToyRecipe(folder="letters")
resolution = workspace(Path("store"), recipe).resolver().resolve("letters", "a")
tracker = Tracking().tracker("run")
with tracker.run(resolution, recipe):
    for step in range(int(sys.argv[1]), 3):
        tracker._flushed = 0  # send the numbers at once, as after FLUSH_SECONDS
        tracker.log({"loss": 1.0 / (step + 1)}, step)
        if sys.argv[2:] == [str(step)]:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def track(tmp_path, monkeypatch):
    """A function that runs the program: from a step on, and killed after a step."""
    monkeypatch.setenv("LLM_ASSETS_TRACKING", "on")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("alpha\n")

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        words = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
        done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        expected = -signal.SIGKILL if len(arguments) > 1 else 0
        assert done.returncode == expected, done.stderr
        return done

    return run


def rows(query):
    with sqlite3.connect(load_settings().data / "mlflow" / "mlflow.db") as connection:
        return connection.execute(query).fetchall()


def statuses():
    return [status for (status,) in rows("SELECT status FROM runs ORDER BY start_time")]


def process_files():
    return list((load_settings().data / "mlflow" / "processes").iterdir())


def test_the_next_build_ends_the_run_of_a_killed_one(track):
    # MLflow's RunStatus KILLED is a run killed from outside; RUNNING would claim that somebody still works on it.
    track(0, 1)
    assert statuses() == ["RUNNING"] and len(process_files()) == 1
    track(1)  # continues from step 1
    assert statuses() == ["KILLED", "FINISHED"] and process_files() == []
    steps = rows("SELECT run_uuid, step FROM metrics WHERE key = 'loss'")
    assert len(steps) == len(set(steps)) == 2 + 2  # each run has each of its steps once
    assert rows("SELECT count(*) FROM runs WHERE status = 'KILLED' AND end_time IS NULL") == [(0,)]


def test_a_command_that_builds_nothing_ends_it_too(track):
    track(0, 0)
    _end_killed_tracking()
    assert statuses() == ["KILLED"] and process_files() == []


@pytest.mark.parametrize("name", ["a [b] {x}", "50%20 #1", "what?uri=true", "url=zzz"])
def test_the_database_lies_in_a_folder_of_any_name(tmp_path, monkeypatch, name):
    # SQLAlchemy decodes the path of a database's URL (RFC 3986), so that of a file must be encoded.
    monkeypatch.setenv("LLM_ASSETS_TRACKING", "on")
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / name))
    (tmp_path / "letters").mkdir()
    recipe = ToyRecipe(folder=str(tmp_path / "letters"))
    resolution = workspace(tmp_path / "store", recipe).resolver().resolve("letters", "a")
    with Tracking().tracker("run").run(resolution, recipe):
        pass
    assert statuses() == ["FINISHED"]
    assert databases(load_settings())[-1] == tmp_path / name / "mlflow" / "mlflow.db"


def test_live_runs_and_runs_of_another_place_are_left_alone(track, tmp_path):
    track(0, 0)
    settings, recipe = load_settings(), ToyRecipe(folder=str(tmp_path / "letters"))
    assert end_killed_runs("http://127.0.0.1:9/") == [] and statuses() == ["RUNNING"]
    assert len(end_killed_runs(settings.mlflow_uri)) == 1
    with (
        Tracking().tracker("run").run(workspace(tmp_path / "store", recipe).resolver().resolve("letters", "a"), recipe)
    ):
        assert end_killed_runs(settings.mlflow_uri) == [] and statuses() == ["KILLED", "RUNNING"]
    assert statuses() == ["KILLED", "FINISHED"]
