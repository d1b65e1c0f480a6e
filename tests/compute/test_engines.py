"""Which engine the settings name, and what is refused without a cluster."""

import pickle
import sys
import types

import pytest

import llm_assets
from llm_assets.compute import LocalEngine, RayEngine, ray_engine
from llm_assets.compute.engines import open_engine
from llm_assets.settings import load_settings
from resources import Compute


def test_an_address_chooses_the_cluster(monkeypatch):
    assert isinstance(open_engine(load_settings()), LocalEngine)
    monkeypatch.setenv("LLM_ASSETS_RAY_ADDRESS", "head:6379")
    monkeypatch.setenv("LLM_ASSETS_RAY_TASK_GB", "1.5")
    monkeypatch.setenv("LLM_ASSETS_WORKERS", "3")
    engine = Compute().open_engine()
    assert isinstance(engine, RayEngine) and (engine.address, engine.memory) == ("head:6379", 1_500_000_000)
    assert engine.on_this_machine.workers == 3
    assert Compute(address="other:6379").open_engine().address == "other:6379"
    assert isinstance(Compute(engine="local").open_engine(), LocalEngine)
    monkeypatch.delenv("LLM_ASSETS_RAY_ADDRESS")
    assert Compute(engine="ray").open_engine().address == "auto"


@pytest.mark.parametrize("size", ["much", "0", "-1", "inf", "nan"])
def test_an_error_names_an_impossible_size(monkeypatch, size):
    monkeypatch.setenv("LLM_ASSETS_RAY_TASK_GB", size)
    with pytest.raises(ValueError, match=f"LLM_ASSETS_RAY_TASK_GB is '{size}'; it must be a positive number"):
        load_settings()


def test_ray_that_is_not_installed_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ray_engine.ClusterError, match=r"needs Ray: pip install 'llm-assets\[ray\]'"):
        list(RayEngine("head:6379").run(print, {"task": ()}))


class ScriptedRay:
    """A cluster. listings: memory of each of its nodes, whenever they are listed; the last counts from then on.

    A task finishes if some node has the memory that it asks for. most: unfinished tasks at a time so far.
    """

    def __init__(self, *listings):
        self.listings, self.memory, self.requested, self.cancelled = list(listings), (), [], []
        self.finished, self.most = 0, 0

    def nodes(self):
        self.memory = self.listings.pop(0) if self.listings else self.memory
        return [{"Alive": True, "Resources": {"CPU": 1.0, "memory": float(memory)}} for memory in self.memory]

    def remote(self, function):
        return types.SimpleNamespace(
            options=lambda **options: types.SimpleNamespace(remote=lambda _: self.add(options))
        )

    def add(self, options):
        self.requested.append(options["memory"])
        self.most = max(self.most, len(self.requested) - self.finished)
        return len(self.requested) - 1

    def wait(self, references, num_returns=1, timeout=None):
        done = [number for number in references if self.requested[number] <= max(self.memory, default=-1)][:num_returns]
        return done, [number for number in references if number not in done]

    def get(self, reference):
        self.finished += 1

    def cancel(self, reference, force):
        self.cancelled.append(reference)


@pytest.mark.parametrize(
    ("listings", "requested", "cancelled"),
    [
        ([(30, 10), (10,)], [20, 20, 20, 10, 10], [1, 2]),  # the largest node is lost after the first task
        ([(), (10,)], [20, 20, 20, 10, 10, 10], [0, 1, 2]),  # nodes join after the tasks are submitted
        ([(30,), (0,)], [20, 20, 20, 0, 0], [1, 2]),  # a node that declares no memory
        ([(30,)], [20, 20, 20], []),
    ],
)
def test_tasks_that_no_node_has_the_memory_for_ask_for_what_there_is(monkeypatch, listings, requested, cancelled):
    cluster = ScriptedRay(*listings)
    monkeypatch.setattr(ray_engine, "connect", lambda address: cluster)
    monkeypatch.setattr(ray_engine, "LOOK_SECONDS", 0.0)
    assert list(RayEngine(memory=20).run(print, {"a": (), "b": (), "c": ()})) == ["a", "b", "c"]
    assert cluster.requested == requested and cluster.cancelled == cancelled


@pytest.mark.parametrize(("nodes", "most"), [(1, ray_engine.LEAST_IN_FLIGHT), (20, 40)])
def test_at_most_two_tasks_for_each_core_are_submitted_at_a_time(monkeypatch, nodes, most):
    cluster = ScriptedRay((30,) * nodes)
    monkeypatch.setattr(ray_engine, "connect", lambda address: cluster)
    tasks = {f"task{number}": () for number in range(100)}
    assert list(RayEngine(memory=20).run(print, tasks)) == list(tasks)
    assert cluster.most == most


def test_a_node_without_this_code_reports_it(monkeypatch):
    module = types.ModuleType("only_here")
    exec("def work():\n    pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    payload = pickle.dumps((module.work, ()))
    assert ray_engine._new_call()(payload) is None
    monkeypatch.delitem(sys.modules, "only_here")
    run_task = ray_engine._new_call()
    with monkeypatch.context() as patch:
        patch.setattr(llm_assets, "__version__", "0.0.9")
        assert f"llm-assets {ray_engine.__version__}; it has 0.0.9 (No module named 'only_here')" in run_task(payload)
    monkeypatch.setitem(sys.modules, "llm_assets", None)
    assert "it has none (No module named 'only_here'). Install the same" in run_task(payload)
