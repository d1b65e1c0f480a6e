"""`conversations`: what the assistant is trained on, as one table; and what it will be asked, as another."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.outside import files_version
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.dialogue.guidelines import OWN, read_guidelines
from llm_assets.dialogue.messages import from_json, to_json
from llm_assets.dialogue.splits import stable_share
from llm_assets.dialogue.transcript import transcript
from llm_assets.evaluation.grading import holds
from llm_assets.evaluation.words import corpus_words
from llm_assets.model.chat import Message
from llm_assets.model.encoding import Encoding
from llm_assets.recipes import ConversationFile, Recipe
from llm_assets.recipes.crawls import crawls_of
from llm_assets.settings import load_settings
from llm_assets.tools import SearchIndex, SearchTool
from llm_assets.tools.search import INDEX

from . import evaluation_set
from .dialogues import Material, Topic, conversations
from .names import made_up_words, spliced_words
from .overlap import Phrases, question_phrases
from .schemas import ConversationRejects, ConversationRows, EvaluationQuestions, Overlaps

TOOL_SETS = ((), ("search",), ("python",), ("search", "python"))
KEPT_WORDS = 0.1  # share of the corpus's words that only evaluation counts and spells
MADE_UP_WORDS = 5_000  # of either kind
MITIGATION = ("unknown", "nowhere")  # sources that teach what is not known


def none_of(words: Sequence[str], encoding: Encoding, seed: int) -> list[str]:
    """Words that are none: half of them as these run, letter by letter, half of tokens of small letters."""

    def split(word: str) -> list[str]:
        return [encoding.decode([token]) for token in encoding.encode(f'"{word}"')]

    pieces = [text for token in encoding.ranks if (text := token.decode("ascii", "replace")).isascii() and text.isalpha() and text.islower()]
    return [*made_up_words(words, random.Random(f"made up-{seed}"), MADE_UP_WORDS), *spliced_words(pieces, words, random.Random(f"spliced-{seed}"), MADE_UP_WORDS, split)]


def knowledge_cutoff(files: Sequence[Path]) -> str:
    """The day of the newest page among these, as ``5 October 2026``."""
    days = [pl.scan_parquet(path).select(pl.col("fetched_at").max()).collect().item() for path in files]
    latest = max((day for day in days if day is not None), default=None)  # a part without pages has none
    if latest is None:
        return "an unknown day"
    day = datetime.fromisoformat(latest)
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
    return Topic(row["entity"], row["kind"], row["relation"], tuple(json.loads(row["questions"])), row["answer"], row["sentence"])


def build_conversations(step: Step, recipe: Recipe) -> None:
    """One part."""
    settings = recipe.conversations
    boundary, index = step.input("knowledge_boundary"), SearchIndex(step.input("search_index").file(INDEX))
    topics = pl.concat([pl.read_parquet(path) for path in boundary.table("topics")]).to_dicts()
    nowhere = pl.concat([pl.read_parquet(path) for path in boundary.table("nowhere")]).to_dicts()
    files = [path for crawl in crawls_of(recipe) for path in sorted(step.inputs[f"clean_corpus/{crawl}"].table("text"))]
    words = corpus_words(files)
    kept_words = [word for word in words if stable_share("word", word) < KEPT_WORDS]
    guidelines = read_guidelines(Path(settings.guidelines).expanduser() if settings.guidelines else None)
    values = {"name": settings.name, "maker": settings.maker, "cutoff": knowledge_cutoff(files)}
    search = SearchTool(index, recipe.tools.results, recipe.tools.match)
    kept_names = {topic["entity"] for topic in topics if topic["kept_apart"]}
    evaluation = [
        *evaluation_set.fact_questions(topics, nowhere, lambda entity, answer: holds(search(entity), answer), recipe.sft_evaluation.questions, recipe.sft_evaluation.seed),
        *evaluation_set.lesson_questions(kept_words, recipe.sft_evaluation.questions, recipe.sft_evaluation.seed),
        *evaluation_set.guideline_questions(guidelines, values, sorted({topic["entity"] for topic in topics if topic["kept_apart"] and topic["kind"] == "person"}), recipe.sft_evaluation.seed),
    ]
    kept_phrases = Phrases()
    for name in sorted(kept_names):
        kept_phrases.add(name, name)
    rejects: list[dict[str, Any]] = []
    questions = [(row["question"], row["group"]) for row in evaluation]
    for file in settings.evaluation_files:
        for row in read_conversations(Path(file.path).expanduser()):
            if row.problem:
                rejects.append({"file": file.name, "line": row.line, "reason": row.problem})
            questions += [(message.content, file.name) for message in row.messages if message.role == "user"]
    evaluated = question_phrases(questions, settings.overlap_words)
    rows: list[dict[str, Any]] = []
    overlaps: list[dict[str, Any]] = []
    mentions = 0

    def take(source: str, line: int, messages: Sequence[Message], sources: Sequence[str]) -> None:
        for message in messages:
            shared = evaluated.find(message.content) if message.role == "user" else None
            if shared:
                overlaps.append({"source": source, "line": line, "evaluation": shared[1], "shared": shared[0]})
                return
        rows.append({"conversation": len(rows), "source": source, "sources": json.dumps(list(sources)), "line": line, "messages": to_json(messages)})

    usual = [row for row in topics if not row["kept_apart"] and row["answer"] not in kept_names]
    material = Material(
        known=[_topic(row) for row in usual if row["verdict"] == "known"], unknown=[_topic(row) for row in usual if row["verdict"] == "unknown"], told=[_topic(row) for row in usual],
        nowhere=_by_kind(nowhere), search=search, passages=passages_of(index, topics), words=[word for word in words if word not in set(kept_words)],
        made_up=none_of(words, Encoding.load(step.input("tokenizer").path), settings.seed), guidelines=guidelines, values=values,
        people=sorted({row["entity"] for row in topics if row["kind"] == "person" and not row["kept_apart"]}),
    )  # fmt: skip
    weights = usable(material, settings.weights)
    step.progress.start(settings.count, "conversations")
    for number, (messages, sources) in enumerate(conversations(settings.seed, settings.count if weights else 0, material, weights, tuple(zip(TOOL_SETS, settings.tools, strict=True)), settings.turns)):
        if any(kept_phrases.find(message.content) for message in messages):
            mentions += 1
        else:
            take("made", number, messages, sources)
        if number % 1_000 == 0:
            step.progress.advance(number)
    read: dict[str, int] = {}
    for file in settings.files:
        before = len(rows)
        for line, messages in _drawn(file, settings.seed, rejects):
            take(file.name, line, messages, [file.name])
        read[file.name] = len(rows) - before
    if not rows:
        raise ConversationsError("the mixture is empty: conversations.count is 0 or no source has anything to say, and no file gives a conversation")
    with step.part("conversations") as part:
        part.table("conversations", ConversationRows).frame(pl.DataFrame(rows))
        part.table("evaluation", EvaluationQuestions).frame(pl.DataFrame(evaluation))
        if rejects:
            part.table("rejects", ConversationRejects).frame(pl.DataFrame(rejects))
        if overlaps:
            part.table("overlaps", Overlaps).frame(pl.DataFrame(overlaps))
        exchanges = Counter(source for row in rows if row["source"] == "made" for source in json.loads(row["sources"]))
        part.stats.update(
            conversations=len(rows), made=len(rows) - sum(read.values()), files=read, exchanges=dict(sorted(exchanges.items())), overlaps=len(overlaps), mentions=mentions, rejects=len(rejects), evaluation=len(evaluation), left_out={name: 1 for name in sorted(set(settings.weights) - set(weights))},
        )  # fmt: skip


class ConversationsError(ValueError):
    """A mixture that cannot be made; the message says what to change."""


def _by_kind(nowhere: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in nowhere:
        if not row["kept_apart"]:
            found.setdefault(row["kind"], []).append(row["name"])
    return found


def usable(material: Material, weights: Mapping[str, float]) -> dict[str, float]:
    """The weights of sources that have something to be made of: a corpus without questions has no facts to ask for."""
    has = {
        "known": bool(material.known), "unknown": bool(material.unknown), "nowhere": bool(material.known_kinds), "open": bool(material.known), "letters": bool(material.words), "repetition": bool(material.words),
        "reading": any(holds(text, topic.answer) and holds(topic.sentence, topic.answer) for topic in material.told_kinds for _, text in material.passages(topic.entity)),
    }  # fmt: skip
    return {name: weight for name, weight in weights.items() if weight > 0 and has.get(name, True)}


def _drawn(file: ConversationFile, seed: int, rejects: list[dict[str, Any]]) -> Iterable[tuple[int, Sequence[Message]]]:
    """Conversations of a file, all or as many as are wanted; its rejects are noted."""
    rows = []
    for row in read_conversations(Path(file.path).expanduser()):
        if row.problem:
            rejects.append({"file": file.name, "line": row.line, "reason": row.problem})
        else:
            rows.append((row.line, row.messages))
    if file.most is not None and len(rows) > file.most:
        rows = sorted(sorted(rows, key=lambda row: stable_share("row", str(seed), file.name, str(row[0])))[: file.most], key=lambda row: row[0])
    return rows


def no_overlap(artifact: Artifact, recipe: Recipe) -> CheckOutcome:
    """Whether no user's message of the table holds a question of the evaluation, looked for anew in what was written."""
    settings = recipe.conversations
    asked = pl.concat([pl.read_parquet(path) for path in artifact.table("evaluation")])
    phrases = question_phrases(asked.select("question", "group").iter_rows(), settings.overlap_words)
    found = []
    for path in artifact.table("conversations"):
        for batch in pq.ParquetFile(path).iter_batches(1024, columns=["conversation", "messages"]):
            for number, messages in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                for message in json.loads(messages):
                    if message["role"] == "user" and (shared := phrases.find(message["content"])):
                        found.append({"conversation": number, "shared": shared[0], "evaluation": shared[1]})
    stats = artifact.record.stats
    return CheckOutcome(not found, f"{stats['conversations']:,} conversations share nothing with {stats['evaluation']:,} questions; {stats['overlaps']} that did were taken out", found[:20])


def preview(artifact: Artifact, shown: int = 2) -> str:
    """The mixture in numbers, and conversations of each source, in Markdown."""
    stats = artifact.record.stats
    lines = ["| exchanges | |", "|---|--:|", *(f"| {name} | {count:,} |" for name, count in stats["exchanges"].items()), *(f"| file {name} | {count:,} |" for name, count in stats["files"].items())]
    frame = pl.concat([pl.scan_parquet(path) for path in artifact.table("conversations")]).with_columns(first=pl.col("sources").str.json_decode(pl.List(pl.String)).list.first())
    for row in frame.group_by("first", maintain_order=True).head(shown).collect().iter_rows(named=True):
        lines += ["", f"**{row['first']}**", "", *(f"> {line}" for line in transcript(from_json(row["messages"])).splitlines())]
    return "\n".join(lines)


def _outside(recipe: Recipe, crawl: str | None) -> Mapping[str, str]:
    settings = recipe.conversations
    paths = {file.name: Path(file.path).expanduser() for file in (*settings.files, *settings.evaluation_files)}
    paths["guidelines"] = Path(settings.guidelines).expanduser() if settings.guidelines else OWN
    return files_version(paths, load_settings().digest_cache, ConversationsError, "conversations")


CONVERSATIONS = Stage(
    name="conversations",
    build=build_conversations,
    code_version="7",
    rooms=(
        "llm_assets.finetuning",
        "llm_assets.dialogue",
        "llm_assets.evaluation.grading",
        "llm_assets.evaluation.words",
        "llm_assets.tools.search",
        "llm_assets.model.chat",
    ),
    inputs=("knowledge_boundary", "search_index", "clean_corpus", "tokenizer"),
    literals=lambda recipe, _: {
        "conversations": recipe.conversations, "tools": {"results": recipe.tools.results, "match": recipe.tools.match}, "evaluation": {"questions": recipe.sft_evaluation.questions, "seed": recipe.sft_evaluation.seed}, "crawls": crawls_of(recipe),
    },
    outside=_outside,
    crawls=crawls_of,
    tables={"conversations": ConversationRows, "evaluation": EvaluationQuestions},
    optional_tables={"rejects": ConversationRejects, "overlaps": Overlaps},
    libraries=("polars", "pyarrow"),
)  # fmt: skip
