"""Lists of unwanted hosts and words, and the user's opt-out list."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .frozen import Frozen

ListFormat = Literal["hosts", "domains", "ut1", "abp", "hard_words", "soft_words", "substrings"]


class BlocklistSource(Frozen):
    """One list of hosts, domains or words."""

    name: str = Field(pattern=r"^[a-z0-9_]+$", description="name of the list in the table of lists and in errors")
    category: str = Field(
        pattern=r"^[a-z0-9_]+$",
        description="such as malware, adult, gambling or ads; the reject ledger names it as the rule",
    )
    format: ListFormat = Field(
        description="hosts: a hosts file; domains: one domain per line; ut1: a UT1 tarball; abp: ||domain^ rules; "
        "hard_words, soft_words, substrings: one word per line"
    )
    path: Annotated[str, EXECUTION_ONLY] = Field(
        description="a file, an http(s) URL, or builtin:<file> for a list that ships with the project"
    )


def _builtin(name: str, category: str, list_format: ListFormat) -> BlocklistSource:
    return BlocklistSource(name=name, category=category, format=list_format, path=f"builtin:{name}.txt")


class Blocklists(Frozen):
    """The lists that `url_blocklists` is built from."""

    sources: tuple[BlocklistSource, ...] = Field(
        (
            _builtin("malware_domains", "malware", "domains"),
            _builtin("adult_domains", "adult", "domains"),
            _builtin("gambling_domains", "gambling", "domains"),
            _builtin("ads_domains", "ads", "domains"),
            _builtin("hard_words", "hard_word", "hard_words"),
            _builtin("soft_words", "soft_word", "soft_words"),
            _builtin("substrings", "substring", "substrings"),
        ),
        description="the lists to read; the default are the short ones that ship with the project",
    )
    opt_out: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="a file that the user edits, with a domain or a URL prefix per line; None reads opt_out.txt in the "
        "data folder if it exists",
    )

    @field_validator("sources")
    @classmethod
    def _distinct(cls, sources: tuple[BlocklistSource, ...]) -> tuple[BlocklistSource, ...]:
        names = [source.name for source in sources]
        if len(set(names)) != len(names):
            raise ValueError("two blocklist sources have the same name")
        return sources
