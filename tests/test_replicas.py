"""Replicas of a recipe."""

import pytest

from llm_assets.graph import GRAPH
from llm_assets.recipes import laptop
from llm_assets.recipes.load import RecipeError, load_recipe, split_replica
from llm_assets.recipes.replicas import Replica, read_replica, replica_of


def seeds_of(recipe):
    groups = {name: getattr(recipe, name) for name in type(recipe).model_fields}
    return {name: group.seed for name, group in groups.items() if hasattr(group, "seed")}


def test_every_seed_of_the_recipe_is_replaced_and_nothing_else():
    base, other = laptop(), replica_of(laptop(), Replica(7))
    assert len(seeds_of(other)) > 5 and set(seeds_of(other).values()) == {7}
    for name in seeds_of(other):
        assert getattr(other, name).replace(seed=getattr(base, name).seed) == getattr(base, name)
    assert other.crawls == base.crawls and other.recrawls == base.recrawls


def test_a_replica_is_compared_with_the_ablation_which_the_recipe_builds_on_demand():
    assert "ablation_checkpoint" in GRAPH.on_demand(laptop())
    assert "ablation_checkpoint" not in GRAPH.inputs(laptop())["sft_evaluation"]
    other = replica_of(laptop(), Replica(1))
    assert "ablation_checkpoint" not in GRAPH.on_demand(other)
    assert "ablation_checkpoint" in GRAPH.inputs(other)["sft_evaluation"]


def test_another_world_has_a_crawl_of_its_own_and_no_recrawls():
    other = replica_of(laptop(), Replica(1, 3))
    assert [(name, crawl.world) for name, crawl in other.crawls.items()] == [("sample-world-3", 3)]
    assert other.recrawls == ()
    assert seeds_of(other) == seeds_of(laptop())


@pytest.mark.parametrize("replica", [Replica(2), Replica(2, 3)])
def test_the_text_of_a_replica_is_read_as_the_same_replica(replica):
    assert read_replica(str(replica)) == replica


def test_a_recipe_is_loaded_as_its_replica():
    assert load_recipe("laptop#seed=2,world=4") == replica_of(laptop(), Replica(2, 4))


def test_a_path_may_contain_the_mark_of_a_replica():
    assert split_replica("/a#b/c.py:own#seed=4") == ("/a#b/c.py:own", "seed=4")


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("laptop#seed", "'seed': not a replica; write seed=2 or seed=2,world=4"),
        ("gpu#seed=1,world=2", "recipe gpu crawls no sample web, so it has no other world"),
    ],
)
def test_an_impossible_replica_is_an_error_that_says_why(reference, problem):
    with pytest.raises(RecipeError, match=problem):
        load_recipe(reference)
