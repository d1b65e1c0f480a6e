"""Checkpoints of a store with what they were built from, what that cost, and how their configs differ."""

from dataclasses import replace

import pytest

from llm_assets.artifacts import Graph, Store, Workspace
from llm_assets.compute import LocalEngine
from llm_assets.recipes import Recipe
from llm_assets.release.checkpoint_lineage import config_differences, lineage, stored_checkpoints
from tests.support.model_server import SHAPE
from tests.support.stored_checkpoints import build_checkpoints


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A base model, and models that two recipes tuned it to."""
    root, recipe = tmp_path_factory.mktemp("store"), Recipe(name="mine", crawls={})
    return Workspace(recipe, Store(root), Graph(build_checkpoints(Store(root), recipe)), LocalEngine(1))


def artifacts(workspace):
    return [workspace.store.find(checkpoint.identity) for checkpoint in stored_checkpoints(workspace)]


def test_the_checkpoints_of_the_recipe_come_first(workspace):
    base, tuned, other = stored_checkpoints(workspace)
    assert (base.name, tuned.name) == ("base_checkpoint", "sft_checkpoint") and base.is_current and tuned.is_current
    assert other.asset == "sft_checkpoint" and other.name == other.identity != tuned.identity and not other.is_current


def test_a_checkpoint_that_is_stale_keeps_the_name_of_its_asset(workspace):
    """It is served under this name until its training has been repeated."""
    recipe = workspace.recipe
    changed = replace(workspace, recipe=recipe.replace(finetuning=recipe.finetuning.replace(seed=99)))
    base, tuned, other = stored_checkpoints(changed)
    assert (base.is_current, base.is_stale) == (True, False)
    assert (tuned.name, tuned.is_current, tuned.is_stale) == ("sft_checkpoint", False, True)
    assert tuned.identity == stored_checkpoints(workspace)[1].identity
    assert other.name == other.identity and not other.is_current and not other.is_stale


def test_a_lineage_adds_up_what_its_builds_cost(workspace):
    _, tuned, _ = artifacts(workspace)
    known = lineage(workspace, tuned)
    assert [build.key for build in known.builds] == ["base_checkpoint", "sft_checkpoint"]
    assert known.cost.flops == sum(build.cost.flops for build in known.builds) == 3e12
    assert known.cost.bytes == sum(build.cost.bytes for build in known.builds) > 100_000
    assert known.cost.seconds > 0 and known.parameters == SHAPE.parameters and not known.missing


def test_an_input_that_is_no_longer_stored_is_named(workspace, tmp_path):
    recipe = workspace.recipe
    other = Workspace(recipe, Store(tmp_path), Graph(build_checkpoints(Store(tmp_path), recipe)), LocalEngine(1))
    base, tuned, _ = artifacts(other)
    other.store.delete(base)
    known = lineage(other, tuned)
    assert known.missing == ["base_checkpoint"] and [build.key for build in known.builds] == ["sft_checkpoint"]


def test_fields_of_configs_differ(workspace):
    _, tuned, other = artifacts(workspace)
    (difference,) = config_differences(workspace.store, [tuned, other, tuned])
    assert (difference.asset, difference.field) == ("sft_checkpoint", "config.seed")
    assert difference.values[0] == difference.values[2] != difference.values[1]
    assert not config_differences(workspace.store, [tuned])
