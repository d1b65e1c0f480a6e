"""The table of several seeds."""

import pytest

from benchmarks.seeds import MEASURES, of_seed, table
from llm_assets.recipes import laptop


def seeds_of(recipe):
    groups = {name: getattr(recipe, name) for name in type(recipe).model_fields}
    return {name: group.seed for name, group in groups.items() if hasattr(group, "seed")}


def test_every_seed_of_the_recipe_is_replaced_and_nothing_else():
    other = of_seed(7)
    assert len(seeds_of(other)) > 5 and set(seeds_of(other).values()) == {7}
    assert [crawl.world for crawl in other.crawls.values()] == [7]
    base = laptop()
    for name in seeds_of(other):
        assert getattr(other, name).replace(seed=getattr(base, name).seed) == getattr(base, name)


@pytest.mark.parametrize("measure", [name for name in MEASURES if "pairs ordered" in name])
def test_a_row_holds_the_mean_the_range_and_the_value_of_each_seed(measure, monkeypatch):
    monkeypatch.setattr("benchmarks.seeds.MEASURES", {measure: MEASURES[measure]})
    shares = (0.5, 0.75, 0.7)
    names = ("reward model", "longer answer")
    pairs = [{"test pairs": {"ordered alike": dict.fromkeys(names, share)}} for share in shares]
    stats = [{"rlhf_evaluation": {"figures": {"preference": of_seed}}} for of_seed in pairs]
    rows = table(stats).splitlines()
    assert rows[0] == "| measure | mean | range | seed 1 | seed 2 | seed 3 |"
    assert rows[2] == f"| {measure} | 65.0 | 50.0 to 75.0 | 50.0 | 75.0 | 70.0 |"
