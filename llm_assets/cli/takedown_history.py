"""What Dagster's history and MLflow hold of texts: previews of tables, failing rows, errors that quote a page."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

PAGE = 500  # events asked for at once
LOCK_SECONDS = 30.0
SQLITE = "sqlite:///"


def refuse_live_runs(instance: dg.DagsterInstance) -> None:
    """Raise ClickException while a run of Dagster's is waiting or under way: it would go on writing."""
    import dagster as dg

    from resources.live_runs import close_killed_runs

    close_killed_runs(instance)
    status = dg.DagsterRunStatus
    unfinished = [status.QUEUED, status.NOT_STARTED, status.STARTING, status.STARTED, status.CANCELING]
    runs = instance.get_runs(dg.RunsFilter(statuses=unfinished))
    if runs:
        raise click.ClickException(f"run {runs[0].run_id} is not finished; wait for it or stop it, then run again")


def runs_showing(instance: dg.DagsterInstance, assets: Iterable[str], versions: set[str]) -> set[str]:
    """Runs whose events tell of these versions (short identities) of assets, cached ones too, or failed at the assets."""
    import dagster as dg

    found: set[str] = set()
    names = sorted(set(assets))
    for name in names:
        cursor = None
        while True:
            wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(name))
            answer = instance.fetch_materializations(wanted, limit=PAGE, cursor=cursor)
            for record in answer.records:
                event = record.asset_materialization
                identity = event.metadata.get("identity") if event is not None else None
                if identity is not None and identity.value in versions:
                    found.add(record.run_id)
            if not answer.has_more:
                break
            cursor = answer.cursor
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])):
        chosen = {key.to_user_string() for key in run.asset_selection or ()}
        if not chosen or chosen & set(names):
            found.add(run.run_id)  # the error of a step may quote a page
    return found


def delete_runs(instance: dg.DagsterInstance, runs: Iterable[str], assets: Iterable[str]) -> None:
    """Delete runs with their events and logs, and the history of assets, which keeps the last event of each on its own."""
    import dagster as dg

    for run in sorted(runs):
        if instance.has_run(run):
            instance.delete_run(run)
        with contextlib.suppress(Exception):  # logs that are kept elsewhere are not for us to delete
            instance.compute_log_manager.delete_logs(prefix=[run])
    known = set(instance.get_asset_keys())
    keys = [key for name in sorted(set(assets)) if (key := dg.AssetKey(name)) in known]
    if keys:
        instance.wipe_assets(keys)


def forget_errors(uri: str, assets: set[str]) -> int:
    """Remove the error messages of MLflow runs that built these assets; how many there were."""
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return 0
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    token, count = None, 0
    while True:
        runs = client.search_runs(experiments, "attributes.status = 'FAILED'", max_results=1000, page_token=token)
        for run in runs:
            if "error" in run.data.tags and run.data.tags.get("asset") in assets:
                client.delete_tag(run.info.run_id, "error")
                count += 1
        token = runs.token
        if not token:
            return count


def databases(settings: Settings) -> list[Path]:
    """SQLite files of Dagster and MLflow."""
    found = sorted(settings.dagster_home.rglob("*.db"))
    if settings.mlflow_uri.startswith(SQLITE) and (path := Path(settings.mlflow_uri.removeprefix(SQLITE))).exists():
        found.append(path)
    return found


def compact(paths: Iterable[Path]) -> None:
    """Write SQLite files anew: what is deleted stays in their free pages until then. Raises ClickException."""
    for path in paths:
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as base:
                base.execute("VACUUM")
                (is_busy, _, _) = base.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            raise click.ClickException(f"{path}: {error}; stop dagster dev and mlflow, then run again") from error
        if is_busy:
            raise click.ClickException(f"{path} is in use; stop dagster dev and mlflow, then run again")
