"""The training process of `base_checkpoint`: learning, resuming, several processes, and errors."""

import contextlib
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_assets.compute import launch
from llm_assets.compute.jobs import dump_job
from llm_assets.compute.launch import JobFailed, run_job
from llm_assets.model.attention import document_mask
from llm_assets.model.checkpoint import CheckpointError, steps_saved
from llm_assets.model.devices import pick_device
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.pretraining.base_checkpoint_process import starting_model
from llm_assets.settings import PROJECT
from llm_assets.tokens import tokenizer
from llm_assets.training.loader import PackedDocuments
from llm_assets.training.loop import train
from llm_assets.training.losses import HeldOut, mean_loss
from llm_assets.training.optimiser import schedule
from llm_assets.training.plan import Optimisation, TrainingPlan
from llm_assets.training.processes import Devices, TrainingProcess
from llm_assets.training.sequences import TrainingError
from llm_assets.training.shards import TokenStream
from tests.support.ports import free_port
from tests.support.tiny_models import random_model
from tests.support.training_jobs import ENCODING, SHAPE, TEXTS, job, result, run_whole, run_with_two_kills, write_corpus

MODULE = "llm_assets.pretraining.base_checkpoint_process"
CPU = Devices(torch.device("cpu"))
LEARNED_POSITIONS = ModelShape.of_depth(2, ENCODING.size, SHAPE.context, "gpt2", width=32, heads=2)


def saved_events(folder):
    """The evaluations that a training run's last checkpoint holds."""
    return json.loads((steps_saved(folder)[-1][1] / "state.json").read_text())["values"]["events"]


def on_cpu(folder):
    return TrainingProcess(folder, CPU, lambda kind, **values: None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(corpus, tmp_path_factory):
    """A training run without interruption: its folder and its events."""
    return run_whole(MODULE, job(corpus), tmp_path_factory)


def test_it_learns_and_reports(uninterrupted):
    folder, events = uninterrupted
    kinds = [event["kind"] for event in events]
    assert kinds[0] == "started" and kinds[-1] == "finished" and "step" in kinds
    validations = [event for event in events if event["kind"] == "validation"]
    assert [event["step"] for event in validations] == [0, 10, 20, 30]
    assert (
        validations[0]["loss"] == pytest.approx(np.log(512), abs=0.2)
        and validations[-1]["loss"] < validations[0]["loss"] - 0.8
    )
    assert validations[-1]["bits_per_byte"] < validations[0]["bits_per_byte"]
    assert [event["step"] for event in events if event["kind"] == "sample"] == [0, 0, 15, 15, 30, 30]
    curve = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in curve] == list(range(30)) and curve[-1]["tokens"] == 30 * 8 * 32
    assert [step for step, _ in steps_saved(folder)] == [28, 30]  # the last two stay


def test_a_killed_training_ends_like_an_uninterrupted_one(corpus, uninterrupted, tmp_path):
    events = run_with_two_kills(MODULE, job(corpus), tmp_path, 14, 21)
    assert events[0]["kind"] == "started" and events[0]["step"] >= 21
    assert result(tmp_path) == result(uninterrupted[0])
    assert saved_events(tmp_path) == saved_events(uninterrupted[0])  # validation and samples too


def test_bf16_on_a_cpu_learns_like_fp32(corpus, uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_PRECISION", "bf16")
    run_job(MODULE, job(corpus, prompts=()), tmp_path, lambda event: None)
    half, full = (
        [json.loads(line)["loss"] for line in (folder / "curve.jsonl").read_text().splitlines()]
        for folder in (tmp_path, uninterrupted[0])
    )
    assert half != full and half == pytest.approx(full, abs=0.1)


@contextlib.contextmanager
def two_machines(monkeypatch):
    """Meanwhile, jobs run under two torchruns that meet at an address, as on two machines."""
    with monkeypatch.context() as patch:
        program = PROJECT / "tests" / "support" / "every_node.py"
        patch.setenv("LLM_ASSETS_LAUNCH", f"{sys.executable} {program}")
        patch.setenv("PET_RDZV_ENDPOINT", f"127.0.0.1:{free_port()}")
        for name, value in {"NNODES": "2", "RDZV_BACKEND": "c10d", "LOCAL_ADDR": "127.0.0.1"}.items():
            patch.setenv(f"PET_{name}", value)
        yield


def kill_after(folder, step, find):
    """A launcher that kills a process (SIGKILL), whose id `find` returns, once the checkpoint of `step` is saved."""

    def launch(command, environment):
        with subprocess.Popen(command, env=environment) as process:
            while process.poll() is None and not (folder / f"step-{step:08d}").exists():
                time.sleep(0.01)
            if process.poll() is None:
                os.kill(find(), signal.SIGKILL)
            return process.wait()

    return launch


def processes_of(job_file, rank):
    """Ids of the processes that run this job under this rank."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words, variables = ((path / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
            if str(job_file).encode() in words and f"RANK={rank}".encode() in variables:
                yield int(path.name)


def torchrun_of(job_file, rank):
    """Id of the torchrun that has started the job's process of this rank."""
    [pid] = processes_of(job_file, rank)
    return int(re.search(r"^PPid:\s*(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])


def losses_of(folder):
    """The losses of all steps, and those of the validations."""
    curve = [json.loads(line)["loss"] for line in (folder / "curve.jsonl").read_text().splitlines()]
    return curve, [event["loss"] for event in saved_events(folder) if event["kind"] == "validation"]


def assert_same_losses(folder, other):
    (curve, validations), (other_curve, other_validations) = losses_of(folder), losses_of(other)
    assert len(curve) == 30 and curve == pytest.approx(other_curve, abs=2e-3)
    assert len(validations) == 4 and validations == pytest.approx(other_validations, abs=2e-3)


def test_a_process_of_two_machines_is_killed_and_one_process_continues(corpus, uninterrupted, tmp_path, monkeypatch):
    """Two machines with two processes each meet at an address; then one process continues from their checkpoint."""
    whole, events, job_file = job(corpus, micro_batch_size=2), [], tmp_path / "job.json"
    launcher = kill_after(tmp_path, 21, lambda: next(processes_of(job_file, 3)))
    host = re.escape(socket.gethostname())
    cause = rf"process 3 on {host} was killed by SIGKILL .*checkpoint of step (21|28) is kept"
    with two_machines(monkeypatch), pytest.raises(JobFailed, match=cause):
        run_job(MODULE, whole, tmp_path, events.append, processes=4, launcher=launcher)
    assert events[0]["processes"] == 4
    run_job(MODULE, whole, tmp_path, events.append)
    assert_same_losses(tmp_path, uninterrupted[0])


def test_a_torchrun_of_two_machines_is_killed_and_four_processes_continue(corpus, uninterrupted, tmp_path, monkeypatch):
    """Its process ends with it, which ends that of the other machine; four processes on one machine finish."""
    monkeypatch.setattr(launch, "MACHINES_SECONDS", 0.1)
    whole, events, job_file = job(corpus, micro_batch_size=2), [], tmp_path / "job.json"
    launcher = kill_after(tmp_path, 14, lambda: torchrun_of(job_file, 1))
    host = re.escape(socket.gethostname())
    cause = rf"torchrun on {host} has not reported its end.*checkpoint of step (14|21|28) is kept"
    with two_machines(monkeypatch), pytest.raises(JobFailed, match=cause):
        run_job(MODULE, whole, tmp_path, events.append, processes=2, launcher=launcher)
    assert [*processes_of(job_file, 0), *processes_of(job_file, 1)] == []
    run_job(MODULE, whole, tmp_path, events.append, processes=4)
    assert [event["processes"] for event in events if event["kind"] == "started"] == [2, 4]
    assert_same_losses(tmp_path, uninterrupted[0])


@torch.no_grad()
@pytest.mark.parametrize("shape", [SHAPE, LEARNED_POSITIONS], ids=["qwen3", "gpt2"])
def test_attention_stays_within_a_document(shape):
    """Learned positions begin at 0 in each document, wherever it begins in its sequence (trl#3526)."""
    model = random_model(shape)
    first, second = torch.randint(0, 400, (2, 12)), torch.randint(0, 400, (2, 19))
    bos = torch.full((2, 1), ENCODING.bos)
    packed = torch.cat([first, bos, second], 1)  # the end of one document, then another
    alone = model(torch.cat([bos, second], 1))
    for blocks in (False, True):
        together = model(packed, mask=document_mask(packed, ENCODING.bos, blocks))
        assert torch.allclose(together[:, :12], model(first), atol=1e-5) and torch.allclose(
            together[:, 12:], alone, atol=1e-5
        )
    assert not torch.allclose(model(packed)[:, 12:], alone, atol=1e-2)


@torch.no_grad()
def test_a_mask_changes_no_rotary_position():
    """Rotary positions are relative: what other places in a sequence they begin at changes no bit of the losses."""
    tokens = torch.randint(0, 400, (2, 30))
    tokens[:, 11] = ENCODING.bos
    mask = document_mask(tokens, ENCODING.bos)
    assert mask.positions[0].tolist() == [*range(11), *range(19)]
    elsewhere = mask._replace(positions=torch.zeros_like(mask.positions))
    rotary, learned = random_model(SHAPE), random_model(LEARNED_POSITIONS)
    assert torch.equal(rotary(tokens, tokens, mask), rotary(tokens, tokens, elsewhere))
    assert not torch.equal(learned(tokens, tokens, mask), learned(tokens, tokens, elsewhere))


def training(corpus, folder, shape=SHAPE, micro_batch_size=8, steps=6, **changes):
    data = PackedDocuments(TokenStream([corpus / "shards"], "train"), shape.context, 1)
    model = Transformer(shape)
    model.initialise(1)
    folder.mkdir(exist_ok=True)
    plan = TrainingPlan(
        steps=steps,
        batch_size=8,
        micro_batch_size=micro_batch_size,
        optimisation=Optimisation(**changes.pop("optimisation", {})),
        **changes,
    )
    train(changes.pop("model", model), data, plan, on_cpu(folder))
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("micro_batch_size", [1, 3])
def test_micro_batches_do_not_change_the_loss(corpus, tmp_path, micro_batch_size):
    whole, parts = training(corpus, tmp_path / "a"), training(corpus, tmp_path / "b", micro_batch_size=micro_batch_size)
    for name in ("loss", "gradient_norm"):
        assert [row[name] for row in whole] == pytest.approx([row[name] for row in parts], rel=1e-3)


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_adamw_alone_trains_either_architecture(corpus, tmp_path, architecture):
    curve = training(
        corpus,
        tmp_path,
        ModelShape.of_depth(2, 500, 32, architecture, width=32),
        steps=30,
        optimisation={"muon": False},
    )
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.5


def break_at(step, data, monkeypatch, breaking):
    """From this step on, call `breaking` each time a batch is read."""
    whole = data.batch

    def batch(first, count):
        if first >= step * 8:
            with torch.no_grad():
                breaking()
        return whole(first, count)

    monkeypatch.setattr(data, "batch", batch)


@pytest.mark.parametrize(
    ("step", "breaking", "message", "steps_kept"),
    [
        (
            9,
            lambda model: model.model.norm.weight.fill_(float("nan")),
            r"step 9: the loss is nan.*lower the learning rate \(now 0\.002",
            [4, 8],
        ),
        (
            45,
            lambda model: model.lm_head.weight.normal_(0, 1),
            r"the loss diverges .* above the best\); lower the learning rate \(now 0\.002",
            [40, 44],
        ),
    ],
)
def test_a_loss_that_is_not_finite_or_diverges_stops_the_training_and_keeps_a_checkpoint(
    corpus, tmp_path, monkeypatch, step, breaking, message, steps_kept
):
    data = PackedDocuments(TokenStream([corpus / "shards"], "train"), 32, 1)
    model = Transformer(SHAPE)
    model.initialise(1)
    break_at(step, data, monkeypatch, lambda: breaking(model))
    with pytest.raises(TrainingError, match=message):
        train(
            model,
            data,
            TrainingPlan(steps=200, batch_size=8, micro_batch_size=8, checkpoint_every=4),
            on_cpu(tmp_path),
        )
    assert [step for step, _ in steps_saved(tmp_path)] == steps_kept


def test_the_learning_rate_rises_stays_and_falls():
    settings = Optimisation(warmup=0.1, cooldown=0.5, final_share=0.1)
    rates = [schedule(step, 100, settings) for step in range(100)]
    assert rates[0] == 0.1 and rates[9:50] == [1.0] * 41 and rates[-1] == pytest.approx(0.1, abs=0.02)
    assert all(a > b for a, b in itertools.pairwise(rates[49:]))
    assert schedule(0, 1, settings) > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_an_error(corpus, tmp_path):
    assert pick_device("auto") == "cpu"
    with pytest.raises(JobFailed, match=r"the recipe names a GPU \(device 'cuda'\), and there is none"):
        run_job(MODULE, job(corpus, device="cuda"), tmp_path, lambda event: None)


def test_an_earlier_checkpoint_is_continued_or_refused(corpus, uninterrupted, tmp_path):
    earlier = tmp_path / "earlier"
    last = steps_saved(uninterrupted[0])[-1][1]
    earlier.mkdir()
    for name in ("model.safetensors", "shape.json"):
        (earlier / name).write_bytes((last / name).read_bytes())
    ENCODING.save(earlier)
    events = []
    run_job(MODULE, job(corpus, continue_from=str(earlier), steps=4, validate_every=4), tmp_path / "on", events.append)
    first = next(event for event in events if event["kind"] == "validation")
    assert first["loss"] == [event for event in uninterrupted[1] if event["kind"] == "validation"][-1]["loss"]
    with pytest.raises(CheckpointError, match=r"has shape .*, but the recipe has"):
        starting_model(ModelShape.of_depth(2, 500, 32, width=64), 1, str(earlier), ENCODING)
    tokenizer.train(TEXTS[:50], 500).save(earlier)
    with pytest.raises(CheckpointError, match=r"has another tokenizer .* tokenizer\.crawls"):
        starting_model(SHAPE, 1, str(earlier), ENCODING)


def test_a_full_disk_while_saving_leaves_the_last_checkpoint(corpus, tmp_path, monkeypatch):
    real = os.rename

    def full(source, target):
        if "00000012" in str(target):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr("os.rename", full)
    with pytest.raises(OSError, match="No space left"):
        training(corpus, tmp_path, steps=20, checkpoint_every=4)
    assert [step for step, _ in steps_saved(tmp_path)] == [4, 8] and not list(tmp_path.glob(".*tmp"))


def test_validation_bits_per_byte_by_hand(corpus):
    model = Transformer(SHAPE)
    model.initialise(1)
    sequences = PackedDocuments(TokenStream([corpus / "shards"], "validation"), 32, 0, shuffle=False)
    numbers = mean_loss(model, HeldOut(sequences, 4, 3, ENCODING.token_bytes, ENCODING.bos))
    tokens, targets = (torch.from_numpy(array) for array in sequences.batch(0, 4))
    losses, text = (
        model(tokens, targets, document_mask(tokens, ENCODING.bos)).detach(),
        targets[(targets >= 0) & (targets < ENCODING.bos)],
    )
    nats = float(losses[(targets >= 0) & (targets < ENCODING.bos)].double().sum())
    assert numbers["loss"] == pytest.approx(nats / len(text), rel=1e-5)
    assert numbers["bits_per_byte"] == pytest.approx(
        nats / np.log(2) / len(ENCODING.decode_bytes(text.tolist())), rel=1e-5
    )


def test_the_training_process_needs_only_torch_numpy_safetensors_and_tiktoken():
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {
            "dagster", "polars", "pyarrow", "pandera", "pydantic", "duckdb", "mlflow", "numba", "matplotlib", "rustbpe",
            "dotenv", "click", "resiliparse",
        }:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import llm_assets.pretraining.base_checkpoint_process, llm_assets.model.huggingface, llm_assets.model.sampling
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_process_ends_with_its_parent(corpus, tmp_path):
    code = f"""
from pathlib import Path
from llm_assets.compute.jobs import load_job
from llm_assets.compute.launch import run_job
from llm_assets.pretraining.jobs import PretrainingJob
job, _ = load_job({dump_job(job(corpus, steps=100_000))!r}, PretrainingJob)
run_job({MODULE!r}, job, Path({str(tmp_path)!r}), lambda event: None)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    time.sleep(2)
    newest = steps_saved(tmp_path)[-1][0]
    time.sleep(1)
    assert steps_saved(tmp_path)[-1][0] == newest


def test_initial_weights_depend_on_the_seed_alone():
    models = []
    for seed in (1, 1, 2):
        random.seed(seed)
        models.append(Transformer(SHAPE))
        models[-1].initialise(seed)
    weights = [torch.cat([parameter.flatten() for parameter in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
