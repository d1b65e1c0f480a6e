"""The process of `rl_checkpoint`: resuming after it was killed, its reports, and how solutions are checked."""

import json
from dataclasses import replace

import pytest

from llm_assets.compute.launch import JobFailed, run_job
from llm_assets.evaluation.jobs import ProblemRow
from llm_assets.evaluation.problems import FAMILIES
from llm_assets.evaluation.solving import Solver
from llm_assets.model.checkpoint import save_model, steps_saved
from llm_assets.model.sampling import Completion, Engine, ToolCall
from llm_assets.model.shape import ModelShape
from llm_assets.reinforcement.jobs import RlJob
from llm_assets.reinforcement.rl_checkpoint_process import shuffled
from llm_assets.tools import PythonLimits
from llm_assets.tools.jobs import ToolboxJob
from llm_assets.tools.search import write_index
from llm_assets.training.plan import Optimisation, PolicyPlan
from llm_assets.training.policy import Reward
from tests.support.tiny_models import initialised_model
from tests.support.training_jobs import ENCODING, result, run_whole, run_with_two_kills

MODULE = "llm_assets.reinforcement.rl_checkpoint_process"
SHAPE = ModelShape.of_depth(2, 500, 96, width=32)


def problem(number, question, answer, family="arithmetic", tools="python"):
    return ProblemRow(number, family, 0, question, answer, (), tools)


PROBLEMS = [problem(a, f"What is {a} + 2?", str(a + 2)) for a in range(12)]


def model():
    return initialised_model(SHAPE)


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
        redraws=1,
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
        rewards="earned",
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


def test_shuffled_rewards_stay_with_the_prompt_but_not_with_the_solution():
    """The control keeps every group's rewards, and so the size of its advantages, but says nothing about solutions."""
    numbers = [7] * 6 + [8] * 6
    rewards = [Reward(float(place), {"right": float(place)}) for place in range(12)]
    once, again = shuffled(numbers, rewards, 1), shuffled(numbers, rewards, 1)
    assert once == again != rewards
    for first in (0, 6):
        values = [reward.value for reward in once[first : first + 6]]
        assert values != sorted(values) and sorted(values) == [float(first + place) for place in range(6)]
    assert [reward.parts for reward in once] == [reward.parts for reward in rewards]


@pytest.fixture(scope="module")
def uninterrupted(job, tmp_path_factory):
    return run_whole(MODULE, job, tmp_path_factory)


def test_it_reports_steps_and_evaluations(uninterrupted):
    folder, events = uninterrupted
    steps = [event for event in events if event["kind"] == "policy_step"]
    assert [event["step"] for event in steps] == list(range(1, 10))
    assert set(steps[0]) >= {"reward", "right", "well_formed", "length", "entropy", "kl", "truncated", "flat"}
    evaluations = [event for event in events if event["kind"] == "evaluation"]
    assert [event["step"] for event in evaluations] == [0, 3, 6, 9] and "right.arithmetic" in evaluations[0]
    events_kept = json.loads((steps_saved(folder)[-1][1] / "state.json").read_text())["values"]["events"]
    assert sum(event["kind"] == "row" for event in events_kept) == 8 and all(
        event["transcript"].startswith("user: What is") for event in events_kept if event["kind"] == "row"
    )
    assert (folder / "best" / "model.safetensors").exists()


def test_a_killed_training_ends_like_an_uninterrupted_one(job, uninterrupted, tmp_path):
    run_with_two_kills(MODULE, job, tmp_path, 4, 6)
    assert result(tmp_path) == result(uninterrupted[0])
    assert (tmp_path / "best" / "model.safetensors").read_bytes() == (
        uninterrupted[0] / "best" / "model.safetensors"
    ).read_bytes()


def test_two_processes_take_the_same_steps_as_one(job, uninterrupted, tmp_path):
    run_job(MODULE, job, tmp_path, lambda event: None, processes=2)
    ours, alone = (
        [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
        for folder in (tmp_path, uninterrupted[0])
    )
    assert sum(row["redrawn"] for row in alone) > 0
    for name in ("reward", "length", "gradient_norm", "kl", "redrawn", "drawn_reward"):
        assert [row[name] for row in ours][:3] == pytest.approx([row[name] for row in alone][:3], rel=1e-3, abs=1e-4)


def test_prompts_that_cannot_be_divided_among_processes_are_an_error(job, tmp_path):
    with pytest.raises(JobFailed, match="3 prompts per step cannot be divided among 2 processes"):
        run_job(MODULE, replace(job, plan=replace(job.plan, prompts=3)), tmp_path, lambda event: None, processes=2)


def completion_of(text, finish="stop", calls=(), unclosed=False):
    special = ENCODING.special
    """A completion with these calls and then the text. unclosed: a call token before the text is never closed."""
    tokens, from_tool = [], []
    for call in calls:
        call_tokens = [special["<|python_start|>"], *ENCODING.encode(f" {call.text}"), special["<|python_end|>"]]
        output = [
            special["<|tool_start|>"],
            special["<|result_start|>"],
            *ENCODING.encode(f" {call.result}"),
            special["<|result_end|>"],
            special["<|tool_end|>"],
        ]
        tokens += call_tokens + output
        from_tool += [False] * len(call_tokens) + [True] * len(output)
    answer = [*([special["<|python_start|>"]] if unclosed else []), *ENCODING.encode(f" {text}")]
    return Completion(
        [*tokens, *answer],
        [0.0] * (len(tokens) + len(answer)),
        finish,
        [*from_tool, *[False] * len(answer)],
        list(calls),
    )


def test_right_and_well_formed_solutions():
    solver = Solver([problem(1, "What is 3 + 2?", "5")], FAMILIES, Engine(model(), ENCODING))
    [problem_row] = solver.problems
    call, failed = ToolCall("python", "3 + 2", "5", 0.0), ToolCall("python", "3 +", "Error: SyntaxError", 0.0)
    cases = {
        "3 + 2 = 5.": (completion_of("3 + 2 = 5.", calls=[call]), True, True),
        "cut off": (completion_of("3 + 2 = 5", "length", [call]), False, False),
        "wrong": (completion_of("3 + 2 = 6.", calls=[call]), False, True),
        "never closed": (completion_of("5", unclosed=True), True, False),
        "no answer": (completion_of("", calls=[call]), False, False),
        "a tool that is not available": (completion_of("5", calls=[ToolCall("search", "x", "", 0.0)]), True, False),
        "an error": (completion_of("5", calls=[failed]), True, False),
    }
    for name, (completion, right, formed) in cases.items():
        assert (solver.is_right(problem_row, completion), solver.is_well_formed(problem_row, completion)) == (
            right,
            formed,
        ), name
