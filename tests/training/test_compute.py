"""The compute settings that all training stages share: outside every identity, and turned into plans."""

import pytest

from llm_assets.artifacts.identity import canonical
from llm_assets.finetuning.sft_checkpoint import ablation_config, sft_config
from llm_assets.model.shape import Adapters, ModelShape
from llm_assets.preference.reward_checkpoint import training_plan
from llm_assets.recipes import (
    Compute,
    Dpo,
    Finetuning,
    Lora,
    Pretraining,
    RecipeError,
    Reinforcement,
    RewardTraining,
    Rlhf,
    load_recipe,
)
from llm_assets.recipes.presets import laptop
from llm_assets.training.plan import TrainingPlan
from llm_assets.training.policy_run import policy_plan
from llm_assets.training.training_run import optimisation

SHAPE = ModelShape.of_depth(1, 500, 32, width=32)
OTHER = Compute(device="cpu", processes=3, micro_batch_size=4, compile=False, checkpoint_every=7, checkpoints_kept=1)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("LLM_ASSETS_GPUS", "LLM_ASSETS_PROCESSES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")  # registers the present value, to be restored after the test
        monkeypatch.delenv(name)


@pytest.mark.parametrize("training", [Pretraining, Finetuning, RewardTraining, Dpo, Reinforcement, Rlhf])
def test_compute_settings_are_part_of_no_identity(training):
    assert canonical(training(compute=OTHER)) == canonical(training())
    assert "compute" not in canonical(training())


def test_a_reward_models_micro_batch_holds_whole_pairs():
    with pytest.raises(ValueError, match=r"compute\.micro_batch_size 3: must be even"):
        RewardTraining(compute=Compute(micro_batch_size=3))


@pytest.mark.parametrize(
    ("compute", "micro_batch_size"), [(Compute(), 32), (Compute(device="cpu"), 32), (Compute(micro_batch_size=8), 8)]
)
def test_a_reward_models_micro_batch_is_16_pairs_unless_the_recipe_sets_it(compute, micro_batch_size):
    plan, _ = training_plan(RewardTraining(compute=compute), Pretraining().inherited(), SHAPE, steps=100)
    assert (plan.batch_size, plan.micro_batch_size) == (32, micro_batch_size)
    assert (plan.checkpoint_every, plan.checkpoints_kept, plan.compile) == (25, 2, False)


@pytest.mark.parametrize(
    ("pretraining", "finetuning", "expected"),
    [(None, None, None), (False, None, False), (False, True, True), (True, None, True), (None, False, False)],
)
def test_fine_tuning_is_compiled_if_pretraining_is_unless_the_recipe_sets_it(pretraining, finetuning, expected):
    recipe = laptop().replace(
        pretraining=Pretraining(compute=Compute(compile=pretraining)),
        finetuning=Finetuning(compute=Compute(compile=finetuning)),
    )
    for config in (sft_config(recipe, None), ablation_config(recipe, None)):
        assert config.finetuning.compute.compile is expected


@pytest.mark.parametrize(("compile", "gpu", "cpu"), [(None, True, False), (True, True, True), (False, False, False)])
def test_a_plan_is_compiled_on_a_gpu_unless_the_recipe_sets_it(compile, gpu, cpu):
    plan = TrainingPlan(steps=1, batch_size=1, micro_batch_size=1, compile=compile)
    assert [plan.on(cuda, boundary=0).compile for cuda in (True, False)] == [gpu, cpu]


@pytest.mark.parametrize("settings", [Reinforcement(), Rlhf(length="sequence")])
def test_a_policys_plan_takes_over_the_compute_settings(settings):
    usual, _ = policy_plan(settings, Pretraining().inherited(), SHAPE)
    assert (usual.micro_batch_size, usual.checkpoint_every, usual.checkpoints_kept) == (64, 10, 2)
    plan, processes = policy_plan(settings.replace(compute=OTHER), Pretraining().inherited(), SHAPE)
    assert (plan.micro_batch_size, plan.checkpoint_every, plan.checkpoints_kept, processes) == (4, 7, 1, 3)
    on_cpu, _ = policy_plan(settings.replace(compute=Compute(device="cpu")), Pretraining().inherited(), SHAPE)
    assert on_cpu == usual
    never, _ = policy_plan(settings.replace(compute=Compute(checkpoint_every=0)), Pretraining().inherited(), SHAPE)
    assert never.checkpoint_every == 0


@pytest.mark.parametrize("settings", [Finetuning, Reinforcement, Rlhf, Dpo])
def test_adapters_take_the_place_of_the_weights_in_every_training_that_has_them(settings):
    rates = Pretraining().inherited()
    assert optimisation(settings(), rates, SHAPE).adapters is None
    lora = Lora(rank=4, alpha=8, targets=("q_proj",))
    planned = optimisation(settings(lora=lora, seed=3), rates, SHAPE)
    assert planned.adapters == Adapters(rank=4, alpha=8.0, targets=("q_proj",), seed=3)
    assert canonical(settings(lora=lora)) != canonical(settings())


@pytest.mark.parametrize("settings", [Finetuning, Reinforcement, Rlhf])
def test_a_training_without_adapters_has_the_identity_that_it_had_before_there_were_adapters(settings):
    assert "lora" not in canonical(settings())


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ("rank=0", r"Lora\.rank: Input should be greater than or equal to 1 \(got '0'\)"),
        ("targets=('q',)", r"Lora\.targets\.0: Input should be 'q_proj', 'k_proj', .* or 'c_fc' \(got 'q'\)"),
        ("targets=()", r"Lora\.targets: name at least one layer, or None for all"),
    ],
)
def test_an_impossible_adapter_is_one_error_that_names_the_field(lora, message, tmp_path):
    file, recipe = tmp_path / "mine.py", f"laptop().replace(dpo=Dpo(lora=Lora({lora})))"
    file.write_text(f"from llm_assets.recipes import *\n\ndef mine():\n    return {recipe}\n")
    with pytest.raises(RecipeError, match=f"mine: {message}$"):
        load_recipe(f"{file}:mine")
