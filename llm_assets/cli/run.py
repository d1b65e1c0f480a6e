"""``llm-assets run``: Dagster's runs for the recipe's crawls, started in this process, with live progress."""

from __future__ import annotations

import difflib
import gc
import logging
import os
import re
import sys
import time
import uuid
import warnings
from typing import TYPE_CHECKING, Any

import click

from llm_assets.compute.engine import GARBAGE_THRESHOLD
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes.load import chosen_recipe, with_crawls
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry

from .display import Display, summarise
from .interrupts import Interrupted, end_process, until_interrupted
from .options import followable, recipe_option
from .setup import prepare_instance, register_partitions
from .up_to_date import find_everything

if TYPE_CHECKING:
    import dagster as dg

Run = tuple[str, "str | None", "set[dg.AssetKey]"]


@click.command()
@click.option(
    "--select",
    default="*",
    show_default=True,
    help="Dagster asset selection, such as '*extracted_text' (with all it needs) or 'group:web'.",
)
@click.option("--crawl", "crawl_names", multiple=True, help="Crawl(s) to run for; default: all of the recipe.")
@recipe_option
@click.option("--plain", is_flag=True, help="Lines instead of a live table.")
def run(select: str, crawl_names: tuple[str, ...], recipe: str | None, plain: bool) -> None:
    """Materialise the graph: what is in the store is returned, the rest is built."""
    began = time.monotonic()
    gc.set_threshold(*GARBAGE_THRESHOLD)
    settings = load_settings()
    prepare_instance(settings)
    workspace = open_workspace(recipe, settings)
    names = list(crawl_names) or workspace.recipe.corpus()
    sources = workspace.recipe.sources()
    unknown = [name for name in names if name not in sources]
    if unknown:
        reason = open_registry(settings).unusable(workspace.recipe).get(unknown[0])
        if reason is not None:
            raise click.ClickException(f"crawl {unknown[0]!r} cannot be built: {reason}")
        raise click.ClickException(
            f"no crawl {unknown[0]!r}; there are {', '.join(sorted(sources))}; register one with: llm-assets crawls add"
        )
    if not names:
        raise click.ClickException(
            f"recipe {workspace.recipe.name!r} has no crawl; register one with: llm-assets crawls add"
        )
    import dagster as dg

    from llm_assets.definitions import defs
    from resources.assets import CRAWLS_BUILT, reads_crawls_first
    from resources.jobs import crawl_assets
    from resources.live_runs import announce_run, close_killed_runs
    from resources.metadata import crawls_summary
    from resources.recrawls import REFRESHED_ASSETS, REFRESHES_TAG

    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.filterwarnings("ignore", category=category)
    keys = chosen_assets(select, defs)
    unread = [name for name in names if name not in workspace.recipe.crawls]
    if unread and not {key.to_user_string() for key in keys} <= set(crawl_assets(GRAPH)):
        recipe = with_crawls(chosen_recipe(recipe), names)
        click.echo(
            f"recipe {workspace.recipe.name} does not read {', '.join(unread)}: everything behind the corpus is made "
            f"under recipe {recipe}, from {', '.join(names)} alone. Name it to later commands, such as: "
            f"llm-assets chat --recipe {recipe}"
        )
        workspace = open_workspace(recipe, settings)
    names = workspace.graph.crawl_order(workspace.recipe, names)
    config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if recipe:
        config["resources"] = {"recipe": {"config": {"name": recipe}}}
    display = Display(live=not plain and sys.stdout.isatty())
    failures: list[str] = []
    checks: list[tuple[str, bool, str]] = []

    def build() -> None:
        with dg.DagsterInstance.get() as instance:
            tags = {REFRESHES_TAG: "yes"} if {dg.AssetKey(name) for name in REFRESHED_ASSETS} <= keys else {}
            register_partitions(names, instance)
            close_killed_runs(instance)
            found = find_everything(workspace, instance, {key.to_user_string() for key in keys}, names)
            for one in found or []:
                one.tell()
                checks.extend(
                    (f"{one.resolution.key}: {examined.check.name}", examined.outcome.passed, examined.outcome.summary)
                    for examined in one.checks
                )
                if reads_crawls_first(one.resolution.stage, GRAPH):
                    checks.append(
                        (f"{one.resolution.key}: {CRAWLS_BUILT}", True, crawls_summary(one.resolution.crawls, []))
                    )
            for job, partition, wanted in [] if found else runs_for(names, keys):
                if failures and job != "crawl":
                    break  # the other crawls are built all the same; no model is made without one that was asked for
                run_id = str(uuid.uuid4())
                with announce_run(run_id):
                    result = defs.resolve_job_def(job).execute_in_process(
                        instance=instance,
                        partition_key=partition,
                        asset_selection=list(wanted),
                        run_config=config,
                        tags=tags,
                        run_id=run_id,
                        raise_on_error=False,
                    )
                checks.extend(_checks(result, partition))
                failures.extend(_failures(result))

    stderr = os.dup(sys.stderr.fileno())
    try:
        with display:
            until_interrupted(build)
    except Interrupted as interrupted:
        end_process(interrupted.number, stderr, _close_interrupted)
    summarise(display, checks, time.monotonic() - began)
    for failure in failures:
        click.secho(f"failed: {followable(failure)}", fg="red", err=True)
    if failures:
        sys.exit(1)


def chosen_assets(select: str, defs: dg.Definitions) -> set[dg.AssetKey]:
    """The assets of a selection. Raises ClickException in one line for a misspelt one, or one that selects nothing."""
    import dagster as dg

    for term in select.split(","):
        plain = re.fullmatch(r"[*+\d]*([A-Za-z_]\w*)[*+\d]*", term.strip())  # Dagster answers for all other syntax
        if plain is not None and plain[1] not in GRAPH.stages:
            near = difflib.get_close_matches(plain[1], GRAPH.stages, 1)
            raise click.ClickException(
                f"--select: no asset {plain[1]!r}" + (f"; did you mean {near[0]}?" if near else "")
            )
    try:
        keys = set(dg.AssetSelection.from_coercible(select.split(",")).resolve(defs.resolve_asset_graph()))
    except dg.DagsterError as error:
        raise click.ClickException(f"--select {select!r}: {' '.join(str(error).split())}") from error
    if not keys:
        groups = ", ".join(dict.fromkeys(stage.group for stage in GRAPH))
        raise click.ClickException(f"--select {select!r} selects no asset; groups are {groups}")
    return keys


def _close_interrupted() -> None:
    """Tell Dagster and MLflow that what this process was at is over."""
    import dagster as dg

    from resources.live_runs import announced_runs, close_run
    from resources.tracking import end_open_runs

    with dg.DagsterInstance.get() as instance:
        for run_id in announced_runs():
            close_run(instance, run_id, "Interrupted.", canceled=True)
    end_open_runs()


def runs_for(names: list[str], keys: set[dg.AssetKey]) -> list[Run]:
    """Dagster's runs for some crawls, in order: job, partition, assets. For one crawl it is one run.

    For several they are what a backfill of Dagster's starts: each crawl, the tokenizer and shards, the rest.
    """
    import dagster as dg

    from resources.jobs import EVERYTHING_JOB, crawl_assets, shard_assets

    if len(names) == 1:
        return [(EVERYTHING_JOB, names[0], keys)]
    crawl, shards = ({dg.AssetKey(name) for name in chosen(GRAPH)} & keys for chosen in (crawl_assets, shard_assets))
    waves: list[Run] = [("crawl", name, crawl) for name in names] + [("model", name, shards) for name in names]
    waves.append(("model", names[-1], keys - crawl - shards))
    return [(job, name, wanted) for job, name, wanted in waves if wanted]


def _checks(result: dg.ExecuteInProcessResult, partition: str | None) -> list[tuple[str, bool, str]]:
    """Name, whether it passed, and what was found, of every check of a run."""
    from resources.assets import UP_TO_DATE

    found = []
    for evaluation in result.get_asset_check_evaluations():
        if evaluation.check_name == UP_TO_DATE:
            continue  # of what a run has just built it says nothing new
        asset = evaluation.asset_key.to_user_string()
        key = f"{asset}/{partition}" if GRAPH[asset].per_crawl else asset
        found.append((f"{key}: {evaluation.check_name}", evaluation.passed, evaluation.description or ""))
    return found


def _failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """Step and cause of every failed step of a run: of blocking checks which, and what they found."""
    import dagster as dg

    blocking: dict[str, list[str]] = {}
    for evaluation in result.get_asset_check_evaluations():
        if evaluation.blocking and not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
            found = f"blocking check {evaluation.check_name}: {evaluation.description}"
            blocking.setdefault(evaluation.asset_key.to_user_string(), []).append(found)
    failed = [event for event in result.all_events if event.is_step_failure]
    return [
        f"{event.step_key}: {'; '.join(blocking.get(event.step_key or '', [])) or _cause(event)}" for event in failed
    ]


def _cause(event: Any) -> str:
    """The innermost message of a step's failure; errors of the project itself say it all without their type."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return re.sub(r"^llm_assets\.[\w.]+: ", "", error.message.strip()) if error is not None else "unknown"
