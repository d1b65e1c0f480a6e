"""The benchmark of Dagster's steps runs, at small size."""

import json
import subprocess
import sys

from llm_assets.settings import PROJECT


def test_it_measures_a_step_and_a_check(tmp_path):
    out = tmp_path / "out.json"
    program = PROJECT / "benchmarks" / "dagster_steps.py"
    command = [sys.executable, str(program), "--assets", "3", "--executors", "in process", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["seconds_a_step"].keys() == {"in process"}
    assert found["seconds_an_asset_in_process"].keys() == {"no check", "check within", "check apart"}
