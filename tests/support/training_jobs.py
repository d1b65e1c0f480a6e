"""A small corpus as token shards, and training jobs that read it."""

import random
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from llm_assets.compute.launch import JobFailed, run_job, subprocess_launcher
from llm_assets.model.checkpoint import steps_saved
from llm_assets.model.shape import Adapters, ModelShape
from llm_assets.pretraining.jobs import PretrainingJob
from llm_assets.sample_web import prose, world
from llm_assets.tokens.tokenizer import train
from llm_assets.training.plan import Optimisation, TrainingPlan
from llm_assets.training.shards import SPLITS, ShardWriter

PEOPLE = world.make_world(1).people
TEXTS = [" ".join(prose.portrait(random.Random(f"{n}-{k}"), PEOPLE[n % 40], 2) for k in range(2)) for n in range(200)]
ENCODING = train(TEXTS, 500)
SHAPE = ModelShape.of_depth(2, 500, 32, width=32)


def write_corpus(folder, texts=TEXTS, encoding=ENCODING):
    """Shards and tokenizer in `folder`; every tenth document is held out."""
    (folder / "shards").mkdir(parents=True)
    (folder / "tokenizer").mkdir()
    encoding.save(folder / "tokenizer")
    writers = {split: ShardWriter(folder / "shards", split, np.uint16, 4_000) for split in SPLITS}
    for number, text in enumerate(texts):
        tokens = np.asarray(encoding.document(text), np.uint16)
        writers["validation" if number % 10 == 0 else "train"].append(tokens, np.array([len(tokens)]))
    for writer in writers.values():
        writer.close()


def shard_index(texts=TEXTS, encoding=ENCODING):
    """The index of the shards of `write_corpus`: split, position, length, and as `warc_offset` the text's number."""
    ends = dict.fromkeys(SPLITS, 0)
    rows = []
    for number, text in enumerate(texts):
        split, length = "validation" if number % 10 == 0 else "train", len(encoding.document(text))
        rows.append({"split": split, "position": ends[split], "length": length, "warc_offset": number})
        ends[split] += length
    return rows


def job(folder, shape=SHAPE, optimisation=None, **changes):
    """A training job of 30 steps on the shards of `write_corpus`. changes: fields of the job or of its plan."""
    rates = {"learning_rate": 3e-3, "matrix_learning_rate": 3e-3, **(optimisation or {})}
    plan = TrainingPlan(
        steps=30,
        batch_size=8,
        micro_batch_size=8,
        seed=1,
        optimisation=Optimisation(**rates),
        validate_every=10,
        sample_every=15,
        checkpoint_every=7,
    )
    plan_changes = {name: changes.pop(name) for name in list(changes) if hasattr(plan, name)}
    whole = PretrainingJob(
        shape=shape,
        plan=replace(plan, **plan_changes),
        tokenizer=str(folder / "tokenizer"),
        shards=(str(folder / "shards"),),
        device="cpu",
        validation_sequences=8,
        prompts=("", "In the evening"),
        sample_tokens=8,
    )
    return replace(whole, **changes)


def run_whole(module, job, tmp_path_factory):
    """Run a job without an interruption in a new folder; returns the folder and the events."""
    folder, events = tmp_path_factory.mktemp("whole"), []
    run_job(module, job, folder, events.append)
    return folder, events


def result(folder):
    """The results of a training run: last step, weights, optimiser state and curve, as bytes."""
    step, last = steps_saved(folder)[-1]
    return (
        step,
        (last / "model.safetensors").read_bytes(),
        (last / "optimiser.safetensors").read_bytes(),
        (folder / "curve.jsonl").read_text(),
    )


def run_with_two_kills(module, job, folder, saving, between):
    """Run a job three times: kill it while it writes step `saving`, kill it once step `between` is saved, let it
    finish.

    Returns the events of the last run.
    """
    moments = [
        (lambda f: any(f.glob(f".step-{saving:08d}.*.tmp")), saving // 2),
        (lambda f: (f / f"step-{between:08d}").exists(), between),
    ]
    for moment, least in moments:
        with pytest.raises(JobFailed, match=r"killed \(out of memory, most often\)"):
            run_job(module, job, folder, lambda event: None, launcher=killer(folder, moment))
        assert steps_saved(folder)[-1][0] >= least
    events = []
    run_job(module, job, folder, events.append)
    return events


def with_adapters(job, learning_rate):
    """The job with adapters of rank 4, which AdamW trains."""
    optimisation = replace(
        job.plan.optimisation, learning_rate=learning_rate, muon=False, adapters=Adapters(4, 8.0, seed=1)
    )
    return replace(job, plan=replace(job.plan, optimisation=optimisation))


def whole_and_killed(module, job, folder, saving, between):
    """Run a job in one go and `run_with_two_kills`; the folders of both, and the events of the first."""
    events, whole, killed = [], folder / "whole", folder / "killed"
    for path in (whole, killed):
        path.mkdir()
    run_job(module, job, whole, events.append)
    run_with_two_kills(module, job, killed, saving, between)
    return whole, killed, events


class _MomentReached(BaseException):
    """Interrupts the main thread while it waits for a process, as Ctrl-C does."""


def killer(folder, moment):
    """A launcher that kills the process (SIGKILL) once `moment(folder)` is true.

    It is started as jobs are: where they are forked, the tests that kill need not import torch each time.
    """

    def launch(command, environment):
        main_thread, ended = threading.get_ident(), threading.Event()

        def watch():
            while not ended.is_set():
                if moment(folder):
                    signal.pthread_kill(main_thread, signal.SIGUSR1)
                    return
                time.sleep(0.001)

        def interrupt(*_):
            if not ended.is_set():
                raise _MomentReached

        previous_handler = signal.signal(signal.SIGUSR1, interrupt)
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            code = subprocess_launcher(command, environment)
            ended.set()
            return code
        except _MomentReached:  # the launcher has killed the process
            return -signal.SIGKILL
        finally:
            ended.set()
            watcher.join()
            signal.signal(signal.SIGUSR1, previous_handler)

    return launch
