"""Jobs are read back as they were written, or refused."""

import importlib
import json
import subprocess
import sys
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.compute.jobs import JobError, dump_job, load_job
from llm_assets.compute.launch import JobFailed, run_job
from llm_assets.model.shape import ModelShape

PACKAGES = ("tools", "evaluation", "pretraining", "finetuning", "reinforcement", "preference")


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
def test_a_job_is_read_back_as_it_was_written(job, parent):
    assert load_job(dump_job(job, parent), Job) == (job, parent)


@pytest.mark.parametrize("job", [{"rate": 1.0}, ["a"], Rates])
def test_a_job_must_be_a_dataclass(job):
    with pytest.raises(JobError, match=r"a job must be a dataclass instance, not (dict|list|type)"):
        dump_job(job)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 1.0, "kind": "muon", "momentum": 1}, "Rates: fields unknown momentum"),
        ({"rate": 1.0}, "Rates: fields missing kind"),
        ({"rate": "1", "kind": "muon"}, r"Rates\.rate: '1' is not of type float"),
        ({"rate": True, "kind": "muon"}, r"Rates\.rate: True is not of type float"),
        ({"rate": 1.0, "kind": "sgd"}, r"Rates\.kind: 'sgd' is not one of 'muon', 'adamw'"),
        ([], r"Rates: \[\] is not of type Rates"),
    ],
)
def test_values_that_do_not_match_the_type_are_refused(values, message):
    with pytest.raises(JobError, match=message):
        load_job(json.dumps({"parent": None, "job": values}), Rates)


def test_a_value_without_a_plain_form_is_refused():
    with pytest.raises(JobError, match=r"Job\.anything: a job may hold plain values and dataclasses, not set"):
        dump_job(Job("x", Rates(1.0), anything={1}))


@dataclass(frozen=True)
class Window:
    bounds: tuple[int, int]


@dataclass(frozen=True)
class Bounds:
    bounds: tuple[int, ...]


def test_a_tuple_must_have_the_length_of_its_type():
    with pytest.raises(JobError, match=r"Window\.bounds: 3 values, expected 2"):
        load_job(dump_job(Bounds((1, 2, 3))), Window)


def test_a_process_reports_what_is_wrong_with_its_job(tmp_path):
    with pytest.raises(JobFailed, match="PretrainingJob: fields unknown kind, rate; missing shape, plan"):
        run_job("llm_assets.pretraining.base_checkpoint_process", Rates(1.0), tmp_path, lambda event: None)


def job_types():
    """The dataclasses that processes read: all in ``<package>/jobs.py`` whose names end with Job."""
    modules = [importlib.import_module(f"llm_assets.{package}.jobs") for package in PACKAGES]
    return list(
        dict.fromkeys(kind for module in modules for name, kind in vars(module).items() if name.endswith("Job"))
    )


@pytest.mark.parametrize("kind", job_types())
def test_every_job_type_is_read_back_as_it_was_written(kind):
    job = example(kind)
    assert load_job(dump_job(job), kind) == (job, None)


def example(kind):
    """A value of a type that jobs may use."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is ModelShape:
        return ModelShape.of_depth(2, 500, 32, width=32)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{field.name: example(hints[field.name]) for field in fields(kind)})
    if origin in (tuple, list):
        return origin(example(argument) for argument in arguments if argument is not Ellipsis)
    if origin is dict:
        return {"name": example(arguments[1])}
    if origin is Literal:
        return arguments[0]
    return example(arguments[0]) if origin is not None else {str: "text", int: 3, float: 0.5, bool: True, Any: 1}[kind]


def test_reading_jobs_and_plans_needs_only_the_standard_library():
    code = """
import importlib, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "numpy", "polars", "pydantic", "tiktoken", "dagster"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
for name in sys.argv[1:]:
    importlib.import_module(f"llm_assets.{name}")
"""
    names = ["training.plan", *(f"{package}.jobs" for package in ("compute", *PACKAGES))]
    subprocess.run([sys.executable, "-c", code, *names], check=True)
