"""A model that is divided among two processes (FSDP2) is trained, saved and resumed like one that each has whole."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from llm_assets.model.checkpoint import TrainingState
from llm_assets.model.shape import Adapters, ModelShape
from llm_assets.model.training_memory import MemorySavings
from llm_assets.training.learner import Execution, Learner, Loss
from llm_assets.training.plan import Optimisation
from llm_assets.training.processes import Devices
from tests.support.tiny_models import initialised_model

RATES = {"learning_rate": 3e-3, "matrix_learning_rate": 3e-3, "warmup": 0.0, "clip": 0.5}
ROTARY, TIED = ModelShape.of_depth(2, 60, 8, width=32), ModelShape.of_depth(2, 60, 8, width=24, heads=3, tied=True)
SAVINGS = MemorySavings(activation_checkpointing=True, chunked_logits=True)
CASES = {
    "muon": (ROTARY, Optimisation(**RATES), MemorySavings()),
    "adamw, tied, odd sizes": (TIED, Optimisation(**RATES, muon=False), MemorySavings()),
    "savings": (ROTARY, Optimisation(**RATES, muon=False), SAVINGS),
    "adapters": (ROTARY, Optimisation(**RATES, adapters=Adapters(3, 6.0, seed=1)), SAVINGS),
    "gpt2": (ModelShape.of_depth(2, 60, 8, "gpt2", width=32, heads=2), Optimisation(**RATES, muon=False), SAVINGS),
}


def make_learner(name, devices, sharded):
    shape, optimisation, savings = CASES[name]
    return Learner(initialised_model(shape), optimisation, 10, devices, Execution(False, savings, sharded))


def loss_of(step, devices):
    """Each process has two of four sequences, as two micro-batches."""
    tokens = torch.randint(0, 60, (4, 8), generator=torch.Generator().manual_seed(step))
    mine = devices.share(4)
    parts = [tokens[place : place + 1] for place in mine]
    return Loss([lambda model, part=part: model(part, part.roll(-1, 1)).sum() for part in parts], tokens.numel())


def steps(learner, first, devices):
    """Losses and gradient norms of three steps."""
    return [
        (*values, norm) for values, norm in (learner.step(n, [loss_of(n, devices)]) for n in range(first, first + 3))
    ]


def compare(rank, folder):
    """One of two processes: train every case both ways, and each on from the checkpoint of the other."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    devices, results = Devices(torch.device("cpu"), rank, 2), {}
    for name in CASES:
        ways = {"whole": False, "divided": True}
        results[name] = {}
        for way, sharded in ways.items():
            learner = make_learner(name, devices, sharded)
            results[name][way] = steps(learner, 0, devices)
            held = sum(
                getattr(weight, "to_local", lambda w=weight: w)().numel() for weight in learner.model.parameters()
            )
            results[name][f"{way}, weights"] = held
            learner.save(Path(folder) / name / way, TrainingState(3, {}), 1)
            dist.barrier()
        for way, sharded in ways.items():
            other = "divided" if way == "whole" else "whole"
            learner = make_learner(name, devices, sharded)
            assert learner.restore(Path(folder) / name / other).step == 3
            results[name][f"{way}, resumed"] = steps(learner, 3, devices)
    if rank == 0:
        (Path(folder) / "results.json").write_text(json.dumps(results))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharding")
    torch.multiprocessing.spawn(compare, args=(str(folder),), nprocs=2)
    results, alone = json.loads((folder / "results.json").read_text()), Devices(torch.device("cpu"), 0, 1)
    for name in CASES:
        learner = make_learner(name, alone, sharded=False)
        learner.restore(folder / name / "divided")
        results[name]["resumed by one process"] = steps(learner, 3, alone)
    return results


@pytest.mark.parametrize("name", CASES)
def test_a_divided_model_has_the_losses_of_a_whole_one(results, name):
    whole, divided = (results[name][way] for way in ("whole", "divided"))
    precision = 1e-3 if name == "muon" else 1e-5  # Muon's products are in bf16
    assert divided == [pytest.approx(row, rel=precision) for row in whole]
    assert whole[-1][0] < whole[0][0] or name == "adapters"
    assert results[name]["divided, weights"] < 0.6 * results[name]["whole, weights"]


@pytest.mark.parametrize("name", CASES)
def test_a_training_continues_with_a_checkpoint_of_either_kind(results, name):
    whole, divided = (results[name][f"{way}, resumed"] for way in ("whole", "divided"))
    assert divided == [pytest.approx(row, rel=1e-3 if name == "muon" else 1e-5) for row in whole]


@pytest.mark.parametrize("name", CASES)
def test_one_process_continues_what_two_have_divided(results, name):
    alone, divided = (results[name][way] for way in ("resumed by one process", "divided, resumed"))
    assert alone == [pytest.approx(row, rel=1e-3 if name == "muon" else 1e-5) for row in divided]
