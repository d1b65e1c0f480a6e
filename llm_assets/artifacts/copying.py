"""Copying a store: what a local folder has goes to a store at a URL, with its takedowns and its notes about recipes.

Nothing at the URL is overwritten. If a takedown was carried out in one of the two stores and the other still has what
it removed, the copy is refused: the takedown would count as finished in both, and the pages would stay in one.
"""

from __future__ import annotations

from collections.abc import Mapping

from .errors import ArtifactError
from .purge import Takedown, Takedowns, refuse_unfinished
from .record import Record, write_atomic
from .remote import RemoteStore
from .store import Store

_NAMED = 5  # artifacts in a message


def copy_store(source: Store, target: RemoteStore) -> tuple[int, int]:
    """Copy every artifact of a local store to one at a URL. Returns how many were copied, and how many were there.

    Raises ArtifactError, before anything is copied, if a takedown is unfinished, if one store has what a takedown of
    the other removed, or if the target has other files for the same identity. Raises CorruptArtifact if a file here is
    not that of its record, and what `RemoteStore.publish` raises; what was copied until then stays.
    """
    for store in (source, target):
        refuse_unfinished(store)
    artifacts = {artifact.folder.relative_to(source.root).as_posix(): artifact for artifact in source.artifacts()}
    records = {place: artifact.record for place, artifact in artifacts.items()}
    stored = {target.place_of(artifact): artifact.record for artifact in target.artifacts()}
    done_here, done_there = Takedowns(source).load_all(), Takedowns(target).load_all()
    _refuse_removed(done_here, records, done_there, stored, target.url)
    _refuse_removed(done_there, stored, done_here, records, str(source.root))
    _refuse_other_files(target, records, stored)
    _copy_takedowns(done_here, Takedowns(target))
    _copy_notes(source, target)
    count = sum(target.upload(artifact) for place, artifact in artifacts.items() if place not in stored)
    return count, len(artifacts) - count


def _refuse_removed(
    takedowns: list[Takedown],
    records: Mapping[str, Record],
    done_in_other: list[Takedown],
    others: Mapping[str, Record],
    other: str,
) -> None:
    """Refuse if a store, at the place `other`, has artifacts that takedowns of one with `records` removed or changed.

    records, others: by place. done_in_other: takedowns that were carried out there.
    """
    finished_there = {takedown.rule: takedown.finished or "" for takedown in done_in_other}
    for takedown in takedowns:
        if finished_there.get(takedown.rule, "") >= (takedown.finished or ""):
            continue
        changed = takedown.new_versions
        left = [
            record
            for place, record in others.items()
            if (record.key, record.data_version) in changed
            or (record.short_id in takedown.removed and not (place in records and records[place].has_files_of(record)))
        ]
        if left:
            raise ArtifactError(
                f"{other} still has what the takedown of {takedown.rule} removed elsewhere: {_names(left)}; run "
                f"llm-assets takedown {takedown.rule} with LLM_ASSETS_STORE={other}, then copy again"
            )


def _refuse_other_files(target: RemoteStore, records: Mapping[str, Record], stored: Mapping[str, Record]) -> None:
    differing = {
        place: record for place, record in records.items() if place in stored and not record.has_files_of(stored[place])
    }
    if differing:
        raise ArtifactError(
            f"{target.url} has other files than this store for the same identity: {_names([*differing.values()])}; "
            f"remove the folders here ({', '.join(differing)}) to use what is at the URL, then copy again"
        )


def _names(records: list[Record]) -> str:
    names = [f"{record.key} {record.short_id}" for record in records[:_NAMED]]
    return ", ".join(names) + (f" and {len(records) - _NAMED} more" if len(records) > _NAMED else "")


def _copy_takedowns(done_here: list[Takedown], takedowns: Takedowns) -> None:
    """Takedowns become those of the target. One that it has keeps what it names, and gets what it lacks."""
    stored = {takedown.rule: takedown for takedown in takedowns.load_all()}
    for takedown in done_here:
        takedowns.save(_union(stored.get(takedown.rule, takedown), takedown))


def _union(first: Takedown, second: Takedown) -> Takedown:
    """Two finished takedowns of one rule as one. A model is cleared only if no takedown has it as marked."""
    models = {model.identity: model for model in (*second.models, *first.models)}
    marked = {
        model.identity
        for takedown in (first, second)
        for model in takedown.models
        if model.identity not in takedown.cleared
    }
    return first.model_copy(
        update={
            "began": min(first.began, second.began),
            "finished": max(first.finished or "", second.finished or ""),
            "urls": max(first.urls, second.urls),
            "crawls": sorted({*first.crawls, *second.crawls}),
            "external_files": sorted({*first.external_files, *second.external_files}),
            "removed": {**second.removed, **first.removed},
            "models": list(models.values()),
            "cleared": sorted({*first.cleared, *second.cleared} - marked),
            "versions": {**second.versions, **first.versions},
        }
    )


def _copy_notes(source: Store, target: RemoteStore) -> None:
    """Notes about recipes, by which `gc` keeps artifacts, and about the latest artifacts, where the target has none.

    Of two notes of a recipe about an asset, the one of the later day counts.
    """
    stored = target.recipe_notes()
    for name, note in source.recipe_notes().items():
        if _day(note) > _day(stored.get(name, "")):
            target.write_recipe_note(name, note.encode())
    for pointer in source.latest_pointers():
        here = target.root / pointer.relative_to(source.root)
        if not here.exists():
            write_atomic(here, pointer.read_bytes())


def _day(note: str) -> str:
    return note.strip().partition(" ")[2]
