"""An environment for tests that holds no settings of the person who runs them."""

from pathlib import Path

import pytest

SETTINGS = (
    "LLM_ASSETS_STORE",
    "LLM_ASSETS_RECIPE",
    "LLM_ASSETS_WORKERS",
    "LLM_ASSETS_RAY_ADDRESS",
    "LLM_ASSETS_RAY_TASK_GB",
    "RAY_ADDRESS",
    "MLFLOW_TRACKING_URI",
    "DAGSTER_HOME",
    "http_proxy",
    "HTTP_PROXY",
)


def isolate(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    """Keep all data in the folder `data`, track nothing in MLflow, and use no proxy."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LLM_ASSETS_DATA", str(data))
    monkeypatch.setenv("LLM_ASSETS_TRACKING", "off")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
