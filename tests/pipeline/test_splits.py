"""No key crosses from one split into another: over pages, conversations, questions, problems, prompts and rankings."""

import json
import re

import polars as pl
import pytest

from llm_assets.dialogue.messages import from_json
from llm_assets.dialogue.splits import SPLITS, calculation_split, split_of
from llm_assets.dialogue.wordings import (
    CALCULATIONS,
    COUNTS,
    DIFFERENCES,
    OPEN_QUESTIONS,
    PERSON_QUESTIONS,
    SPELLINGS,
    SUMS,
)
from llm_assets.evaluation.overlap import Phrases

CALCULATION = re.compile(r"(?<![\d+\-] )(?<!\d)\d+(?: [+-] \d+)+(?! [+-])")
QUOTED_WORD = re.compile(r"\"([a-z]{2,})\"")  # single letters are what is counted


@pytest.fixture
def texts(pipeline):
    """(source, split, text) of all that models are trained on, developed with and tested by."""
    rows = []
    for row in pipeline.table("conversations", "conversations").iter_rows(named=True):
        spoken = [message for message in from_json(row["messages"]) if message.role in ("user", "assistant")]
        rows += [("conversations", "train", message.content) for message in spoken]
    for source, table in (
        ("conversations", "evaluation"),
        ("practice_problems", "problems"),
        ("response_pairs", "prompts"),
        ("human_rankings", "rankings"),
    ):
        frame = pipeline.table(source, table).with_columns(pl.col("split").replace("gold", "train"))
        rows += [(source, *row) for row in frame.select("split", "question").iter_rows()]
    return rows


def crossings(texts, keys_of):
    """Texts with a key of a held-out split that is not theirs. keys_of: the splits of a text's keys."""
    return [
        (source, split, text)
        for source, split, text in texts
        if any(key_split not in ("train", split) for key_split in keys_of(text))
    ]


def test_no_word_is_spelled_or_counted_in_outside_its_split(texts):
    words = [text for *_, text in texts if QUOTED_WORD.search(text)]
    assert len(words) > 50
    assert crossings(texts, lambda text: map(split_of, QUOTED_WORD.findall(text))) == []


def test_no_calculation_is_made_outside_its_split(texts):
    assert len([text for *_, text in texts if CALCULATION.search(text)]) > 50
    assert crossings(texts, lambda text: map(calculation_split, CALCULATION.findall(text))) == []


def test_no_entity_is_named_outside_its_split(pipeline, texts):
    topics = pipeline.table("knowledge_boundary", "topics").select("entity", "split").unique().rows()
    fictitious = pipeline.table("knowledge_boundary", "fictitious_entities").select("name", "split").rows()
    names = Phrases()
    for name, split in [*topics, *fictitious]:
        if split != "train":
            names.add(name, split)
    assert {split for _, split in topics} == {split for _, split in fictitious} == set(SPLITS)
    # Two hops of the test may pass through a held-out town, which their question does not name.
    assert crossings(texts, lambda text: [match[1]] if (match := names.find(text)) else []) == []


def test_no_wording_is_used_outside_its_split(pipeline, texts):
    lists = (CALCULATIONS, COUNTS, DIFFERENCES, OPEN_QUESTIONS, PERSON_QUESTIONS, SPELLINGS, SUMS)
    slots = {"{e}": ".+", "{a}": r"\d+", "{b}": r"\d+", "{w}": r"\w+", "{c}": r"\w"}
    wordings = []
    for split in ("development", "test"):
        for wording in [wording for each in lists for wording in each.of(split)]:
            pattern = re.escape(wording)
            for slot, value in slots.items():
                pattern = pattern.replace(re.escape(slot), value)
            wordings.append((re.compile(pattern), split))
    skills = [row for row in texts if QUOTED_WORD.search(row[2]) or CALCULATION.search(row[2])]
    prompts = [row for row in texts if row[0] in ("response_pairs", "human_rankings")]
    assert (
        crossings([*skills, *prompts], lambda text: [split for pattern, split in wordings if pattern.fullmatch(text)])
        == []
    )
    # Questions about facts: the wordings that `truth_questions` holds out, with the entity's name left out.
    by_split = {split: set() for split in SPLITS}
    for topic in pipeline.table("knowledge_boundary", "topics").iter_rows(named=True):
        for split, column in zip(SPLITS, ("questions", "development_questions", "test_questions"), strict=True):
            by_split[split] |= {text.replace(topic["entity"], "…") for text in json.loads(topic[column])}
    assert not by_split["train"] & (by_split["development"] | by_split["test"])
    assert by_split["development"] and by_split["test"] and not by_split["development"] & by_split["test"]


def test_pages_solve_nothing_that_is_held_out(pipeline):
    """Lessons of the sample web spell words and work out sums: only those of the training split."""
    pages = " ".join(pipeline.table("clean_corpus/sample", "text")["text"])
    spelled = re.findall(r"(?<![\w-])(?:[a-z]-){2,}[a-z](?![\w-])", pages)
    sums = re.findall(r"(?<!\d)\d+ [+-] \d+(?= = )", pages)
    assert len(spelled) > 10 and len(sums) > 10
    assert {split_of(word.replace("-", "")) for word in spelled} == {"train"}
    assert {calculation_split(expression) for expression in sums} == {"train"}


def test_the_subject_decides_the_split_of_prompts_and_rankings(pipeline):
    prompts, rankings = pipeline.table("response_pairs", "prompts"), pipeline.table("human_rankings", "rankings")
    of_subject = dict(prompts.filter(pl.col("subject") != "").select("subject", "split").unique().iter_rows())
    assert prompts.group_by("subject").agg(pl.col("split").n_unique())["split"].max() == 1
    for subject, split in rankings.select("subject", "split").iter_rows():
        assert split in (of_subject[subject], "gold") and (split != "gold" or of_subject[subject] == "train")
