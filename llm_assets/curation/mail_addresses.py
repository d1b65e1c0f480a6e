"""E-mail addresses in text: where each begins and ends, also where other text is glued to it.

The grammar is RFC 5321's with RFC 6531's extension: beside ASCII's `atext`, a local part may have any other letters,
and a domain may be written in any script (U-labels, RFC 5890) or as `xn--` labels. The full stop between labels may be
any of UTS #46's (ideographic, full-width, half-width). Two full stops in a row and one before the @ are no valid
syntax, but some providers allowed them.

An address is one whose domain ends in a public suffix, or in a reserved one. Text that follows without a space ("write
to ann@example.org.Then wait") is left out: the longest beginning of the domain that ends in a suffix is the domain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from llm_assets.writing_systems import UNSPACED, unspaced_letters

MAX_LOCAL, MAX_DOMAIN = 64, 255  # characters (RFC 5321, section 4.5.3.1)
# RFC 2606, RFC 6762: no public suffixes, but they occur in mail addresses.
_RESERVED = ("example", "test", "invalid", "localhost", "local", "internal")
_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]"
_FULL_STOPS = "[.\u3002\uff0e\uff61]"


@lru_cache(maxsize=1)
def _patterns() -> tuple[Any, Any, Any]:
    """An address (groups: local part, domain); where a domain could end; where a sentence could begin."""
    import regex

    unspaced = UNSPACED.removeprefix("(?V1)")
    address = regex.compile(
        rf"(?V1)(?<!{_ATOM})(?<!{_ATOM}\.)(?<!{_ATOM}\.\.)"
        rf'({_ATOM}++(?:\.{{1,2}}{_ATOM}++)*+\.?|"[^"\n]{{1,62}}")'
        rf"@([\w-]++(?:{_FULL_STOPS}[\w-]++)++)"
    )
    # Of a longer domain only what could be its end: between lower and upper case, before a hyphen or an underscore, and
    # on either side of a letter of a script without spaces.
    ends = regex.compile(rf"(?V1)(?<=\w)(?=\W|$|[_-])|(?<=[a-z])(?=[A-Z])|(?<={unspaced})(?=\w)|(?<=\w)(?={unspaced})")
    sentence = regex.compile(r"(?<=[a-z0-9])[.](?=[A-Z][a-z])")
    return address, ends, sentence


@lru_cache(maxsize=1)
def _suffixes() -> Callable[[str], str]:
    """A function from a domain to its public suffix, empty where it has none."""
    import tldextract

    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    return lru_cache(maxsize=4096)(lambda domain: extract(domain).suffix)


def find_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Spans [start, end) of the addresses in a text."""
    address, _, _ = _patterns()
    for match in address.finditer(text):
        length = _domain_length(match.group(2)[:MAX_DOMAIN])
        if length:
            domain = match.group(2)[:length]
            yield match.start() + _local_start(match.group(1), domain), match.start(2) + length


def _domain_length(run: str) -> int:
    """Length of the domain with which a run of labels begins; 0 if it begins with none."""
    _, ends, sentence = _patterns()
    positions = [match.start() for match in ends.finditer(run)]
    next_sentence = sentence.search(run)
    if next_sentence is not None:
        # "example.org.It was": a suffix, but also the next sentence.
        positions.append(next_sentence.start())
        positions = [p for p in positions if p <= next_sentence.start()] or positions
    for position in sorted(set(positions), reverse=True):
        if _is_domain(run[:position]):
            return position
    return 0


def _is_domain(domain: str) -> bool:
    """Whether labels end in a public or reserved suffix, and the last of them is no number."""
    labels = domain.translate({0x3002: ".", 0xFF0E: ".", 0xFF61: "."}).lower().split(".")
    if len(labels) < 2 or any(label.startswith("-") or label.endswith("-") for label in labels):
        return False
    return bool(_suffixes()(".".join(labels))) or labels[-1] in _RESERVED


def _local_start(local: str, domain: str) -> int:
    """Where the local part begins within the run of characters before the @.

    In scripts without spaces a sentence may be glued to it. If the domain is ASCII and so is the last character of the
    local part, the address is taken to begin after the last letter of such a script.
    """
    start = max(0, len(local) - MAX_LOCAL)
    if domain.isascii() and local[-1].isascii():
        for position in range(len(local) - 1, start - 1, -1):
            if local[position] in unspaced_letters():
                return position + 1
    return start
