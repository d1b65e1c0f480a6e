"""Questions put to the base model, its graded answers, and the verdict on each topic."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from llm_assets.artifacts.step import Step
from llm_assets.compute.launch import run_job
from llm_assets.evaluation.endpoint import ChatEndpoint, judge
from llm_assets.evaluation.grading import grade
from llm_assets.recipes import KnowledgeBoundary

from .jobs import FewShotPrompt, InterrogationJob

MODULE = "llm_assets.finetuning.knowledge_boundary_process"
INTERROGATION_SCHEMA = {
    "topic": pl.Int64,
    "question": pl.String,
    "sample": pl.Int64,
    "answer": pl.String,
    "grade": pl.String,
    "judge": pl.String,
}


@dataclass(frozen=True)
class TopicPrompt:
    """A prompt about a topic. topic: its row. wording: the question, without the examples and the frame around it."""

    topic: int
    wording: str
    prompt: FewShotPrompt


def topic_prompts(topics: pl.DataFrame, settings: KnowledgeBoundary) -> list[TopicPrompt]:
    """Prompts for each topic: one per wording, up to `wordings`, each after examples of other topics."""
    rows = topics.to_dicts()
    prompts = []
    for number, row in enumerate(rows):
        rng = random.Random(f"examples-{settings.seed}-{number}")
        drawn = rng.sample(range(len(rows)), min(len(rows), settings.examples + 4))
        others = [rows[place] for place in drawn if rows[place]["entity"] != row["entity"]]
        examples = tuple(
            f"Question: {json.loads(other['questions'])[0]}\nAnswer: {other['sentence']}"
            for other in others[: settings.examples]
        )
        for wording in json.loads(row["questions"])[: settings.wordings]:
            prompt = FewShotPrompt(f"Question: {wording}\nAnswer:", examples)
            prompts.append(TopicPrompt(number, wording, prompt))
    return prompts


def sampled_answers(step: Step, settings: KnowledgeBoundary, prompts: Sequence[TopicPrompt]) -> list[list[str]]:
    """The base model's answers to each prompt, `samples` of each, sampled in a separate process."""
    if not prompts:
        return []
    folder = step.staging / "interrogation"
    if not (folder / "answers.json").exists():

        def report_progress(event: dict[str, Any]) -> None:
            if event["done"] == 0:
                step.progress.start(event["of"], "questions")
            step.progress.advance(event["done"])

        job = InterrogationJob(
            checkpoint=str(step.input("base_checkpoint").path),
            device=settings.device,
            samples=settings.samples,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            seed=settings.seed,
            prompts=tuple(prompt.prompt for prompt in prompts),
        )
        run_job(MODULE, job, folder, report_progress, launcher=step.launcher)
    return list(json.loads((folder / "answers.json").read_text()))


def grade_answers(
    topics: pl.DataFrame, prompts: Sequence[TopicPrompt], answers: list[list[str]], endpoint: ChatEndpoint | None
) -> pl.DataFrame:
    """One row per sampled answer (schema Interrogations).

    An answer is right if it contains the topic's answer and no other answer to questions of the relation. An endpoint,
    if there is one, judges the answers that do not contain the topic's answer word for word.
    """
    distractors: dict[str, list[str]] = {}
    for relation, answer in topics.select("relation", "answer").unique(maintain_order=True).iter_rows():
        distractors.setdefault(relation, []).append(answer)
    rows = []
    for prompt, samples in zip(prompts, answers, strict=True):
        topic = topics.row(prompt.topic, named=True)
        # The relations that an endpoint writes are too loose for other values to count as distractors.
        topic_distractors = () if endpoint else distractors[topic["relation"]]
        for number, answer in enumerate(samples):
            rows.append(
                {
                    "topic": prompt.topic,
                    "question": prompt.wording,
                    "sample": number,
                    "answer": answer,
                    "grade": grade(answer, topic["answer"], topic_distractors),
                    "judge": "text",
                }
            )
    if endpoint:
        _judge_wrong_answers(rows, topics, endpoint)
    return pl.DataFrame(rows, schema=INTERROGATION_SCHEMA)


def _judge_wrong_answers(rows: list[dict[str, Any]], topics: pl.DataFrame, endpoint: ChatEndpoint) -> None:
    """Let the endpoint grade the answers that the text comparison graded wrong; changes the rows."""
    wrong_rows = [row for row in rows if row["grade"] == "wrong" and row["answer"]]
    references = topics["answer"]
    verdicts = judge(endpoint, ((row["question"], references[row["topic"]], row["answer"]) for row in wrong_rows))
    for row, verdict in zip(wrong_rows, verdicts, strict=True):
        row.update(grade=verdict, judge="endpoint")


def classify(graded: pl.DataFrame, settings: KnowledgeBoundary) -> pl.DataFrame:
    """For each topic: the number of sampled answers, the share of right ones, and the verdict."""
    share = graded.group_by("topic", maintain_order=True).agg(
        samples=pl.len().cast(pl.Int64), right=(pl.col("grade") == "right").mean()
    )
    verdict = (
        pl.when(pl.col("right") >= settings.known)
        .then(pl.lit("known"))
        .when(pl.col("right") <= settings.unknown)
        .then(pl.lit("unknown"))
        .otherwise(pl.lit("unsure"))
    )
    return share.with_columns(verdict=verdict)
