"""Blocklist formats: the entries of each line, and the problem of a malformed one."""

import io
import tarfile

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.artifacts import materialize
from llm_assets.recipes import Blocklists, BlocklistSource, Recipe
from llm_assets.web.blocklists import (
    URL_BLOCKLISTS,
    BadLine,
    parse_abp_line,
    parse_domain_line,
    parse_hosts_line,
    parse_lines,
    parse_opt_out,
    parse_word_line,
)
from llm_assets.web.checks import readable_lines
from llm_assets.web.errors import BlocklistError
from tests.support.corpus import corpus_workspace


@pytest.mark.parametrize(
    ("parser", "line", "entries"),
    [
        (parse_hosts_line, "0.0.0.0 bad.example", ["bad.example"]),
        (parse_hosts_line, "127.0.0.1\tBAD.Example other.example # why", ["bad.example", "other.example"]),
        (parse_hosts_line, "::1 ip6-localhost ip6-loopback", []),
        (parse_hosts_line, "# comment", []),
        (parse_domain_line, "Bad.Example.", ["bad.example"]),
        (parse_domain_line, "*.bad.example", ["bad.example"]),
        (parse_domain_line, "bücher.example", ["xn--bcher-kva.example"]),
        (parse_domain_line, "! comment", []),
        (parse_abp_line, "||bad.example^", ["bad.example"]),
        (parse_abp_line, "||bad.example^$all", ["bad.example"]),
        (parse_abp_line, "||bad.example^$third-party", []),
        (parse_abp_line, "||bad.example/path^", []),
        (parse_abp_line, "@@||good.example^", []),
        (parse_abp_line, "example.com##.ad", []),
        (parse_abp_line, "[Adblock Plus 2.0]", []),
        (parse_word_line, "Porn", ["porn"]),
        (parse_word_line, "", []),
    ],
)
def test_a_line_gives_its_entries(parser, line, entries):
    assert parser(line) == entries


@pytest.mark.parametrize(
    ("parser", "line", "problem"),
    [
        (parse_hosts_line, "bad.example", "not 'address host'"),
        (parse_hosts_line, "0.0.0.0 bad_host!.example", "not a host name"),
        (parse_domain_line, "two words", "not a host name"),
        (parse_domain_line, "-.example", "not a host name"),
        (parse_abp_line, "\x00\x01", "not an ABP rule"),
        (parse_word_line, "two words", "not a single word"),
    ],
)
def test_a_malformed_line_says_why(parser, line, problem):
    with pytest.raises(BadLine, match=problem):
        parser(line)


@given(st.lists(st.binary(max_size=60)), st.sampled_from(["hosts", "domains", "abp", "hard_words"]))
def test_every_line_of_any_list_has_entries_or_a_problem_or_is_skipped(lines, kind):
    numbered = list(parse_lines(iter(lines), kind))
    assert [number for number, *_ in numbered] == list(range(1, len(lines) + 1))
    assert all(not entries for _, entries, problem, _ in numbered if problem)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("me.example", ("me.example", "domain", "me.example")),
        ("https://Me.example/private/", ("me.example/private/", "prefix", "me.example")),
        ("me.example/a", ("me.example/a", "prefix", "me.example")),
        ("http://me.example/", ("me.example", "domain", "me.example")),
    ],
)
def test_an_opt_out_line_is_a_domain_or_a_prefix(line, rule):
    assert parse_opt_out(line) == [rule]


def build_lists(sources, **extra):
    recipe = Recipe(name="t", crawls={}, blocklists=Blocklists(sources=sources, **extra))
    return materialize(URL_BLOCKLISTS, None, corpus_workspace(recipe)).artifact


def test_malformed_lines_are_recorded_with_their_number(tmp_path):
    (tmp_path / "list").write_text("good.example\n\nbad line here\nfine.example\n")
    artifact = build_lists(
        (BlocklistSource(name="mine", category="ads", format="domains", path=str(tmp_path / "list")),)
    )
    assert pl.read_parquet(artifact.table("domains"))["domain"].to_list() == ["fine.example", "good.example"]
    assert pl.read_parquet(artifact.table("malformed")).to_dicts() == [
        {"source": "mine", "line": 3, "text": "bad line here", "problem": "not a host name"}
    ]
    outcome = readable_lines(artifact, {}, None)
    assert not outcome.passed and outcome.numbers == {"malformed_lines": 1} and outcome.failures[0]["line"] == 3


def test_a_ut1_tarball_gives_the_entries_of_its_domains_file(tmp_path):
    with tarfile.open(tmp_path / "gambling.tar.gz", "w:gz") as tar:
        for name, data in (("gambling/domains", b"bet.example\n"), ("gambling/urls", b"x.example/bet\n")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    artifact = build_lists(
        (BlocklistSource(name="ut1", category="gambling", format="ut1", path=str(tmp_path / "gambling.tar.gz")),)
    )
    assert pl.read_parquet(artifact.table("domains"))["domain"].to_list() == ["bet.example"]


def test_a_missing_list_and_a_file_that_is_not_a_tarball_are_named(tmp_path):
    with pytest.raises(BlocklistError, match=r"blocklist mine: .*missing: no such file"):
        build_lists((BlocklistSource(name="mine", category="ads", format="domains", path=str(tmp_path / "missing")),))
    (tmp_path / "x").write_text("no tar")
    with pytest.raises(BlocklistError, match="cannot be read as ut1"):
        build_lists((BlocklistSource(name="mine", category="ads", format="ut1", path=str(tmp_path / "x")),))


def test_editing_the_opt_out_list_changes_the_identity(tmp_path):
    (tmp_path / "data").mkdir()
    first = build_lists(())
    (tmp_path / "data" / "opt_out.txt").write_text("me.example\n")
    second = build_lists(())
    assert (first.record.rows["opt_out"], second.record.rows["opt_out"]) == (0, 1)
    assert first.record.identity != second.record.identity
