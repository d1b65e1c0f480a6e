"""What a job's process is given."""

from dataclasses import dataclass

from llm_assets.compute.launch import ALLOCATOR, run_job


@dataclass(frozen=True)
class Job:
    steps: int = 1


def test_a_process_keeps_its_memory_unless_its_user_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    seen = {}

    def launcher(command, environment):
        seen.update(environment)
        return 0

    run_job("a.module", Job(), tmp_path, lambda event: None, launcher=launcher)
    assert {name: seen[name] for name in ALLOCATOR} == {**ALLOCATOR, "MALLOC_ARENA_MAX": "4"}
