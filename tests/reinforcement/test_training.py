"""The process of `rl_checkpoint`: broken off and gone on, and what it tells."""

import json
from dataclasses import replace

import pytest

from llm_assets.compute.launch import JobFailed, run_job
from llm_assets.model.checkpoint import save_model, steps_saved
from llm_assets.model.sampling import Completion, Engine, ToolCall
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.reinforcement.jobs import ProblemRow, RlJob
from llm_assets.reinforcement.problems import FAMILIES
from llm_assets.reinforcement.rl_checkpoint_process import Solver
from llm_assets.tools import PythonLimits
from llm_assets.tools.jobs import ToolboxJob
from llm_assets.tools.search import write_index
from llm_assets.training.plan import Optimisation, PolicyPlan
from tests.support.training_jobs import ENCODING, broken_off_and_gone_on, result

MODULE = "llm_assets.reinforcement.rl_checkpoint_process"
SHAPE = ModelShape.of_depth(2, 500, 96, width=32)


def problem(number, question, answer, family="arithmetic", tools="python"):
    return ProblemRow(number, family, 0, question, answer, (), tools)


PROBLEMS = [problem(a, f"What is {a} + 2?", str(a + 2)) for a in range(12)]


def model():
    made = Transformer(SHAPE)
    made.initialise(1)
    return made


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reinforcement")
    base = folder / "sft"
    base.mkdir()
    save_model(model(), base)
    ENCODING.save(base)
    write_index(folder / "index.sqlite", [])
    plan = PolicyPlan(
        steps=9,
        prompts=2,
        samples=4,
        max_tokens=12,
        replay_sequences=2,
        micro_batch_size=8,
        optimisation=Optimisation(learning_rate=1e-3, matrix_learning_rate=1e-3),
        seed=1,
        evaluate_every=3,
        checkpoint_every=2,
    )
    return RlJob(
        plan=plan,
        checkpoint=str(base),
        conversations=None,
        families=("arithmetic",),
        train=tuple(PROBLEMS[:8]),
        held_out=tuple(PROBLEMS[8:]),
        accuracy_reward=1.0,
        format_reward=0.1,
        transcripts=2,
        device="cpu",
        toolbox=ToolboxJob(
            index=str(folder / "index.sqlite"),
            results=1,
            match="all",
            calls=2,
            result_tokens=20,
            python=PythonLimits(memory=1 << 26, characters=100),
        ),
    )


@pytest.fixture(scope="module")
def unbroken(job, tmp_path_factory):
    folder, events = tmp_path_factory.mktemp("unbroken"), []
    run_job(MODULE, job, folder, events.append)
    return folder, events


def test_it_tells_what_is_watched(unbroken):
    folder, events = unbroken
    told = [event for event in events if event["kind"] == "policy_step"]
    assert [event["step"] for event in told] == list(range(1, 10))
    assert set(told[0]) >= {"reward", "right", "well_formed", "length", "entropy", "kl", "truncated", "flat"}
    evaluations = [event for event in events if event["kind"] == "evaluation"]
    assert [event["step"] for event in evaluations] == [0, 3, 6, 9] and "right.arithmetic" in evaluations[0]
    kept = json.loads((steps_saved(folder)[-1][1] / "state.json").read_text())["values"]["events"]
    assert sum(event["kind"] == "row" for event in kept) == 8 and all(
        event["transcript"].startswith("user: What is") for event in kept if event["kind"] == "row"
    )
    assert (folder / "best" / "model.safetensors").exists()


def test_killed_at_any_moment_it_ends_as_unbroken(job, unbroken, tmp_path):
    broken_off_and_gone_on(MODULE, job, tmp_path, 4, 6)
    assert result(tmp_path) == result(unbroken[0])
    assert (tmp_path / "best" / "model.safetensors").read_bytes() == (
        unbroken[0] / "best" / "model.safetensors"
    ).read_bytes()


def test_two_processes_take_the_same_steps(job, unbroken, tmp_path):
    run_job(MODULE, job, tmp_path, lambda event: None, processes=2)
    ours, alone = (
        [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
        for folder in (tmp_path, unbroken[0])
    )
    for name in ("reward", "length", "gradient_norm", "kl"):
        assert [one[name] for one in ours][:3] == pytest.approx([one[name] for one in alone][:3], rel=1e-3, abs=1e-4)


def test_a_plan_that_cannot_be_shared_is_an_error(job, tmp_path):
    with pytest.raises(JobFailed, match="3 prompts a step cannot be divided among 2 processes"):
        run_job(MODULE, replace(job, plan=replace(job.plan, prompts=3)), tmp_path, lambda event: None, processes=2)


def said(text, finish="stop", calls=(), unclosed=False):
    special = ENCODING.special
    tokens, forced = [], []
    for call in calls:
        own = [special["<|python_start|>"], *ENCODING.encode(f" {call.text}"), special["<|python_end|>"]]
        theirs = [
            special["<|tool_start|>"],
            special["<|result_start|>"],
            *ENCODING.encode(f" {call.result}"),
            special["<|result_end|>"],
            special["<|tool_end|>"],
        ]
        tokens += own + theirs
        forced += [False] * len(own) + [True] * len(theirs)
    own = [*([special["<|python_start|>"]] if unclosed else []), *ENCODING.encode(f" {text}")]
    return Completion(
        [*tokens, *own], [0.0] * (len(tokens) + len(own)), finish, [*forced, *[False] * len(own)], list(calls)
    )


def test_what_is_right_and_what_is_well_formed():
    solver = Solver([problem(1, "What is 3 + 2?", "5")], FAMILIES, Engine(model(), ENCODING))
    [asked] = solver.problems
    call, failed = ToolCall("python", "3 + 2", "5", 0.0), ToolCall("python", "3 +", "Error: SyntaxError", 0.0)
    cases = {
        "3 + 2 = 5.": (said("3 + 2 = 5.", calls=[call]), True, True),
        "cut off": (said("3 + 2 = 5", "length", [call]), False, False),
        "wrong": (said("3 + 2 = 6.", calls=[call]), False, True),
        "never closed": (said("5", unclosed=True), True, False),
        "nothing said": (said("", calls=[call]), False, False),
        "of no such tool": (said("5", calls=[ToolCall("search", "x", "", 0.0)]), True, False),
        "an error": (said("5", calls=[failed]), True, False),
    }
    for name, (completion, right, formed) in cases.items():
        assert (solver.is_right(asked, completion), solver.is_well_formed(asked, completion)) == (right, formed), name
