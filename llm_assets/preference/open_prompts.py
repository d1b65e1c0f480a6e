"""Open prompts: questions without a single right answer, about entities of the corpus, pages or fictitious entities."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

from llm_assets.artifacts import Inputs
from llm_assets.artifacts.tables import read_table
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.dialogue.splits import SPLITS, Split, split_of
from llm_assets.dialogue.wordings import OPEN_QUESTIONS, open_wordings
from llm_assets.recipes.finetuning import ConversationFile
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.preference import ResponsePairs
from llm_assets.recipes.training_pages import TrainingPages

PAGES = 20_000  # pages of the corpus whose titles are used if it comes with no questions
FIRST_WORDS = 6  # words of a page that stand for its title if it has none of its own
TITLE_CHARACTERS = 100
CORPUS, TITLES, FICTITIOUS = "corpus", "titles", "fictitious"  # sources of prompts, besides files
MIN_FACTS = 2  # facts about an entity from which an open question about it can be answered


class ResponsePairsConfig(Frozen):
    """Which prompts are answered, and the pages that they may be about."""

    pairs: ResponsePairs
    pages: TrainingPages


class Prompt(NamedTuple):
    """An open question, its subject ("" if unknown), and its source."""

    question: str
    subject: str
    source: str


class PreferenceError(ValueError):
    """Preferences that cannot be collected or learnt as the recipe asks; the message says what to change."""


@dataclass
class PromptSelection:
    """Prompts of a recipe, by split, and the invalid rows of the user's files."""

    by_split: dict[Split, list[Prompt]]
    rejects: list[dict[str, Any]] = field(default_factory=list)


def corpus_prompts(topics: Sequence[Mapping[str, Any]], split: Split) -> list[tuple[str, str]]:
    """(question, subject) of every wording for every entity of the split of which the model knows at least two facts.

    If it knows no entity that well, those are used of which the corpus states at least two facts.
    """
    of_split = [topic for topic in topics if topic["split"] == split]
    for verdicts in (("known",), ("known", "unsure", "unknown")):
        fact_counts = Counter(topic["entity"] for topic in of_split if topic["verdict"] in verdicts)
        entities = sorted(entity for entity, count in fact_counts.items() if count >= MIN_FACTS)
        if entities:
            kinds = {topic["entity"]: topic["kind"] for topic in of_split}
            return [
                (wording.format(e=entity), entity)
                for entity in entities
                for wording in open_wordings(kinds[entity], split)
            ]
    return []


def title_prompts(pages: Iterable[tuple[str, str]], split: Split) -> list[tuple[str, str]]:
    """(question, subject) of every wording for every page (title, text), for a corpus that comes with no questions.

    The subject is the page's title, or its first words if other pages have the same title or it has none.
    """
    stripped = [(title.strip(), text) for title, text in pages]
    uses = Counter(title for title, _ in stripped)
    subjects: dict[str, None] = {}
    for title, text in stripped:
        subject = title if title and uses[title] == 1 else " ".join(text.split()[:FIRST_WORDS])
        subjects[subject[:TITLE_CHARACTERS]] = None
    of_split = [subject for subject in subjects if subject and split_of(subject) == split]
    return [(wording.format(e=subject), subject) for subject in of_split for wording in OPEN_QUESTIONS.of(split)]


def fictitious_prompts(names: Sequence[Mapping[str, Any]], split: Split) -> list[tuple[str, str]]:
    """(question, subject) of one question per name of a fictitious entity, with the wordings in turn."""
    of_split = [row for row in names if row["split"] == split]
    wordings = {kind: cycle(open_wordings(kind, split)) for kind in {row["kind"] for row in of_split}}
    return [(next(wordings[row["kind"]]).format(e=row["name"]), row["name"]) for row in of_split]


def mix_prompts(
    prompts: Sequence[Prompt], fictitious: Sequence[Prompt], fictitious_share: float, limit: int, rng: random.Random
) -> list[Prompt]:
    """At most `limit` prompts of both lists in random order, with the given share of fictitious ones if available."""
    fictitious_wanted = min(len(fictitious), round(fictitious_share * limit))
    drawn = rng.sample(prompts, min(len(prompts), limit - fictitious_wanted))
    fictitious_count = round(len(drawn) * fictitious_share / (1 - fictitious_share))
    mixed = [*drawn, *rng.sample(fictitious, min(len(fictitious), fictitious_count))]
    return rng.sample(mixed, len(mixed))


def file_prompts(file: ConversationFile, rng: random.Random, rejects: list[dict[str, Any]]) -> list[Prompt]:
    """The first user message of each conversation of a file. Invalid rows are added to the rejects."""
    prompts = []
    for row in read_conversations(Path(file.path).expanduser()):
        if row.problem:
            rejects.append({"file": file.name, "line": row.line, "reason": row.problem})
        user_messages = [message for message in row.messages if message.role == "user"]
        prompts += [Prompt(message.content, "", file.name) for message in user_messages[:1]]
    return prompts if file.max_rows is None else rng.sample(prompts, min(file.max_rows, len(prompts)))


def select_prompts(inputs: Inputs, config: ResponsePairsConfig, rng: random.Random) -> PromptSelection:
    """The prompts of a recipe. Raises PreferenceError if a split has none."""
    settings, boundary = config.pairs, inputs.artifact("knowledge_boundary")
    topics = read_table(boundary.table("topics")).to_dicts()
    names = read_table(boundary.table("fictitious_entities")).to_dicts()
    rejects: list[dict[str, Any]] = []
    of_files = [prompt for file in settings.files for prompt in file_prompts(file, rng, rejects)]
    candidates: dict[Split, list[Prompt]] = {}
    for split in SPLITS:
        prompts = [Prompt(*prompt, CORPUS) for prompt in corpus_prompts(topics, split)]
        prompts += [prompt for prompt in of_files if split_of(prompt.question) == split]
        candidates[split] = list({prompt.question: prompt for prompt in prompts}.values())
    if not any(candidates.values()):
        pages = list(islice(_pages(inputs, config.pages), PAGES))
        for split in SPLITS:
            candidates[split] = [Prompt(*prompt, TITLES) for prompt in title_prompts(pages, split)]
    limits = {"train": settings.prompts, "development": settings.development, "test": settings.test}
    selected: dict[Split, list[Prompt]] = {}
    for split in SPLITS:
        fictitious = [Prompt(*prompt, FICTITIOUS) for prompt in fictitious_prompts(names, split)]
        selected[split] = mix_prompts(candidates[split], fictitious, settings.fictitious_share, limits[split], rng)
        if not selected[split]:
            counts = ", ".join(f"{len(prompts)} of {name}" for name, prompts in candidates.items())
            raise PreferenceError(
                f"response_pairs: there is no open prompt for the split {split} ({counts}); name files with more "
                "prompts in response_pairs.files"
            )
    return PromptSelection(selected, rejects)


def _pages(inputs: Inputs, pages: TrainingPages) -> Iterator[tuple[str, str]]:
    """Titles and texts of the corpus, in its order."""
    for batch in CorpusPages(inputs, TRAINING_PAGES, pages).batches(["title", "text"]):
        yield from batch.iter_rows()
