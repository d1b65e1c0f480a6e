"""Which engine the settings name, and what is refused without a cluster."""

import pickle
import sys
import types

import pytest

from llm_assets.compute import LocalEngine, RayEngine, open_engine, ray_engine
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


def test_a_node_without_this_code_reports_it(monkeypatch):
    module = types.ModuleType("only_here")
    exec("def work():\n    pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    payload = pickle.dumps((module.work, ()))
    assert ray_engine._new_call()(payload) is None
    monkeypatch.delitem(sys.modules, "only_here")
    assert "lacks this version of llm-assets (No module named 'only_here')" in ray_engine._new_call()(payload)
