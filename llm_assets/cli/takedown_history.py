"""Remove the texts of pages from Dagster's history and MLflow.

These hold previews of tables, rows that failed a schema, and errors that quote a page.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm_assets.settings import Settings, sqlite_file

if TYPE_CHECKING:
    import dagster as dg

EVENTS_AT_ONCE = 500
RUNS_AT_ONCE = 1_000
LOCK_SECONDS = 30.0  # how long to wait for a locked database


def refuse_live_runs(instance: dg.DagsterInstance) -> None:
    """Raise ClickException if a Dagster run is queued or in progress, because it would write more texts."""
    import dagster as dg

    from resources.live_runs import close_killed_runs

    close_killed_runs(instance)
    status = dg.DagsterRunStatus
    unfinished = [status.QUEUED, status.NOT_STARTED, status.STARTING, status.STARTED, status.CANCELING]
    runs = instance.get_runs(dg.RunsFilter(statuses=unfinished))
    if runs:
        raise click.ClickException(f"run {runs[0].run_id} is not finished; wait for it or stop it, then run again")


def runs_showing(instance: dg.DagsterInstance, assets: Iterable[str], versions: set[str]) -> set[str]:
    """Ids of runs that may hold text of these versions (short identities) of assets.

    These are runs that materialised them, from the cache too, and runs that failed at one of the assets.
    """
    import dagster as dg

    run_ids: set[str] = set()
    names = sorted(set(assets))
    for name in names:
        cursor = None
        while True:
            record_filter = dg.AssetRecordsFilter(asset_key=dg.AssetKey(name))
            page = instance.fetch_materializations(record_filter, limit=EVENTS_AT_ONCE, cursor=cursor)
            for record in page.records:
                event = record.asset_materialization
                identity = event.metadata.get("identity") if event is not None else None
                if identity is not None and identity.value in versions:
                    run_ids.add(record.run_id)
            if not page.has_more:
                break
            cursor = page.cursor
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])):
        selected = {key.to_user_string() for key in run.asset_selection or ()}
        if not selected or selected & set(names):
            run_ids.add(run.run_id)  # the error of a step may quote a page
    return run_ids


def delete_runs(instance: dg.DagsterInstance, runs: Iterable[str], assets: Iterable[str]) -> None:
    """Delete runs with their events and logs, and the history of assets.

    Dagster stores the last event of each asset apart from its run, so the history of assets is deleted separately.
    """
    import dagster as dg

    for run_id in sorted(runs):
        if instance.has_run(run_id):
            instance.delete_run(run_id)
        with contextlib.suppress(Exception):  # a log manager that stores logs elsewhere may not support this
            instance.compute_log_manager.delete_logs(prefix=[run_id])
    known = set(instance.get_asset_keys())
    keys = [key for name in sorted(set(assets)) if (key := dg.AssetKey(name)) in known]
    if keys:
        instance.wipe_assets(keys)


def forget_errors(uri: str, assets: set[str]) -> int:
    """Remove the error messages of MLflow runs that built these assets. Returns how many there were."""
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return 0
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    failed = "attributes.status = 'FAILED'"
    token, count = None, 0
    while True:
        runs = client.search_runs(experiments, failed, max_results=RUNS_AT_ONCE, page_token=token)
        for run in runs:
            if "error" in run.data.tags and run.data.tags.get("asset") in assets:
                client.delete_tag(run.info.run_id, "error")
                count += 1
        token = runs.token
        if not token:
            return count


def databases(settings: Settings) -> list[Path]:
    """The SQLite files of Dagster and MLflow."""
    paths = sorted(settings.dagster_home.rglob("*.db"))
    file = sqlite_file(settings.mlflow_uri)
    if file is not None and file.exists():
        paths.append(file)
    return paths


def compact(paths: Iterable[Path]) -> None:
    """Rewrite SQLite files, because deleted rows stay in their free pages. Raises ClickException for one in use."""
    for path in paths:
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as base:
                base.execute("VACUUM")
                (is_busy, _, _) = base.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            raise click.ClickException(f"{path}: {error}; stop dagster dev and mlflow, then run again") from error
        if is_busy:
            raise click.ClickException(f"{path} is in use; stop dagster dev and mlflow, then run again")
