"""Connects a step's processes with its run: progress goes to the log, training processes use Dagster Pipes."""

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from llm_assets.artifacts.progress import Event
from llm_assets.compute.launch import subprocess_launcher

LOG_SECONDS = 5.0
# Dagster warns about its own use of a preview function, once per training process in every log.
warnings.filterwarnings("ignore", message=".*expected_writer_count", category=dg.PreviewWarning)


def progress_logger(log: Any) -> Callable[[Event], None]:
    """A listener that writes events to a run's log, with at most one line of progress in five seconds."""
    last_progress = 0.0

    def listen(event: Event) -> None:
        nonlocal last_progress
        if event.kind == "progress":
            if time.monotonic() - last_progress < LOG_SECONDS:
                return
            last_progress = time.monotonic()
        (log.warning if event.kind == "warning" else log.info)(event.text())

    return listen


def pipes_launcher(context: dg.AssetExecutionContext) -> Callable[[list[str], Mapping[str, str]], int]:
    """A launcher that runs a training process with Dagster Pipes, so that its log lines reach the run's log."""

    def launch(command: list[str], environment: Mapping[str, str]) -> int:
        with dg.open_pipes_session(
            context=context,
            context_injector=dg.PipesTempFileContextInjector(),
            message_reader=dg.PipesTempFileMessageReader(),
        ) as session:
            return subprocess_launcher(command, {**environment, **session.get_bootstrap_env_vars()})

    return launch
