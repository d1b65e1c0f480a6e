"""Shared fixtures. Every test has a data folder of its own; nothing is tracked in MLflow unless a test asks for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Two workers on two cores: threads of torch's that wait for each other spin, and take the other worker's core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("tests", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("tests")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


# What takes minutes in one test begins first, so that no worker is left alone with it at the end.
SLOW = ("test_three_ways", "test_takedown", "test_runs", "test_killed_runs", "test_posttraining")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.module.__name__.endswith(SLOW))


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """A data folder below the test's own temporary folder, and no settings of the person who runs the tests."""
    before = set(os.environ)
    for name in (
        "LLM_ASSETS_STORE",
        "LLM_ASSETS_RECIPE",
        "LLM_ASSETS_WORKERS",
        "MLFLOW_TRACKING_URI",
        "DAGSTER_HOME",
        "http_proxy",
        "HTTP_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LLM_ASSETS_TRACKING", "off")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.chdir(tmp_path)
    yield
    # What a command that ran in this process has set is not for the next test, nor for the commands that it starts.
    for name in set(os.environ) - before:
        del os.environ[name]


@pytest.fixture
def shared_data() -> Path:
    """The folder of real crawls; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not present: {SHARED} (a checkout without the shared folder)")
    return SHARED
