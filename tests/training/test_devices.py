"""The machine's settings of devices and precision take precedence over the recipe."""

from datetime import timedelta

import pytest
import torch

from llm_assets.model import prefill
from llm_assets.model.devices import (
    CPU_SEQUENCES,
    GPU_SEQUENCES,
    autocast,
    find_gpus,
    fitting_sequences,
    half_precision,
    pick_device,
)
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.model.shape import Adapters, ModelError, ModelShape
from llm_assets.model.training_memory import MemorySavings, TrainingKind
from llm_assets.model.transformer import Transformer
from llm_assets.recipes.compute import Compute
from llm_assets.training.division import Demand, share_out, training_kind
from llm_assets.training.plan import Optimisation
from llm_assets.training.processes import PATIENCE, Devices, join_processes
from tests.support.training_jobs import ENCODING

SHAPE = ModelShape.of_depth(1, 500, 32, width=32)


def shared_out(shape, batch_size, compute, kind=TrainingKind(), *rest, **settings):  # noqa: B008
    return share_out(Demand(shape, batch_size, compute, kind, *rest, **settings))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("LLM_ASSETS_GPUS", "LLM_ASSETS_PROCESSES", "LLM_ASSETS_PRECISION", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")  # registers the present value, to be restored after the test
        monkeypatch.delenv(name)
    return monkeypatch


def test_the_environments_processes_take_precedence_over_the_recipe(environment):
    assert shared_out(SHAPE, 8, Compute(device="cpu", processes=0, micro_batch_size=0)).processes == 1
    division = shared_out(SHAPE, 8, Compute(device="cpu", processes=4, micro_batch_size=2))
    assert (division.processes, division.micro_batch_size) == (4, 2)
    environment.setenv("LLM_ASSETS_PROCESSES", "2")
    division = shared_out(SHAPE, 8, Compute(device="cpu", processes=4, micro_batch_size=0))
    assert (division.processes, division.micro_batch_size, division.device) == (2, 4, "cpu")
    environment.setenv("LLM_ASSETS_PROCESSES", "two")
    with pytest.raises(ValueError, match="LLM_ASSETS_PROCESSES is 'two'"):
        shared_out(SHAPE, 8, Compute(device="cpu", processes=4, micro_batch_size=0))


def test_the_environment_chooses_gpus_or_none(environment):
    import os

    environment.setattr(torch.cuda, "is_available", lambda: True)
    environment.setattr(torch.cuda, "device_count", lambda: 8)
    environment.setattr(
        torch.cuda,
        "get_device_properties",
        lambda _: type("Gpu", (), {"total_memory": 80 * 10**9, "name": "NVIDIA H100"}),
    )
    assert find_gpus("auto")[0] == 8 and pick_device("auto") == "cuda"
    assert shared_out(SHAPE, 8, Compute(device="auto", processes=0, micro_batch_size=0)).processes == 8
    environment.setenv("LLM_ASSETS_GPUS", "none")
    assert find_gpus("cuda") == (0, 0, "cpu") and pick_device("cuda") == "cpu"
    assert (
        shared_out(SHAPE, 8, Compute(device="auto", processes=0, micro_batch_size=0)).processes == 1
        and os.environ["CUDA_VISIBLE_DEVICES"] == ""
    )
    environment.setenv("LLM_ASSETS_GPUS", "0,2")
    shared_out(SHAPE, 8, Compute(device="auto", processes=0, micro_batch_size=0))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,2"


def use_gpus(environment, count, memory):
    environment.setattr("llm_assets.training.division.find_gpus", lambda device: (count, memory, "NVIDIA H100"))


# Qwen3-1.7B with 2,048 tokens, of which one needs 38 GB, or 36 GB with activation checkpointing.
PUBLISHED = ModelShape("qwen3", 151_936, 2048, 28, 2048, 16, 8, 128, 6144, True, 1e6)


def test_a_gpu_trains_in_the_fastest_way_that_fits_its_memory(environment):
    """Memory is saved only where it must be: by checkpointing, then by dividing the model among several GPUs."""
    plain = Optimisation(muon=False)
    for memory, gpus, savings, sharded in (
        (80, 2, MemorySavings(False, True), False),
        (44, 2, MemorySavings(True, True), False),
        (30, 4, MemorySavings(True, True), True),
    ):
        use_gpus(environment, gpus, memory * 10**9)
        division = shared_out(PUBLISHED, 32, Compute(), training_kind(plain, None), may_shard=True)
        assert (division.kind.savings, division.sharded) == (savings, sharded) and division.micro_batch_size >= 1
    with pytest.raises(ModelError, match=r"needs \d+ GB, but the device has 30 GB"):
        shared_out(PUBLISHED, 32, Compute(), training_kind(plain, None))  # this stage cannot divide its model
    with pytest.raises(ModelError, match=r"compute\.sharded: only pretraining and fine-tuning"):
        shared_out(PUBLISHED, 32, Compute(sharded=True))


def test_what_the_recipe_says_of_memory_is_done(environment):
    use_gpus(environment, 2, 200 * 10**9)
    compute = Compute(activation_checkpointing=True, chunked_logits=False, sharded=True)
    division = shared_out(PUBLISHED, 32, compute, may_shard=True)
    assert division.kind.savings == MemorySavings(True, False) and division.sharded
    use_gpus(environment, 1, 30 * 10**9)
    with pytest.raises(ModelError, match="needs"):
        shared_out(PUBLISHED, 32, Compute(activation_checkpointing=False))


def test_adapters_and_smaller_micro_batches_let_a_published_model_fit_one_gpu(environment):
    use_gpus(environment, 1, 24 * 10**9)
    adapted = training_kind(Optimisation(adapters=Adapters(16, 32.0)), False, copies=1)
    division = shared_out(PUBLISHED, 64, Compute(), adapted, 64)
    assert 1 <= division.micro_batch_size < 64
    with pytest.raises(ModelError, match="needs"):
        shared_out(PUBLISHED, 64, Compute(), training_kind(Optimisation(), False, copies=1), 64)


@pytest.mark.parametrize(
    ("precision", "on_gpu", "on_cpu"),
    [(None, True, False), ("auto", True, False), ("bf16", True, True), ("fp32", False, False)],
)
def test_precision(environment, precision, on_gpu, on_cpu):
    if precision is not None:
        environment.setenv("LLM_ASSETS_PRECISION", precision)
    assert (half_precision("cuda"), half_precision("cpu")) == (on_gpu, on_cpu)
    with Devices(torch.device("cpu")).autocast():
        assert torch.is_autocast_enabled("cpu") == on_cpu
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if on_cpu else torch.float32)


def test_an_engine_samples_in_the_precision_of_the_device_that_its_model_moved_to(environment):
    model = Transformer(SHAPE)
    engine = Engine(model, ENCODING)
    assert engine.dtype == torch.float32
    environment.setattr(prefill, "half_precision", lambda device: device == "meta")
    model.to("meta")  # as a trainer moves its policy to a GPU
    assert engine.dtype == torch.bfloat16


def test_sampled_sequences_fit_into_the_memory():
    tokens, gigabyte = 32, 10**9
    of_one = 3 * SHAPE.cache_bytes(tokens) + 32 * SHAPE.vocabulary
    for memory in (gigabyte // 1000, gigabyte // 100):
        count = fitting_sequences(SHAPE, tokens, memory)
        assert count * of_one <= 0.8 * memory < (count + 1) * of_one
    assert fitting_sequences(SHAPE, tokens, 0) == 1
    assert fitting_sequences(SHAPE, tokens, 1000 * gigabyte) == GPU_SEQUENCES


def test_a_cpu_samples_a_fixed_number_of_sequences(environment):
    model = Transformer(SHAPE)
    assert Engine(model, ENCODING).fitting_batch([[1, 2]], 8) == CPU_SEQUENCES


def test_a_gpu_samples_as_many_sequences_as_fit_whatever_a_cpu_would(environment):
    """For all who sample: evaluations, pairs for ranking, interrogation."""
    model = Transformer(SHAPE)
    model.initialise(1)
    engine, prompts, sampling = Engine(model, ENCODING), [[1, 2]] * 5, Sampling(max_tokens=3)
    expected, batches = engine.complete(prompts, sampling, batch=2), []
    whole = engine.stream
    environment.setattr(Engine, "on_gpu", True)
    environment.setattr("llm_assets.model.sampling.free_memory", lambda _: 4 * 10**9)
    environment.setattr("llm_assets.model.sampling.fitting_sequences", lambda shape, tokens, memory: tokens - 1)
    environment.setattr(engine, "stream", lambda part, *rest: batches.append(len(part)) or whole(part, *rest))
    completions = engine.complete(prompts, sampling, batch=2)
    assert batches == [4, 1]  # 2 + 3 tokens
    assert [completion.tokens for completion in completions] == [completion.tokens for completion in expected]


def test_processes_wait_for_a_long_evaluation(environment):
    group_options = {}
    environment.setattr(
        torch.distributed, "init_process_group", lambda backend, **options: group_options.update(options)
    )
    environment.setenv("WORLD_SIZE", "2")
    assert join_processes("cpu").world == 2
    assert group_options["timeout"] == PATIENCE > timedelta(hours=1)
    environment.setenv("GROUP_WORLD_SIZE", "2")
    join_processes("cpu")
    assert timedelta(minutes=10) < group_options["timeout"] < timedelta(hours=1)


def test_an_unknown_precision_is_an_error(environment):
    environment.setenv("LLM_ASSETS_PRECISION", "fp8")
    with pytest.raises(ModelError, match="LLM_ASSETS_PRECISION is 'fp8'; it must be auto, bf16 or fp32"):
        autocast("cpu")


def test_sampling_uses_the_precision_too(environment):
    model = Transformer(SHAPE)
    model.initialise(1)
    prompt = ENCODING.document("In the evening")
    full = Engine(model, ENCODING).next_tokens(prompt, 500)
    environment.setenv("LLM_ASSETS_PRECISION", "bf16")
    engine = Engine(model, ENCODING)
    half = engine.next_tokens(prompt, 500)
    assert engine.dtype == torch.bfloat16 and half != full
    assert dict(half) == pytest.approx(dict(full), abs=1e-3)
    (score,) = engine.log_likelihoods([prompt], [[7]])
    assert score == pytest.approx(torch.tensor(dict(full)[7]).log().item(), abs=0.05)
