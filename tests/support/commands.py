"""Commands in a project folder, as a user runs them, and Dagster's webserver and daemon on it."""

import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from llm_assets.cli import main

from .ports import free_port

LOCATION = "llm_assets.definitions"
SELECTOR = f'repositoryLocationName: "{LOCATION}", repositoryName: "__repository__"'

LAUNCH = """mutation($assets: [AssetKeyInput!]!, $partition: String!, $config: RunConfigData!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "llm_assets.definitions", repositoryName: "__repository__",
      jobName: "__ASSET_JOB", assetSelection: $assets},
    executionMetadata: {tags: [{key: "dagster/partition", value: $partition}]}, runConfigData: $config}) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""

RUNS = """{ runsOrError { ... on Runs { results {
  runId status jobName tags { key value } assetSelection { path } } } } }"""

MATERIALISATIONS = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations(limit: 20) { runId partition metadataEntries { label __typename
    ... on BoolMetadataEntry { boolValue } ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue }
    ... on MarkdownMetadataEntry { mdStr } ... on PathMetadataEntry { path } ... on JsonMetadataEntry { jsonString }
  } } } } }"""

START_SCHEDULE = """mutation { startSchedule(scheduleSelector: {%s, scheduleName: %s}) {
  __typename ... on PythonError { message } } }"""

TICKS = """{ scheduleOrError(scheduleSelector: {%s, scheduleName: %s}) { ... on Schedule {
  scheduleState { ticks { status skipReason runIds error { message } } } } } }"""


def environment_for(folder: Path, **extra: str) -> dict[str, str]:
    """An environment for a subprocess that keeps its data in `folder`.

    It uses one worker: to start a second takes 3 s of CPU time, and these projects have a few pages.
    """
    defaults = {"LLM_ASSETS_DATA": str(folder), "LLM_ASSETS_TRACKING": "off", "LLM_ASSETS_WORKERS": "1"}
    return {**os.environ, **defaults, **extra}


def command(project: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run an installed command in the project's folder, with its data and its recipe.py."""
    environment = environment_for(
        project / "data",
        LLM_ASSETS_RECIPE=f"{project}/recipe.py:mine",
        **{name.upper(): value for name, value in extra.items()},
    )
    program = str(Path(sys.executable).with_name(words[0]))
    return subprocess.run(
        [program, *words[1:]], cwd=project, env=environment, capture_output=True, text=True, timeout=500
    )


def command_here(project: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run ``llm-assets`` with these words as `command` does, but in this process, which has imported it already.

    A new process takes 4 s of CPU time for its imports, and another 4 s if it trains. This is for tests of what a
    command does, not of processes.
    """
    importlib.import_module("llm_assets.definitions")  # under the default recipe, as other tests expect it
    settings = {name.upper(): value for name, value in extra.items()}
    environment = environment_for(project / "data", LLM_ASSETS_RECIPE=f"{project}/recipe.py:mine", **settings)
    with (
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", ["llm-assets", *words]),
        contextlib.chdir(project),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        _settings_of_the_process(),
    ):
        try:
            main()
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess(words, code, *texts)


@contextlib.contextmanager
def _settings_of_the_process() -> Iterator[None]:
    """Restores what a command sets for its whole process: log levels, warnings, and how often garbage is collected."""
    levels = {name: logging.getLogger(name).level for name in ("dagster", "mlflow")}
    thresholds = gc.get_threshold()
    with warnings.catch_warnings():
        yield
    gc.set_threshold(*thresholds)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


class Dagster:
    """A running webserver, such as that of `dagster dev`; its GraphQL API, as the UI uses it."""

    def __init__(self, port: int, log: Path, host: str = "127.0.0.1"):
        self.port, self.log, self.host = port, log, host

    def ask(self, query: str, **variables: Any) -> Any:
        request = urllib.request.Request(
            f"http://{self.host}:{self.port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
            answer = json.loads(response.read())
        assert "errors" not in answer, answer
        return answer["data"]

    def wait(self, probe: Callable[[], Any], seconds: float) -> Any:
        """The first true value that `probe` returns; after `seconds`, fails with the end of the log."""
        began = time.monotonic()
        while not (value := probe()):
            waited = time.monotonic() - began
            assert waited < seconds, self.log.read_text()[-5000:]
            time.sleep(min(max(0.2, waited / 20), 2.0))  # each question takes the server some CPU time
        return value

    def launch(self, assets: list[str], partition: str, config: str = "{}") -> str:
        """Materialise assets for one partition, as the button *Materialize* does; the run's id."""
        answer = self.ask(
            LAUNCH,
            assets=[{"path": [name]} for name in assets],
            partition=partition,
            config=config,
        )["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def status(self, run: str) -> str:
        return str(
            self.ask("query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run)["runOrError"][
                "status"
            ]
        )

    def end(self, run: str, seconds: float = 300) -> str:
        """The status of a run once it has ended."""
        return self.wait(
            lambda: status if (status := self.status(run)) in ("SUCCESS", "FAILURE", "CANCELED") else "", seconds
        )

    def materialize_all(self, assets: list[str], partitions: list[str]) -> str:
        """What *Materialize all* sends for several partitions: a backfill of all assets; its id."""
        answer = self.ask(
            """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
              __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            params={"assetSelection": [{"path": [name]} for name in assets], "partitionNames": partitions},
        )["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def backfill_status(self, backfill: str) -> str:
        """REQUESTED until it has ended."""
        query = (
            "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
        )
        return str(self.ask(query, id=backfill)["partitionBackfillOrError"]["status"])

    def runs(self) -> list[dict[str, Any]]:
        """Every run, the newest first: id, status, job, tags, assets."""
        return list(self.ask(RUNS)["runsOrError"]["results"])

    def materialisations(self, asset: str) -> list[dict[str, Any]]:
        """The events of an asset, the newest first, with metadata by label."""
        events = self.ask(MATERIALISATIONS, key={"path": [asset]})["assetOrError"]["assetMaterializations"]
        return [
            {**event, "metadata": {entry["label"]: entry for entry in event["metadataEntries"]}} for event in events
        ]

    def start_schedule(self, name: str) -> None:
        answer = self.ask(START_SCHEDULE % (SELECTOR, json.dumps(name)))["startSchedule"]
        assert answer["__typename"] == "ScheduleStateResult", answer

    def ticks(self, name: str) -> list[dict[str, Any]]:
        """The ticks of a schedule, the newest first: status, why it was skipped, and the runs it requested."""
        return list(self.ask(TICKS % (SELECTOR, json.dumps(name)))["scheduleOrError"]["scheduleState"]["ticks"])


@contextlib.contextmanager
def dagster_dev(project: Path, **extra: str) -> Iterator[Dagster]:
    """`dagster dev` on a project that was set up, until the end of the block."""
    port = free_port()
    environment = environment_for(
        project / "data",
        LLM_ASSETS_RECIPE=f"{project}/recipe.py:mine",
        DAGSTER_HOME=str(project / "data" / "dagster"),
        **extra,
    )
    log = project / "dev.log"
    program = str(Path(sys.executable).with_name("dagster"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "dev", "-m", LOCATION, "-p", str(port), "-h", "127.0.0.1"],
            cwd=project,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Dagster(port, log)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-5000:]
        try:
            return bool(server.ask("{ assetNodes { assetKey { path } } }")["assetNodes"])
        except (OSError, AssertionError):
            return False

    try:
        server.wait(answers, 120)
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            # Its code servers would outlive it by a minute, and use the cores.
            os.killpg(process.pid, signal.SIGKILL)


def dagster_materialize(project: Path, select: str, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run `dagster asset materialize` on the project's code location."""
    return command(project, "dagster", "asset", "materialize", "--select", select, *words, "-m", LOCATION, **extra)
