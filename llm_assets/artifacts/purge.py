"""Purging text from a store: which artifacts hold it, which models were trained on it, and the record of each takedown.

A takedown is a file below ``.takedowns/`` of the store. It is written before anything is removed, so that a killed
command can be run again and nothing is built in between. It is kept, because it names the models that were trained on
the removed pages.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from .artifact import Artifact
from .errors import ArtifactError, clear_disk_errors
from .identity import SHORT_ID_DIGITS, fingerprint
from .record import RECORD, write_atomic
from .resolver import Resolver
from .stage import Graph
from .store import Store
from .tables import scan_table
from .views import SIDECARS

FOLDER = ".takedowns"
WEIGHTS = (".safetensors", ".gguf")  # an artifact with such a file is a model
CARD = "README.md"
NOTICE = "taken_down.md"  # stored beside a model that was trained on removed pages
_NOTICE_BEGINS = "> **Trained on pages that have been taken down**"
Version = tuple[str, str]  # key and data version


class MarkedModel(BaseModel):
    """A model that was trained on pages that have been taken down."""

    model_config = ConfigDict(extra="forbid")
    key: str
    identity: str
    data_version: str


class Takedown(BaseModel):
    """The record of a takedown. It holds no text of the pages.

    finished: null while the purge is unfinished. external_files: WARC files outside the store that hold the pages.
    removed: keys of deleted artifacts, by short identity. models: models that were trained on the pages.
    cleared: identities of marked models that the store's remaining pages reproduce byte for byte.
    versions: new data versions of artifacts that were changed in place, by ``<key> <old version>``.
    """

    model_config = ConfigDict(extra="forbid")
    rule: str
    began: str
    finished: str | None = None
    urls: int = 0
    crawls: list[str] = Field(default_factory=list)
    # Takedowns of version 0.1 call this field `outside`.
    external_files: list[str] = Field(default_factory=list, validation_alias=AliasChoices("external_files", "outside"))
    removed: dict[str, str] = Field(default_factory=dict)
    models: list[MarkedModel] = Field(default_factory=list)
    cleared: list[str] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def assets(self) -> set[str]:
        """Assets of the artifacts that it removed or marked."""
        keys = [*self.removed.values(), *(model.key for model in self.models)]
        return {key.partition("/")[0] for key in keys}

    @property
    def short_ids(self) -> set[str]:
        """Short identities of the artifacts that it removed or marked."""
        return {*self.removed, *(model.identity[:SHORT_ID_DIGITS] for model in self.models)}

    @property
    def new_versions(self) -> dict[Version, str]:
        """New data versions of artifacts that were changed in place, by key and old data version."""
        return {(key.split(" ")[0], key.split(" ")[1]): new for key, new in self.versions.items()}


class Takedowns:
    """The takedowns of a store."""

    def __init__(self, store: Store):
        self.store, self.folder = store, store.root / FOLDER

    def path(self, rule: str) -> Path:
        """The file of the takedown of a rule."""
        return self.folder / f"{fingerprint(rule)[:16]}.json"

    def load_all(self) -> list[Takedown]:
        """Every takedown, in the order in which they began. Raises ArtifactError for an unreadable file."""
        takedowns = []
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []:
            try:
                takedowns.append(Takedown.model_validate_json(path.read_bytes()))
            except ValueError as error:
                raise ArtifactError(f"{path}: not a readable takedown ({error})") from error
        return sorted(takedowns, key=lambda takedown: takedown.began)

    def load_or_new(self, rule: str) -> Takedown:
        """The stored takedown of a rule, or a new one, which is not stored yet."""
        by_rule = {takedown.rule: takedown for takedown in self.load_all()}
        return by_rule.get(rule) or Takedown(rule=rule, began=datetime.now(UTC).isoformat(timespec="seconds"))

    def save(self, takedown: Takedown) -> None:
        with clear_disk_errors(self.store.root):
            write_atomic(self.path(takedown.rule), takedown.model_dump_json(indent=1).encode())

    def pieces_path(self, rule: str) -> Path:
        """The file of text pieces that an unfinished purge searches the store for."""
        return self.path(rule).with_suffix(".pieces")

    def delete(self, takedown: Takedown) -> None:
        self.path(takedown.rule).unlink(missing_ok=True)

    def marked_models(self) -> dict[str, list[str]]:
        """The rules whose removed pages a model of the store was trained on, by the model's identity."""
        artifacts = list(self.store.artifacts())
        by_version = _by_version(artifacts)
        rules: dict[str, list[str]] = {}
        for takedown in self.load_all():
            marked = _MarkedLineage(takedown, by_version)
            for artifact in artifacts:
                if marked.holds(artifact) and is_model(artifact):
                    rules.setdefault(artifact.record.identity, []).append(takedown.rule)
        return rules


class _MarkedLineage:
    """The marked models of a takedown, and everything that was built from them."""

    def __init__(self, takedown: Takedown, by_version: Mapping[Version, list[Artifact]]):
        self._by_version = by_version
        self._cleared = set(takedown.cleared)
        models = [model for model in takedown.models if model.identity not in self._cleared]
        self._marked = {model.identity for model in models}
        self._marked_versions = {(model.key, model.data_version) for model in models}
        self._known: dict[str, bool] = {}

    def holds(self, artifact: Artifact) -> bool:
        """Whether the artifact is a marked model or was built from one, directly or indirectly."""
        identity = artifact.record.identity
        if identity not in self._known:
            self._known[identity] = False  # ends the recursion on artifacts that are among their own inputs
            self._known[identity] = identity not in self._cleared and (
                identity in self._marked or any(self._input_holds(version) for version in artifact.record.inputs)
            )
        return self._known[identity]

    def _input_holds(self, version: Version) -> bool:
        if version in self._marked_versions:
            return True
        return any(self.holds(artifact) for artifact in self._by_version.get(version, []))


def _by_version(artifacts: Iterable[Artifact]) -> dict[Version, list[Artifact]]:
    """Artifacts by key and data version. Artifacts of several identities can have the same data."""
    by_version: dict[Version, list[Artifact]] = defaultdict(list)
    for artifact in artifacts:
        by_version[artifact.record.key, artifact.data_version].append(artifact)
    return by_version


def refuse_unfinished(store: Store) -> None:
    """Raise ArtifactError if a takedown is unfinished: anything that is built now could hold its pages."""
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
    """Whether the artifact has a file of weights."""
    return any(name.endswith(WEIGHTS) for name in artifact.record.files)


def artifacts_holding(
    store: Store, graph: Graph, pages: Mapping[str, tuple[frozenset[str], frozenset[str]]], sources: set[str]
) -> list[Artifact]:
    """Artifacts downstream of the crawls that hold text of the given pages, or may hold it.

    pages: URLs and document ids, by crawl. sources: identities of `raw_warc` artifacts whose tables others read texts
    from.

    An artifact of one crawl, or one with a row per page, holds the pages that its tables have rows of. Any other
    cross-crawl artifact holds what any of its inputs holds. An input that is no longer in the store counts as holding
    the pages, unless it belongs to another crawl.
    """
    artifacts = list(store.artifacts())
    by_version = _by_version(artifacts)
    urls = frozenset().union(*(urls for urls, _ in pages.values()))
    ids = frozenset().union(*(ids for _, ids in pages.values()))
    known: dict[str, bool] = {}

    def input_holds(version: Version) -> bool:
        key, _ = version
        asset, _, crawl = key.partition("/")
        if version in by_version:
            return any(holds(artifact) for artifact in by_version[version])
        from_pages = asset in graph.stages and bool(graph[asset].inputs)  # rather than from external inputs alone
        return from_pages and (not crawl or crawl in pages)

    def holds(artifact: Artifact) -> bool:
        identity = artifact.record.identity
        if identity not in known:
            known[identity] = False
            if artifact.record.asset == "raw_warc":
                known[identity] = identity in sources
            elif artifact.record.partition is not None or _has_a_row_per_page(artifact):
                known[identity] = _has_rows(artifact, urls, ids)
            else:
                known[identity] = any(input_holds(version) for version in artifact.record.inputs)
        return known[identity]

    return [artifact for artifact in artifacts if artifact.record.asset != "raw_warc" and holds(artifact)]


def _has_a_row_per_page(artifact: Artifact) -> bool:
    """Whether every table has one row per page, so that its rows show which pages it holds."""
    schemas = artifact.record.schemas.values()
    return bool(schemas) and all({"url", "doc_id", "warc_offset"} <= schema.keys() for schema in schemas)


def _has_rows(artifact: Artifact, urls: frozenset[str], ids: frozenset[str]) -> bool:
    """Whether a table of the artifact has a row of one of these pages, other than as a reject."""
    for table, schema in artifact.record.schemas.items():
        if {"stage", "rule", "threshold"} <= schema.keys():
            continue  # rejected pages: a row has the URL and the rule, no text
        if {"state", "version", "ended_by"} <= schema.keys():
            continue  # page versions: no text either
        wanted = {"url": urls, "doc_id": ids, "cluster": ids}
        columns = [name for name in wanted if name in schema]
        for path in artifact.table(table) if columns else []:
            matches = pl.any_horizontal(pl.col(name).is_in(list(wanted[name])) for name in columns)
            if scan_table(path).select(matches.any()).collect().item():
                return True
    return False


def strip_model(store: Store, artifact: Artifact, graph: Graph) -> None:
    """Reduce a model to its weights, tokenizer and numbers: remove the texts that it wrote, and the pages about it.

    Its data version stays the same, because other artifacts refer to it.
    """
    optional = graph.stages[artifact.record.asset].optional_tables if artifact.record.asset in graph.stages else {}
    text_tables = {
        table
        for table, schema in artifact.record.schemas.items()
        if table in optional and any(dtype == "String" for dtype in schema.values())
    }
    removed = {
        name for name in artifact.record.files if name.split("/")[0] in text_tables and name.endswith(".parquet")
    }
    record = artifact.record.model_copy(
        update={
            "files": {name: entry for name, entry in artifact.record.files.items() if name not in removed},
            "rows": {name: rows for name, rows in artifact.record.rows.items() if name not in text_tables},
            "schemas": {name: schema for name, schema in artifact.record.schemas.items() if name not in text_tables},
        }
    )
    with clear_disk_errors(store.root):
        for table in text_tables:
            shutil.rmtree(artifact.folder / table, ignore_errors=True)
        if record != artifact.record:
            write_atomic(artifact.folder / RECORD, record.dump())
        forget_views(store, artifact)
    store.replace(artifact, Artifact(artifact.folder, record))


def forget_views(store: Store, artifact: Artifact) -> None:
    """Remove an artifact's views and check results. A model's card stays, because it names the model's sources."""
    for name in (*SIDECARS, *artifact.record.views):
        if not name.endswith(CARD):
            (artifact.folder / name).unlink(missing_ok=True)
    store.forget_checks(artifact.record.short_id)


def write_notice(artifact: Artifact, rules: Iterable[str]) -> None:
    """State beside a model, and in its card, that it was trained on pages that have been taken down."""
    notice = (
        f"{_NOTICE_BEGINS} ({', '.join(sorted(rules))}). "
        "Do not release this model; a model trained from scratch no longer holds them.\n"
    )
    with clear_disk_errors(artifact.folder):
        write_atomic(artifact.folder / NOTICE, notice.encode())
        _write_cards(artifact, notice)


def remove_notice(artifact: Artifact) -> None:
    """Remove a model's notice, also from its card."""
    (artifact.folder / NOTICE).unlink(missing_ok=True)
    _write_cards(artifact, "")


def _write_cards(artifact: Artifact, notice: str) -> None:
    """Write a notice into the model's card, after its front matter; it replaces an earlier notice."""
    for card in (artifact.folder / name for name in artifact.record.views if name.endswith(CARD)):
        if card.is_file():
            lines = [
                line
                for line in card.read_text(encoding="utf-8").splitlines(keepends=True)
                if not line.startswith(_NOTICE_BEGINS)
            ]
            rulers = [number for number, line in enumerate(lines) if line == "---\n"]
            start = rulers[1] + 1 if len(rulers) > 1 and rulers[0] == 0 else 0
            write_atomic(card, "".join([*lines[:start], notice, *lines[start:]]).encode())


def clear_marks(takedowns: Takedowns, resolver: Resolver) -> list[Artifact]:
    """Clear the mark of models that the remaining pages reproduce byte for byte; returns these models.

    The recipe still resolves to such a model after everything that held the pages is gone, because the model's inputs
    are unchanged.
    """
    cleared = []
    for stage in resolver.graph:
        artifact = resolver.resolve(stage.name, None).artifact if not stage.per_crawl else None
        marked = takedowns.marked_models() if artifact is not None and is_model(artifact) else {}
        if artifact is None or artifact.record.identity not in marked:
            continue
        by_version = {(stored.record.key, stored.data_version): stored for stored in takedowns.store.artifacts()}
        inputs = [by_version[version] for version in artifact.record.inputs if version in by_version]
        if any(source.record.identity in marked for source in inputs):
            continue  # the model that it was trained from is marked itself
        for takedown in takedowns.load_all():
            if takedown.rule in marked[artifact.record.identity]:
                takedown.cleared.append(artifact.record.identity)
                takedowns.save(takedown)
        remove_notice(artifact)
        cleared.append(artifact)
    return cleared


def replaced_models(takedowns: Takedowns, resolver: Resolver) -> tuple[list[Artifact], list[Artifact]]:
    """Split the marked models into those that the recipe has replaced with an unmarked one, and the others."""
    marked = takedowns.marked_models()
    replaced, not_replaced = [], []
    for artifact in takedowns.store.artifacts():
        if artifact.record.identity not in marked:
            continue
        asset, current = artifact.record.asset, None
        if asset in resolver.graph.stages:
            current = resolver.resolve(asset, None).artifact
        is_replaced = current is not None and current.record.identity not in marked
        (replaced if is_replaced else not_replaced).append(artifact)
    return replaced, not_replaced


def interrupted_builds(store: Store, spare: str) -> Iterator[Path]:
    """Folders of interrupted builds of every asset except `spare`."""
    for folder in sorted((store.root / ".staging").glob("*/*/*")):
        if folder.is_dir() and folder.parts[-3] != spare:
            yield folder
