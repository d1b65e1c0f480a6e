"""An evaluation as a step's work: its process is run and followed, and its results are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_assets.artifacts.step import Step
from llm_assets.compute import RESULTS
from llm_assets.compute.launch import run_job


def measure(step: Step, module: str, job: Any, folder: Path) -> dict[str, Any]:
    """Run an evaluation in `folder`, with its progress told, unless that was done before; its results.

    job: a frozen dataclass, which `module` reads back as that type.
    """
    if not (folder / RESULTS).exists():

        def hear(event: dict[str, Any]) -> None:
            if event["kind"] == "task":
                if event["number"] == 0:
                    step.progress.start(event["of"], "tasks")
                step.progress.advance(event["number"], message=event["name"])

        run_job(module, job, folder, hear, launcher=step.launcher)
    return dict(json.loads((folder / RESULTS).read_text()))
