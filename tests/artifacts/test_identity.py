"""Identities: one encoding per value, and an error for values without stable bytes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.artifacts import Identity, UnstableValue
from llm_assets.artifacts.identity import ABSENT, OMITTED_IF_NONE, differences, fingerprint, flatten, stable_bytes
from llm_assets.recipes import WarcFiles, WebCrawl
from llm_assets.recipes.frozen import Frozen

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), plain))
def test_the_order_of_keys_does_not_matter(value):
    assert stable_bytes(value) == stable_bytes(dict(reversed(list(value.items()))))


@given(st.sets(st.text()))
def test_the_order_of_sets_does_not_matter(value):
    assert fingerprint(value) == fingerprint(frozenset(sorted(value)))


@pytest.mark.parametrize(
    "value",
    [
        Path("/x"),
        object(),
        b"bytes",
        float("nan"),
        float("inf"),
        lambda: 0,
        {1: "key"},
        {"a", 1},
        datetime(2026, 1, 1),
        [Path("x")],
    ],
)
def test_values_without_stable_bytes_raise_and_name_the_place(value):
    with pytest.raises(UnstableValue, match=r"config\.field"):
        Identity("asset", None, "1", {"field": value}).fields()


def test_a_date_time_with_a_time_zone_is_stable():
    assert b"2026-01-01T00:00:00+00:00" in stable_bytes(datetime(2026, 1, 1, tzinfo=UTC))


def test_paths_and_politeness_are_no_part_of_the_identity():
    assert fingerprint(WarcFiles(path="/here")) == fingerprint(WarcFiles(path="/there", copy_files=True))
    assert fingerprint(WebCrawl(seeds=("http://a.example/",))) == fingerprint(
        WebCrawl(seeds=("http://a.example/",), delay=9.0, concurrency=3, proxy="http://127.0.0.1:1")
    )
    assert fingerprint(WebCrawl(seeds=("http://a.example/",))) != fingerprint(
        WebCrawl(seeds=("http://a.example/",), max_depth=3)
    )


def test_a_field_added_later_counts_only_where_it_is_set():
    class Before(Frozen):
        steps: int = 3

    class After(Frozen):
        steps: int = 3
        start: Annotated[str | None, OMITTED_IF_NONE] = None

    assert fingerprint(After()) == fingerprint(Before())
    assert fingerprint(After(start="published")) != fingerprint(Before())


def test_each_field_changes_the_digest():
    base = Identity("asset", "crawl", "1", {"x": 1}, {"up": "v1"})
    others = [
        Identity("other", "crawl", "1", {"x": 1}, {"up": "v1"}),
        Identity("asset", None, "1", {"x": 1}, {"up": "v1"}),
        Identity("asset", "crawl", "2", {"x": 1}, {"up": "v1"}),
        Identity("asset", "crawl", "1", {"x": 2}, {"up": "v1"}),
        Identity("asset", "crawl", "1", {"x": 1}, {"up": "v2"}),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 6


def test_differences_name_the_changed_leaf():
    old, new = (
        {"config": {"filter": {"limit": 2, "words": ["a"]}}},
        {"config": {"filter": {"limit": 3, "words": ["a"]}}},
    )
    assert differences(old, new) == [("config.filter.limit", 2, 3)]


def rules(**thresholds):
    return [{"name": name, "column": f"{name}_count", "threshold": value} for name, value in thresholds.items()]


def test_differences_find_a_threshold_in_a_list_of_rules():
    old, new = rules(words=50, lines=0.3, stops=2), rules(words=20, lines=0.3, stops=2)
    assert differences({"rules": old}, {"rules": new}) == [("rules.words.threshold", 50, 20)]
    assert differences({"rules": old}, {"rules": rules(words=50, stops=2)}) == [("rules.lines", old[1], ABSENT)]
    assert differences({"rules": old}, {"rules": old[::-1]}) == [
        ("rules (order)", ["words", "lines", "stops"], ["stops", "lines", "words"])
    ]


def test_differences_of_plain_lists_name_the_index():
    assert differences({"shares": [1, 2, 3]}, {"shares": [1, 5, 3]}) == [("shares[1]", 2, 5)]
    assert differences({"words": ["a"]}, {"words": ["a", "b"]}) == [("words", ["a"], ["a", "b"])]
    assert differences({"a": {"b": 1}}, {}) == [("a", {"b": 1}, ABSENT)]


nested = st.recursive(
    st.integers(0, 3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "name"]), inner, max_size=3),
    max_leaves=12,
)


@given(nested, nested)
def test_differences_are_empty_exactly_for_equal_values(old, new):
    assert bool(differences(old, new)) == (old != new)


@given(st.dictionaries(st.text(alphabet="abc", min_size=1), st.integers()))
def test_flatten_keeps_every_leaf(value):
    assert flatten(value) == (value if value else {"": {}})
