"""Carry out a takedown. Every step can be repeated, so a command that was killed can be run again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path

import click
import numpy as np
import polars as pl

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.purge import (
    MarkedModel,
    Takedown,
    Takedowns,
    interrupted_builds,
    strip_model,
    write_notice,
)
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.tables import read_table, scan_table
from llm_assets.artifacts.text_search import (
    files_containing,
    lines_not_containing,
    pieces_found_nowhere_else,
    text_pieces,
)
from llm_assets.model.encoding import Encoding
from llm_assets.preference.ranking_files import ARENA, ranking_files, replace_lines
from llm_assets.recipes import Recipe
from llm_assets.settings import Settings
from llm_assets.web.blocklists import add_opt_out
from llm_assets.web.taken_down import blank_interrupted, holds_records, move_to_new_inputs, take_down

from .setup import open_instance, prepare_instance
from .takedown_history import compact, databases, delete_runs, forget_errors, refuse_live_runs, runs_showing
from .takedown_plan import Plan

Decoder = Callable[[], Iterator[bytes]]
TOKENS_AT_ONCE = 1 << 20  # decoded at once
WITHOUT_TEXT = ("-lengths.npy", "-suffixes.npy")  # files of numbers beside those of tokens
OVERLAP = 256  # tokens that are decoded twice, so that text across two blocks is found


def purge(plan: Plan, workspace: Workspace, settings: Settings, takedowns: Takedowns) -> list[Path]:
    """Carry out the plan. Returns the files that still hold text of the pages.

    Raises ClickException while a run is in progress or something is being built.
    """
    prepare_instance(settings)
    with open_instance() as instance:
        refuse_live_runs(instance)
        takedown = begin(plan, workspace, takedowns)
        add_opt_out(workspace.recipe.blocklists, plan.rule)
        pieces = gather_pieces(plan, workspace, takedowns)
        decoders = token_decoders(workspace)
        runs = runs_showing(instance, takedown.assets, takedown.short_ids)
        remove_artifacts(plan, workspace, takedown, takedowns)
        rewrite_crawls(plan, workspace, takedown, takedowns)
        remove_rankings(settings, pieces)
        delete_runs(instance, runs, takedown.assets)
        delete_runs(instance, runs_quoting(pieces, settings.dagster_home), [])
    forget_errors(settings.mlflow_uri, takedown.assets)
    compact(databases(settings))
    holding = holding_files(pieces, plan, workspace, settings, takedowns, decoders)
    takedown.finished = datetime.now(UTC).isoformat(timespec="seconds")
    if not holding:
        takedowns.pieces_path(takedown.rule).unlink(missing_ok=True)  # otherwise, the next try searches for them again
    takedowns.save(takedown)
    return holding


def runs_quoting(pieces: list[str], dagster_home: Path) -> set[str]:
    """Ids of runs that quote the pages elsewhere: in the message of a failure, or in a log."""
    history, storage = dagster_home / "history", dagster_home / "storage"
    paths = files_containing(pieces, files_below(history / "runs", storage), lambda path: None)
    return {path.stem if path.is_relative_to(history) else path.relative_to(storage).parts[0] for path in paths}


def holding_files(
    pieces: list[str],
    plan: Plan,
    workspace: Workspace,
    settings: Settings,
    takedowns: Takedowns,
    decoders: dict[Path, Decoder],
) -> list[Path]:
    """Files of the store, the data folder and Dagster, and those that the recipe names, that still hold text of the
    pages. There should be none.
    """
    crawls = workspace.store.root / "raw_warc"
    pieces_file = takedowns.pieces_path(plan.rule.rule)
    searched = (settings.data, workspace.store.root, settings.dagster_home)
    below = (path for path in files_below(*searched) if path != pieces_file and not path.is_relative_to(crawls))
    files = chain(below, named_files(workspace.recipe, searched))
    # Other pages of a crawl, even pages that were never extracted, may hold the same words: find records by URL.
    folders = [
        folder for pages in plan.pages for folder in crawls.glob(f"{pages.crawl}/*") if holds_records(folder, plan.rule)
    ]
    return files_containing(pieces, files, decoders.get) + folders


def named_files(recipe: Recipe, searched: tuple[Path, ...]) -> list[Path]:
    """The files of rankings and conversations that the recipe names, outside the folders that are searched anyway."""
    named = (*recipe.human_rankings.files, *recipe.conversations.files, *recipe.conversations.evaluation_files)
    folders = [folder.resolve() for folder in searched]
    paths = sorted({Path(item.path).expanduser().resolve() for item in named})
    return [path for path in paths if path.is_file() and not any(map(path.is_relative_to, folders))]


def begin(plan: Plan, workspace: Workspace, takedowns: Takedowns) -> Takedown:
    """Record what will be removed, so that nothing is built before it is, and a second try knows it.

    Raises ClickException, and undoes the record, while something is being built.
    """
    is_new = not takedowns.path(plan.rule.rule).exists()
    takedown = takedowns.load_or_new(plan.rule.rule)
    before = takedown.model_copy(deep=True)
    marked_again = {model.record.identity for model in plan.models}
    takedown.finished = None
    takedown.urls = max(takedown.urls, len(plan.urls))
    takedown.crawls = sorted({*takedown.crawls, *(pages.crawl for pages in plan.pages)})
    takedown.external_files = sorted(
        {*takedown.external_files, *(path for pages in plan.pages for path in pages.external_files)}
    )
    takedown.removed.update({artifact.record.short_id: artifact.record.key for artifact in plan.removed})
    takedown.cleared = [identity for identity in takedown.cleared if identity not in marked_again]
    known = {model.identity for model in takedown.models}
    takedown.models += [
        MarkedModel(key=model.record.key, identity=model.record.identity, data_version=model.data_version)
        for model in plan.models
        if model.record.identity not in known
    ]
    takedowns.save(takedown)
    if builds := workspace.store.builds_in_progress():
        if is_new:
            takedowns.delete(takedown)
        else:
            takedowns.save(before)
        raise click.ClickException(f"{builds[0].holder} is building in the store; wait for it, then run again")
    return takedown


def gather_pieces(plan: Plan, workspace: Workspace, takedowns: Takedowns) -> list[str]:
    """Pieces of the pages' texts that no other page contains. They are searched for at the end.

    They are stored until the takedown is finished, for a second try.
    """
    path = takedowns.pieces_path(plan.rule.rule)
    if path.exists():
        return list(json.loads(path.read_text()))
    store = workspace.store
    covered = pl.col("url").is_in(list(plan.urls))
    files = [file for artifact in store.artifacts("extracted_text") for file in artifact.table("text")]
    tables = [scan_table(file).select("url", "title", "text") for file in files]
    texts: list[str] = []
    for table in tables:
        rows = table.filter(covered).collect()
        texts += [*rows["title"], *rows["text"]]

    def texts_elsewhere() -> Iterator[pl.Series]:
        for table in tables:
            rows = table.filter(~covered).collect()
            yield from (rows["title"], rows["text"])
        for artifact in store.artifacts("raw_warc"):  # the sample web's statements of its facts, on a page or not
            for name in ("truth_questions", "truth_prompts"):
                for file in artifact.table(name):
                    yield from read_table(file).select(pl.col(pl.String)).iter_columns()

    pieces = pieces_found_nowhere_else(text_pieces(texts), texts_elsewhere())
    write_atomic(path, json.dumps(pieces).encode())
    return pieces


def token_decoders(workspace: Workspace) -> dict[Path, Decoder]:
    """For each file of tokens, a function that decodes it with the tokenizer that encoded it."""
    tokenizers = {
        artifact.data_version: Encoding.load(artifact.path) for artifact in workspace.store.artifacts("tokenizer")
    }
    decoders: dict[Path, Decoder] = {}
    for artifact in (*workspace.store.artifacts("token_shards"), *workspace.store.artifacts("trace_index")):
        encoding = tokenizers.get(artifact.record.fields["inputs"].get("tokenizer", ""))
        for name in artifact.record.files if encoding is not None else []:
            if name.endswith(".npy") and not name.endswith(WITHOUT_TEXT):
                path = artifact.path / name
                decoders[path] = lambda path=path, encoding=encoding: decoded(path, encoding)
    return decoders


def decoded(path: Path, encoding: Encoding) -> Iterator[bytes]:
    """The text of a token file, in blocks that overlap."""
    tokens = np.load(path, mmap_mode="r")
    for start in range(0, len(tokens), TOKENS_AT_ONCE):
        yield encoding.decode_bytes(tokens[max(0, start - OVERLAP) : start + TOKENS_AT_ONCE].tolist())


def remove_artifacts(plan: Plan, workspace: Workspace, takedown: Takedown, takedowns: Takedowns) -> None:
    """Delete artifacts that may hold text, reduce models to their weights, and delete interrupted builds."""
    store, marked = workspace.store, takedowns.marked_models()
    for artifact in plan.removed:
        store.delete(artifact)
    for short_id, key in takedown.removed.items():  # what an earlier try left that was killed
        store.remove_leftovers(short_id, key)
    for upload in store.interrupted_uploads(days=0):
        store.remove_upload(upload)
    for artifact in plan.models:
        strip_model(store, artifact, workspace.graph)
        write_notice(artifact, marked[artifact.record.identity])
    for folder in interrupted_builds(store, "raw_warc"):
        shutil.rmtree(folder)


def rewrite_crawls(plan: Plan, workspace: Workspace, takedown: Takedown, takedowns: Takedowns) -> None:
    """Remove the records from the crawls. A crawl comes before those that continue it."""
    store = workspace.store

    def announce(key: str, old_version: str, new_version: str) -> None:
        takedown.versions[f"{key} {old_version}"] = new_version
        takedowns.save(takedown)

    covered = {pages.artifact.folder: pages for pages in plan.pages}
    crawls = sorted(store.artifacts("raw_warc"), key=lambda artifact: len(artifact.record.fields["inputs"]))
    for artifact in crawls:
        pages = covered.get(artifact.folder)
        if pages is not None:
            artifact = take_down(store, pages, plan.rule, announce)
        move_to_new_inputs(store, artifact, takedown.new_versions)
    for folder in plan.crawling:
        blank_interrupted(folder, plan.rule)


def remove_rankings(settings: Settings, pieces: list[str]) -> None:
    """Remove votes on answers that quote the pages from the files that `llm-assets rank` and the server write."""
    for path in (*ranking_files(settings.data), *ranking_files(settings.data, ARENA)):
        if removed := replace_lines(path, partial(lines_not_containing, pieces)):
            click.echo(f"{path}: removed {removed} rankings that quote these pages")


def files_below(*folders: Path) -> Iterator[Path]:
    """Every file below these folders, once."""
    seen: set[Path] = set()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and path not in seen:
                seen.add(path)
                yield path
