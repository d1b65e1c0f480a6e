"""Fuzz targets of blocklists and of the opt-out list."""

from __future__ import annotations

import gzip
import io
import tarfile

from llm_assets.host_names import normal_host
from llm_assets.web.blocklists import _PARSERS, BadLine, open_lines, parse_lines, parse_opt_out, readable_rules
from llm_assets.web.errors import BlocklistError
from llm_assets.web.opt_out import OptOutRules

from .archives import stored
from .targets import Target

KINDS = list(_PARSERS)


def read_list(data: bytes) -> None:
    """Every line of a list has entries, a problem or nothing to say. The first byte is the format."""
    kind = KINDS[data[0] % len(KINDS)] if data else "hosts"
    with stored(data[1:], "list") as path:
        try:
            lines = list(open_lines(path, kind))
        except BlocklistError:
            return
    rows = list(parse_lines(iter(lines), kind))
    assert [number for number, *_ in rows] == list(range(1, len(lines) + 1))
    for _, entries, problem, text in rows:
        text.encode()
        assert not (entries and problem)
        for entry in entries:
            assert entry and entry == entry.strip()
            assert kind.endswith("words") or kind == "substrings" or normal_host(entry) == entry


def read_opt_out_list(data: bytes) -> None:
    """A rule covers its own address, and is read from what is written of it."""
    text = data.decode("utf-8", "replace")
    for line in text.split("\n"):
        try:
            rules = parse_opt_out(line)
        except BadLine:
            continue
        for rule in rules:
            assert parse_opt_out(rule.rule) == [rule]
            assert rule.covers(f"http://{rule.rule}"), rule
            assert OptOutRules([rule.rule]).rule_for(f"https://{rule.rule}") == rule.rule
    readable_rules(text)


def _lists() -> list[bytes]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("adult/domains")
        content = b"a.example\nb.example\n"
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    lists = {
        "hosts": b"# hosts\n127.0.0.1 localhost\n0.0.0.0 ads.example b.example # c\n::1 ip6.example\n",
        "domains": b"*.a.example\n.b.example\n! comment\nm\xc3\xbcnchen.example\n",
        "ut1": packed.getvalue(),
        "abp": b"[Adblock]\n||ads.example^\n||a.example^$all\n@@||ok.example^\nx##.ad\n|bad\n",
        "hard_words": b"\xef\xbb\xbfcasino\npoker-club\n# c\n",
        "soft_words": gzip.compress(b"free\n", mtime=0),
        "substrings": b"bet\n",
    }
    assert set(lists) == set(KINDS)
    return [bytes([KINDS.index(kind)]) + content for kind, content in lists.items()] + FINDINGS


FINDINGS: list[bytes] = []

TARGETS = {
    "blocklists": Target(read_list, _lists, ("llm_assets.web.blocklists", "llm_assets.web.urls"), 300),
    "opt_out": Target(
        read_opt_out_list,
        lambda: [
            b"site.example\nhttp://a.example/art\nb.example/?q=1 # c\n# comment\nM\xc3\xbcnchen.example/\xc3\xa4",
            b"[::1]/x\nhttp://u@h.example/\nh.example:80/p\n",
        ],
        ("llm_assets.web.blocklists", "llm_assets.web.urls", "llm_assets.web.opt_out"),
        300,
    ),
}
