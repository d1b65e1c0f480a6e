"""``llm-assets run``: Dagster's runs for the recipe's crawls, started in this process, with live progress."""

from __future__ import annotations

import gc
import logging
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

import click

from llm_assets.compute.engine import GARBAGE_THRESHOLD
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes.load import chosen_recipe, with_crawls
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry

from .display import Display, summarise
from .killed_runs import alive, close_killed_runs
from .options import recipe_option
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
    from resources.metadata import crawls_summary
    from resources.recrawls import REFRESHED, REFRESHES

    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.filterwarnings("ignore", category=category)
    keys = set(dg.AssetSelection.from_coercible(select.split(",")).resolve(defs.resolve_asset_graph()))
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
    processes = settings.data / "processes"
    failures: list[str] = []
    checks: list[tuple[str, bool, str]] = []
    with dg.DagsterInstance.get() as instance, alive(processes) as tags, display:
        if {dg.AssetKey(name) for name in REFRESHED} <= keys:
            tags = {**tags, REFRESHES: "yes"}
        register_partitions(names, instance)
        close_killed_runs(instance, processes)
        found = find_everything(workspace, instance, {key.to_user_string() for key in keys}, names)
        for one in found or []:
            one.tell()
            checks += [
                (f"{one.resolution.key}: {examined.check.name}", examined.outcome.passed, examined.outcome.summary)
                for examined in one.checks
            ]
            if reads_crawls_first(one.resolution.stage, GRAPH):
                checks.append(
                    (f"{one.resolution.key}: {CRAWLS_BUILT}", True, crawls_summary(one.resolution.crawls, []))
                )
        for job, partition, wanted in [] if found else runs_for(names, keys):
            if failures and job != "crawl":
                break  # the other crawls are built all the same; no model is made without one that was asked for
            result = defs.resolve_job_def(job).execute_in_process(
                instance=instance,
                partition_key=partition,
                asset_selection=list(wanted),
                run_config=config,
                tags=tags,
                raise_on_error=False,
            )
            checks += _checks(result, partition)
            if not result.success:
                failures += [
                    f"{event.step_key}: {_cause(event)}" for event in result.all_events if event.is_step_failure
                ]
    summarise(display, checks, time.monotonic() - began)
    for failure in failures:
        click.secho(f"failed: {failure}", fg="red", err=True)
    if failures:
        sys.exit(1)


def runs_for(names: list[str], keys: set[dg.AssetKey]) -> list[Run]:
    """Dagster's runs for some crawls, in order: job, partition, assets. For one crawl it is one run.

    For several they are what a backfill of Dagster's starts: each crawl, the tokenizer and shards, the rest.
    """
    import dagster as dg

    from resources.jobs import ALL, crawl_assets, shard_assets

    if len(names) == 1:
        return [(ALL, names[0], keys)]
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


def _cause(event: Any) -> str:
    """The innermost message of a step's failure."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "unknown"
