"""`llm-assets replicate` on a small sample web."""

import json
from pathlib import Path

import pytest

from tests.support.commands import command, command_here


@pytest.mark.slow
def test_a_replica_that_is_in_the_store_is_reported_without_building_it(pipeline_copy, tmp_path):
    (tmp_path / "recipe.py").write_text("from tests.support.sample_pipeline import sample_recipe as mine\n")
    words = ("llm-assets", "replicate", "--seeds", "1", "--worlds", "0")
    run = command(tmp_path, *words, pythonpath=str(Path(__file__).parents[2]))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 built" in run.stdout and "run 1 of 1" in run.stdout
    record = json.loads((tmp_path / "data/replications/t.json").read_text())
    [replica] = record["runs"]
    assert replica["scorecard"] == pipeline_copy.artifacts["scorecard"].record.short_id
    of_search = "facts of unseen pages right, by search"
    assert replica["headlines"][of_search] is not None and f"| {of_search} |" in run.stdout
    assert record["provenance"]["command"].startswith("llm-assets replicate --seeds 1 --worlds 0")


def test_a_replica_of_a_replica_is_refused(tmp_path):
    run = command_here(tmp_path, "replicate", "--recipe", "laptop#seed=2")
    assert run.returncode == 1 and "name the recipe without #" in run.stderr
