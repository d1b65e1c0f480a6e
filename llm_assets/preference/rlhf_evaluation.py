"""`rlhf_evaluation`: SFT, RL and RLHF models on prompts that none of them was tuned on, scored by the gold signal.

It also measures how preference tuning changed the assistant's other abilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Stage, Step, View
from llm_assets.artifacts.tables import read_table
from llm_assets.dialogue.splits import HeldOutSplit
from llm_assets.evaluation.abilities import (
    ability_changes,
    check_abilities,
    evaluation_questions,
    grades_before_and_after,
)
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.ground_truth import GroundTruth, StatementJudge
from llm_assets.evaluation.intervals import mean
from llm_assets.evaluation.schemas import Abilities
from llm_assets.recipes.finetuning import Tools
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.preference import RlhfEvaluation
from llm_assets.report import plots, render
from llm_assets.sample_web.ground_truth import read_truth
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.policy_run import monitor_series, policy_plots

from .jobs import PromptRow, RlhfEvaluationJob
from .reward_checkpoint import RULE, GoldSignal, gold_signal, read_scores, reliability
from .rlhf_checkpoint import gold_job, monitor_evaluations, read_prompts
from .schemas import Answers

MODULE = "llm_assets.preference.rlhf_evaluation_process"
REPORT, TEMPLATE = "report.html", "rlhf_evaluation.html.j2"
VERDICTS = ("true", "false", "uncheckable")
MODELS = {"sft": "sft_checkpoint", "rl": "rl_checkpoint", "rlhf": "rlhf_checkpoint"}


class RlhfEvaluationConfig(Frozen):
    """How the models are evaluated. answer_tokens: maximum tokens of an answer to a question of `sft_evaluation`."""

    evaluation: RlhfEvaluation
    split: HeldOutSplit
    gold: GoldSignal
    answer_tokens: int
    tools: Tools


def build_rlhf_evaluation(step: Step, config: RlhfEvaluationConfig) -> None:
    """One task; a separate process asks the models."""
    settings, reward = config.evaluation, step.input("reward_checkpoint")
    prompts = read_prompts(step.input("response_pairs"), config.split)
    questions, job_questions = evaluation_questions(step.input("conversations"), config.split)
    truth = read_truth(step.inputs)
    job = RlhfEvaluationJob(
        models={name: str(step.input(asset).path) for name, asset in MODELS.items()},
        prompts=tuple(prompts),
        reward=str(reward.path),
        gold=gold_job(config.gold, reward, truth),
        truth=truth,
        samples=settings.samples,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
        device=settings.device,
        questions=job_questions,
        answer_tokens=config.answer_tokens,
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    results = measure(step, MODULE, job, step.staging / "evaluation")
    answers = to_answers(prompts, results["responses"], truth)
    abilities = grades_before_and_after(step.input("sft_evaluation"), questions, results["answers"])
    with step.task("evaluation") as task:
        task.table("answers", Answers).frame(answers)
        task.table("abilities", Abilities).frame(abilities)
        task.stats.update(headline(answers, abilities))


def draw_report(evaluation: Artifact, inputs: Inputs, config: RlhfEvaluationConfig) -> str:
    """The HTML report on the evaluation, and on the reward model and the tuning before it."""
    answers, abilities = (read_table(evaluation.table(table)) for table in ("answers", "abilities"))
    reward, rlhf = inputs.artifact("reward_checkpoint"), inputs.artifact("rlhf_checkpoint")
    shown = config.evaluation.transcripts
    monitor, calibration = monitor_series(monitor_evaluations(rlhf)), reliability(read_scores(reward))
    curves = {
        **policy_plots(read_table(rlhf.table("curve"))),
        "monitor": plots.svg(
            monitor, "divergence, nats per token", "score, standard deviations at the start", marks=True
        ),
        "calibration": plots.svg(calibration, "predicted chance", "observed share", marks=True),
    }
    adversarial = [read_table(path) for path in rlhf.table("adversarial")]
    known = any(raw.table("truth_facts") for raw in inputs.by_crawl("raw_warc").values())
    return render(
        __package__,
        TEMPLATE,
        numbers=headline(answers, abilities),
        answers=answers,
        abilities=abilities.to_dicts(),
        plots=curves,
        models=list(MODELS),
        shown=shown,
        training=rlhf.record.stats,
        reward=reward.record.stats,
        simulated=config.gold == RULE,
        truth=known,
        adversarial=pl.concat(adversarial).sort("gold").head(shown).to_dicts() if adversarial else [],
    )


def to_answers(
    prompts: Sequence[PromptRow], responses: Mapping[str, Sequence[Mapping[str, Any]]], truth: GroundTruth | None
) -> pl.DataFrame:
    """One row per answer (schema Answers). responses: by model."""
    by_number = {prompt.prompt: prompt for prompt in prompts}
    judge = StatementJudge(truth) if truth else None

    def verdicts(answer: Mapping[str, Any]) -> dict[str, int | None]:
        if judge is None:
            return dict.fromkeys(VERDICTS)
        statements = judge.statements(answer["text"], by_number[answer["prompt"]].subject)
        return {verdict: sum(statement.verdict == verdict for statement in statements) for verdict in VERDICTS}

    answer_columns = ("text", "tokens", "finished", "proxy", "gold")
    return pl.DataFrame(
        [
            {
                "model": model,
                "prompt": answer["prompt"],
                "question": by_number[answer["prompt"]].question,
                **{name: answer[name] for name in answer_columns},
                **verdicts(answer),
            }
            for model in MODELS
            for answer in responses.get(model, [])
        ],
        schema_overrides=dict.fromkeys(VERDICTS, pl.Int64),
    )


def compare(answers: pl.DataFrame, others: pl.DataFrame) -> dict[str, float]:
    """How the gold signal scores a model's answers beside another's to the same prompts.

    better, equal, worse: shares of all answers. untied: number of answers that are not equal. preferred: share of these
    that are better, 0.5 if there are none; low, high: ends of its 95 % interval, bootstrapped over prompts.
    """
    margins = [score - other for score, other in zip(answers["gold"], others["gold"], strict=True)]
    untied = [(margin, prompt) for margin, prompt in zip(margins, answers["prompt"], strict=True) if margin]
    shares = {
        "better": sum(margin > 0 for margin in margins) / len(margins),
        "equal": sum(margin == 0 for margin in margins) / len(margins),
        "worse": sum(margin < 0 for margin in margins) / len(margins),
        "untied": len(untied),
        **dict(zip(("preferred", "low", "high"), (0.5, 0.0, 1.0), strict=True)),
    }
    if untied:
        estimate = mean([float(margin > 0) for margin, _ in untied], [prompt for _, prompt in untied])
        shares |= {"preferred": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: round(value, 4) for name, value in shares.items()}


def fact_precision(answers: pl.DataFrame) -> dict[str, float]:
    """What the ground truth says about a model's open answers; empty without ground truth.

    true, false, uncheckable: statements per answer. precision: true ones among those that are true or false; low, high:
    ends of its 95 % interval, bootstrapped over prompts. checkable: their number.
    """
    if answers["true"].null_count():
        return {}
    numbers = {verdict: float(answers[verdict].mean()) for verdict in VERDICTS}  # type: ignore[arg-type]
    marks = [
        (mark, row["prompt"])
        for row in answers.iter_rows(named=True)
        for mark in [1.0] * row["true"] + [0.0] * row["false"]
    ]
    numbers["checkable"] = len(marks)
    if marks:
        estimate = mean([mark for mark, _ in marks], [prompt for _, prompt in marks])
        numbers |= {"precision": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: round(value, 4) for name, value in numbers.items()}


def headline(answers: pl.DataFrame, abilities: pl.DataFrame) -> dict[str, Any]:
    """The numbers that are tracked.

    models: mean scores and tokens, and the share of unfinished answers, by model. facts: what the ground truth says of
    their statements, if there is one. comparisons: of RLHF with each other model. answers_per_model: number of answers.
    changes: how the assistant's other abilities changed.
    """
    by_model = {str(model): rows for (model,), rows in answers.group_by("model", maintain_order=True)}
    means = {
        model: {
            "gold": round(float(rows["gold"].mean()), 4),  # type: ignore[arg-type]
            "proxy": round(float(rows["proxy"].mean()), 4),  # type: ignore[arg-type]
            "tokens": round(float(rows["tokens"].mean()), 1),  # type: ignore[arg-type]
            "unfinished": round(1 - float(rows["finished"].mean()), 4),  # type: ignore[arg-type]
        }
        for model, rows in by_model.items()
    }
    comparisons = {
        f"rlhf against {model}": compare(by_model["rlhf"], rows) for model, rows in by_model.items() if model != "rlhf"
    }
    facts = {model: numbers for model, rows in by_model.items() if (numbers := fact_precision(rows))}
    answers_per_model = len(next(iter(by_model.values())))
    return {
        "models": means,
        "facts": facts,
        "comparisons": comparisons,
        "answers_per_model": answers_per_model,
        "changes": ability_changes(abilities),
    }


def preferred_more(evaluation: Artifact, inputs: Inputs, config: RlhfEvaluationConfig) -> CheckOutcome:
    """Whether the gold signal prefers RLHF's answers to SFT's where it prefers either."""
    stats = evaluation.record.stats
    summary = "; ".join(f"{name}: {_in_words(comparison)}" for name, comparison in stats["comparisons"].items())
    numbers = {
        f"{part}.{name.replace(' ', '_')}": share
        for name, comparison in stats["comparisons"].items()
        for part, share in comparison.items()
    }
    for model, means in stats["models"].items():
        numbers.update({f"{score}.{model}": means[score] for score in ("gold", "proxy")})
    return CheckOutcome(
        stats["comparisons"]["rlhf against sft"]["preferred"] > 0.5,
        f"of {stats['answers_per_model']:,} answers to {config.split} prompts, {summary}",
        numbers={**numbers, "answers": stats["answers_per_model"]},
    )


def _in_words(comparison: Mapping[str, float]) -> str:
    shares = ", ".join(f"{100 * comparison[part]:.1f} % {part}" for part in ("better", "equal", "worse"))
    return f"{shares}, {100 * comparison['preferred']:.1f} % of the {comparison['untied']:,} untied ones preferred"


def stays_true(evaluation: Artifact, inputs: Inputs, config: RlhfEvaluationConfig) -> CheckOutcome:
    """Whether preference tuning made the statements of open answers less true than those of SFT."""
    facts = evaluation.record.stats["facts"]
    if not all("precision" in facts.get(model, {}) for model in MODELS):
        return CheckOutcome(True, "no statement could be checked: the corpus comes without ground truth")
    shares = ", ".join(
        f"{model} {100 * facts[model]['precision']:.1f} % ({100 * facts[model]['low']:.1f} to "
        f"{100 * facts[model]['high']:.1f} %), {facts[model]['false']:.2f} false per answer"
        for model in MODELS
    )
    numbers = {f"{part}.{model}": value for model in MODELS for part, value in facts[model].items()}
    return CheckOutcome(
        facts["rlhf"]["high"] >= facts["sft"]["low"], f"true among checkable statements: {shares}", numbers=numbers
    )


def show(evaluation: Artifact) -> dict[str, str]:
    """Scores, comparisons and fact precision in Markdown, for the asset's page in Dagster."""
    stats = evaluation.record.stats
    lines = ["| model | gold signal | reward model | tokens | fact precision |", "|---|--:|--:|--:|--:|"]
    for model, means in stats["models"].items():
        precision = stats["facts"].get(model, {}).get("precision")
        cells = [f"{means['gold']:.3f}", f"{means['proxy']:.3f}", f"{means['tokens']:.1f}"]
        cells.append("" if precision is None else f"{100 * precision:.1f} %")
        lines.append(f"| {model} | {' | '.join(cells)} |")
    compared = [f"{name}: {_in_words(comparison)}  " for name, comparison in stats["comparisons"].items()]
    return {"summary": "\n".join([*lines, "", *compared])}


RLHF_EVALUATION = Stage(
    name="rlhf_evaluation",
    group="preference",
    description="SFT, RL and RLHF models on test prompts, scored by the gold signal, and how preference tuning "
    "changed the assistant's other abilities.",
    kinds=("pytorch", "html"),
    build=build_rlhf_evaluation,
    config=lambda recipe, crawl: RlhfEvaluationConfig(
        evaluation=recipe.rlhf_evaluation,
        split=recipe.evaluation_split,
        gold=gold_signal(recipe.human_rankings),
        answer_tokens=recipe.sft_evaluation.max_tokens,
        tools=recipe.tools,
    ),
    code_version="4",
    inputs=(
        "rlhf_checkpoint",
        "rl_checkpoint",
        "sft_checkpoint",
        "reward_checkpoint",
        "response_pairs",
        "conversations",
        "sft_evaluation",
        TRAINING_SEARCH,
        "raw_warc",
    ),
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"answers": Answers, "abilities": Abilities},
    main_table="answers",
    checks=(
        Check("preferred_to_sft", "On test prompts the gold signal prefers RLHF's answers to SFT's.", preferred_more),
        Check("stays_true", "Preference tuning does not make open answers less true than they were.", stays_true),
        Check(
            "keeps_what_it_learnt", "None of the assistant's abilities fell by more than ten points.", check_abilities
        ),
    ),
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=show,
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
    pool="gpu",
)
