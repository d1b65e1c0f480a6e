"""``llm-assets run``: run the graph for the recipe's crawls in this process, with live progress."""

from __future__ import annotations

import difflib
import gc
import os
import re
import sys
import time
from typing import TYPE_CHECKING

import click

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.explain import left_out_lines
from llm_assets.artifacts.tables import read_table
from llm_assets.compute.engine import GARBAGE_THRESHOLD
from llm_assets.curation.language import LANGUAGE_FILTERED_TEXT, check_language
from llm_assets.evaluation.figures import MODELS
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.preference.human_rankings import HUMAN_RANKINGS
from llm_assets.recipes import Recipe
from llm_assets.recipes.language_tags import language_of
from llm_assets.recipes.load import chosen_recipe, with_crawls
from llm_assets.release.benchmark_evaluation import BENCHMARK_EVALUATION
from llm_assets.release.benchmark_files import BenchmarkError
from llm_assets.release.benchmark_tasks import check_benchmarks
from llm_assets.settings import Settings, load_settings
from llm_assets.web.crawls import open_registry

from .dagster_runs import DagsterRuns, close_interrupted, silence_libraries
from .display import Display, summarise
from .interrupts import Interrupted, end_process, until_interrupted
from .options import recipe_option, with_chosen_recipe
from .setup import prepare_instance

if TYPE_CHECKING:
    import dagster as dg

EVERYTHING = "*"
SCORECARD = "scorecard"
# What the assistant is taught, asked and graded with is written in English.
ENGLISH_GROUPS = ("finetuning", "reinforcement", "preference", "release")


@click.command()
@click.option(
    "--select",
    default=EVERYTHING,
    show_default=True,
    help="Assets to build, as a Dagster selection: '*extracted_text' is that asset with everything upstream, "
    "'group:web' is a group. '*' leaves out what is built on demand, such as 'group:demonstrations'.",
)
@click.option(
    "--crawl",
    "crawl_names",
    multiple=True,
    help="Crawl to run for; repeatable.  [default: every crawl that the recipe reads]",
)
@recipe_option
@click.option("--plain", is_flag=True, help="Print lines instead of a live table.")
def run(select: str, crawl_names: tuple[str, ...], recipe: str | None, plain: bool) -> None:
    """Build the assets. What is in the store already is reused."""
    began = time.monotonic()
    gc.set_threshold(*GARBAGE_THRESHOLD)
    settings = load_settings()
    prepare_instance(settings)
    workspace = open_workspace(recipe, settings)
    crawls = chosen_crawls(workspace, crawl_names, settings)
    from llm_assets.definitions import definitions_for

    silence_libraries()
    keys = chosen_assets(select, definitions_for(workspace.recipe))
    if LANGUAGE_FILTERED_TEXT.name in {key.to_user_string() for key in keys}:
        check_language(workspace.recipe.language)  # before a crawl of hours, not after it
    if select == EVERYTHING:
        keys = without_assistant(workspace, without_demonstrations(workspace.recipe, keys))
    keys = without_left_out(workspace, keys)
    if BENCHMARK_EVALUATION.name in {key.to_user_string() for key in keys}:
        check_named_benchmarks(workspace)
    if HUMAN_RANKINGS.name in {key.to_user_string() for key in keys}:
        announce_simulated(workspace)
    extended_recipe = recipe_that_reads(workspace, crawls, keys, recipe)
    if extended_recipe is not None:
        recipe, workspace = extended_recipe, open_workspace(extended_recipe, settings)
    runs = DagsterRuns(workspace, recipe, workspace.graph.crawl_order(workspace.recipe, crawls), keys)
    display = Display(live=not plain and sys.stdout.isatty())
    stderr = os.dup(sys.stderr.fileno())
    try:
        with display:
            until_interrupted(runs.build)
    except Interrupted as interrupted:
        end_process(interrupted.number, stderr, close_interrupted)
    summarise(display, runs.checks, time.monotonic() - began)
    if not runs.failures and SCORECARD in {key.to_user_string() for key in keys}:
        show_headlines(workspace)
        click.echo("talk with the model: llm-assets chat, or in the browser and by OpenAI's API: make serve")
    for failure in runs.failures:
        click.secho(f"failed: {with_chosen_recipe(failure)}", fg="red", err=True)
    if runs.failures:
        sys.exit(1)


def show_headlines(workspace: Workspace) -> None:
    """Print the run's headline figures: beside those of the published replicas of its recipe, or else baselines."""
    from rich.console import Console
    from rich.table import Table

    from llm_assets.release.headlines import figures_of
    from llm_assets.release.replication import beside_baselines, beside_published, published

    record = published(workspace.recipe.name)
    scorecard = workspace.resolver().artifact(SCORECARD, None)
    figures = figures_of(read_table(scorecard.table("evaluation")).to_dicts())
    beside, rows = "to compare with", beside_baselines(figures)
    if record is not None:
        count = len(record["runs"])
        beside, rows = f"published, {count} run{'s' * (count > 1)}: mean (range)", beside_published(figures, record)
    table = Table(box=None, pad_edge=False)
    for name in ("figure", "this run", beside):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def chosen_crawls(workspace: Workspace, names: tuple[str, ...], settings: Settings) -> list[str]:
    """The crawls of these names, or all that the recipe reads. Raises ClickException if one is unknown or unusable."""
    sources = workspace.recipe.sources()
    chosen = list(names) or workspace.recipe.corpus()
    unknown = [name for name in chosen if name not in sources]
    if unknown:
        reason = open_registry(settings).unusable(workspace.recipe).get(unknown[0])
        if reason is not None:
            raise click.ClickException(f"crawl {unknown[0]!r} cannot be built: {reason}")
        known = ", ".join(sorted(sources)) or "none"
        raise click.ClickException(
            f"no crawl {unknown[0]!r}; available: {known}; register one with: llm-assets crawls add"
        )
    if not chosen and (workspace.recipe.reads_crawls() or workspace.recipe.pretraining.start is None):
        raise click.ClickException(
            f"recipe {workspace.recipe.name!r} has no crawl; register one with: llm-assets crawls add"
        )
    return chosen


def chosen_assets(select: str, defs: dg.Definitions) -> set[dg.AssetKey]:
    """The assets of a selection. Raises ClickException, in one line, if it is misspelt or selects nothing."""
    import dagster as dg

    for term in select.split(","):
        # A single name is checked here, for a better message. Dagster checks all other syntax.
        name = re.fullmatch(r"[*+\d]*([A-Za-z_]\w*)[*+\d]*", term.strip())
        if name is not None and name[1] not in GRAPH.stages:
            similar = difflib.get_close_matches(name[1], GRAPH.stages, 1)
            question = f"; did you mean {similar[0]}?" if similar else ""
            raise click.ClickException(f"--select: no asset {name[1]!r}{question}")
    try:
        # What the definitions leave out is an external asset, which a selection has only if sources are included.
        selections = [dg.AssetSelection.from_string(term, include_sources=True) for term in select.split(",")]
        graph = defs.resolve_asset_graph()
        keys = set().union(*(selection.resolve(graph) for selection in selections))
    except dg.DagsterError as error:
        raise click.ClickException(f"--select {select!r}: {' '.join(str(error).split())}") from error
    if not keys:
        groups = ", ".join(dict.fromkeys(stage.group for stage in GRAPH))
        raise click.ClickException(f"--select {select!r} selects no asset; groups are {groups}")
    return keys


def without_demonstrations(recipe: Recipe, keys: set[dg.AssetKey]) -> set[dg.AssetKey]:
    """The assets without those that are built on demand: they are built when `--select` names them or their group."""
    on_demand = GRAPH.on_demand(recipe)
    return {key for key in keys if key.to_user_string() not in on_demand}


def without_left_out(workspace: Workspace, keys: set[dg.AssetKey]) -> set[dg.AssetKey]:
    """The assets that the recipe does not leave out; says which it does, and why.

    Raises ClickException if it leaves out all of them.
    """
    names = {key.to_user_string() for key in keys}
    left_out = {name: reason for name, reason in GRAPH.left_out(workspace.recipe).items() if name in names}
    chosen = {key for key in keys if key.to_user_string() not in left_out}
    lines = left_out_lines(left_out)
    if not chosen and (workspace.recipe.reads_crawls() or workspace.recipe.pretraining.start is None):
        raise click.ClickException("; ".join(lines))
    for line in lines:
        click.echo(line)
    return chosen


def check_named_benchmarks(workspace: Workspace) -> None:
    """Read the recipe's benchmarks before models are trained for them. Raises ClickException."""
    left_out = GRAPH.left_out(workspace.recipe)
    for name in workspace.recipe.benchmarks.models:
        if MODELS[name] in left_out:
            raise click.ClickException(f"benchmarks.models: {name} is left out: {left_out[MODELS[name]]}")
    try:
        check_benchmarks(workspace.recipe.benchmarks)
    except BenchmarkError as error:
        raise click.ClickException(str(error)) from error


def announce_simulated(workspace: Workspace) -> None:
    """Says that no person ranks the answers, as a recipe may have the simulated labeller of the one it is made from."""
    if workspace.recipe.human_rankings.simulated is not None:
        click.echo(
            f"recipe {workspace.recipe.name} sets human_rankings.simulated: a written rule ranks answers in place of "
            "people. None instead takes only votes (human_rankings.votes) and human_rankings.files"
        )


def without_assistant(workspace: Workspace, keys: set[dg.AssetKey]) -> set[dg.AssetKey]:
    """The assets up to the base model, if the recipe's pages are not in English; says so. Otherwise all of them."""
    targets = workspace.recipe.language.targets
    if any(language_of(target) == "en" for target in targets):
        return keys
    click.echo(
        f"recipe {workspace.recipe.name} reads pages in {', '.join(targets)}. The assistant's conversations, problems "
        "and questions are in English, so this run ends with the base model. Name assets with --select to build more"
    )
    return {key for key in keys if GRAPH[key.to_user_string()].group not in ENGLISH_GROUPS}


def recipe_that_reads(
    workspace: Workspace, crawls: list[str], keys: set[dg.AssetKey], recipe: str | None
) -> str | None:
    """A recipe that reads only these crawls, if the chosen one leaves some out and more than the crawls is to be built.

    Prints which recipe that is. None if the chosen recipe will do.
    """
    from resources.jobs import crawl_assets

    unread = [name for name in crawls if name not in workspace.recipe.crawls]
    if not unread or {key.to_user_string() for key in keys} <= set(crawl_assets(GRAPH)):
        return None
    extended_recipe = with_crawls(chosen_recipe(recipe), crawls)
    click.echo(
        f"recipe {workspace.recipe.name} does not read {', '.join(unread)}. Everything downstream of the corpus is "
        f"built under recipe {extended_recipe}, from {', '.join(crawls)} only. Pass that recipe to later commands, "
        f"such as: llm-assets chat --recipe {extended_recipe}"
    )
    return extended_recipe
