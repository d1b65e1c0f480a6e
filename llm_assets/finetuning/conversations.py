"""`conversations`: what the assistant is trained on, as one table; and what it will be asked, as another."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow.parquet as pq

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.external import files_version
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.dialogue.guidelines import OWN, Guideline, read_guidelines
from llm_assets.dialogue.messages import from_json, to_json
from llm_assets.dialogue.splits import stable_share
from llm_assets.dialogue.transcript import transcript
from llm_assets.evaluation.grading import holds
from llm_assets.evaluation.words import corpus_words
from llm_assets.model.chat import Message
from llm_assets.model.encoding import Encoding
from llm_assets.recipes import ConversationFile, Conversations
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.settings import load_settings
from llm_assets.tools import SearchIndex, SearchTool
from llm_assets.tools.search import INDEX, TRAINING_SEARCH

from . import evaluation_set
from .dialogues import Material, Topic, conversations
from .names import made_up_words, spliced_words
from .overlap import Phrases, question_phrases
from .schemas import ConversationRejects, ConversationRows, EvaluationQuestions, Overlaps

TOOL_SETS = ((), ("search",), ("python",), ("search", "python"))
KEPT_WORDS = 0.1  # share of the corpus's words that only evaluation counts and spells
MADE_UP_WORDS = 5_000  # of either kind
ABLATED_SOURCES = ("unknown", "fictitious")  # sources that teach what is not known


class ConversationsError(ValueError):
    """A mixture that cannot be made; the message says what to change."""


class ConversationsConfig(Frozen):
    """The mixture, and the questions that the assistant will be evaluated by.

    results, match: of the search tool as the assistant will have it. questions: of each group, drawn by
    evaluation_seed. pages: those whose words are counted and spelled.
    """

    conversations: Conversations
    results: int
    match: Literal["all", "any"]
    questions: int
    evaluation_seed: int
    pages: TrainingPages


def conversations_config(recipe: Any, crawl: str | None) -> ConversationsConfig:
    return ConversationsConfig(
        conversations=recipe.conversations,
        results=recipe.tools.results,
        match=recipe.tools.match,
        questions=recipe.sft_evaluation.questions,
        evaluation_seed=recipe.sft_evaluation.seed,
        pages=recipe.training_pages(),
    )


def external_files(config: ConversationsConfig) -> Mapping[str, str]:
    """The version of the user's files and of the guidelines."""
    settings = config.conversations
    paths = {file.name: Path(file.path).expanduser() for file in (*settings.files, *settings.evaluation_files)}
    paths["guidelines"] = Path(settings.guidelines).expanduser() if settings.guidelines else OWN
    return files_version(paths, load_settings().digest_cache, ConversationsError, "conversations")


def none_of(words: Sequence[str], encoding: Encoding, seed: int) -> list[str]:
    """Words that are none: half of them as these run, letter by letter, half of tokens of small letters."""

    def split(word: str) -> list[str]:
        return [encoding.decode([token]) for token in encoding.encode(f'"{word}"')]

    pieces = [
        text
        for token in encoding.ranks
        if (text := token.decode("ascii", "replace")).isascii() and text.isalpha() and text.islower()
    ]
    return [
        *made_up_words(words, random.Random(f"made up-{seed}"), MADE_UP_WORDS),
        *spliced_words(pieces, words, random.Random(f"spliced-{seed}"), MADE_UP_WORDS, split),
    ]


def knowledge_cutoff(pages: CorpusPages) -> str:
    """The day of the newest of these pages, as ``5 October 2026``."""
    dated = pl.col("fetched_at").str.contains(r"^\d{4}-\d\d-\d\dT")  # WARC files of others may have none
    latest = pages.scan(["fetched_at"]).filter(dated).max().collect().item()
    if latest is None:
        return "an unknown day"
    day = datetime.fromisoformat(latest[:10])
    return f"{day.day} {day:%B %Y}"


def passages_of(index: SearchIndex, topics: Sequence[dict[str, Any]]) -> Any:
    """A function from a thing to the passages that tell of it and of no other thing but as an answer about it."""
    own: dict[str, set[str]] = {}
    for topic in topics:
        own.setdefault(topic["entity"], set()).add(topic["answer"])
    names = Phrases()
    for name in own:
        names.add(name, name)

    @lru_cache(None)
    def found(entity: str) -> list[tuple[str, str]]:
        passages = []
        for passage in index.search(entity, 20):
            rest = passage.text
            for own_words in sorted([entity, *own[entity]], key=len, reverse=True):
                rest = rest.replace(own_words, " | ")
            if entity in passage.text and names.find(rest) is None:
                passages.append((passage.url, passage.text))
        return passages

    return found


def _topic(row: dict[str, Any]) -> Topic:
    questions = tuple(json.loads(row["questions"]))
    return Topic(row["entity"], row["kind"], row["relation"], questions, row["answer"], row["sentence"])


@dataclass
class Sources:
    """What conversations and questions are made of, as it is stored.

    topics, fictitious: rows of the knowledge boundary. words: of the corpus; kept_words are for evaluation alone.
    values: what the guidelines' slots stand for.
    """

    topics: list[dict[str, Any]]
    fictitious: list[dict[str, Any]]
    words: list[str]
    guidelines: dict[str, Guideline]
    values: dict[str, str]
    index: SearchIndex
    search: SearchTool

    @property
    def kept_words(self) -> list[str]:
        return [word for word in self.words if stable_share("word", word) < KEPT_WORDS]

    @property
    def kept_names(self) -> set[str]:
        """Things that no conversation mentions."""
        return {topic["entity"] for topic in self.topics if topic["held_out"]}

    def people(self, held_out: bool) -> list[str]:
        rows = (row for row in self.topics if row["kind"] == "person" and row["held_out"] == held_out)
        return sorted({row["entity"] for row in rows})


def read_sources(inputs: Inputs, config: ConversationsConfig) -> Sources:
    settings, boundary = config.conversations, inputs.artifact("knowledge_boundary")
    pages = CorpusPages(inputs, TRAINING_PAGES, config.pages)
    index = SearchIndex(inputs.artifact(TRAINING_SEARCH).file(INDEX))
    return Sources(
        topics=pl.concat([pl.read_parquet(path) for path in boundary.table("topics")]).to_dicts(),
        fictitious=pl.concat([pl.read_parquet(path) for path in boundary.table("fictitious_entities")]).to_dicts(),
        words=corpus_words(pages.texts()),
        guidelines=read_guidelines(Path(settings.guidelines).expanduser() if settings.guidelines else None),
        values={"name": settings.name, "maker": settings.maker, "cutoff": knowledge_cutoff(pages)},
        index=index,
        search=SearchTool(index, config.results, config.match),
    )


def evaluation_questions(sources: Sources, config: ConversationsConfig) -> list[dict[str, Any]]:
    """What sft_evaluation will ask, as rows of EvaluationQuestions."""
    most, seed = config.questions, config.evaluation_seed

    def finds(entity: str, answer: str) -> bool:
        return holds(sources.search(entity), answer)

    people = sources.people(held_out=True)
    return [
        *evaluation_set.fact_questions(sources.topics, sources.fictitious, finds, most, seed),
        *evaluation_set.lesson_questions(sources.kept_words, most, seed),
        *evaluation_set.guideline_questions(sources.guidelines, sources.values, people, seed),
    ]


def material_of(sources: Sources, encoding: Encoding, seed: int) -> Material:
    """What dialogues may be made of: nothing that is kept apart for evaluation."""
    kept_names, kept_words = sources.kept_names, set(sources.kept_words)
    usual = [row for row in sources.topics if not row["held_out"] and row["answer"] not in kept_names]
    return Material(
        known=[_topic(row) for row in usual if row["verdict"] == "known"],
        unknown=[_topic(row) for row in usual if row["verdict"] == "unknown"],
        told=[_topic(row) for row in usual],
        fictitious=_by_kind(sources.fictitious),
        search=sources.search,
        passages=passages_of(sources.index, sources.topics),
        words=[word for word in sources.words if word not in kept_words],
        made_up=none_of(sources.words, encoding, seed),
        guidelines=sources.guidelines,
        values=sources.values,
        people=sources.people(held_out=False),
    )


@dataclass
class Mixture:
    """Conversations that were taken, and what was left out.

    evaluated: the questions of evaluations, which no message may share. overlaps: conversations that share one.
    mentions: how many mention what is kept apart. rejects: rows of files that are no conversations.
    """

    evaluated: Phrases = field(default_factory=Phrases)
    rows: list[dict[str, Any]] = field(default_factory=list)
    overlaps: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    mentions: int = 0

    def read(self, file: ConversationFile) -> Iterator[tuple[int, Sequence[Message]]]:
        """Conversations of a file with their lines; its rejects are noted."""
        for row in read_conversations(Path(file.path).expanduser()):
            if row.problem:
                self.rejects.append({"file": file.name, "line": row.line, "reason": row.problem})
            else:
                yield row.line, row.messages

    def decontaminate(self, evaluation: Sequence[dict[str, Any]], settings: Conversations) -> None:
        """Note the questions that may not be trained on: the evaluation's, and those of the user's evaluation files."""
        questions = [(row["question"], row["group"]) for row in evaluation]
        for file in settings.evaluation_files:
            for _, messages in self.read(file):
                questions += [(message.content, file.name) for message in messages if message.role == "user"]
        self.evaluated = question_phrases(questions, settings.overlap_words)

    def take(self, source: str, line: int, messages: Sequence[Message], sources: Sequence[str]) -> None:
        """Add a conversation, unless it shares a question with an evaluation."""
        for message in messages:
            shared = self.evaluated.find(message.content) if message.role == "user" else None
            if shared:
                overlap = {"source": source, "line": line, "evaluation": shared[1], "shared": shared[0]}
                self.overlaps.append(overlap)
                return
        self.rows.append(
            {
                "conversation": len(self.rows),
                "source": source,
                "sources": json.dumps(list(sources)),
                "line": line,
                "messages": to_json(messages),
            }
        )

    def add_made(
        self, step: Step, settings: Conversations, material: Material, weights: dict[str, float], kept: Iterable[str]
    ) -> None:
        """Make conversations and take those that mention none of the names that are kept apart."""
        kept_phrases = Phrases()
        for name in sorted(kept):
            kept_phrases.add(name, name)
        step.progress.start(settings.count, "conversations")
        count, tool_sets = settings.count if weights else 0, tuple(zip(TOOL_SETS, settings.tools, strict=True))
        made = conversations(settings.seed, count, material, weights, tool_sets, settings.turns)
        for number, (messages, sources) in enumerate(made):
            if any(kept_phrases.find(message.content) for message in messages):
                self.mentions += 1
            else:
                self.take("made", number, messages, sources)
            if number % 1_000 == 0:
                step.progress.advance(number)

    def add_file(self, file: ConversationFile, seed: int) -> int:
        """Take a file's conversations, all or as many as are wanted, drawn by hash; how many there are then of it."""
        before, rows = len(self.rows), list(self.read(file))
        if file.max_rows is not None and len(rows) > file.max_rows:
            drawn = sorted(rows, key=lambda row: stable_share("row", str(seed), file.name, str(row[0])))
            rows = sorted(drawn[: file.max_rows], key=lambda row: row[0])
        for line, messages in rows:
            self.take(file.name, line, messages, [file.name])
        return len(self.rows) - before


def build_conversations(step: Step, config: ConversationsConfig) -> None:
    """One part."""
    settings, sources, mixture = config.conversations, read_sources(step.inputs, config), Mixture()
    evaluation = evaluation_questions(sources, config)
    mixture.decontaminate(evaluation, settings)
    material = material_of(sources, Encoding.load(step.input("tokenizer").path), settings.seed)
    weights = usable(material, settings.weights)
    mixture.add_made(step, settings, material, weights, sources.kept_names)
    of_files = {file.name: mixture.add_file(file, settings.seed) for file in settings.files}
    rows = mixture.rows
    if not rows:
        raise ConversationsError(
            "the mixture is empty: conversations.count is 0 or no source has anything to say, and no file gives a "
            "conversation"
        )
    with step.task("conversations") as task:
        task.table("conversations", ConversationRows).frame(pl.DataFrame(rows))
        task.table("evaluation", EvaluationQuestions).frame(pl.DataFrame(evaluation))
        if mixture.rejects:
            task.table("rejects", ConversationRejects).frame(pl.DataFrame(mixture.rejects))
        if mixture.overlaps:
            task.table("overlaps", Overlaps).frame(pl.DataFrame(mixture.overlaps))
        exchanges = Counter(source for row in rows if row["source"] == "made" for source in json.loads(row["sources"]))
        task.stats.update(
            conversations=len(rows),
            made=len(rows) - sum(of_files.values()),
            files=of_files,
            exchanges=dict(sorted(exchanges.items())),
            overlaps=len(mixture.overlaps),
            mentions=mixture.mentions,
            rejects=len(mixture.rejects),
            evaluation=len(evaluation),
            left_out={name: 1 for name in sorted(set(settings.weights) - set(weights))},
        )


def _by_kind(fictitious: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in fictitious:
        if not row["held_out"]:
            found.setdefault(row["kind"], []).append(row["name"])
    return found


def usable(material: Material, weights: Mapping[str, float]) -> dict[str, float]:
    """The weights of sources that have something to be made of: a corpus without questions has no facts to ask for."""
    readable = any(
        holds(text, topic.answer) and holds(topic.sentence, topic.answer)
        for topic in material.told_kinds
        for _, text in material.passages(topic.entity)
    )
    has = {
        "known": bool(material.known),
        "unknown": bool(material.unknown),
        "fictitious": bool(material.known_kinds),
        "open": bool(material.known),
        "letters": bool(material.words),
        "repetition": bool(material.words),
        "reading": readable,
    }
    return {name: weight for name, weight in weights.items() if weight > 0 and has.get(name, True)}


def no_overlap(artifact: Artifact, inputs: Inputs, config: ConversationsConfig) -> CheckOutcome:
    """Whether no user's message in the written table holds a question of the evaluation."""
    asked = pl.concat([pl.read_parquet(path) for path in artifact.table("evaluation")])
    phrases = question_phrases(asked.select("question", "group").iter_rows(), config.conversations.overlap_words)
    found = []
    for path in artifact.table("conversations"):
        for batch in pq.ParquetFile(path).iter_batches(1024, columns=["conversation", "messages"]):
            for number, messages in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                for message in json.loads(messages):
                    if message["role"] == "user" and (shared := phrases.find(message["content"])):
                        found.append({"conversation": number, "shared": shared[0], "evaluation": shared[1]})
    stats = artifact.record.stats
    summary = (
        f"{stats['conversations']:,} conversations share nothing with {stats['evaluation']:,} questions; "
        f"{stats['overlaps']} that did were taken out"
    )
    if found:
        summary = f"{len(found):,} messages of {stats['conversations']:,} conversations share a question"
    numbers = {"shared_messages": len(found), "taken_out": stats["overlaps"], "questions": stats["evaluation"]}
    return CheckOutcome(not found, summary, found[:20], numbers)


def show_conversations(artifact: Artifact, shown: int = 2) -> dict[str, str]:
    """The mixture in numbers, and conversations of each source, in Markdown."""
    stats = artifact.record.stats
    lines = ["| exchanges | |", "|---|--:|"]
    lines += [f"| {name} | {count:,} |" for name, count in stats["exchanges"].items()]
    lines += [f"| file {name} | {count:,} |" for name, count in stats["files"].items()]
    frame = pl.concat([pl.scan_parquet(path) for path in artifact.table("conversations")])
    frame = frame.with_columns(first=pl.col("sources").str.json_decode(pl.List(pl.String)).list.first())
    for row in frame.group_by("first", maintain_order=True).head(shown).collect().iter_rows(named=True):
        told = transcript(from_json(row["messages"])).splitlines()
        lines += ["", f"**{row['first']}**", "", *(f"> {line}" for line in told)]
    return {"summary": "\n".join(lines)}


CONVERSATIONS = Stage(
    name="conversations",
    group="finetuning",
    description="The mixture that the assistant is trained on, and the questions that it will be asked, none of them "
    "in the mixture.",
    kinds=("parquet",),
    build=build_conversations,
    config=conversations_config,
    code_version="8",
    inputs=("knowledge_boundary", TRAINING_SEARCH, "clean_corpus", TRAINING_PAGES, "tokenizer"),
    external_inputs=external_files,
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"conversations": ConversationRows, "evaluation": EvaluationQuestions},
    optional_tables={"rejects": ConversationRejects, "overlaps": Overlaps},
    main_table="conversations",
    checks=(
        Check(
            "no_evaluation_overlap",
            "No conversation holds a question that the evaluation asks.",
            no_overlap,
            blocking=True,
        ),
    ),
    show=show_conversations,
    libraries=("polars", "pyarrow"),
)
