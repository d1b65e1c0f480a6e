"""`url_blocklists`: lists of hosts and words in the common formats, as one versioned artifact.

Formats: a hosts file (``0.0.0.0 host``), one domain per line, a UT1 tarball (``<category>/domains`` inside), ABP-style
domain rules (``||domain^``), and word lists. A line that cannot be read is recorded with its number and the reason.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from llm_assets.artifacts.external import external_digests
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Retry, Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import clear_disk_errors
from llm_assets.host_names import normal_host
from llm_assets.recipes import Blocklists, BlocklistSource
from llm_assets.settings import load_settings

from .checks import READABLE_LINES
from .download import download
from .errors import BlocklistError, DownloadError
from .schemas import BlocklistDomains, BlocklistWords, MalformedLines, OptOut
from .urls import host_of
from .warc_files import is_url

OPT_OUT_FILE = "opt_out.txt"
_HOST = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
_AUTHORITY = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*")
# Characters with which a component of a URL (a folder, a query, a value in a query) ends, and the next one begins.
COMPONENT_ENDS, COMPONENT_BEGINNINGS = "/?#&=", "/?#&"
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_LOCAL_NAMES = set(
    "localhost localhost.localdomain local broadcasthost ip6-localhost ip6-loopback ip6-localnet ip6-mcastprefix "
    "ip6-allnodes ip6-allrouters ip6-allhosts 0.0.0.0".split()
)
_WORD_FORMATS = ("hard_words", "soft_words", "substrings")
_WHOLE_DOMAIN_OPTIONS = {"all", "document", "important", "doc"}
_LINE_CHARACTERS = 200  # of a malformed line that are recorded
_UNDECODABLE_BYTES = 80  # of a line that is not UTF-8


class BadLine(ValueError):
    """The line does not have the format of its list."""


def _domain(text: str) -> str:
    host = normal_host(text)
    if not _HOST.fullmatch(host):
        raise BadLine("not a host name")
    return host


def parse_hosts_line(line: str) -> list[str]:
    """The hosts of ``0.0.0.0 a.example b.example # comment``; names of the machine itself are skipped."""
    fields = line.split("#", 1)[0].split()
    if not fields:
        return []
    if len(fields) == 1 or not (_ADDRESS.fullmatch(fields[0]) or ":" in fields[0]):
        raise BadLine("not 'address host'")
    return [_domain(host) for host in fields[1:] if host.lower() not in _LOCAL_NAMES]


def parse_domain_line(line: str) -> list[str]:
    """One domain; ``#`` and ``!`` begin comments. A leading ``*.`` or ``.`` is dropped: subdomains are included."""
    text = line.split("#", 1)[0].strip()
    if not text or text.startswith("!"):
        return []
    return [_domain(text.removeprefix("*").removeprefix("."))]


def parse_abp_line(line: str) -> list[str]:
    """The domain of ``||domain^``, if its options leave it a rule about the whole domain, such as ``$all``.

    Comments, headers, exceptions (``@@``), element hiding (``##``) and rules with a path are skipped, because they do
    not concern a domain as a whole.
    """
    text = line.strip()
    if not text or text.startswith(("!", "[", "@@")) or any(mark in text for mark in ("##", "#@#", "#?#", "#$#")):
        return []
    rule, _, options = text.partition("$")
    if not rule.startswith("||") or not rule.endswith("^") or "/" in rule or "*" in rule:
        if re.match(r"[|/*&?=._:\-a-zA-Z0-9~]", text):
            return []  # a valid rule about URLs, not about a domain
        raise BadLine("not an ABP rule")
    if options and not set(options.split(",")) <= _WHOLE_DOMAIN_OPTIONS:
        return []
    return [_domain(rule[2:-1])]


def parse_word_line(line: str) -> list[str]:
    """One word, in lower case; ``#`` begins a comment."""
    text = line.split("#", 1)[0].strip().lower()
    if not text:
        return []
    if not re.fullmatch(r"\w[\w-]*", text):
        raise BadLine("not a single word")
    return [text]


_PARSERS: dict[str, Callable[[str], list[str]]] = {
    "hosts": parse_hosts_line,
    "domains": parse_domain_line,
    "ut1": parse_domain_line,
    "abp": parse_abp_line,
    **dict.fromkeys(_WORD_FORMATS, parse_word_line),
}


def parse_lines(lines: Iterator[bytes], kind: str) -> Iterator[tuple[int, list[str], str | None, str]]:
    """(line number, entries, problem, text) of every line of a list; `kind` is its format."""
    parser = _PARSERS[kind]
    for number, raw in enumerate(lines, 1):
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            yield number, [], "not UTF-8", raw[:_UNDECODABLE_BYTES].decode("latin-1").rstrip()
            continue
        try:
            yield number, parser(text), None, text
        except BadLine as problem:
            yield number, [], str(problem), text[:_LINE_CHARACTERS]


def source_path(source: BlocklistSource, folder: Path | None = None) -> Path:
    """The list's file; a URL is downloaded into `folder`. Raises BlocklistError if the file is missing."""
    if source.path.startswith("builtin:"):
        return Path(str(files("llm_assets.web").joinpath("builtin", source.path.removeprefix("builtin:"))))
    if is_url(source.path):
        assert folder is not None
        return download(source.path, folder / source.name)
    path = Path(source.path).expanduser()
    if not path.is_file():
        raise BlocklistError(f"blocklist {source.name}: {path.absolute()}: no such file")
    return path


def open_lines(path: Path, kind: str) -> Iterator[bytes]:
    """The lines of a list. Gzip is decompressed; for a UT1 tarball, every ``domains`` file is read."""
    try:
        data = path.read_bytes()
        if kind == "ut1":
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                files = [member for member in tar.getmembers() if member.isfile()]
                lists = [file for file in files if file.name.rsplit("/", 1)[-1] == "domains"]
                if not lists:
                    raise BlocklistError(f"{path}: no file named 'domains' in this tarball")
                for member in sorted(lists, key=lambda file: file.name):
                    stream = tar.extractfile(member)
                    if stream is not None:
                        yield from stream
            return
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise BlocklistError(f"{path}: cannot be read as {kind}: {error}") from error
    yield from data.splitlines(keepends=True)


def opt_out_path(lists: Blocklists) -> Path | None:
    """The opt-out list that the user edits: that of the recipe, or ``opt_out.txt`` in the data folder, if it exists.

    Raises BlocklistError if the recipe names a file that does not exist.
    """
    if lists.opt_out is not None:
        path = Path(lists.opt_out).expanduser()
        if not path.is_file():
            raise BlocklistError(f"opt-out list {path.absolute()}: no such file")
        return path
    path = load_settings().data / OPT_OUT_FILE
    return path if path.is_file() else None


class OptOutRule(NamedTuple):
    """One line of the opt-out list: a domain with its subdomains, or a URL prefix on one host.

    A prefix ends where a component of the URL ends: ``site.example/art`` covers ``/art``, ``/art/x`` and ``/art?x``,
    but neither ``/article`` nor ``/art.html``. ``sql/filter_urls.sql`` applies the same rule to many pages at once.
    """

    rule: str
    kind: str
    host: str

    def covers_host(self, host: str) -> bool:
        """Whether the rule may cover pages of this (normal) host."""
        return host == self.host or (self.kind == "domain" and host.endswith(f".{self.host}"))

    def covers(self, url: str) -> bool:
        """Whether the rule covers a URL."""
        host = host_of(url)
        if not self.covers_host(host) or self.kind == "domain":
            return self.covers_host(host)
        bare_url = host + _AUTHORITY.sub("", url)  # without scheme and port
        if not bare_url.startswith(self.rule):
            return False
        return self.rule[-1] in COMPONENT_ENDS or bare_url[len(self.rule) :][:1] in ("", *COMPONENT_BEGINNINGS)


def parse_opt_out(line: str) -> list[OptOutRule]:
    """The rule of a line: a domain, or a URL prefix with or without scheme; none for a comment. Raises BadLine."""
    text = line.split(" #", 1)[0].strip()
    if not text or text.startswith("#"):
        return []
    bare = re.sub(r"^(https?|text)://", "", text, flags=re.IGNORECASE)
    authority, _, rest = bare.partition("/")
    host = host_of(f"http://{bare}")
    # Otherwise, a query without a path would cover the whole domain.
    if not _HOST.fullmatch(host) or re.search(r"[?#@]", authority):
        raise BadLine("neither a domain nor a URL prefix")
    return [OptOutRule(f"{host}/{rest}", "prefix", host)] if rest else [OptOutRule(host, "domain", host)]


def add_opt_out(lists: Blocklists, rule: OptOutRule) -> Path:
    """Add a rule to the opt-out list, unless it is there already; returns the list's file."""
    path = opt_out_path(lists) or load_settings().data / OPT_OUT_FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if rule not in readable_rules(text):
        ending = "" if not text or text.endswith("\n") else "\n"
        with clear_disk_errors(path.parent):
            write_atomic(path, f"{text}{ending}{rule.rule}\n".encode())
    return path


def readable_rules(text: str) -> set[OptOutRule]:
    """The rules of an opt-out list, without the lines that cannot be read; `url_blocklists` records those."""
    rules: set[OptOutRule] = set()
    for line in text.splitlines():
        with contextlib.suppress(BadLine):
            rules.update(parse_opt_out(line))
    return rules


def build_url_blocklists(step: Step, config: Blocklists) -> None:
    """Parse every source into domains, words, opt-out rules and malformed lines."""
    if step.finished_task("blocklists") is not None:
        return
    domains: set[tuple[str, str, str]] = set()
    words: set[tuple[str, str, str, str]] = set()
    malformed: list[dict[str, Any]] = []
    step.progress.start(len(config.sources) + 1, "lists")
    for done, source in enumerate(config.sources, 1):
        path = source_path(source, step.staging / ".download")
        for number, entries, problem, text in parse_lines(open_lines(path, source.format), source.format):
            if problem is not None:
                malformed.append({"source": source.name, "line": number, "text": text, "problem": problem})
            for entry in entries:
                if source.format in _WORD_FORMATS:
                    words.add((entry, source.format, source.category, source.name))
                else:
                    domains.add((entry, source.category, source.name))
        step.progress.advance(done)
    opt_out = _read_opt_out(config, malformed)
    with step.task("blocklists") as task:
        task.table("domains", BlocklistDomains).frame(_frame(sorted(domains), BlocklistDomains))
        task.table("words", BlocklistWords).frame(_frame(sorted(words), BlocklistWords))
        task.table("opt_out", OptOut).frame(_frame(sorted(opt_out), OptOut))
        schema = {"source": pl.String, "line": pl.Int64, "text": pl.String, "problem": pl.String}
        task.table("malformed", MalformedLines).frame(pl.DataFrame(malformed, schema=schema))
        task.stats.update(domains=len(domains), words=len(words), opt_out=len(opt_out), malformed_lines=len(malformed))


def _read_opt_out(config: Blocklists, malformed: list[dict[str, Any]]) -> set[OptOutRule]:
    """The rules of the opt-out list; lines that cannot be read are added to `malformed`."""
    path = opt_out_path(config)
    if path is None:
        return set()
    rules: set[OptOutRule] = set()
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            rules.update(parse_opt_out(line))
        except BadLine as problem:
            text = line[:_LINE_CHARACTERS]
            malformed.append({"source": "opt_out", "line": number, "text": text, "problem": str(problem)})
    return rules


def _frame(rows: list[tuple], model: type) -> pl.DataFrame:
    columns = model.to_schema().columns  # type: ignore[attr-defined]
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def _list_versions(config: Blocklists) -> Mapping[str, str]:
    """A digest for each local list; a list at a URL is identified by its address."""
    files = {source.name: source_path(source) for source in config.sources if not is_url(source.path)}
    opt_out = opt_out_path(config)
    if opt_out is not None:
        files["opt_out"] = opt_out
    versions = {name: digest[:32] for name, digest in external_digests(files).items()}
    versions.update({source.name: f"url:{source.path}" for source in config.sources if is_url(source.path)})
    return {f"list:{name}": version for name, version in versions.items()}


URL_BLOCKLISTS = Stage(
    name="url_blocklists",
    group="web",
    description="Blocklists of malware, adult, gambling and ads hosts and of URL words, and the opt-out list.",
    kinds=("parquet",),
    build=build_url_blocklists,
    code_version="1",
    config=lambda recipe, _: recipe.blocklists,
    external_inputs=_list_versions,
    tables={"domains": BlocklistDomains, "words": BlocklistWords, "opt_out": OptOut, "malformed": MalformedLines},
    main_table="domains",
    checks=(READABLE_LINES,),
    libraries=("polars",),
    retry=Retry(on=(DownloadError,)),
)
