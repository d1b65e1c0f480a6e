"""`response_pairs`: several answers to each open prompt, sampled from the policy, and pairs of them to be ranked."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from llm_assets.artifacts import Artifact, Stage, Step
from llm_assets.artifacts.external import files_version
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.dialogue.splits import stable_share
from llm_assets.dialogue.wordings import OPEN
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.preference import ResponsePairs
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.settings import load_settings

from .jobs import SamplingJob
from .schemas import Pairs, PromptRejects, Prompts, Responses

MODULE = "llm_assets.preference.response_pairs_process"
PAGES = 20_000  # of the corpus, whose titles are asked for where it comes with no questions
FIRST_WORDS = 6
TITLE_CHARACTERS = 100
CORPUS, TITLES, FICTITIOUS = "corpus", "titles", "fictitious"  # sources of prompts, besides files
KEPT_TITLES = 0.2  # share of titles that only the evaluation asks for


class ResponsePairsConfig(Frozen):
    """Which prompts are answered, and the pages that they may be about."""

    pairs: ResponsePairs
    pages: TrainingPages


class Prompt(NamedTuple):
    """An open question, what it is about ("" where that is not known), and where it is from."""

    question: str
    subject: str
    source: str


class PreferenceError(ValueError):
    """Preferences that cannot be gathered or learnt as the recipe asks; the message says what to change."""


def pair_digest(question: str, first: str, second: str) -> str:
    """A pair's name: the same wherever the pair stands."""
    return hashlib.sha256(json.dumps([question, first, second], ensure_ascii=False).encode()).hexdigest()[:16]


def corpus_prompts(topics: Sequence[Mapping[str, Any]], kept_apart: bool) -> list[tuple[str, str]]:
    """Open questions, with what they are about: every wording with every thing of which the model knows two things at
    least; of one that knows nothing, with every thing of which the corpus tells as much.
    """
    side = [topic for topic in topics if topic["kept_apart"] == kept_apart]
    for verdicts in (("known",), ("known", "unsure", "unknown")):
        told = Counter(topic["entity"] for topic in side if topic["verdict"] in verdicts)
        if things := sorted(entity for entity, count in told.items() if count >= 2):
            return [(wording.format(e=entity), entity) for entity in things for wording in OPEN[kept_apart]]
    return []


def title_prompts(pages: Iterable[tuple[str, str]], kept_apart: bool) -> list[tuple[str, str]]:
    """Open questions about what pages (title, text) are about, for a corpus that comes with no questions: every wording
    with every title, or with a page's first words where it has none of its own. A fifth, by hash, is kept apart.
    """
    read = list(pages)
    pages_of = Counter(title.strip() for title, _ in read)
    things = {
        (title.strip() if title.strip() and pages_of[title.strip()] == 1 else " ".join(text.split()[:FIRST_WORDS]))[
            :TITLE_CHARACTERS
        ]: None
        for title, text in read
    }
    side = [thing for thing in things if thing and (stable_share("open prompt", thing) < KEPT_TITLES) == kept_apart]
    return [(wording.format(e=thing), thing) for thing in side for wording in OPEN[kept_apart]]


def fictitious_prompts(names: Sequence[Mapping[str, Any]], kept_apart: bool) -> list[tuple[str, str]]:
    """Open questions about what does not exist, with its name: one of each name, the wordings in turn."""
    side = [row["name"] for row in names if row["kept_apart"] == kept_apart]
    return [(wording.format(e=name), name) for name, wording in zip(side, cycle(OPEN[kept_apart]), strict=False)]


def mixed(
    prompts: Sequence[Prompt], strangers: Sequence[Prompt], share: float, most: int, rng: random.Random
) -> list[Prompt]:
    """Some of both, drawn at random, at most so many together; so large a share of them strangers, as far as there are
    enough of these.
    """
    kept = rng.sample(prompts, min(len(prompts), most - min(len(strangers), round(share * most))))
    return rng.sample(
        found := [*kept, *rng.sample(strangers, min(len(strangers), round(len(kept) * share / (1 - share))))],
        len(found),
    )


def own_prompts(
    step: Step, config: ResponsePairsConfig, rng: random.Random
) -> tuple[list[Prompt], list[Prompt], list[dict[str, Any]]]:
    """Prompts to compare answers of, others that are kept apart for the evaluation, and rejects of files."""
    settings = config.pairs
    topics, names = (
        pl.concat([pl.read_parquet(path) for path in step.input("knowledge_boundary").table(table)]).to_dicts()
        for table in ("topics", "fictitious")
    )
    found = [Prompt(question, subject, CORPUS) for question, subject in corpus_prompts(topics, kept_apart=False)]
    others = [Prompt(question, subject, CORPUS) for question, subject in corpus_prompts(topics, kept_apart=True)]
    rejects: list[dict[str, Any]] = []
    for file in settings.files:
        asked = []
        for row in read_conversations(Path(file.path).expanduser()):
            if row.problem:
                rejects.append({"file": file.name, "line": row.line, "reason": row.problem})
            asked += [Prompt(message.content, "", file.name) for message in row.messages if message.role == "user"][:1]
        found += asked if file.most is None else rng.sample(asked, min(file.most, len(asked)))
    found = list({prompt.question: prompt for prompt in found}.values())
    if not found:
        pages = list(islice(_pages(step, config.pages), PAGES))
        found, others = (
            [Prompt(question, subject, TITLES) for question, subject in title_prompts(pages, kept_apart)]
            for kept_apart in (False, True)
        )
    strangers, other_strangers = (
        [Prompt(question, name, FICTITIOUS) for question, name in fictitious_prompts(names, kept_apart)]
        for kept_apart in (False, True)
    )
    drawn = mixed(found, strangers, settings.fictitious_share, settings.prompts, rng)
    # A corpus without questions keeps none apart: then some of the prompts are only for the evaluation.
    others = others or sorted(set(found) - set(drawn))
    unseen = mixed(others, other_strangers, settings.fictitious_share, settings.unseen, rng)
    if not drawn or not unseen:
        raise PreferenceError(
            f"response_pairs: {len(found)} open prompts and {len(others)} kept apart; name files of prompts "
            "(response_pairs.files) with more rows than response_pairs.prompts"
        )
    return drawn, unseen, rejects


def build_response_pairs(step: Step, config: ResponsePairsConfig) -> None:
    """One part; the policy answers in a process of its own."""
    settings = config.pairs
    drawn, unseen, rejects = own_prompts(step, config, random.Random(f"open prompts-{settings.seed}"))
    split = [
        *(
            "monitor" if stable_share("guard", prompt.question) < settings.monitor_share else "train"
            for prompt in drawn
        ),
        *("unseen" for _ in unseen),
    ]
    prompts = [
        {
            "prompt": number,
            "split": side,
            "question": prompt.question,
            "subject": prompt.subject,
            "exists": prompt.source != FICTITIOUS,
            "source": prompt.source,
        }
        for number, (prompt, side) in enumerate(zip([*drawn, *unseen], split, strict=True))
    ]
    if {"train", "monitor"} - set(split):
        raise PreferenceError(
            f"response_pairs: of {len(drawn)} prompts none is left for the monitor or for training; raise "
            f"response_pairs.prompts, or change monitor_share ({settings.monitor_share})"
        )
    compared = [one for one in prompts if one["split"] == "train"]
    job = SamplingJob(
        checkpoint=str(step.input("rl_checkpoint").path),
        questions=tuple(one["question"] for one in compared),
        samples=settings.samples,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        device=settings.device,
        seed=settings.seed,
    )
    answers = measure(step, MODULE, job, step.staging / "sampling")["answers"]
    responses = [
        {"prompt": one["prompt"], "response": number, **answer}
        for one, of_prompt in zip(compared, answers, strict=True)
        for number, answer in enumerate(of_prompt)
    ]
    pairs = [
        pair
        for one, of_prompt in zip(compared, answers, strict=True)
        for pair in pairs_of(
            one,
            [answer["text"] for answer in of_prompt],
            settings.pairs,
            random.Random(f"pairs-{settings.seed}-{one['question']}"),
        )
    ]
    if not pairs:
        raise PreferenceError(
            "response_pairs: the policy says the same to every prompt however often it is asked; raise temperature, "
            "samples or prompts"
        )
    with step.task("pairs") as task:
        task.table("prompts", Prompts).frame(pl.DataFrame(prompts))
        task.table("responses", Responses).frame(pl.DataFrame(responses))
        task.table("pairs", Pairs).frame(pl.DataFrame(pairs))
        if rejects:
            task.table("rejects", PromptRejects).frame(pl.DataFrame(rejects))
        task.stats.update(
            prompts=dict(sorted(Counter(split).items())),
            fictitious=sum(not one["exists"] for one in prompts),
            responses=len(responses),
            pairs=len(pairs),
            unfinished=sum(not one["finished"] for one in responses),
            rejects=len(rejects),
        )


def _pages(step: Step, pages: TrainingPages) -> Iterator[tuple[str, str]]:
    """Titles and texts of the corpus, in its order."""
    for batch in CorpusPages(step.inputs, TRAINING_PAGES, pages).batches(["title", "text"]):
        yield from batch.iter_rows()


def pairs_of(prompt: Mapping[str, Any], texts: Sequence[str], most: int, rng: random.Random) -> list[dict[str, Any]]:
    """At most so many pairs of different answers to a prompt, each in either order."""
    found = []
    different = list(combinations(dict.fromkeys(text for text in texts if text.strip()), 2))
    for one, other in rng.sample(different, min(most, len(different))):
        first, second = (one, other) if rng.random() < 0.5 else (other, one)
        found.append(
            {
                "pair": pair_digest(prompt["question"], first, second),
                "prompt": prompt["prompt"],
                **{name: prompt[name] for name in ("question", "subject", "exists")},
                "first": first,
                "second": second,
            }
        )
    return found


def show(artifact: Artifact, shown: int = 5) -> dict[str, str]:
    """A few pairs in Markdown."""
    frame = pl.concat([pl.scan_parquet(path) for path in artifact.table("pairs")]).head(shown).collect()
    rows = [f"**{row['question']}**\n\n1. {row['first']}\n2. {row['second']}" for row in frame.iter_rows(named=True)]
    return {"summary": "\n\n".join(rows)}


def _external_inputs(config: ResponsePairsConfig) -> Mapping[str, str]:
    paths = {file.name: Path(file.path).expanduser() for file in config.pairs.files}
    return files_version(paths, load_settings().digest_cache, PreferenceError, "response_pairs.files")


RESPONSE_PAIRS = Stage(
    name="response_pairs",
    group="preference",
    description="Several answers to each open prompt, sampled from the policy, and pairs of them to be ranked "
    "(llm-assets rank).",
    kinds=("pytorch", "parquet"),
    build=build_response_pairs,
    config=lambda recipe, crawl: ResponsePairsConfig(pairs=recipe.response_pairs, pages=recipe.training_pages()),
    code_version="2",
    inputs=("rl_checkpoint", "knowledge_boundary", "clean_corpus", TRAINING_PAGES),
    external_inputs=_external_inputs,
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"prompts": Prompts, "responses": Responses, "pairs": Pairs},
    optional_tables={"rejects": PromptRejects},
    main_table="pairs",
    show=show,
    libraries=("torch", "numpy", "polars"),
    pool="gpu",
)
