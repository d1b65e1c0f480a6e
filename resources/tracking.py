"""MLflow: one run for each materialisation that did work. Embedded SQLite by default, a server by URL."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from llm_assets.artifacts.identity import flatten
from llm_assets.artifacts.materialize import NoTracker, Tracker
from llm_assets.artifacts.record import Record
from llm_assets.artifacts.stage import Resolution
from llm_assets.settings import load_settings

EXPERIMENT = "llm-assets"
FLUSH_SECONDS = 5.0
BATCH_METRICS = 1000  # MLflow takes no more in one call
PARAM_CHARACTERS = 500  # MLflow's own limit is 6,000; longer values make the run table unreadable


_in_progress: dict[str, Any] = {}  # MLflow's runs of this process, with the clients that started them


def end_open_runs() -> None:
    """Tell MLflow that the runs of this process are over: the process ends before they do."""
    for run_id, client in list(_in_progress.items()):
        client.set_terminated(run_id, "KILLED")


def metric_name(name: str) -> str:
    """A name that MLflow takes: it refuses all characters but letters, digits, and ``_ - . / :`` and spaces."""
    return re.sub(r"[^\w\-./: ]", "", name)[:250]


class Tracking(dg.ConfigurableResource):
    """`uri` empty means MLFLOW_TRACKING_URI, or SQLite below the data folder; `enabled` false tracks nothing."""

    uri: str = ""
    enabled: bool = True

    def tracker(self, dagster_run_id: str | None) -> Tracker:
        if not self.enabled or os.environ.get("LLM_ASSETS_TRACKING", "on") == "off":
            return NoTracker()
        settings = load_settings()
        return MlflowTracker(self.uri or settings.mlflow_uri, settings.data / "mlflow" / "artifacts", dagster_run_id)


class MlflowTracker:
    """Tracks builds as MLflow runs. Uses the client, not the fluent API: no process-wide active run."""

    def __init__(self, uri: str, artifact_folder: Path, dagster_run_id: str | None):
        self.uri, self.artifact_folder, self.dagster_run_id = uri, artifact_folder, dagster_run_id
        self._client: Any = None
        self._run: str | None = None
        self._pending: list[Any] = []
        self._flushed = 0.0

    def client(self) -> Any:
        """The client; creates the database and the experiment on first use (mlflow's import alone takes seconds)."""
        if self._client is None:
            if self.uri.startswith("sqlite:///"):
                Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=self.uri)
        return self._client

    def experiment(self) -> str:
        client = self.client()
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return found.experiment_id
        self.artifact_folder.mkdir(parents=True, exist_ok=True)
        location = self.artifact_folder.as_uri() if self.uri.startswith("sqlite:") else None
        return client.create_experiment(EXPERIMENT, artifact_location=location)

    def link(self, run_id: str) -> str | None:
        """The address of a run's page, where a server serves it."""
        if not self.uri.startswith(("http://", "https://")):
            return None
        return f"{self.uri.rstrip('/')}/#/experiments/{self.experiment()}/runs/{run_id}"

    @contextmanager
    def run(self, resolution: Resolution, recipe: Any) -> Iterator[str]:
        """A run around one build: parameters are its config, inputs the data versions it reads."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        client = self.client()
        identity = resolution.identity
        assert identity is not None
        tags = {
            "mlflow.runName": identity.key,
            "asset": identity.asset,
            "partition": identity.partition or "",
            "identity": identity.short_id,
            "code_version": identity.code_version,
            "recipe": recipe.name,
            "dagster/run_id": self.dagster_run_id or "",
        }
        run = client.create_run(self.experiment(), tags=tags)
        self._run = run.info.run_id
        _in_progress[self._run] = client
        config = flatten(identity.fields()["config"])
        params = [Param(name[:250], str(value)[:PARAM_CHARACTERS]) for name, value in config.items() if name]
        client.log_batch(self._run, params=params, tags=[RunTag("inputs", str(len(identity.inputs)))])
        datasets = [
            DatasetInput(
                Dataset(name=name, digest=version[:36], source_type="artifact", source=name),
                tags=[InputTag("mlflow.data.context", "input")],
            )
            for name, version in identity.inputs.items()
        ]
        if datasets:
            client.log_inputs(self._run, datasets)
        try:
            yield self._run
        except BaseException as error:
            self._flush()
            client.set_tag(self._run, "error", f"{type(error).__name__}: {error}"[:PARAM_CHARACTERS])
            client.set_terminated(self._run, "FAILED")
            raise
        finally:
            _in_progress.pop(self._run, None)
        client.set_terminated(self._run, "FINISHED")

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Collected and sent in batches: a call costs 23 ms, one of a thousand numbers 124."""
        from mlflow.entities import Metric

        self._pending += [
            Metric(metric_name(name), float(value), int(time.time() * 1000), step) for name, value in numbers.items()
        ]
        if time.monotonic() - self._flushed > FLUSH_SECONDS or len(self._pending) >= BATCH_METRICS:
            self._flush()

    def _flush(self) -> None:
        if self._run is not None and self._pending:
            pending, self._pending = self._pending, []
            for first in range(0, len(pending), BATCH_METRICS):
                self.client().log_batch(self._run, metrics=pending[first : first + BATCH_METRICS])
        self._flushed = time.monotonic()

    def finish(self, record: Record) -> None:
        """Metrics of a finished build: rows, bytes, times, and the step's own numbers."""
        from mlflow.entities import Metric, RunTag

        self._flush()
        numbers = {
            **{f"rows.{table}": rows for table, rows in record.rows.items()},
            "bytes": record.total_bytes,
            "seconds": record.timings["seconds"],
            "cpu_seconds": record.timings["cpu_seconds"],
        }
        numbers.update(
            {name: value for name, value in flatten(record.stats).items() if isinstance(value, (int, float)) and name}
        )
        now = int(time.time() * 1000)
        metrics = [Metric(metric_name(name), float(value), now, 0) for name, value in numbers.items()]
        self.client().log_batch(self._run, metrics=metrics, tags=[RunTag("data_version", record.data_version)])
