"""Dagster's runs that build a selection of assets for some crawls, executed in this process."""

from __future__ import annotations

import logging
import re
import uuid
import warnings
from typing import TYPE_CHECKING, Any

from llm_assets.artifacts import Workspace
from llm_assets.graph import GRAPH
from llm_assets.settings import load_settings

from .setup import register_partitions
from .up_to_date import CachedArtifact, find_all_cached

if TYPE_CHECKING:
    import dagster as dg

Run = tuple[str, "str | None", "set[dg.AssetKey]"]  # job, partition, assets


class DagsterRuns:
    """The runs of one command. `build` fills the two lists:

    checks: name, whether it passed, and its summary, of every check.
    failures: step and cause of every failed step.
    """

    def __init__(self, workspace: Workspace, recipe: str | None, crawls: list[str], keys: set[dg.AssetKey]):
        self.workspace, self.recipe, self.crawls, self.keys = workspace, recipe, crawls, keys
        self.checks: list[tuple[str, bool, str]] = []
        self.failures: list[str] = []

    def build(self) -> None:
        """Build what is missing. If nothing is, report all artifacts as cached without starting a run."""
        import dagster as dg

        from resources.live_runs import close_killed_runs

        with dg.DagsterInstance.get() as instance:
            register_partitions(self.crawls, instance)
            close_killed_runs(instance)
            _end_killed_tracking()
            assets = {key.to_user_string() for key in self.keys}
            cached = find_all_cached(self.workspace, instance, assets, self.crawls)
            if cached:
                for artifact in cached:
                    self._report(artifact)
                return
            for job, partition, wanted in runs_for(self.workspace.recipe, self.crawls, self.keys):
                if self.failures and job != "crawl":
                    break  # the other crawls are still built, but no model is made without a crawl that was asked for
                self._execute(job, partition, wanted, instance)

    def _report(self, cached: CachedArtifact) -> None:
        from resources.assets import CRAWLS_BUILT, reads_crawls_first
        from resources.metadata import crawls_summary

        cached.report()
        key = cached.resolution.key
        for examined in cached.checks:
            self.checks.append((f"{key}: {examined.check.name}", examined.outcome.passed, examined.outcome.summary))
        if reads_crawls_first(cached.resolution.stage, GRAPH):
            self.checks.append((f"{key}: {CRAWLS_BUILT}", True, crawls_summary(cached.resolution.crawls, [])))

    def _execute(self, job: str, partition: str | None, wanted: set[dg.AssetKey], instance: dg.DagsterInstance) -> None:
        import dagster as dg

        from llm_assets.definitions import definitions_for
        from resources.live_runs import announce_run
        from resources.recrawls import REFRESHED_ASSETS, REFRESHES_TAG

        config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        if self.recipe:
            config["resources"] = {"recipe": {"config": {"name": self.recipe}}}
        refreshes = {dg.AssetKey(name) for name in REFRESHED_ASSETS} <= self.keys
        run_id = str(uuid.uuid4())
        with announce_run(run_id):
            result = (
                definitions_for(self.workspace.recipe)
                .resolve_job_def(job)
                .execute_in_process(
                    instance=instance,
                    partition_key=partition,
                    asset_selection=list(wanted),
                    run_config=config,
                    tags={REFRESHES_TAG: "yes"} if refreshes else {},
                    run_id=run_id,
                    raise_on_error=False,
                )
            )
        self.checks.extend(_check_results(result, partition))
        self.failures.extend(_failed_steps(result))


def _end_killed_tracking() -> None:
    """Mark the MLflow runs of killed processes, whether or not this command builds anything that MLflow tracks."""
    from resources.tracking import end_killed_runs, is_on

    if is_on():
        try:
            end_killed_runs(load_settings().mlflow_uri)
        except Exception as error:  # a server that does not answer must not stop a command that may not need it
            logging.getLogger(__name__).warning("cannot mark killed runs in MLflow: %s", error)


def silence_libraries() -> None:
    """Keep the logs and warnings of Dagster and MLflow off the terminal: the display shows what happens."""
    import dagster as dg

    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.filterwarnings("ignore", category=category)


def close_interrupted() -> None:
    """Mark the runs of this process as cancelled in Dagster, and as ended in MLflow."""
    import dagster as dg

    from resources.live_runs import announced_runs, close_run
    from resources.tracking import end_open_runs

    with dg.DagsterInstance.get() as instance:
        for run_id in announced_runs():
            close_run(instance, run_id, "Interrupted.", canceled=True)
    end_open_runs()


def runs_for(recipe: Any, crawls: list[str], keys: set[dg.AssetKey]) -> list[Run]:
    """The runs that build these assets for these crawls, in order.

    One crawl takes one run, and so does a recipe without crawls. Several take the runs that a backfill would start: one
    for each crawl's own assets, one per crawl for the tokenizer and the shards, and one for the rest. Assets that are
    built on demand take a last run.
    """
    import dagster as dg

    from resources.jobs import EVERYTHING_JOB, ON_DEMAND_JOB, crawl_assets, on_demand_assets, shard_assets

    on_demand = {dg.AssetKey(name) for name in on_demand_assets(GRAPH, recipe)} & keys
    if on_demand:
        upstream = keys - on_demand
        return [*(runs_for(recipe, crawls, upstream) if upstream else []), (ON_DEMAND_JOB, None, on_demand)]
    if len(crawls) < 2:
        return [(EVERYTHING_JOB, crawls[0] if crawls else None, keys)]
    of_crawl = {dg.AssetKey(name) for name in crawl_assets(GRAPH)} & keys
    shards = {dg.AssetKey(name) for name in shard_assets(GRAPH)} & keys
    runs: list[Run] = [
        *(("crawl", crawl, of_crawl) for crawl in crawls),
        *(("model", crawl, shards) for crawl in crawls),
        ("model", crawls[-1], keys - of_crawl - shards),
    ]
    return [(job, partition, wanted) for job, partition, wanted in runs if wanted]


def _check_results(result: dg.ExecuteInProcessResult, partition: str | None) -> list[tuple[str, bool, str]]:
    """Name, whether it passed, and summary, of every check of a run."""
    from resources.assets import UP_TO_DATE

    checks = []
    for evaluation in result.get_asset_check_evaluations():
        if evaluation.check_name == UP_TO_DATE:
            continue  # trivial for what the run has just built
        asset = evaluation.asset_key.to_user_string()
        key = f"{asset}/{partition}" if GRAPH[asset].per_crawl else asset
        checks.append((f"{key}: {evaluation.check_name}", evaluation.passed, evaluation.description or ""))
    return checks


def _failed_steps(result: dg.ExecuteInProcessResult) -> list[str]:
    """Step and cause of every failed step of a run. The cause may be the blocking checks that failed."""
    import dagster as dg

    blocking: dict[str, list[str]] = {}
    for evaluation in result.get_asset_check_evaluations():
        if evaluation.blocking and not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
            problem = f"blocking check {evaluation.check_name}: {evaluation.description}"
            blocking.setdefault(evaluation.asset_key.to_user_string(), []).append(problem)
    failed = [event for event in result.all_events if event.is_step_failure]
    return [
        f"{event.step_key}: {'; '.join(blocking.get(event.step_key or '', [])) or _cause(event)}" for event in failed
    ]


def _cause(event: Any) -> str:
    """The innermost message of a step's failure. The project's own errors need no type in front of their message."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return re.sub(r"^llm_assets\.[\w.]+: ", "", error.message.strip()) if error is not None else "unknown"
