"""Documents of the crawls, kept and rejected: found by their text and their fate, and shown with their history."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.resolver import Resolver
from llm_assets.artifacts.tables import polars_schema, scan_table
from llm_assets.web.schemas import Captures

from .corpus import Answer, CorpusError, answer_at, versions_of
from .personal_data import KINDS, scrub_for_display
from .schemas import CleanCorpus, ExtractedText, Rejects

PLACE = ("crawl", "warc_file", "warc_offset")
CAPTURE = ("doc_id", *PLACE, "url", "host", "fetched_at", "status", "mime")
SNIPPET = 240  # characters of a text in a list
KEPT, REJECTED = "kept", "rejected"
MOST_WORDS = 16  # of a search

_WORDS = re.compile(r'"([^"]+)"|(\S+)')


@dataclass(frozen=True)
class DocumentFilter:
    """Which documents to list; an empty string allows all.

    text: words and "quoted phrases" that title or text must contain, in any case. url: a part of the URL. state: KEPT
    or REJECTED. stage, rule: of the reject. language: of a page that is kept.
    """

    text: str = ""
    url: str = ""
    host: str = ""
    state: str = ""
    stage: str = ""
    rule: str = ""
    language: str = ""

    def words(self) -> list[str]:
        """The words and phrases of `text`, in small letters."""
        words = [(phrase or word).lower() for phrase, word in _WORDS.findall(self.text)]
        if len(words) > MOST_WORDS:
            raise CorpusError(f"a search has at most {MOST_WORDS} words, not {len(words)}")
        return words


@dataclass(frozen=True)
class DocumentPage:
    """Some of the documents that a filter finds, and how many there are in all."""

    total: int
    documents: list[dict[str, Any]]


class _Tables:
    """The tables of the crawls as lazy frames."""

    def __init__(self, resolver: Resolver, crawls: Sequence[str]):
        self.resolver, self.crawls = resolver, crawls

    def scan(self, stage: str, table: str, schema: type) -> pl.LazyFrame:
        """A table over the crawls. Raises NotBuilt, with the command that builds it."""
        artifacts = [self.resolver.artifact(stage, crawl) for crawl in self.crawls]
        return scan_table([file for artifact in artifacts for file in artifact.table(table)], polars_schema(schema))

    def texts(self) -> pl.LazyFrame:
        """Every page that has a text, as it was extracted."""
        return self.scan("extracted_text", "text", ExtractedText)


def find_documents(
    workspace: Workspace, crawls: Sequence[str], wanted: DocumentFilter, limit: int = 20, offset: int = 0
) -> DocumentPage:
    """Documents in the order of the crawls' files. Personal data in titles and texts is replaced.

    Raises CorpusError, and NotBuilt unless the crawls are built up to the reject ledger.
    """
    tables = _Tables(workspace.resolver(), crawls)
    captures = tables.scan("raw_warc", "captures", Captures).select(CAPTURE)
    rejects = tables.scan("reject_ledger", "rejects", Rejects)
    rows = captures.join(rejects.select(*PLACE, "stage", "rule", "value", "threshold"), on=PLACE, how="left")
    rows = rows.filter(*_conditions(wanted))
    if wanted.language:
        corpus = tables.scan("clean_corpus", "text", CleanCorpus).filter(pl.col("language") == wanted.language)
        rows = rows.join(corpus.select(PLACE), on=PLACE, how="semi")
    if words := wanted.words():
        rows = rows.join(tables.texts().filter(_contains(words)).select(PLACE), on=PLACE, how="semi")
    matching = rows.sort(PLACE).collect(engine="streaming")
    return DocumentPage(len(matching), _with_texts(tables, matching.slice(offset, limit), words))


def _conditions(wanted: DocumentFilter) -> list[pl.Expr]:
    conditions = [
        pl.col(column) == value
        for column, value in (("host", wanted.host), ("stage", wanted.stage), ("rule", wanted.rule))
        if value
    ]
    if wanted.url:
        conditions.append(pl.col("url").str.contains(wanted.url, literal=True))
    if wanted.state:
        conditions.append(pl.col("rule").is_null() == (wanted.state == KEPT))
    return conditions


def _contains(words: Sequence[str]) -> pl.Expr:
    text = pl.concat_str("title", "text", separator="\n").str.to_lowercase()
    return pl.all_horizontal(text.str.contains(word, literal=True) for word in words)


def _with_texts(tables: _Tables, page: pl.DataFrame, words: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a page of results, with titles, lengths and the surroundings of the first word that was looked for.

    A page that is kept shows its text of the corpus, any other the text that was extracted.
    """
    place = ["warc_file", "warc_offset"]
    here = page.select(place).unique()
    columns = [*PLACE, "title", "text"]
    corpus = tables.scan("clean_corpus", "text", CleanCorpus)
    texts = tables.texts().join(here.lazy(), on=place, how="semi").select(columns)
    corpus_texts = corpus.join(here.lazy(), on=place, how="semi").select(*columns, "language", *KINDS)
    joined = page.lazy().join(texts, on=PLACE, how="left").join(corpus_texts, on=PLACE, how="left", suffix="_kept")
    rows = joined.with_columns(
        title=pl.coalesce("title_kept", "title"), text=pl.coalesce("text_kept", "text"), state=_state()
    )
    rows = rows.drop("title_kept", "text_kept").sort(PLACE).collect()
    snippets = [_snippet(text, words) for text in rows["text"]]
    shown = scrub_for_display(
        pl.DataFrame({"title": rows["title"], "snippet": snippets}, schema={"title": pl.String, "snippet": pl.String})
    )
    rows = rows.with_columns(characters=pl.col("text").str.len_chars(), title=shown["title"], snippet=shown["snippet"])
    return rows.drop("text").to_dicts()


def _state() -> pl.Expr:
    return pl.when(pl.col("rule").is_null()).then(pl.lit(KEPT)).otherwise(pl.lit(REJECTED))


def _snippet(text: str | None, words: Sequence[str]) -> str | None:
    """The first characters of a text, or those around the first word."""
    if text is None:
        return None
    line = " ".join(text.split())
    places = [place for word in words if (place := line.lower().find(word)) >= 0]
    start = max(0, min(places, default=0) - SNIPPET // 3)
    return f"{'… ' if start else ''}{line[start : start + SNIPPET]}{' …' if len(line) > start + SNIPPET else ''}"


@dataclass(frozen=True)
class PagePart:
    """A block of text of a page, and what removed it: ``extraction``, ``quality`` (C4's lines), or nothing ("")."""

    text: str
    removed_by: str


@dataclass(frozen=True)
class DocumentHistory:
    """What is known of one capture. texts: by stage, with personal data replaced. parts: none without HTML."""

    answer: Answer
    versions: list[dict[str, Any]]
    title: str
    texts: dict[str, str]
    parts: list[PagePart]


TEXT_STAGES = ("extracted_text", "quality_filtered_text", "clean_corpus")


def document_history(workspace: Workspace, crawl: str, file: str, offset: int) -> DocumentHistory:
    """What became of a capture, and its texts. Raises CorpusError if there is no such capture, NotBuilt."""
    answer = answer_at(workspace, crawl, file, offset)
    tables = _Tables(workspace.resolver(), [crawl])
    texts: dict[str, str] = {}
    title = ""
    for stage in TEXT_STAGES:
        rows = tables.scan(stage, "text", ExtractedText)
        here = rows.filter((pl.col("warc_file") == file) & (pl.col("warc_offset") == offset))
        for row_title, text in here.select("title", "text").collect().iter_rows():
            title, texts[stage] = row_title, text
    try:
        parts = page_parts(raw_page(workspace, crawl, file, offset).markup, texts)
    except CorpusError:
        parts = []
    shown = scrub_for_display(pl.DataFrame({"text": [title, *texts.values(), *(part.text for part in parts)]}))["text"]
    title, *rest = shown.to_list()
    return DocumentHistory(
        answer,
        versions_of(workspace, answer.capture["url"]),
        title,
        dict(zip(texts, rest, strict=False)),
        [PagePart(text, part.removed_by) for text, part in zip(rest[len(texts) :], parts, strict=True)],
    )


def page_parts(markup: str, texts: dict[str, str]) -> list[PagePart]:
    """Every block of text of a page's body, in order, and which of them the extracted text and the corpus leave out."""
    from resiliparse.parse.html import HTMLTree

    from .markup import read_blocks

    body = HTMLTree.parse(markup).body
    if body is None:
        return []
    extracted = " ".join(texts.get("extracted_text", "").split())
    edited = " ".join(texts.get("quality_filtered_text", texts.get("extracted_text", "")).split())
    parts: list[PagePart] = []
    places = [0, 0]  # up to where the blocks of the two texts have been found
    for block in read_blocks(body.html, with_hidden=True).texts():
        text = " ".join(block.split())
        reached = [whole.find(text, place) for whole, place in zip((extracted, edited), places, strict=True)]
        places = [at + len(text) if at >= 0 else place for at, place in zip(reached, places, strict=True)]
        parts.append(PagePart(block, "extraction" if reached[0] < 0 else "quality" if reached[1] < 0 else ""))
    return parts


@dataclass(frozen=True)
class RawPage:
    """A page as it was crawled. markup: decoded. encoding: in which it was decoded."""

    url: str
    media_type: str
    encoding: str
    markup: str


def raw_page(workspace: Workspace, crawl: str, file: str, offset: int) -> RawPage:
    """The HTML of a capture, read from its WARC file.

    Raises CorpusError if there is no such record, or if it is no page of text; CorruptArtifact without the WARC file.
    """
    from .encoding import BodyError, decode_characters
    from .extracted_text import read_body

    raw = workspace.resolver().artifact("raw_warc", crawl)
    captures = scan_table(raw.table("captures"), polars_schema(Captures))
    here = captures.filter((pl.col("warc_file") == file) & (pl.col("warc_offset") == offset)).collect().to_dicts()
    if not here:
        raise CorpusError(f"crawl {crawl!r} has no capture at {offset:,} of {file!r}")
    media_type = here[0]["mime"] or "text/html"
    if here[0]["record_type"] not in ("response", "resource") or not media_type.startswith(
        ("text/", "application/xhtm")
    ):
        raise CorpusError(f"{here[0]['url']}: a {here[0]['record_type']} of {media_type} is no page of HTML")
    capture = _capture(raw.file(f"warc/{file}"), offset)
    if capture is None or capture.payload is None:
        raise CorpusError(f"{here[0]['url']}: its record cannot be read in {file}")
    bounds = workspace.recipe.extraction
    try:
        body = read_body(capture, bounds)
        decoded = decode_characters(body, here[0]["charset"])
    except BodyError as error:
        raise CorpusError(f"{here[0]['url']}: {error.rule} {error.value}") from error
    return RawPage(here[0]["url"], media_type, decoded.encoding, decoded.text)


def _capture(path: Path, offset: int) -> Any:
    """The capture at an offset, by seeking, or by reading the whole file if offsets count decompressed bytes."""
    from llm_assets.row_files import ENDINGS
    from llm_assets.warc import read_captures
    from llm_assets.warc.reader import read_capture_at

    if path.name.endswith(ENDINGS):  # of a file of texts
        return None
    capture = read_capture_at(path, offset)
    if capture is None or capture.offset != offset:
        capture = next((capture for capture in read_captures(path, {offset}) if capture.offset == offset), None)
    return capture
