"""What a step's processes tell the run: progress in its log, and training processes through Dagster Pipes."""

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from llm_assets.artifacts.progress import Event
from llm_assets.compute.launch import subprocess_launcher

LOG_SECONDS = 5.0
# Dagster's own use of its own preview function, said once for each training in every log.
warnings.filterwarnings("ignore", message=".*expected_writer_count", category=dg.PreviewWarning)


def progress_logger(log: Any) -> Callable[[Event], None]:
    """Writes events into a run's log; of progress, one line in five seconds."""
    last = 0.0

    def listen(event: Event) -> None:
        nonlocal last
        if event.kind != "progress" or time.monotonic() - last >= LOG_SECONDS:
            last = time.monotonic() if event.kind == "progress" else last
            (log.warning if event.kind == "warning" else log.info)(event.text())

    return listen


def pipes_launcher(context: dg.AssetExecutionContext) -> Callable[[list[str], Mapping[str, str]], int]:
    """Runs a training process with Dagster Pipes, so that its log lines reach the run's log; returns its exit code."""

    def launch(command: list[str], environment: Mapping[str, str]) -> int:
        with dg.open_pipes_session(
            context=context,
            context_injector=dg.PipesTempFileContextInjector(),
            message_reader=dg.PipesTempFileMessageReader(),
        ) as session:
            return subprocess_launcher(command, {**environment, **session.get_bootstrap_env_vars()})

    return launch
