"""Doing a takedown: every step can be repeated, so that a command that was killed is run again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
import polars as pl

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.purge import (
    MarkedModel,
    Takedown,
    Takedowns,
    delete_leftovers,
    interrupted_builds,
    strip_model,
    write_notice,
)
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.text_search import files_holding, lines_without, only_there, pieces_of
from llm_assets.model.encoding import Encoding
from llm_assets.settings import Settings
from llm_assets.web.blocklists import add_opt_out
from llm_assets.web.taken_down import blank_interrupted, holds_records, move_to_new_inputs, take_down

from .setup import open_instance, prepare_instance
from .takedown_history import compact, databases, delete_runs, forget_errors, refuse_live_runs, runs_showing
from .takedown_plan import Plan

Decoder = Callable[[], Iterator[bytes]]
DECODED_TOKENS = 1 << 20  # at once
OVERLAP = 256  # tokens


def purge(plan: Plan, workspace: Workspace, settings: Settings, takedowns: Takedowns) -> list[Path]:
    """Do it; the files in which text of the pages is found afterwards. Raises ClickException while something is built."""
    prepare_instance(settings)
    with open_instance() as instance:
        refuse_live_runs(instance)
        one = begin(plan, workspace, takedowns)
        add_opt_out(workspace.recipe.blocklists, plan.rule)
        pieces = gather_pieces(plan, workspace, takedowns)
        decoders = token_decoders(workspace)
        runs = runs_showing(instance, one.assets, one.shorts)
        remove_artifacts(plan, workspace, one, takedowns)
        rewrite_crawls(plan, workspace, one, takedowns)
        remove_rankings(settings, pieces)
        delete_runs(instance, runs, one.assets)
        # What else quotes them: a message of a run that failed, a log.
        home = settings.dagster_home
        quoting = {
            path.stem if path.is_relative_to(home / "history") else path.relative_to(home / "storage").parts[0]
            for path in files_holding(
                pieces, files_below(home / "history" / "runs", home / "storage"), lambda path: None
            )
        }
        delete_runs(instance, quoting, [])
    forget_errors(settings.mlflow_uri, one.assets)
    compact(databases(settings))
    holding = holding_files(pieces, plan, workspace, settings, takedowns, decoders)
    one.finished = datetime.now(UTC).isoformat(timespec="seconds")
    if not holding:
        takedowns.pieces_path(one.rule).unlink(missing_ok=True)  # else they are looked for again by the next try
    takedowns.save(one)
    return holding


def holding_files(
    pieces: list[str],
    plan: Plan,
    workspace: Workspace,
    settings: Settings,
    takedowns: Takedowns,
    decoders: dict[Path, Decoder],
) -> list[Path]:
    """Files of the store, the data folder and Dagster's that still hold text of the pages; none is as it should be."""
    crawls = workspace.store.root / "raw_warc"
    kept = takedowns.pieces_path(plan.rule.rule)
    files = (
        path
        for path in files_below(settings.data, workspace.store.root, settings.dagster_home)
        if path != kept and not path.is_relative_to(crawls)
    )
    # A crawl may hold the same words on other pages, also on those that were never read: its records are known by URL.
    left = [
        folder for one in plan.pages for folder in crawls.glob(f"{one.crawl}/*") if holds_records(folder, plan.rule)
    ]
    return files_holding(pieces, files, decoders.get) + left


def begin(plan: Plan, workspace: Workspace, takedowns: Takedowns) -> Takedown:
    """Write down what will go, so that nobody builds until it has, and a second try knows it."""
    is_new = not takedowns.path(plan.rule.rule).exists()
    one = takedowns.open(plan.rule.rule)
    before = one.model_copy(deep=True)
    one.finished = None
    one.urls = max(one.urls, len(plan.urls))
    one.crawls = sorted({*one.crawls, *(pages.crawl for pages in plan.pages)})
    one.outside = sorted({*one.outside, *(path for pages in plan.pages for path in pages.external_files)})
    one.removed.update({artifact.record.short: artifact.record.key for artifact in plan.removed})
    one.cleared = [identity for identity in one.cleared if identity not in {m.record.identity for m in plan.models}]
    known = {model.identity for model in one.models}
    one.models += [
        MarkedModel(key=found.record.key, identity=found.record.identity, data_version=found.data_version)
        for found in plan.models
        if found.record.identity not in known
    ]
    takedowns.save(one)
    if builds := workspace.store.builds():
        if is_new:
            takedowns.forget(one)
        else:
            takedowns.save(before)
        raise click.ClickException(f"{builds[0].holder} is building in the store; wait for it, then run again")
    return one


def gather_pieces(plan: Plan, workspace: Workspace, takedowns: Takedowns) -> list[str]:
    """Pieces of the pages' texts that no other page has, to be looked for at the end; kept until then, for a second try."""
    path = takedowns.pieces_path(plan.rule.rule)
    if path.exists():
        return list(json.loads(path.read_text()))
    covered = pl.col("url").is_in(list(plan.urls))
    files = [file for one in workspace.store.artifacts("extracted_text") for file in one.table("text")]
    tables = [pl.scan_parquet(file).select("url", "title", "text") for file in files]
    texts: list[str] = []
    for table in tables:
        rows = table.filter(covered).collect()
        texts += [*rows["title"], *rows["text"]]

    def others() -> Iterator[pl.Series]:
        for table in tables:
            rows = table.filter(~covered).collect()
            yield from (rows["title"], rows["text"])
        for one in workspace.store.artifacts("raw_warc"):  # what the sample web tells of its facts, page or not
            for name in ("truth_questions", "truth_prompts"):
                for file in one.table(name):
                    yield from pl.read_parquet(file).select(pl.col(pl.String)).iter_columns()

    pieces = only_there(pieces_of(texts), others())
    write_atomic(path, json.dumps(pieces).encode())
    return pieces


def token_decoders(workspace: Workspace) -> dict[Path, Decoder]:
    """How to read each file of tokens, by the tokenizer that it was written with."""
    tokenizers = {one.data_version: Encoding.load(one.path) for one in workspace.store.artifacts("tokenizer")}
    found: dict[Path, Decoder] = {}
    for shards in workspace.store.artifacts("token_shards"):
        encoding = tokenizers.get(shards.record.fields["inputs"].get("tokenizer", ""))
        for name in shards.record.files if encoding is not None else []:
            if name.endswith(".npy") and not name.endswith("-lengths.npy"):
                path = shards.path / name
                found[path] = lambda path=path, encoding=encoding: decoded(path, encoding)
    return found


def decoded(path: Path, encoding: Encoding) -> Iterator[bytes]:
    """What a token file says."""
    tokens = np.load(path, mmap_mode="r")
    for start in range(0, len(tokens), DECODED_TOKENS):
        yield encoding.decode_bytes(tokens[max(0, start - OVERLAP) : start + DECODED_TOKENS].tolist())


def remove_artifacts(plan: Plan, workspace: Workspace, one: Takedown, takedowns: Takedowns) -> None:
    """Delete what may hold text, leave models their weights, and drop interrupted builds."""
    store, marked = workspace.store, takedowns.marked()
    for artifact in plan.removed:
        store.delete(artifact)
    delete_leftovers(store, one)
    for artifact in plan.models:
        strip_model(store, artifact, workspace.graph)
        write_notice(artifact, marked[artifact.record.identity])
    for folder in interrupted_builds(store, "raw_warc"):
        shutil.rmtree(folder)


def rewrite_crawls(plan: Plan, workspace: Workspace, one: Takedown, takedowns: Takedowns) -> None:
    """Take the records out of the crawls, those that others continue first."""
    store = workspace.store

    def announce(key: str, before: str, now: str) -> None:
        one.versions[f"{key} {before}"] = now
        takedowns.save(one)

    covered = {pages.artifact.path: pages for pages in plan.pages}
    crawls = sorted(store.artifacts("raw_warc"), key=lambda found: len(found.record.fields["inputs"]))
    for artifact in crawls:
        pages = covered.get(artifact.path)
        if pages is not None:
            artifact = take_down(store, pages, plan.rule, announce)
        move_to_new_inputs(store, artifact, one.version_map)
    for folder in plan.crawling:
        blank_interrupted(folder, plan.rule)


def remove_rankings(settings: Settings, pieces: list[str]) -> None:
    """Drop rankings of answers that quote the pages, from the files that `llm-assets rank` writes."""
    for path in sorted((settings.data / "rankings").glob("*.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True)
        left = lines_without(pieces, lines)
        if len(left) < len(lines):
            write_atomic(path, b"".join(left))
            click.echo(f"{path}: {len(lines) - len(left)} rankings that quote these pages are removed")


def files_below(*folders: Path) -> Iterator[Path]:
    """Every file below some folders, once."""
    seen: set[Path] = set()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and path not in seen:
                seen.add(path)
                yield path
