"""An evaluation as the work of a step: run its process, follow its progress, read its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_assets.artifacts.step import Step
from llm_assets.compute import RESULTS
from llm_assets.compute.launch import run_job


def measure(step: Step, module: str, job: Any, folder: Path) -> dict[str, Any]:
    """Run an evaluation in `folder` and return its results; if they are there from an earlier try, only read them.

    The process's progress is reported as the step's.
    job: a frozen dataclass, which `module` reads back as the same type.
    """
    if not (folder / RESULTS).exists():

        def report_progress(event: dict[str, Any]) -> None:
            if event["kind"] == "task":
                if event["number"] == 0:
                    step.progress.start(event["of"], "tasks")
                step.progress.advance(event["number"], message=event["name"])

        run_job(module, job, folder, report_progress, launcher=step.launcher)
    return dict(json.loads((folder / RESULTS).read_text()))
