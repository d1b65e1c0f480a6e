"""Pages whose lines follow a rule, and guesses at their labels."""

import random

import pytest

from llm_assets.demonstrations.experiment import byte_encoding
from llm_assets.demonstrations.in_context_learning_process import RulePages
from llm_assets.demonstrations.rule_pages import (
    KINDS,
    LABELS,
    MAPPINGS,
    OTHER_LABELS,
    RULE,
    TRAINED,
    TRAINED_LABELS,
    TRAINED_RULES,
    is_held_out,
    last_of_symbol,
    make_page,
    most_frequent,
)
from llm_assets.model import IGNORE

SYMBOLS, MAPPING = ["p", "q", "p"], {"p": "x", "q": "y"}


def pages(kind, count=40):
    rng = random.Random(1)
    return [make_page(rng, kind, 9) for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "labels"),
    [("lookup", "xyx"), ("copy", "pqp"), ("symbol before", "ppq"), ("constant", "xxx"), ("by turns", "xyx")],
)
def test_a_rule_gives_the_label_of_each_line(name, labels):
    rule = TRAINED_RULES[name]
    assert [rule(SYMBOLS[: end + 1], ["x", "y"], MAPPING) for end in range(3)] == list(labels)


def test_the_held_out_rule_is_the_symbol_of_two_lines_before():
    for page in pages(RULE):
        assert all(page[line][1] == page[line - 2][0] for line in range(2, len(page)))


def test_only_pages_of_held_out_mappings_hold_one():
    assert all(is_held_out(*line) for page in pages(MAPPINGS) for line in page)
    assert not any(is_held_out(*line) for page in pages(LABELS) for line in page)


def test_held_out_labels_are_letters_that_label_nothing_in_training():
    assert all(label in OTHER_LABELS for page in pages(LABELS) for _, label in page)
    # Letters that are a symbol of the page may be labels too: by a rule that copies symbols.
    for page in pages(TRAINED, 400):
        symbols = {symbol for symbol, _ in page}
        assert all(label in symbols or label in TRAINED_LABELS for _, label in page)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_as_many_lines_as_it_should(kind):
    assert {len(page) for page in pages(kind)} == {9}


def test_guesses_are_made_from_the_lines_before():
    lines = [("a", "x"), ("b", "y"), ("b", "y"), ("a", "?")]
    assert most_frequent(lines) == "y" and last_of_symbol(lines) == "x"
    assert most_frequent(lines[:1]) == last_of_symbol(lines[:1]) == ""


def test_only_labels_have_a_loss():
    encoding = byte_encoding()
    inputs, targets = RulePages(encoding, 9, seed=1).batch(0, 4)
    places = (targets != IGNORE).nonzero()[1].tolist()
    assert len(places) == 4 * 9 and {place % 3 for place in places} == {1}
    assert all(inputs[row, 0] == encoding.bos for row in range(4))
