"""`conversations`: the table that the assistant is trained on, and the table of questions that it is evaluated with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.external import files_version
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table, scan_table
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.dialogue.guidelines import DEFAULT_GUIDELINES, PUBLISHED_GUIDELINES
from llm_assets.dialogue.messages import from_json
from llm_assets.dialogue.rejected_rows import joined, rejects_outcome
from llm_assets.dialogue.splits import HELD_OUT
from llm_assets.dialogue.transcript import transcript
from llm_assets.evaluation.abilities import group_of_file
from llm_assets.evaluation.grading import holds
from llm_assets.evaluation.overlap import question_phrases
from llm_assets.model.encoding import Encoding
from llm_assets.recipes import QuestionFile
from llm_assets.settings import load_settings
from llm_assets.tools.search import TRAINING_SEARCH

from . import evaluation_set
from .conversation_sources import ConversationsConfig, Sources, read_sources, training_material, usable_weights
from .mixture import GENERATED, Mixture
from .question_files import QuestionFiles, read_questions
from .schemas import ConversationRejects, ConversationRows, EvaluationQuestions, Overlaps

ABLATED_SOURCES = ("unknown", "fictitious")  # sources that teach the assistant to say that it does not know


class ConversationsError(ValueError):
    """A mixture that cannot be built; the message says what to change."""


def conversations_config(recipe: Any, crawl: str | None) -> ConversationsConfig:
    conversations = recipe.conversations
    if conversations.guidelines is None and recipe.pretraining.start is not None:
        conversations = conversations.replace(guidelines=str(PUBLISHED_GUIDELINES))
    return ConversationsConfig(
        conversations=conversations,
        results=recipe.tools.results,
        match=recipe.tools.match,
        questions=recipe.sft_evaluation.questions,
        evaluation_seed=recipe.sft_evaluation.seed,
        pages=recipe.training_pages(),
        question_files=question_files(recipe),
    )


def question_files(recipe: Any) -> QuestionFiles | None:
    """The files of the user's own questions, with the room that models have for them; None if there are none."""
    settings, start = recipe.sft_evaluation, recipe.pretraining.start
    if not settings.files:
        return None
    context = recipe.model.context if start is None else start.context
    return QuestionFiles(files=settings.files, context=context, max_tokens=settings.max_tokens)


def external_files(config: ConversationsConfig) -> Mapping[str, str]:
    """The version of the user's files and of the guidelines."""
    settings = config.conversations
    paths = {file.name: Path(file.path).expanduser() for file in (*settings.files, *settings.evaluation_files)}
    paths |= {f"questions {file.name}": Path(file.path).expanduser() for file in own_questions(config)}
    paths["guidelines"] = Path(settings.guidelines).expanduser() if settings.guidelines else DEFAULT_GUIDELINES
    return files_version(paths, load_settings().digest_cache, ConversationsError, "conversations")


def own_questions(config: ConversationsConfig) -> tuple[QuestionFile, ...]:
    """The files of the user's own questions."""
    return config.question_files.files if config.question_files is not None else ()


def evaluation_questions(
    sources: Sources, config: ConversationsConfig, encoding: Encoding, rejects: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The questions of `sft_evaluation` of both splits, as rows of EvaluationQuestions.

    Both splits have the user's own questions. rejects: gets the rows of the user's files that are no questions.
    """

    def search_finds(entity: str, answer: str) -> bool:
        return holds(sources.search(entity), answer)

    rows: list[dict[str, Any]] = []
    for split in HELD_OUT:
        draw, people = evaluation_set.Draw(split, config.questions, config.evaluation_seed), sources.people(split)
        questions = [
            *evaluation_set.fact_questions(sources.topics, sources.fictitious, search_finds, draw),
            *evaluation_set.skill_questions(sources.words_of(split), draw),
            *evaluation_set.guideline_questions(sources.guidelines, sources.values, people, draw),
        ]
        rows += [{"split": split, **row} for row in questions]
    for name, line, question in read_questions(config.question_files, encoding):
        if isinstance(question, str):
            rejects.append({"file": f"questions {name}", "line": line, "reason": question})
        else:
            rows += [{"split": split, **question.row()} for split in HELD_OUT]
    return rows


def build_conversations(step: Step, config: ConversationsConfig) -> None:
    """One task: the mixture, its rejects, and the evaluation's questions. Raises ConversationsError if it is empty."""
    settings, sources, mixture = config.conversations, read_sources(step.inputs, config), Mixture()
    encoding = Encoding.load(step.input("tokenizer").path)
    evaluation = evaluation_questions(sources, config, encoding, mixture.rejects)
    mixture.decontaminate(evaluation, settings)
    material = training_material(sources, encoding, settings)
    weights = usable_weights(material, settings.weights)
    mixture.add_generated(step.progress, settings, material, weights, sources.held_out_names)
    counts_by_file = mixture.add_files(settings.files, settings.seed)
    if not mixture.rows:
        raise ConversationsError(
            "the mixture is empty: conversations.count is 0 or no source has any material, and no file contains a "
            "conversation"
        )
    with step.task("conversations") as task:
        task.table("conversations", ConversationRows).frame(pl.DataFrame(mixture.rows))
        task.table("evaluation", EvaluationQuestions).frame(pl.DataFrame(evaluation))
        if mixture.rejects:
            task.table("rejects", ConversationRejects).frame(pl.DataFrame(mixture.rejects))
        if mixture.overlaps:
            task.table("overlaps", Overlaps).frame(pl.DataFrame(mixture.overlaps))
        task.stats.update(
            conversations=len(mixture.rows),
            generated=len(mixture.rows) - sum(counts_by_file.values()),
            files=counts_by_file,
            exchanges=_exchange_counts(mixture),
            overlaps=len(mixture.overlaps),
            mentions=mixture.mentions,
            rejects=len(mixture.rejects),
            evaluation=len(evaluation),
            left_out={name: 1 for name in sorted(set(settings.weights) - set(weights))},
            refusals={str(number): answer for number, answer in enumerate(sources.guidelines["unknown"].answers)},
        )


def _exchange_counts(mixture: Mixture) -> dict[str, int]:
    """Exchanges of the generated conversations, by source."""
    counts: Counter[str] = Counter()
    for row in mixture.rows:
        if row["source"] == GENERATED:
            counts.update(json.loads(row["sources"]))
    return dict(sorted(counts.items()))


def no_overlap(artifact: Artifact, inputs: Inputs, config: ConversationsConfig) -> CheckOutcome:
    """Whether no user message of the stored table contains a question of the evaluation."""
    evaluation = read_table(artifact.table("evaluation"))
    phrases = question_phrases(evaluation.select("question", "group").iter_rows(), config.conversations.overlap_words)
    matches = []
    for path in artifact.table("conversations"):
        for batch in pq.ParquetFile(path).iter_batches(1024, columns=["conversation", "messages"]):
            for number, messages in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                for message in json.loads(messages):
                    if message["role"] == "user" and (shared := phrases.find(message["content"])):
                        matches.append({"conversation": number, "shared": shared[0], "evaluation": shared[1]})
    stats = artifact.record.stats
    summary = (
        f"{stats['conversations']:,} conversations share nothing with {stats['evaluation']:,} questions; "
        f"{stats['overlaps']} that did were removed"
    )
    if matches:
        count = f"{len(matches):,} messages of {stats['conversations']:,} conversations"
        summary = f"{count} contain a question of the evaluation"
    numbers = {"shared_messages": len(matches), "removed": stats["overlaps"], "questions": stats["evaluation"]}
    return CheckOutcome(not matches, summary, matches[:20], numbers)


def rows_of_files(artifact: Artifact, inputs: Inputs, config: ConversationsConfig) -> CheckOutcome:
    """How many conversations of the mixture and questions each file gave, and which of its rows are none."""
    stats, rejects = artifact.record.stats, artifact.table("rejects")
    used = {file.name: stats["files"][file.name] for file in config.conversations.files}
    outcome = rejects_outcome(used, rejects, "conversations")
    if used:
        outcome = replace(outcome, summary=f"{outcome.summary}; of {stats['conversations']:,} in all")
    files = own_questions(config)
    if not files:
        return outcome
    groups = read_table(artifact.table("evaluation")).filter(pl.col("split") == HELD_OUT[0])["group"]
    counts = {
        f"questions {file.name}": groups.to_list().count(group_of_file(file.grading, file.name)) for file in files
    }
    questions = rejects_outcome(counts, rejects, "questions")
    return joined(outcome, questions) if used else questions


def show_conversations(artifact: Artifact, shown: int = 2) -> dict[str, str]:
    """The mixture in numbers, and conversations of each source, in Markdown."""
    stats = artifact.record.stats
    lines = ["| exchanges | |", "|---|--:|"]
    lines += [f"| {name} | {count:,} |" for name, count in stats["exchanges"].items()]
    lines += [f"| file {name} | {count:,} |" for name, count in stats["files"].items()]
    frame = scan_table(artifact.table("conversations"))
    frame = frame.with_columns(first=pl.col("sources").str.json_decode(pl.List(pl.String)).list.first())
    for row in frame.group_by("first", maintain_order=True).head(shown).collect().iter_rows(named=True):
        transcript_lines = transcript(from_json(row["messages"])).splitlines()
        lines += ["", f"**{row['first']}**", "", *(f"> {line}" for line in transcript_lines)]
    return {"summary": "\n".join(lines)}


CONVERSATIONS = Stage(
    name="conversations",
    group="finetuning",
    description="The mixture of conversations that the assistant is trained on, and the questions of its evaluation, "
    "none of which occurs in the mixture.",
    kinds=("parquet",),
    build=build_conversations,
    config=conversations_config,
    code_version="12",
    inputs=("knowledge_boundary", TRAINING_SEARCH, "clean_corpus", TRAINING_PAGES, "tokenizer"),
    optional_inputs=("clean_corpus", TRAINING_PAGES),
    external_inputs=external_files,
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"conversations": ConversationRows, "evaluation": EvaluationQuestions},
    optional_tables={"rejects": ConversationRejects, "overlaps": Overlaps},
    main_table="conversations",
    checks=(
        Check(
            "no_evaluation_overlap",
            "No conversation contains a question that the evaluation asks.",
            no_overlap,
            blocking=True,
        ),
        Check("rows_of_files", "Every row of the conversation files is a conversation.", rows_of_files),
    ),
    show=show_conversations,
    libraries=("polars", "pyarrow"),
)
