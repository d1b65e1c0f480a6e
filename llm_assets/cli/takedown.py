"""``llm-assets takedown``: remove pages from every version of every artifact in the store."""

from __future__ import annotations

import sys
from collections import Counter

import click
import polars as pl

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.progress import human_size
from llm_assets.artifacts.purge import Takedowns, clear_marks, replaced_models
from llm_assets.artifacts.stage import Graph
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import scan_table
from llm_assets.graph import open_workspace
from llm_assets.settings import load_settings
from llm_assets.web.blocklists import BadLine, OptOutRule, parse_opt_out

from .options import recipe_option, with_chosen_recipe
from .run import run
from .takedown_plan import Plan, make_plan
from .takedown_purge import purge

SHOWN = 10  # files or URLs in a message


@click.command()
@click.argument("target", metavar="[DOMAIN_OR_PREFIX]", required=False)
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--everything", is_flag=True, help="Confirm a takedown that covers every page of the store.")
@click.option(
    "--rebuild/--no-rebuild",
    default=True,
    help="Rebuild the affected assets that need no training.",
    show_default=True,
)
@click.option(
    "--list", "listing", is_flag=True, help="List the takedowns, and the models still trained on their pages."
)
@click.option("--finish", is_flag=True, help="Delete marked models that a retrained model has replaced.")
@recipe_option
@click.pass_context
def takedown(  # one parameter per option of the command
    context: click.Context,
    target: str | None,
    dry_run: bool,
    everything: bool,
    rebuild: bool,
    listing: bool,
    finish: bool,
    recipe: str | None,
) -> None:
    """Remove the pages of a domain or under a URL prefix.

    The pages, also those of subdomains, are removed from the store and from Dagster's history, and added to the opt-out
    list. Models that were trained on them cannot be changed. They are marked and listed with the command that retrains
    them.
    """
    if (target is not None) + listing + finish != 1:
        raise click.UsageError("give a domain or a URL prefix, or --list, or --finish")
    settings = load_settings()
    workspace = open_workspace(recipe, settings)
    takedowns = Takedowns(workspace.store)
    if listing or finish:
        if finish:
            unmark_unchanged(takedowns, workspace)
            delete_replaced(takedowns, workspace)
        print_takedowns(takedowns, workspace)
        return
    rule = parse_rule(target or "")
    plan = make_plan(workspace, rule, everything)
    print_plan(plan)
    if dry_run:
        click.echo("nothing was changed; run without --dry-run to take these pages down")
        return
    holding = purge(plan, workspace, settings, takedowns)
    for path in holding[:SHOWN]:
        click.secho(f"still holds text of these pages: {path}", fg="red", err=True)
    files = f"{len(holding)} file{'s' if len(holding) > 1 else ''}" if holding else "no files"
    click.echo(f"taken down: {rule.rule}; {files} with text of it left")
    is_rebuilt = not rebuild or rebuild_without_training(context, plan, workspace, recipe)
    unmark_unchanged(takedowns, open_workspace(recipe, settings))
    print_takedowns(takedowns, workspace, rule.rule)
    if holding or not is_rebuilt:
        sys.exit(1)


def parse_rule(text: str) -> OptOutRule:
    """The domain or URL prefix that the user names. Raises ClickException if it is neither."""
    advice = "name a domain or a URL prefix, such as site.example or site.example/blog/"
    try:
        rules = parse_opt_out(text)
    except BadLine as problem:
        raise click.ClickException(f"{text!r} is {problem}; {advice}") from problem
    if not rules:
        raise click.ClickException(advice)
    return rules[0]


def print_plan(plan: Plan) -> None:
    """Print what the takedown would change."""
    for pages in plan.pages:
        click.echo(
            f"crawl {pages.crawl}: {len(pages.urls):,} URLs, {pages.with_text:,} captures with text, "
            f"of {len(pages.warc_files):,} WARC files in the store"
        )
        for path in pages.external_files:
            click.secho(f"  outside the store; delete it yourself: {path}", fg="yellow")
    for folder in plan.crawling:
        click.echo(f"interrupted crawl {folder.parent.name}")
    print_documents(plan)
    size = sum(artifact.record.total_bytes for artifact in plan.removed)
    click.echo(f"artifacts to delete: {len(plan.removed)} ({human_size(size)})")
    for asset, versions in Counter(artifact.record.asset for artifact in plan.removed).items():
        click.echo(f"  {asset} × {versions}")
    rankings = sum(artifact.record.rows.get("rankings", 0) for artifact in plan.removed)
    click.echo(f"rankings of answers by these models: {rankings:,}")
    for folder in plan.staging:
        click.echo(f"interrupted build to delete: {folder.parts[-3]}/{folder.parts[-2]}")
    click.echo(f"models that were trained on them: {len(plan.models)}")
    for model in plan.models:
        click.echo(f"  {model.record.key} {model.record.short_id}")
    if plan.copies:
        shown = ", ".join(plan.copies[:SHOWN]) + (" …" if len(plan.copies) > SHOWN else "")
        click.secho(f"{len(plan.copies):,} other URLs have the same content and are kept: {shown}", fg="yellow")


def print_documents(plan: Plan) -> None:
    """Print how many documents and tokens of the pages are in token shards."""
    shards = [artifact for artifact in plan.removed if artifact.record.asset == "token_shards"]
    count = tokens = 0
    for path in (path for artifact in shards for path in artifact.table("documents")):
        documents = scan_table(path).filter(pl.col("url").is_in(list(plan.urls))).collect()
        count += len(documents)
        tokens += int(documents["length"].sum())
    click.echo(f"documents in token shards: {count:,} ({tokens:,} tokens) of {len(shards)} versions")


def rebuild_without_training(context: click.Context, plan: Plan, workspace: Workspace, recipe: str | None) -> bool:
    """Rebuild what was removed and needs no training, for the crawls in the store. Returns whether all was built."""
    graph, store = workspace.graph, workspace.store
    sources = workspace.recipe.sources()
    names = [stage.name for stage in graph if stage.name in plan.assets and not needs_training(graph, stage.name)]
    stored_crawls = {str(artifact.record.partition) for artifact in store.artifacts("raw_warc")}
    crawls = set(workspace.recipe.corpus()) | {pages.crawl for pages in plan.pages}
    crawls &= stored_crawls & sources.keys()
    if not names or not crawls:
        return True
    try:
        context.invoke(
            run,
            select=",".join(f"*{name}" for name in names),
            crawl_names=tuple(sorted(crawls)),
            recipe=recipe,
            plain=True,
        )
    except SystemExit:
        return False
    return True


def needs_training(graph: Graph, name: str) -> bool:
    """Whether an asset runs a model, or is made from one that does. Such assets take a slot of a pool."""
    return graph[name].pool is not None or any(needs_training(graph, upstream) for upstream in graph[name].inputs)


def unmark_unchanged(takedowns: Takedowns, workspace: Workspace) -> None:
    """Unmark models that are the same without the pages, and print them."""
    for model in clear_marks(takedowns, workspace.resolver()):
        label = f"{model.record.key} {model.record.short_id}"
        click.echo(f"{label} is byte for byte the same without the pages and is no longer marked")


def delete_replaced(takedowns: Takedowns, workspace: Workspace) -> None:
    """Delete marked models that a retrained model has replaced, and print them."""
    replaced, _ = replaced_models(takedowns, workspace.resolver())
    for model in replaced:
        workspace.store.delete(model)
        click.echo(f"deleted {model.record.key} {model.record.short_id}: a model without the pages has replaced it")


def print_takedowns(takedowns: Takedowns, workspace: Workspace, rule: str | None = None) -> None:
    """Print all takedowns, or that of one rule; the models that still hold their pages; and what to do about them."""
    known = [record for record in takedowns.load_all() if rule in (None, record.rule)]
    if not known:
        click.echo("nothing has been taken down from this store")
    for record in known:
        if record.finished:
            state = f"taken down {record.finished[:10]}"
        else:
            state = f"begun {record.began[:10]} and NOT FINISHED: llm-assets takedown {record.rule}"
        click.echo(f"{record.rule}: {record.urls:,} URLs of {', '.join(record.crawls) or 'no crawl'}, {state}")
    marked = takedowns.marked_models()
    holding = {identity for identity, rules in marked.items() if rule is None or rule in rules}
    replaced, waiting = (
        [model for model in models if model.record.identity in holding]
        for models in replaced_models(takedowns, workspace.resolver())
    )
    for model in (*replaced, *waiting):
        rules = ", ".join(marked[model.record.identity])
        click.secho(f"  {model.record.key} {model.record.short_id} was trained on pages of {rules}", fg="yellow")
    if replaced:
        verb = "has" if len(replaced) == 1 else "have"
        click.echo(
            f"{len(replaced)} of them {verb} been retrained; delete the old versions with: llm-assets takedown --finish"
        )
    if waiting:
        select = ",".join(f"*{name}" for name in final_assets(workspace.graph, waiting))
        command = with_chosen_recipe(f"llm-assets run --select '{select}'")
        click.echo(f"retrain: {command}; then: llm-assets takedown --finish")
    if known and not holding:
        click.echo("no model of the store holds these pages")


def final_assets(graph: Graph, models: list[Artifact]) -> list[str]:
    """The assets of these models that no other one of them is made from: building these builds all."""
    names = {model.record.asset for model in models} & graph.stages.keys()
    return sorted(name for name in names if not any(name in all_inputs(graph, other) for other in names))


def all_inputs(graph: Graph, name: str) -> set[str]:
    """Names of all assets that an asset is made from, directly or not."""
    inputs = set(graph[name].inputs)
    return inputs.union(*(all_inputs(graph, upstream) for upstream in inputs))
