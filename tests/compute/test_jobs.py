"""Jobs are read back as what they were written from, or refused."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.compute.jobs import JobError, dump_job, load_job
from llm_assets.compute.launch import JobFailed, run_job


@dataclass(frozen=True)
class Rates:
    rate: float
    kind: Literal["muon", "adamw"] = "muon"


@dataclass(frozen=True)
class Job:
    folder: str
    rates: Rates
    pairs: tuple[tuple[str, int], ...] = ()
    window: tuple[int, float] = (1, 0.5)
    by_name: dict[str, Rates] = field(default_factory=dict)
    lists: list[list[str]] = field(default_factory=list)
    earlier: str | None = None
    choice: Rates | int | None = None
    anything: Any = None
    flag: bool = False


rates = st.builds(Rates, st.floats(allow_nan=False), st.sampled_from(["muon", "adamw"]))
jobs = st.builds(
    Job,
    folder=st.text(),
    rates=rates,
    pairs=st.lists(st.tuples(st.text(), st.integers())).map(tuple),
    window=st.tuples(st.integers(), st.floats(allow_nan=False)),
    by_name=st.dictionaries(st.text(), rates),
    lists=st.lists(st.lists(st.text())),
    earlier=st.none() | st.text(),
    choice=st.none() | st.integers() | rates,
    anything=st.none() | st.integers() | st.lists(st.text()),
    flag=st.booleans(),
)


@given(jobs, st.none() | st.integers(1))
def test_a_job_comes_back_as_it_was(job, parent):
    assert load_job(dump_job(job, parent), Job) == (job, parent)


def test_a_mapping_comes_back_as_one_and_may_hold_dataclasses():
    found, parent = load_job(dump_job({"steps": 3, "rates": Rates(0.5), "names": ("a",)}, 7))
    assert found == {"steps": 3, "rates": {"rate": 0.5, "kind": "muon"}, "names": ["a"]} and parent == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 1.0, "kind": "muon", "more": 1}, "Rates: fields unknown more"),
        ({"rate": 1.0}, "Rates: fields missing kind"),
        ({"rate": "1", "kind": "muon"}, r"Rates\.rate: '1' is no float"),
        ({"rate": True, "kind": "muon"}, r"Rates\.rate: True is no float"),
        ({"rate": 1.0, "kind": "sgd"}, r"Rates\.kind: 'sgd' is none of 'muon', 'adamw'"),
        ([], r"Rates: \[\] is no Rates"),
    ],
)
def test_what_does_not_fit_is_refused(values, message):
    with pytest.raises(JobError, match=message):
        load_job(json.dumps({"parent": None, "job": values}), Rates)


def test_what_has_no_plain_form_is_refused():
    with pytest.raises(JobError, match=r"Job\.anything: a job holds plain values and dataclasses, not set"):
        dump_job(Job("x", Rates(1.0), anything={1}))


@dataclass(frozen=True)
class Window:
    bounds: tuple[int, int]


def test_a_tuple_has_as_many_values_as_its_type_says():
    with pytest.raises(JobError, match=r"Window\.bounds: 3 values, not 2"):
        load_job(dump_job({"bounds": (1, 2, 3)}), Window)


def test_the_process_says_what_is_wrong_with_its_job(tmp_path):
    with pytest.raises(JobFailed, match="PretrainingJob: fields unknown steps; missing shape, plan"):
        run_job("llm_assets.pretraining.train", {"steps": 1}, tmp_path, lambda event: None)


def test_reading_jobs_and_plans_needs_python_alone():
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "numpy", "polars", "pydantic", "tiktoken", "dagster"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import llm_assets.compute.jobs, llm_assets.training.plan, llm_assets.pretraining.jobs, llm_assets.release.jobs
"""
    subprocess.run([sys.executable, "-c", code], check=True)
