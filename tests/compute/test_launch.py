"""The environment of a job's process, and how its errors are reported."""

from dataclasses import dataclass

import pytest

from llm_assets.compute.allocator import ALLOCATOR
from llm_assets.compute.launch import JobFailed, run_job
from llm_assets.compute.process import Reporter


@dataclass(frozen=True)
class Job:
    steps: int = 1


def test_a_process_keeps_its_memory_unless_the_environment_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    received = {}

    def launcher(command, environment):
        received.update(environment)
        return 0

    run_job("a.module", Job(), tmp_path, lambda event: None, launcher=launcher)
    assert {name: received[name] for name in ALLOCATOR} == {**ALLOCATOR, "MALLOC_ARENA_MAX": "4"}


def test_the_first_error_is_reported_whichever_process_raised_it(tmp_path):
    events = []

    def launcher(command, environment):
        first, second = Reporter(tmp_path, 0), Reporter(tmp_path, 1)
        first("step", step=1)
        second("step", step=1)
        second.error(message="no memory left", errno=None)
        first.error(message="the connection is closed", errno=None)
        return 1

    with pytest.raises(JobFailed, match="no memory left"):
        run_job("a.module", Job(), tmp_path, events.append, launcher=launcher)
    assert events == [{"kind": "step", "step": 1}]
