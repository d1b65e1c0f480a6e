"""Purging text from a store: which artifacts hold it, which models were trained on it, and what is remembered of that.

A takedown is one file below ``.takedowns/`` of the store. It is written before anything is removed, so that a command that
was killed can be run again, and nothing is built in between; it stays, because it names the models that were trained on
what is gone.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from .errors import ArtifactError
from .identity import SHORT_ID_DIGITS, fingerprint
from .record import RECORD, write_atomic
from .stage import Graph, Resolver
from .store import NO_PARTITION, Artifact, Store, clear_disk_errors
from .views import SIDECARS

FOLDER = ".takedowns"
WEIGHTS = (".safetensors", ".gguf")  # what makes an artifact a model
CARD = "README.md"
NOTICE = "taken_down.md"  # beside a model that was trained on what is gone
_NOTICE_BEGINS = "> **Trained on pages that have been taken down**"
Version = tuple[str, str]  # key and data version


class MarkedModel(BaseModel):
    """A model that was trained on pages that are gone."""

    model_config = ConfigDict(extra="forbid")
    key: str
    identity: str
    data_version: str


class Takedown(BaseModel):
    """What is remembered of one takedown. It holds no text.

    finished: null while the purge is under way. versions: data versions of what was changed in place, new by ``<key> <old>``.
    removed: keys of artifacts that were deleted, by short identity. cleared: identities of marked models that the
    store's pages without the taken-down ones give again, byte for byte.
    """

    model_config = ConfigDict(extra="forbid")
    rule: str
    began: str
    finished: str | None = None
    urls: int = 0
    crawls: list[str] = Field(default_factory=list)
    external_files: list[str] = Field(default_factory=list, validation_alias=AliasChoices("external_files", "outside"))
    removed: dict[str, str] = Field(default_factory=dict)
    models: list[MarkedModel] = Field(default_factory=list)
    cleared: list[str] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def assets(self) -> set[str]:
        """Assets of which it removed or marked something."""
        keys = [*self.removed.values(), *(model.key for model in self.models)]
        return {key.partition("/")[0] for key in keys}

    @property
    def shorts(self) -> set[str]:
        """Short identities of what it removed or marked."""
        return {*self.removed, *(model.identity[:SHORT_ID_DIGITS] for model in self.models)}

    @property
    def new_versions(self) -> dict[Version, str]:
        return {(key.split(" ")[0], key.split(" ")[1]): new for key, new in self.versions.items()}


class Takedowns:
    """The takedowns of a store."""

    def __init__(self, store: Store):
        self.store, self.folder = store, store.root / FOLDER

    def path(self, rule: str) -> Path:
        return self.folder / f"{fingerprint(rule)[:16]}.json"

    def load_all(self) -> list[Takedown]:
        """Every takedown, in the order in which they began. Raises ArtifactError for a file that cannot be read."""
        found = []
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []:
            try:
                found.append(Takedown.model_validate_json(path.read_bytes()))
            except ValueError as error:
                raise ArtifactError(f"{path}: not a readable takedown ({error})") from error
        return sorted(found, key=lambda one: one.began)

    def load_or_new(self, rule: str) -> Takedown:
        """The takedown of a rule: the one that is remembered, or a new one."""
        known = {one.rule: one for one in self.load_all()}
        return known.get(rule) or Takedown(rule=rule, began=datetime.now(UTC).isoformat(timespec="seconds"))

    def save(self, takedown: Takedown) -> None:
        with clear_disk_errors(self.store.root):
            write_atomic(self.path(takedown.rule), takedown.model_dump_json(indent=1).encode())

    def pieces_path(self, rule: str) -> Path:
        """Where pieces of the text are kept while the purge is under way, so that what is left of it can be looked for."""
        return self.path(rule).with_suffix(".pieces")

    def delete(self, takedown: Takedown) -> None:
        self.path(takedown.rule).unlink(missing_ok=True)

    def marked_models(self) -> dict[str, list[str]]:
        """The rules of the takedowns that each model of the store still holds pages of, by the model's identity."""
        everything = list(self.store.artifacts())
        by_version: dict[Version, list[Artifact]] = defaultdict(list)
        for artifact in everything:
            by_version[artifact.record.key, artifact.data_version].append(artifact)
        found: dict[str, list[str]] = {}
        for takedown in self.load_all():
            cleared = set(takedown.cleared)
            marked = {one.identity for one in takedown.models} - cleared
            versions = {(one.key, one.data_version) for one in takedown.models if one.identity not in cleared}
            known: dict[str, bool] = {}

            def holds(artifact: Artifact, marked=marked, versions=versions, cleared=cleared, known=known) -> bool:
                """Whether it is one of these models, or was made from one, directly or not."""
                identity = artifact.record.identity
                if identity not in known:
                    known[identity] = False
                    known[identity] = identity not in cleared and (
                        identity in marked
                        or any(
                            pair in versions or any(holds(one) for one in by_version.get(pair, []))
                            for pair in artifact.record.inputs
                        )
                    )
                return known[identity]

            for artifact in everything:
                if holds(artifact) and is_model(artifact):
                    found.setdefault(artifact.record.identity, []).append(takedown.rule)
        return found


def refuse_unfinished(store: Store) -> None:
    """Raise ArtifactError where a takedown was begun and not finished: what is built from now on could hold its pages."""
    folder = store.root / FOLDER
    if not folder.is_dir():
        return
    for takedown in Takedowns(store).load_all():
        if takedown.finished is None:
            raise ArtifactError(
                f"a takedown of {takedown.rule} has begun and is not finished; wait for it, or run again: "
                f"llm-assets takedown {takedown.rule}"
            )


def is_model(artifact: Artifact) -> bool:
    return any(name.endswith(WEIGHTS) for name in artifact.record.files)


def artifacts_holding(
    store: Store, graph: Graph, pages: Mapping[str, tuple[frozenset[str], frozenset[str]]], sources: set[str]
) -> list[Artifact]:
    """Artifacts behind the crawls that hold text of some pages, or may hold it.

    pages: URLs and document ids, by crawl. sources: identities of crawls' own artifacts whose tables others read texts from.

    An artifact of a crawl, or one with a row a page, holds the pages that its tables have rows of. Another of several crawls holds what any of its inputs
    holds; an input that is no longer in the store counts as holding them, unless it is of another crawl.
    """
    everything = list(store.artifacts())
    by_version: dict[Version, list[Artifact]] = defaultdict(list)
    for artifact in everything:
        by_version[artifact.record.key, artifact.data_version].append(artifact)
    urls = frozenset().union(*(urls for urls, _ in pages.values()))
    ids = frozenset().union(*(ids for _, ids in pages.values()))
    known: dict[str, bool] = {}

    def input_holds(pair: Version) -> bool:
        key, _ = pair
        asset, _, crawl = key.partition("/")
        if pair in by_version:
            return any(holds(one) for one in by_version[pair])
        from_pages = asset in graph.stages and bool(graph[asset].inputs)  # and not what is brought in from outside
        return from_pages and (not crawl or crawl in pages)

    def holds(artifact: Artifact) -> bool:
        identity = artifact.record.identity
        if identity not in known:
            known[identity] = False
            if artifact.record.asset == "raw_warc":
                known[identity] = identity in sources
            elif artifact.record.partition is not None or _is_of_pages(artifact):
                known[identity] = _has_rows(artifact, urls, ids)
            else:
                known[identity] = any(input_holds(pair) for pair in artifact.record.inputs)
        return known[identity]

    return [one for one in everything if one.record.asset != "raw_warc" and holds(one)]


def _is_of_pages(artifact: Artifact) -> bool:
    """Whether each of its tables has a row a page, so that the rows tell what it holds."""
    schemas = artifact.record.schemas.values()
    return bool(schemas) and all({"url", "doc_id", "warc_offset"} <= schema.keys() for schema in schemas)


def _has_rows(artifact: Artifact, urls: frozenset[str], ids: frozenset[str]) -> bool:
    """Whether a table of the artifact has a row of one of these pages, other than as a reject."""
    for table, schema in artifact.record.schemas.items():
        if {"stage", "rule", "threshold"} <= schema.keys():
            continue  # a page that was rejected: its address and the rule, no text
        if {"state", "version", "ended_by"} <= schema.keys():
            continue  # what became of a page: no text either
        wanted = {"url": urls, "doc_id": ids, "cluster": ids}
        columns = [name for name in wanted if name in schema]
        for path in artifact.table(table) if columns else []:
            rows = pl.scan_parquet(path).select(
                pl.any_horizontal(pl.col(name).is_in(list(wanted[name])) for name in columns).any()
            )
            if rows.collect().item():
                return True
    return False


def strip_model(store: Store, artifact: Artifact, graph: Graph) -> None:
    """Leave a model its weights, its tokenizer and its numbers: texts that it wrote, and pages about it, are removed.

    Its data version stays what others were made from. A notice beside it, and in its card, says why it is marked.
    """
    optional = graph.stages[artifact.record.asset].optional_tables if artifact.record.asset in graph.stages else {}
    texts = {
        table
        for table, schema in artifact.record.schemas.items()
        if table in optional and any(dtype == "String" for dtype in schema.values())
    }
    gone = [name for name in artifact.record.files if name.split("/")[0] in texts and name.endswith(".parquet")]
    record = artifact.record.model_copy(
        update={
            "files": {name: entry for name, entry in artifact.record.files.items() if name not in gone},
            "rows": {name: rows for name, rows in artifact.record.rows.items() if name not in texts},
            "schemas": {name: schema for name, schema in artifact.record.schemas.items() if name not in texts},
        }
    )
    with clear_disk_errors(store.root):
        for table in texts:
            shutil.rmtree(artifact.path / table, ignore_errors=True)
        if record != artifact.record:
            write_atomic(artifact.path / RECORD, record.dump())
        forget_views(store, artifact)
    store.replace(artifact, Artifact(artifact.path, record))


def forget_views(store: Store, artifact: Artifact) -> None:
    """Remove what was drawn from an artifact (its card stays: it names where the model comes from), and what checks found."""
    for name in (*SIDECARS, *artifact.record.views):
        if not name.endswith(CARD):
            (artifact.path / name).unlink(missing_ok=True)
    shutil.rmtree(store.root / ".checks" / artifact.record.short_id, ignore_errors=True)


def write_notice(artifact: Artifact, rules: Iterable[str]) -> None:
    """Say beside a model, and in its card, that it was trained on pages that have been taken down."""
    notice = (
        f"{_NOTICE_BEGINS} ({', '.join(sorted(rules))}). "
        "Do not release it; a model that is trained anew no longer holds them.\n"
    )
    with clear_disk_errors(artifact.path):
        write_atomic(artifact.path / NOTICE, notice.encode())
        _write_cards(artifact, notice)


def remove_notice(artifact: Artifact) -> None:
    """Take a notice back, in the card too."""
    (artifact.path / NOTICE).unlink(missing_ok=True)
    _write_cards(artifact, "")


def _write_cards(artifact: Artifact, notice: str) -> None:
    """Put a notice into the model's card, behind its front matter, in place of an earlier one."""
    for card in (artifact.path / name for name in artifact.record.views if name.endswith(CARD)):
        if card.is_file():
            lines = card.read_text(encoding="utf-8").splitlines(keepends=True)
            left = [line for line in lines if not line.startswith(_NOTICE_BEGINS)]
            ends = [place for place, line in enumerate(left) if line == "---\n"]
            start = ends[1] + 1 if len(ends) > 1 and ends[0] == 0 else 0
            write_atomic(card, "".join([*left[:start], notice, *left[start:]]).encode())


def clear_marks(takedowns: Takedowns, resolver: Resolver) -> list[Artifact]:
    """Take the mark off models that the present pages give again, byte for byte; those models.

    The recipe resolves to such a model although everything that held the pages is gone: its inputs are what they were.
    """
    cleared = []
    for stage in resolver.graph:
        artifact = resolver.resolve(stage.name, None).artifact if not stage.per_crawl else None
        marked = takedowns.marked_models() if artifact is not None and is_model(artifact) else {}
        if artifact is None or artifact.record.identity not in marked:
            continue
        by_version = {(one.record.key, one.data_version): one for one in takedowns.store.artifacts()}
        upstream = [by_version[pair] for pair in artifact.record.inputs if pair in by_version]
        if any(one.record.identity in marked for one in upstream):
            continue  # what it was trained from is marked
        for takedown in takedowns.load_all():
            if takedown.rule in marked[artifact.record.identity]:
                takedown.cleared.append(artifact.record.identity)
                takedowns.save(takedown)
        remove_notice(artifact)
        cleared.append(artifact)
    return cleared


def replaced_models(takedowns: Takedowns, resolver: Resolver) -> tuple[list[Artifact], list[Artifact]]:
    """Marked models in whose place the recipe has another by now, and those in whose place it has none."""
    marked = takedowns.marked_models()
    done, open_ = [], []
    for artifact in takedowns.store.artifacts():
        if artifact.record.identity not in marked:
            continue
        now = (
            resolver.resolve(artifact.record.asset, None).artifact
            if artifact.record.asset in resolver.graph.stages
            else None
        )
        is_replaced = now is not None and now.record.identity not in marked
        (done if is_replaced else open_).append(artifact)
    return done, open_


def delete_leftovers(store: Store, takedown: Takedown) -> None:
    """Remove what a killed deletion left of artifacts: a folder without its record, what checks found."""
    for short, key in takedown.removed.items():
        asset, _, partition = key.partition("/")
        folder = store.root / asset / (partition or NO_PARTITION) / short
        if not (folder / RECORD).exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(store.root / ".checks" / short, ignore_errors=True)


def interrupted_builds(store: Store, spare: str) -> Iterator[Path]:
    """Folders of interrupted builds of every asset but `spare`."""
    for folder in sorted((store.root / ".staging").glob("*/*/*")):
        if folder.is_dir() and folder.parts[-3] != spare:
            yield folder
