"""Conversations as tokens; those that are longer than the context are left out, or cut after an answer."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from llm_assets.artifacts.step import Task
from llm_assets.dialogue.messages import to_json
from llm_assets.dialogue.packing import Conversations
from llm_assets.dialogue.rendering import TRAINING_FILE, RenderSettings, length_to_last_answer, render_all
from llm_assets.model.chat import Call, Message, render
from tests.support.tiny_models import ENCODING

END = ENCODING.special["<|assistant_end|>"]
TURNS = [
    Message("system", "Answer briefly."),
    Message("user", "Who?"),
    Message("assistant", "Ada."),
    Message("user", "Where?"),
    Message("assistant", "", Call("search", "Ada")),
    Message("tool", "Ada lives in Bern."),
    Message("assistant", "In Bern."),
    Message("user", "Since when?"),
    Message("assistant", "I do not know."),
]
ANSWERS = (3, 7, 9)  # messages up to each answer


@pytest.fixture
def rendered(tmp_path):
    """Renders conversations; returns the counts, the tokens of each, and the rows of both tables."""

    def run(conversations, context, cut):
        pl.DataFrame(
            {
                "conversation": range(len(conversations)),
                "source": ["own"] * len(conversations),
                "sources": [json.dumps(["own"])] * len(conversations),
                "messages": list(map(to_json, conversations)),
            }
        ).write_parquet(tmp_path / "0.parquet")
        artifact = SimpleNamespace(table=lambda _: [tmp_path / "0.parquet"])
        progress = SimpleNamespace(start=lambda *_: None, advance=lambda *_: None)
        with Task(tmp_path, "conversations") as task:
            settings = RenderSettings(ENCODING, context, 0.0, lambda *_: True, cut)
            counts = render_all(SimpleNamespace(progress=progress), task, artifact, settings)
        loaded = Conversations.load(tmp_path / TRAINING_FILE)
        tokens = [
            loaded.tokens[start:stop].tolist() for start, stop in zip(loaded.starts, loaded.starts[1:], strict=False)
        ]
        tables = {
            name: pl.read_parquet(tmp_path / name / "conversations.parquet").rows()
            for name in ("too_long", "cut")
            if (tmp_path / name).exists()
        }
        return counts, tokens, tables

    return run


def test_a_long_conversation_ends_with_the_last_answer_that_fits():
    ids, _ = render(ENCODING, TURNS)
    expected = {len(render(ENCODING, TURNS[:answer])[0]): answer for answer in ANSWERS}
    lengths = [length_to_last_answer(ids, END, limit) for limit in range(len(ids) + 5)]
    assert set(lengths) == {0, *expected} and lengths == sorted(lengths)
    assert all(length <= limit for limit, length in enumerate(lengths))
    for length, answer in expected.items():
        assert ids[:length] == render(ENCODING, TURNS[:answer])[0] and lengths[length - 1] < length == lengths[length]


def test_long_conversations_are_cut_where_the_recipe_says_so_and_recorded(rendered):
    first, whole = (render(ENCODING, TURNS[:answer])[0] for answer in (3, 9))
    endless = [TURNS[1], Message("assistant", "word " * 60)]
    context = len(whole) - 2
    counts, tokens, tables = rendered([TURNS[:3], TURNS, endless], context, cut=True)
    shortened = render(ENCODING, TURNS[:7])[0]
    assert tokens == [first, shortened] and max(map(len, tokens)) - 1 <= context
    assert tables["cut"] == [(1, "own", len(whole), len(shortened))]
    assert [row[0] for row in tables["too_long"]] == [2]
    assert (counts["conversations"], counts["cut"], counts["too_long"]) == (2, 1, 1)
    assert counts["conversation_tokens"] == len(first) + len(shortened)


def test_without_the_setting_long_conversations_are_left_out(rendered):
    context = len(render(ENCODING, TURNS)[0]) - 2
    counts, tokens, tables = rendered([TURNS[:3], TURNS], context, cut=False)
    assert len(tokens) == 1 and [row[0] for row in tables["too_long"]] == [1] and "cut" not in tables
    assert "cut" not in counts and np.sum([len(ids) for ids in tokens]) == counts["conversation_tokens"]
