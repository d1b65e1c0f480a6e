"""Fixtures of all tests. Each test has its own data folder; nothing is tracked in MLflow unless a test asks for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

from llm_assets.compute.forks import can_fork
from tests.support.crawler_forks import ForkedCrawler
from tests.support.isolation import isolate
from tests.support.shared_folders import file_times, shared_folder

# With two workers on two cores, torch threads that wait for each other spin, and take the other worker's core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The processes that tests start would each compile the project's modules again, for half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("tests", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("tests")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

# Modules that start servers, train models, or build whole crawls. `make quick` leaves them out, like single tests that
# are marked as slow; `make test` starts with them, in this order, so that no worker is left alone with one at the end.
SLOW_MODULES = (
    "tests.pipeline.test_three_ways",
    "tests.deployment.test_services",
    "tests.pipeline.test_takedown_of_models",
    "tests.pipeline.test_conversations",
    "tests.pipeline.test_preference_tuning",
    "tests.pipeline.test_reinforcement",
    "tests.pipeline.test_exported_model",
    "tests.pipeline.test_published_models",
    "tests.pipeline.test_store_of_the_pipeline",
    "tests.pipeline.test_commands",
    "tests.pipeline.test_registered_crawls",
    "tests.pipeline.test_run_messages",
    "tests.pipeline.test_runs",
    "tests.pipeline.test_mlflow_runs",
    "tests.pipeline.test_rebuilds",
    "tests.pipeline.test_whole_crawls",
    "tests.pipeline.test_two_crawl_days",
    "tests.pipeline.test_crawls_cli",
    "tests.pipeline.test_state",
    "tests.pipeline.test_killed_runs",
    "tests.pipeline.test_recrawl_schedules",
    "tests.pipeline.test_interrupted_takedown",
    "tests.pipeline.test_conversation_inputs",
    "tests.pipeline.test_takedown",
    "tests.pipeline.test_tokens_and_model",
    "tests.benchmarks.test_small_runs",
    "tests.serving.test_hostile_requests",
    "tests.serving.test_clients",
    "tests.serving.test_completions",
    "tests.serving.test_page_endpoints",
    "tests.serving.test_page",
    "tests.serving.test_page_explorer",
    "tests.serving.test_explorer",
    "tests.serving.test_page_models",
    "tests.serving.test_page_trained",
    "tests.serving.test_pipeline_endpoints",
    "tests.serving.test_rankings_version",
    "tests.serving.test_stale_assets",
    "tests.pipeline.test_splits",
    "tests.resources.test_killed_tracking",
    "tests.pretraining.test_evaluation",
    "tests.training.test_learner",
    "tests.preference.test_dpo",
    "tests.preference.test_training",
    "tests.preference.test_stages",
    "tests.release.test_benchmark_evaluation",
    "tests.pretraining.test_training",
    "tests.pretraining.test_stages",
    "tests.pretraining.test_published_start",
    "tests.reinforcement.test_training",
    "tests.training.test_sharding",
    "tests.finetuning.test_training",
    "tests.finetuning.test_stages",
    "tests.web.test_crawl_policies",
    "tests.web.test_raw_warc",
    "tests.compute.test_ray",
    "tests.web.test_crawler",
    "tests.pipeline.test_tour",
    "tests.curation.test_page_versions",
    "tests.web.test_index_lookup",
    "tests.artifacts.test_object_faults",
    "tests.sample_web.test_sample_web",
    "tests.web.test_download",
    "tests.web.test_texts",
    "tests.artifacts.test_remote_store",
    "tests.cli.test_doctor",
    "tests.demonstrations.test_stages",
    "tests.resources.test_resources",
)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes seconds; left out by `make quick`, like SLOW_MODULES")


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(SLOW_MODULES)}
    for item in items:
        if item.module.__name__ in places:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: places.get(item.module.__name__, len(places)))


@pytest.fixture(scope="session", autouse=True)
def forked_crawlers():
    """Crawls of the test process fork their crawlers from one that has imported Scrapy."""
    if not can_fork():
        yield
        return
    with pytest.MonkeyPatch.context() as monkeypatch:
        processes = SimpleNamespace(Popen=ForkedCrawler, PIPE=subprocess.PIPE)
        monkeypatch.setattr("llm_assets.web.crawler.launch.subprocess", processes)
        yield


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """A data folder below the test's temporary folder, and no settings of the person who runs the tests."""
    before = set(os.environ)
    isolate(monkeypatch, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    yield
    # Variables that a command set in this process must not reach the next test or the processes that it starts.
    for name in set(os.environ) - before:
        del os.environ[name]


@pytest.fixture(scope="session")
def shared_pipeline(tmp_path_factory):
    """The whole graph on a small sample web, and the folder that holds it, built once for the session."""
    from tests.support.sample_pipeline import build_sample_pipeline  # with the code location, which few tests need

    with shared_folder(tmp_path_factory, "sample-pipeline") as folder:
        pipeline = build_sample_pipeline()
    files = [file_times(artifact.path) for artifact in pipeline.artifacts.values()]
    yield folder, pipeline
    assert [file_times(artifact.path) for artifact in pipeline.artifacts.values()] == files, "a test changed the store"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real crawls; tests that need it are skipped if it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not present: {SHARED} (a checkout without the shared folder)")
    return SHARED
