"""The code location: its definitions are those of the snapshot, and importing it loads no heavy package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llm_assets.artifacts.checks import stage_checks
from llm_assets.graph import GRAPH
from llm_assets.recipes import load_recipe
from resources.jobs import crawl_assets, shard_assets

SNAPSHOT = Path(__file__).with_name("definitions.json")
HEAVY = ("torch", "mlflow", "scrapy", "twisted", "matplotlib", "tiktoken", "rustbpe", "safetensors", "transformers")


def describe_definitions() -> dict:
    from llm_assets.definitions import defs

    graph = defs.resolve_asset_graph()
    assets, checks = {}, {}
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        assets[key.to_user_string()] = {
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": list(node.owners),
            # The rest depends on the recipe. An asset that it leaves out has none.
            "code_version": (node.code_version or "").partition("+")[0],
            "description": node.description,
            "partitions": getattr(node.partitions_def, "name", None),
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
        }
    for key in sorted(graph.asset_check_keys):
        spec = graph.get_check_spec(key)
        checks[f"{key.asset_key.to_user_string()}: {key.name}"] = {
            "blocking": spec.blocking,
            "description": spec.description,
        }
    repository = defs.get_repository_def()
    return {
        "assets": assets,
        "checks": checks,
        "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        "schedules": {schedule.name: schedule.cron_schedule for schedule in repository.schedule_defs},
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
        "resources": sorted(repository.get_top_level_resources()),
    }


def test_all_definitions_equal_the_snapshot():
    """After an intended change, write the snapshot again with: python -m tests.pipeline.test_definitions"""
    assert describe_definitions() == json.loads(SNAPSHOT.read_text())


def test_every_asset_is_a_stage_with_the_same_inputs_version_and_checks():
    described, left_out = describe_definitions(), GRAPH.left_out(load_recipe())
    assert described["assets"].keys() == GRAPH.stages.keys()
    inputs = GRAPH.inputs(load_recipe())
    stages = [stage for stage in GRAPH if stage.name not in left_out]
    for stage in stages:
        asset = described["assets"][stage.name]
        assert asset["deps"] == sorted(inputs[stage.name])
        assert (asset["code_version"], asset["group"]) == (stage.code_version, stage.group)
        assert asset["description"] and asset["kinds"] and asset["owners"]
    names = {f"{stage.name}: {check.name}" for stage in stages for check in stage_checks(stage)}
    names |= {f"{stage.name}: up_to_date" for stage in stages}
    # Everything further downstream is built from the same crawls as these.
    first_cross_crawl = ("page_versions", "training_pages", "tokenizer")
    names |= {f"{name}: every_crawl_is_built" for name in first_cross_crawl}
    assert described["checks"].keys() == names


def test_importing_the_code_location_loads_nothing_heavy():
    program = f"import sys, llm_assets.definitions; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_crawl_job_ends_where_cross_crawl_assets_begin():
    crawl, shards = crawl_assets(GRAPH), shard_assets(GRAPH)
    assert "raw_warc" in crawl and "clean_corpus" in crawl and "url_blocklists" in crawl
    assert shards == ["tokenizer", "token_shards"]
    assert not set(crawl) & {
        "page_versions",
        "corpus_report",
        "search_index",
        "tokenizer",
        "token_shards",
        "base_checkpoint",
    }


@pytest.mark.parametrize("name", [stage.name for stage in GRAPH if stage.pool])
def test_a_checkpoint_has_no_main_table(name):
    """A main table would give it a row count; the numbers of its training are metadata of their own."""
    stage = GRAPH[name]
    assert not name.endswith("_checkpoint") or stage.main_table is None


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(describe_definitions(), indent=2, sort_keys=True) + "\n")
