"""Recipes without rankings end: nothing waits for a person, and the last trained model is the released one."""

import click
import dagster as dg
import pytest

from llm_assets.cli.run import announce_simulated, chosen_assets, without_left_out
from llm_assets.definitions import definitions_for, defs, make_definitions
from llm_assets.evaluation.figures import MODELS, released_model
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import RECIPES, SimulatedLabeller, gpu, laptop

LEFT_OUT = {
    "human_rankings",
    "reward_checkpoint",
    "rlhf_checkpoint",
    "rlhf_evaluation",
    "dpo_checkpoint",
    "dpo_evaluation",
    "over_optimisation",
}
BENCHMARKS = {"benchmark_evaluation"}  # which no preset names
ENDS = {"scorecard", "model_export", "response_pairs", "rl_evaluation"}


def assets_of(definitions, job):
    return {key.to_user_string() for key in definitions.resolve_job_def(job).asset_layer.selected_asset_keys}


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "laptop"])
def test_the_presets_for_gpus_leave_out_what_needs_rankings(name):
    left_out = GRAPH.left_out(RECIPES[name]())
    assert left_out.keys() == LEFT_OUT | BENCHMARKS
    assert len({reason for name, reason in left_out.items() if name in LEFT_OUT}) == 1
    assert not ENDS & left_out.keys()


def test_rankings_of_a_simulated_labeller_leave_nothing_out():
    assert GRAPH.left_out(laptop()).keys() == BENCHMARKS
    ranked = gpu().replace(human_rankings=gpu().human_rankings.replace(simulated=SimulatedLabeller()))
    assert GRAPH.left_out(ranked).keys() == BENCHMARKS


def test_no_job_selects_what_the_recipe_leaves_out():
    definitions = make_definitions(gpu())
    jobs = [job.name for job in definitions.get_repository_def().get_all_jobs() if not job.name.startswith("__")]
    selected = set().union(*(assets_of(definitions, job) for job in jobs))
    assert selected == set(GRAPH.stages) - LEFT_OUT - BENCHMARKS
    assert assets_of(definitions, "everything") & assets_of(definitions, "model") >= ENDS


def test_dagster_shows_what_is_left_out_and_materialises_everything_else():
    graph = make_definitions(gpu()).resolve_asset_graph()
    everything = {key.to_user_string() for key in dg.AssetSelection.all().resolve(graph)}
    assert everything == set(GRAPH.stages) - LEFT_OUT - BENCHMARKS
    node = graph.get(dg.AssetKey("rlhf_checkpoint"))
    assert node.is_external and "human_rankings.files" in node.metadata["left_out"]
    assert node.description.startswith("Left out: the recipe names no rankings")
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey("scorecard")).parent_keys}
    assert parents == set(GRAPH["scorecard"].inputs) - LEFT_OUT - BENCHMARKS - {"ablation_checkpoint"}


def test_a_run_takes_the_jobs_of_its_own_recipe():
    assert definitions_for(laptop()) is defs
    assert LEFT_OUT - GRAPH.on_demand(laptop()) <= assets_of(definitions_for(laptop()), "everything")
    assert not LEFT_OUT & assets_of(definitions_for(gpu()), "everything")


def test_a_selection_drops_what_is_left_out_and_says_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path))
    workspace = open_workspace(gpu())
    for definitions in (defs, make_definitions(gpu())):
        chosen = without_left_out(workspace, chosen_assets("group:preference", definitions))
        assert {key.to_user_string() for key in chosen} == {"response_pairs"}
        [line] = capsys.readouterr().out.splitlines()
        names = "human_rankings, reward_checkpoint, rlhf_checkpoint, rlhf_evaluation, dpo_checkpoint, dpo_evaluation"
        assert line.startswith(f"left out: {names}: the recipe")
        with pytest.raises(click.ClickException, match=r"left out: rlhf_checkpoint: the recipe names no rankings"):
            without_left_out(workspace, chosen_assets("rlhf_checkpoint", definitions))


def test_a_run_names_the_field_of_an_inherited_labeller(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path))
    own_pages = laptop().replace(name="mine", crawls={}, search_only_hosts=())
    announce_simulated(open_workspace(own_pages))
    assert "recipe mine sets human_rankings.simulated: a written rule ranks answers" in capsys.readouterr().out
    announce_simulated(open_workspace(gpu()))
    assert not capsys.readouterr().out


@pytest.mark.parametrize("last", ["base", "sft", "rl", "dpo", "rlhf"])
def test_the_released_model_is_the_last_one_that_is_trained(last):
    names = list(MODELS)[: list(MODELS).index(last) + 1]
    assert released_model({MODELS[name] for name in names} | {"ablation_checkpoint", "tokenizer"}) == last
