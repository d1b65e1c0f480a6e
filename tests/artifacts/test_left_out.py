"""Stages that a recipe leaves out: what depends on them is left out too, unless it can do without them."""

from dataclasses import replace

import pytest

from llm_assets.artifacts import ArtifactError, Graph, LeftOut, NotBuilt, Workspace, materialize
from llm_assets.artifacts.explain import explain, left_out_lines, state_of_asset
from tests.support.toy import LETTERS, TOTAL, WORDS, ToyRecipe, make_folder, workspace


def without_factor(recipe):
    return None if recipe.factor else "factor is 0"


LEAVES_OUT = replace(WORDS, left_out=without_factor)
# `total` reads the letters, and the words where there are any; `sum` needs the words.
TOTAL_OF_ALL = replace(TOTAL, inputs=("letters", "words"), optional_inputs=("words",))
SUM = replace(TOTAL, name="sum", inputs=("words",))
GRAPH = Graph([LETTERS, LEAVES_OUT, TOTAL_OF_ALL, SUM])


@pytest.fixture
def space(tmp_path):
    make_folder(tmp_path / "in", "a")
    recipe = ToyRecipe(folder=str(tmp_path / "in"), factor=0)
    return Workspace(recipe, workspace(tmp_path / "store", recipe).store, GRAPH, workspace(tmp_path, recipe).engine)


def test_a_stage_without_a_required_input_is_left_out_with_the_same_reason(space):
    assert GRAPH.left_out(space.recipe) == {"words": "factor is 0", "sum": "factor is 0"}
    assert GRAPH.left_out(space.recipe.model_copy(update={"factor": 1})) == {}
    assert GRAPH.keys(space.recipe) == [("letters", "a"), ("total", None)]
    assert left_out_lines(GRAPH.left_out(space.recipe)) == ["left out: words, sum: factor is 0"]


def test_a_stage_does_without_an_optional_input_that_is_left_out(space):
    materialize(LETTERS, "a", space)
    outcome = materialize(TOTAL_OF_ALL, None, space)
    assert list(outcome.artifact.record.fields["inputs"]) == ["letters/a"]
    assert all(explanation.state == "cached" for explanation in explain(space))


def test_an_optional_input_that_is_not_left_out_is_required(space):
    with_words = replace(space, recipe=space.recipe.model_copy(update={"factor": 2}))
    materialize(LETTERS, "a", with_words)
    with pytest.raises(NotBuilt, match="words/a"):
        materialize(TOTAL_OF_ALL, None, with_words)
    materialize(LEAVES_OUT, "a", with_words)
    inputs = materialize(TOTAL_OF_ALL, None, with_words).artifact.record.fields["inputs"]
    assert set(inputs) == {"letters/a", "words/a"}


def test_a_stage_that_is_left_out_is_not_built_and_says_why(space):
    materialize(LETTERS, "a", space)
    reason = "words/a is left out under recipe 'toy': factor is 0"
    with pytest.raises(LeftOut, match=reason):
        materialize(LEAVES_OUT, "a", space)
    with pytest.raises(LeftOut, match=reason):
        space.resolver().artifact("words", "a")


def test_an_asset_without_artifacts_of_the_recipe_passes_as_left_out():
    outcome = state_of_asset([])
    assert outcome.passed and outcome.summary == "left out under this recipe"


def test_optional_inputs_are_among_the_inputs():
    with pytest.raises(ArtifactError, match="total: optional inputs words are not among its inputs"):
        Graph([LETTERS, LEAVES_OUT, replace(TOTAL, inputs=("letters",), optional_inputs=("words",))])


def test_a_recipe_leaves_out_assets_by_name():
    recipe = ToyRecipe(folder="in", leave_out=("words",))
    assert set(GRAPH.left_out(recipe).values()) == {"the recipe leaves out words (leave_out)"}
    assert list(GRAPH.left_out(recipe)) == ["words", "sum"]
    with pytest.raises(ArtifactError, match="leave_out: no asset 'word'; the assets are letters, words, total, sum"):
        GRAPH.left_out(ToyRecipe(folder="in", leave_out=("word",)))


def test_a_substitute_is_read_in_place_of_what_is_left_out():
    graph = Graph([LETTERS, LEAVES_OUT, replace(SUM, substitutes={"words": "letters"})])
    with_words, without_words = ToyRecipe(folder="in"), ToyRecipe(folder="in", factor=0)
    assert graph.inputs(with_words)["sum"] == ["words"] and graph.inputs(without_words)["sum"] == ["letters"]
    assert list(graph.left_out(without_words)) == ["words"]
    assert list(graph.left_out(ToyRecipe(folder="in", factor=0, leave_out=("letters",)))) == ["letters", "words", "sum"]
    with pytest.raises(ArtifactError, match="sum is listed before its substitutes: letters"):
        Graph([replace(SUM, inputs=(), substitutes={"words": "letters"})])


def test_what_is_built_on_demand_under_a_recipe_is_read_under_others():
    on_demand = replace(WORDS, on_demand=lambda recipe: recipe.factor == 1)
    graph = Graph([LETTERS, on_demand, TOTAL_OF_ALL, replace(SUM, on_demand=True)])
    assert graph.on_demand(ToyRecipe(folder="in", factor=1)) == {"words", "sum"}
    assert graph.on_demand(ToyRecipe(folder="in", factor=2)) == {"sum"}
    assert graph.inputs(ToyRecipe(folder="in", factor=1)) | {"letters": []} == {
        "letters": [],
        "words": ["letters"],
        "total": ["letters"],
        "sum": ["words"],
    }
    assert graph.inputs(ToyRecipe(folder="in", factor=2))["total"] == ["letters", "words"]
