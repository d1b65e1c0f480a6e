"""The preset `chat`: what its few arguments become, which assets it builds, and how Dagster runs it without crawls."""

import click
import dagster as dg
import pytest

from llm_assets.cli.dagster_runs import runs_for
from llm_assets.cli.run import chosen_crawls
from llm_assets.definitions import make_definitions
from llm_assets.dialogue.guidelines import PUBLISHED_GUIDELINES, read_guidelines
from llm_assets.finetuning.conversations import conversations_config
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import (
    ConversationFile,
    Lora,
    PublishedModel,
    RecipeError,
    Texts,
    chat,
    gpu,
    laptop,
    load_recipe,
)
from llm_assets.settings import load_settings

ENDS = {"sft_checkpoint", "sft_evaluation", "model_export", "scorecard"}


def test_every_stage_has_a_config_for_a_model_whose_context_only_its_folder_tells():
    recipe = chat(PublishedModel(path="/models/any"))
    for stage in GRAPH:
        if stage.name not in GRAPH.left_out(recipe) and not stage.per_crawl:
            stage.config(recipe, None)


def built(recipe):
    """The assets of the recipe's default run."""
    return dict(GRAPH.keys(recipe)).keys() - GRAPH.on_demand(recipe)


def test_files_are_named_as_they_are_or_keep_their_settings():
    named = ConversationFile(path="b.jsonl", name="b", repeat=2)
    recipe = chat("model", ["data/our chats.v2.jsonl.gz", named], ["ranked.jsonl"], questions=["faq.jsonl"])
    first, second = recipe.conversations.files
    assert (first.name, first.path) == ("our-chats", "data/our chats.v2.jsonl.gz") and second is named
    assert recipe.human_rankings.files[0].name == "ranked" and recipe.sft_evaluation.files[0].name == "faq"
    assert recipe.pretraining.start == PublishedModel(path="model", context=2048)
    start = PublishedModel(path="model", context=512)
    assert chat(start).pretraining.start is start


@pytest.mark.parametrize(("lora", "rates"), [(None, (2e-5, 5e-7)), (Lora(), (2e-4, 5e-6))])
def test_rates_are_those_of_zephyr(lora, rates):
    recipe = chat("model", preferences=["ranked.jsonl"], lora=lora)
    scales = (recipe.finetuning.learning_rate_scale, recipe.dpo.learning_rate_scale)
    assert tuple(recipe.pretraining.learning_rate * scale for scale in scales) == pytest.approx(rates)
    assert recipe.finetuning.lora == recipe.dpo.lora == lora and not recipe.pretraining.muon


def test_it_ends_with_what_it_is_given():
    """Nothing waits for a person or for a crawl."""
    without_preferences = built(chat("model", ["chats.jsonl"]))
    assert without_preferences >= ENDS and not without_preferences & {"human_rankings", "dpo_checkpoint"}
    assert not any(GRAPH[name].per_crawl for name in without_preferences)
    recipe = chat("model", ["chats.jsonl"], ["ranked.jsonl"], crawls={"wiki": Texts(path="wiki.jsonl")})
    assert built(recipe) >= ENDS | {"clean_corpus", "base_evaluation", "dpo_checkpoint", "dpo_evaluation"}
    assert not built(recipe) & {"rl_checkpoint", "reward_checkpoint", "response_pairs", "ablation_checkpoint"}
    assert GRAPH.inputs(recipe)["dpo_checkpoint"] == ["sft_checkpoint", "human_rankings"]
    with_rl = recipe.replace(leave_out=())
    assert GRAPH.inputs(with_rl)["dpo_checkpoint"] == ["rl_checkpoint", "human_rankings"]
    rlhf = recipe.replace(preference_tuning="rlhf")
    assert built(rlhf) >= ENDS | {"response_pairs", "reward_checkpoint", "rlhf_checkpoint", "rlhf_evaluation"}
    assert not built(rlhf) & {"dpo_checkpoint", "rl_checkpoint"}


def test_word_problems_bring_reinforcement_learning_between_sft_and_dpo():
    """Without any crawl."""
    recipe = chat("model", ["chats.jsonl"], ["ranked.jsonl"]).with_word_problems("data/gsm8k_train.jsonl.gz")
    assert recipe.practice_problems.word_problems.name == "gsm8k_train"
    assert built(recipe) >= ENDS | {"practice_problems", "rl_checkpoint", "rl_evaluation", "dpo_checkpoint"}
    assert GRAPH.inputs(recipe)["dpo_checkpoint"] == ["rl_checkpoint", "human_rankings"]
    assert GRAPH.inputs(recipe)["practice_problems"] == ["knowledge_boundary"]
    assert "ablation_checkpoint" not in built(recipe)


def test_dagster_runs_a_recipe_without_crawls_in_one_run_without_a_partition(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path))
    recipe = chat("model", ["chats.jsonl"], ["ranked.jsonl"])
    job = make_definitions(recipe).resolve_job_def("everything")
    assert {key.to_user_string() for key in job.asset_layer.selected_asset_keys} == built(recipe)
    assert job.partitions_def is None
    keys = {dg.AssetKey(name) for name in built(recipe)}
    assert runs_for(recipe, [], keys) == [("everything", None, keys)]
    assert chosen_crawls(open_workspace(recipe), (), load_settings()) == []
    nothing_yet = gpu().replace(registered_crawls=())
    with pytest.raises(click.ClickException, match="has no crawl"):
        chosen_crawls(open_workspace(nothing_yet), (), load_settings())


def test_a_published_model_has_guidelines_that_refuse_nothing_it_can_do():
    config = conversations_config(chat("model"), None)
    assert config.conversations.guidelines == str(PUBLISHED_GUIDELINES)
    sections = read_guidelines(PUBLISHED_GUIDELINES)
    assert {"identity", "harm", "today"} <= sections.keys() and not {"poem", "programs", "wide_world"} & sections.keys()
    assert conversations_config(laptop(), None).conversations.guidelines is None


def test_the_bare_name_is_an_error_that_shows_how_to_call_it():
    with pytest.raises(RecipeError, match=r"recipe 'chat' needs a model and files: write a recipe file"):
        load_recipe("chat")
