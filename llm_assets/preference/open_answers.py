"""Answers to open prompts: what they say that is true, how the scorers rate them, and how models compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.evaluation.figures import Row, row
from llm_assets.evaluation.ground_truth import GroundTruth, StatementJudge
from llm_assets.evaluation.intervals import Estimate, mean, proportion
from llm_assets.model.assistant import EXAMPLES

from .jobs import PromptRow

SUITE = "open_answers"
GROUP = "open prompts"
VERDICTS = ("true", "false", "uncheckable")
COMPARED = "sft"  # the model with whose answers all others are compared
EXAMPLE_SENTENCES = (2, 3)  # fewest and most sentences of an example answer


def base_examples(prompts: pl.DataFrame, topics: pl.DataFrame, count: int = 2) -> tuple[tuple[str, str], ...]:
    """Open prompts of the training split with what the corpus says about their subjects, which prompt a base model.

    prompts: a table Prompts. topics: rows of `knowledge_boundary`'s table `topics`. If there are none,
    other examples are used.
    """
    fewest, most = EXAMPLE_SENTENCES
    sentences = topics.group_by("entity", maintain_order=True).agg(pl.col("sentence"))
    trained = prompts.filter((pl.col("split") == "train") & pl.col("subject_exists"))
    described = trained.join(sentences, left_on="subject", right_on="entity", maintain_order="left").filter(
        pl.col("sentence").list.len() >= fewest
    )
    examples = described.unique("subject", keep="first", maintain_order=True).head(count)
    rows = examples.select("question", pl.col("sentence").list.head(most).list.join(" ")).iter_rows()
    return tuple(rows) or EXAMPLES


def answers_table(
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
            for model, answers in responses.items()
            for answer in answers
        ],
        schema_overrides=dict.fromkeys(VERDICTS, pl.Int64),
    )


def open_figures(answers: pl.DataFrame) -> list[Row]:
    """Figures of every model's open answers. Intervals are bootstrapped over prompts. answers: a table Answers.

    gold, proxy, tokens: means per answer. finished: share of answers that the model ended itself. With ground truth,
    true, false and uncheckable: statements per answer, and precision: the share of true ones among those that are true
    or false. Of every model but `sft`, better than, equal to and worse than sft: the shares of its answers that the
    gold signal scores higher, as high and lower than sft's answer to the same prompt; preferred to sft: the share of
    better ones among those that are not equal.
    """
    by_model = {str(model): of_model for (model,), of_model in answers.group_by("model", maintain_order=True)}
    rows = []
    for model, of_model in by_model.items():
        estimates = {**_scores(of_model), **_facts(of_model)}
        if model != COMPARED and COMPARED in by_model:
            estimates |= _compared(of_model, by_model[COMPARED])
        rows += [row(model, SUITE, GROUP, metric, estimate) for metric, estimate in estimates.items()]
    return rows


def _scores(answers: pl.DataFrame) -> dict[str, Estimate]:
    prompts = answers["prompt"].to_list()
    means = {metric: mean(answers[metric].to_list(), prompts) for metric in ("gold", "proxy", "tokens")}
    return {**means, "finished": proportion(answers["finished"].cast(pl.Float64).to_list(), prompts)}


def _facts(answers: pl.DataFrame) -> dict[str, Estimate]:
    """Empty without ground truth; without precision if no statement is true or false."""
    if answers["true"].null_count():
        return {}
    prompts = answers["prompt"].to_list()
    estimates = {verdict: mean(answers[verdict].to_list(), prompts) for verdict in VERDICTS}
    marks = [
        (mark, prompt)
        for prompt, true, false in answers.select("prompt", "true", "false").iter_rows()
        for mark in [1.0] * true + [0.0] * false
    ]
    if marks:
        estimates["precision"] = proportion([mark for mark, _ in marks], [prompt for _, prompt in marks])
    return estimates


def _compared(answers: pl.DataFrame, others: pl.DataFrame) -> dict[str, Estimate]:
    prompts = answers["prompt"].to_list()
    margins = [score - other for score, other in zip(answers["gold"], others["gold"], strict=True)]
    outcomes = {
        f"better than {COMPARED}": [float(margin > 0) for margin in margins],
        f"equal to {COMPARED}": [float(margin == 0) for margin in margins],
        f"worse than {COMPARED}": [float(margin < 0) for margin in margins],
    }
    estimates = {name: proportion(marks, prompts) for name, marks in outcomes.items()}
    untied = [(float(margin > 0), prompt) for margin, prompt in zip(margins, prompts, strict=True) if margin]
    if untied:
        preferred = proportion([mark for mark, _ in untied], [prompt for _, prompt in untied])
        estimates[f"preferred to {COMPARED}"] = preferred
    return estimates
