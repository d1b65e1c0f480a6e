"""MLflow tracking: one run per build. The default is an embedded SQLite database; a URL selects a server.

A server that cannot be reached when a build begins is an error. Later, the build matters more than its record: what
could not be recorded is a warning.
"""

import logging
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from llm_assets.artifacts.identity import Identity, flatten
from llm_assets.artifacts.materialize import NoTracker, Tracker
from llm_assets.artifacts.record import Record
from llm_assets.artifacts.resolver import Resolution
from llm_assets.artifacts.store import Artifact
from llm_assets.settings import load_settings, sqlite_file

from .liveness import announce, state_of

log = logging.getLogger(__name__)

EXPERIMENT = "llm-assets"
FLUSH_SECONDS = 5.0
BATCH_METRICS = 1000  # the most that MLflow accepts in one call
PARAM_CHARACTERS = 500  # MLflow allows 6,000, but longer values make the table of runs unreadable
# Views that a run shows: plots, and the model card. Pages may quote crawled text, which a takedown must find again.
ATTACHED = (".png", ".md")
MODEL_FOLDER = "model"  # of a run's artifacts, on a server
CARD_CHARACTERS = 100_000  # MLflow's limit for a description

PROCESS_TAG = "process"  # names the file that shows that the run's process is alive
_in_progress: dict[str, Any] = {}  # unfinished MLflow runs of this process, with the clients that started them


def is_on() -> bool:
    """Whether builds are tracked, by LLM_ASSETS_TRACKING."""
    return os.environ.get("LLM_ASSETS_TRACKING", "on") != "off"


def end_open_runs() -> None:
    """Mark the unfinished MLflow runs of this process as killed, because the process is about to end."""
    for run_id, client in list(_in_progress.items()):
        client.set_terminated(run_id, "KILLED")


def _process_files() -> Path:
    """The folder of the files that show which processes track runs; each holds the URI that its run is at."""
    return load_settings().data / "mlflow" / "processes"


def end_killed_runs(uri: str) -> list[str]:
    """Mark the MLflow runs at this URI whose process was killed as such. Returns their ids.

    The process announces a run before MLflow creates it, and has no way to end it when it is killed.
    """
    folder = _process_files()
    files = [path for path in sorted(folder.iterdir()) if state_of(path) == "killed"] if folder.is_dir() else []
    files = [path for path in files if not path.name.startswith(".") and path.read_text() == uri]
    if not files:
        return []
    from mlflow import MlflowClient

    client, ended = MlflowClient(tracking_uri=uri), []
    experiment = client.get_experiment_by_name(EXPERIMENT)
    for path in files:
        running = f"tags.{PROCESS_TAG} = '{path.name}' and attributes.status = 'RUNNING'"
        for run in client.search_runs([experiment.experiment_id], running) if experiment is not None else ():
            client.set_terminated(run.info.run_id, "KILLED")
            ended.append(run.info.run_id)
        path.unlink(missing_ok=True)
    return ended


def metric_name(name: str) -> str:
    """A valid MLflow metric name: letters, digits, spaces and ``_ - . / :``, at most 250 characters."""
    return re.sub(r"[^\w\-./: ]", "", name)[:250]


class Tracking(dg.ConfigurableResource):
    """MLflow tracking.

    uri: of the MLflow server or database; empty for MLFLOW_TRACKING_URI, or else SQLite below the data folder.
    enabled: if false, nothing is tracked.
    """

    uri: str = ""
    enabled: bool = True

    def tracker(self, dagster_run_id: str | None) -> Tracker:
        if not self.enabled or not is_on():
            return NoTracker()
        settings = load_settings()
        return MlflowTracker(self.uri or settings.mlflow_uri, settings.data / "mlflow" / "artifacts", dagster_run_id)


class MlflowTracker:
    """Tracks builds as MLflow runs, with the client instead of the fluent API, whose active run is process-wide."""

    def __init__(self, uri: str, artifact_folder: Path, dagster_run_id: str | None):
        self.uri, self.artifact_folder, self.dagster_run_id = uri, artifact_folder, dagster_run_id
        self._client: Any = None
        self._run: str | None = None
        self._pending: list[Any] = []
        self._flushed = 0.0
        self._warned: set[str] = set()

    def client(self) -> Any:
        """The client, created on first use, because importing mlflow takes seconds."""
        if self._client is None:
            if (file := sqlite_file(self.uri)) is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=self.uri)
        return self._client

    def experiment(self) -> str:
        """The id of the experiment, which is created on first use."""
        client = self.client()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return experiment.experiment_id
        self.artifact_folder.mkdir(parents=True, exist_ok=True)
        location = self.artifact_folder.as_uri() if self.uri.startswith("sqlite:") else None
        return client.create_experiment(EXPERIMENT, artifact_location=location)

    @property
    def _is_server(self) -> bool:
        return self.uri.startswith(("http://", "https://"))

    def link(self, run_id: str) -> str | None:
        """The URL of a run's page, on the server, or for a database on that of ``make mlflow``; None for a folder.

        LLM_ASSETS_MLFLOW_URL names a server for browsers, which may not reach it by the name that builds use.
        """
        if self._is_server:
            server = os.environ.get("LLM_ASSETS_MLFLOW_URL") or self.uri
        elif "://" in self.uri and not self.uri.startswith("file:"):
            server = load_settings().mlflow_url
        else:
            return None
        return f"{server.rstrip('/')}/#/runs/{run_id}"

    @contextmanager
    def _only_warning(self, subject: str) -> Iterator[None]:
        """Turns an error of MLflow into a warning, once for each subject."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            if subject not in self._warned:
                self._warned.add(subject)
                log.warning("MLflow at %s did not record %s: %s", self.uri, subject, error)

    def attach(self, resolution: Resolution, artifact: Artifact, views: list[str], recipe: Any) -> None:
        """Copy an artifact's plots and card to the run that built it, and register the model that it holds.

        A cached artifact may have been built under another tracking URI, which has its run: then nothing is copied.
        """
        attached, folder = [view for view in views if view.endswith(ATTACHED)], resolution.stage.registered_folder
        if not attached and folder is None:
            return  # without importing mlflow, when only pages of cached artifacts are drawn again
        with self._only_warning(f"plots and model of {artifact.record.key}"):
            run_id = self._known_run(artifact.record.mlflow_run_id)
            for view in attached if run_id is not None else ():
                self.client().log_artifact(run_id, str(artifact.view(view)))
            if folder is not None:
                self._register(folder, artifact, run_id, recipe.name)

    def _known_run(self, run_id: str | None) -> str | None:
        """The run's id, if MLflow has it at this URI."""
        from mlflow.exceptions import MlflowException

        try:
            return None if run_id is None else self.client().get_run(run_id).info.run_id
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _register(self, folder: str, artifact: Artifact, run_id: str | None, recipe: str) -> None:
        """Register the model of an artifact as a version of the model named like the recipe, once per identity.

        In a database, the version refers to the folder in the store. A server accepts only what it has itself, so the
        folder is uploaded to the run.
        """
        from mlflow.exceptions import MlflowException

        client, record = self.client(), artifact.record
        try:
            client.create_registered_model(recipe, description="Models that llm-assets built from this recipe")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {
            "asset": record.key,
            "identity": record.short_id,
            "data_version": record.data_version,
            "dagster/run_id": record.dagster_run_id or "",
        }
        if client.search_model_versions(f"name = '{recipe}' and tags.identity = '{record.short_id}'"):
            return
        card = artifact.path / folder / "README.md"
        description = card.read_text()[:CARD_CHARACTERS] if card.exists() else None
        source = (artifact.path / folder).as_uri()
        if self._is_server:
            if run_id is None:
                raise MlflowException(f"the run of {record.key} is not there, so its model cannot be uploaded to it")
            client.log_artifacts(run_id, str(artifact.path / folder), MODEL_FOLDER)
            source = f"{client.get_run(run_id).info.artifact_uri}/{MODEL_FOLDER}"
        client.create_model_version(recipe, source, run_id, tags=tags, description=description)

    @contextmanager
    def run(self, resolution: Resolution, recipe: Any) -> Iterator[str]:
        """A run around one build: its parameters are the config, its inputs the data versions that it reads."""
        client = self.client()
        end_killed_runs(self.uri)
        identity = resolution.identity
        assert identity is not None
        process = uuid.uuid4().hex
        tags = {
            "mlflow.runName": identity.key,
            "asset": identity.asset,
            "partition": identity.partition or "",
            "identity": identity.short_id,
            "code_version": identity.code_version,
            "recipe": recipe.name,
            "dagster/run_id": self.dagster_run_id or "",
            "mlflow.note.content": self._note(identity),
            PROCESS_TAG: process,
        }
        with announce(_process_files() / process, self.uri):
            run = client.create_run(self.experiment(), tags=tags)
            self._run = run.info.run_id
            _in_progress[self._run] = client
            try:
                self._log_config(identity)
                yield self._run
            except BaseException as error:
                with self._only_warning(f"the failure of {identity.key}"):
                    self._flush()
                    client.set_tag(self._run, "error", f"{type(error).__name__}: {error}"[:PARAM_CHARACTERS])
                    client.set_terminated(self._run, "FAILED")
                raise
            finally:
                _in_progress.pop(self._run, None)
            with self._only_warning(f"the end of {identity.key}"):
                client.set_terminated(self._run, "FINISHED")

    def _note(self, identity: Identity) -> str:
        """The run's description, in Markdown: where Dagster shows the asset and the run."""
        dagster = load_settings().dagster_url.rstrip("/")
        links = [f"[asset in Dagster]({dagster}/assets/{identity.asset})"]
        if self.dagster_run_id:
            links.append(f"[run in Dagster]({dagster}/runs/{self.dagster_run_id})")
        return f"`{identity.key}`, identity `{identity.short_id}`: {', '.join(links)}"

    def _log_config(self, identity: Identity) -> None:
        """Record what a build depends on: its config, and the data versions of its inputs."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        config = flatten(identity.fields()["config"])
        params = [Param(name[:250], str(value)[:PARAM_CHARACTERS]) for name, value in config.items() if name]
        self.client().log_batch(self._run, params=params, tags=[RunTag("inputs", str(len(identity.inputs)))])
        datasets = [
            DatasetInput(
                Dataset(name=name, digest=version[:36], source_type="artifact", source=name),
                tags=[InputTag("mlflow.data.context", "input")],
            )
            for name, version in identity.inputs.items()
        ]
        if datasets:
            self.client().log_inputs(self._run, datasets)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Record numbers of a step. They are sent in batches: a call takes 23 ms, one with 1,000 numbers 124 ms."""
        from mlflow.entities import Metric

        self._pending += [
            Metric(metric_name(name), float(value), int(time.time() * 1000), step) for name, value in numbers.items()
        ]
        if time.monotonic() - self._flushed > FLUSH_SECONDS or len(self._pending) >= BATCH_METRICS:
            with self._only_warning("numbers of training steps"):
                self._flush()

    def _flush(self) -> None:
        if self._run is not None and self._pending:
            pending, self._pending = self._pending, []
            for first in range(0, len(pending), BATCH_METRICS):
                self.client().log_batch(self._run, metrics=pending[first : first + BATCH_METRICS])
        self._flushed = time.monotonic()

    def finish(self, record: Record) -> None:
        """Record the metrics of a finished build: rows, bytes, times, and the step's numbers."""
        from mlflow.entities import Metric, RunTag

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
        with self._only_warning(f"the numbers of {record.key}"):
            self._flush()
            self.client().log_batch(self._run, metrics=metrics, tags=[RunTag("data_version", record.data_version)])
