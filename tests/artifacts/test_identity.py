"""Identities: one encoding for each value, an error for values without stable bytes."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.artifacts import Identity, UnstableValue
from llm_assets.artifacts.identity import differences, fingerprint, flatten, stable_bytes
from llm_assets.recipes import WarcFiles, WebCrawl

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), plain))
def test_order_of_keys_does_not_matter(value):
    assert stable_bytes(value) == stable_bytes(dict(reversed(list(value.items()))))


@given(st.sets(st.text()))
def test_sets_have_one_order(value):
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


def test_a_time_zone_makes_a_date_time_stable():
    assert b"2026-01-01T00:00:00+00:00" in stable_bytes(datetime(2026, 1, 1, tzinfo=UTC))


def test_paths_and_politeness_never_bear_identity():
    assert fingerprint(WarcFiles(path="/here")) == fingerprint(WarcFiles(path="/there", copy_files=True))
    assert fingerprint(WebCrawl(seeds=("http://a.example/",))) == fingerprint(
        WebCrawl(seeds=("http://a.example/",), delay=9.0, concurrency=3, proxy="http://127.0.0.1:1")
    )
    assert fingerprint(WebCrawl(seeds=("http://a.example/",))) != fingerprint(
        WebCrawl(seeds=("http://a.example/",), max_depth=3)
    )


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


def test_differences_name_the_leaf():
    old, new = (
        {"config": {"filter": {"limit": 2, "words": ["a"]}}},
        {"config": {"filter": {"limit": 3, "words": ["a"]}}},
    )
    assert differences(old, new) == [("config.filter.limit", 2, 3)]


@given(st.dictionaries(st.text(alphabet="abc", min_size=1), st.integers()))
def test_flatten_keeps_every_leaf(value):
    assert flatten(value) == (value if value else {"": {}})
