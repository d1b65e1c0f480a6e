"""``llm-assets takedown``: pages that someone asks to be removed leave the store, in every version of everything."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click
import polars as pl

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.progress import human_size
from llm_assets.artifacts.purge import Takedowns, clear_marks, replaced_models
from llm_assets.artifacts.stage import Graph
from llm_assets.graph import open_workspace
from llm_assets.settings import load_settings
from llm_assets.web.blocklists import BadLine, OptOutRule, parse_opt_out

from .options import followable, recipe_option
from .run import run
from .takedown_plan import Plan, make_plan
from .takedown_purge import purge

SHOWN = 10


@click.command()
@click.argument("what", metavar="DOMAIN_OR_PREFIX", required=False)
@click.option("--dry-run", is_flag=True, help="Show what would change; nothing is changed.")
@click.option("--everything", is_flag=True, help="Go on although it covers every page of the store.")
@click.option("--rebuild/--no-rebuild", default=True, help="Build again what needs no training.", show_default=True)
@click.option("--list", "listing", is_flag=True, help="Takedowns, and the models that still hold their pages.")
@click.option("--finish", is_flag=True, help="Delete marked models in whose place there is a retrained one.")
@recipe_option
@click.pass_context
def takedown(
    context: click.Context,
    what: str | None,
    dry_run: bool,
    everything: bool,
    rebuild: bool,
    listing: bool,
    finish: bool,
    recipe: str | None,
) -> None:
    """Remove the pages of a domain (with its subdomains) or under a URL prefix from the store and Dagster's history.

    Models that were trained on them cannot be changed: they are marked, and named with the command that retrains them.
    """
    if (what is not None) + listing + finish != 1:
        raise click.UsageError("give a domain or a URL prefix, or --list, or --finish")
    settings = load_settings()
    workspace = open_workspace(recipe, settings)
    takedowns = Takedowns(workspace.store)
    if listing or finish:
        if finish:
            tell_cleared(takedowns, workspace)
            delete_replaced(takedowns, workspace)
        tell_takedowns(takedowns, workspace)
        return
    rule = parse_rule(what or "")
    plan = make_plan(workspace, rule, everything)
    tell_plan(plan)
    if dry_run:
        click.echo("nothing was changed; run without --dry-run to take these pages down")
        return
    holding = purge(plan, workspace, settings, takedowns)
    for path in holding[:SHOWN]:
        click.secho(f"still holds text of these pages: {path}", fg="red", err=True)
    click.echo(f"taken down: {rule.rule}; {len(holding) or 'no'} file{'s' * (len(holding) != 1)} with text of it left")
    is_rebuilt = not rebuild or rebuild_cheap(context, plan, workspace, recipe)
    tell_cleared(takedowns, open_workspace(recipe, settings))
    tell_takedowns(takedowns, workspace, rule.rule)
    if holding or not is_rebuilt:
        sys.exit(1)


def parse_rule(text: str) -> OptOutRule:
    """The rule that a user names. Raises ClickException."""
    try:
        rules = parse_opt_out(text)
    except BadLine as problem:
        raise click.ClickException(f"{text!r} is {problem}; such as site.example or site.example/blog/") from problem
    if not rules:
        raise click.ClickException("name a domain or a URL prefix, such as site.example or site.example/blog/")
    return rules[0]


def tell_plan(plan: Plan) -> None:
    """What would change, on the terminal."""
    for one in plan.pages:
        click.echo(
            f"crawl {one.crawl}: {len(one.urls):,} URLs, {one.with_text:,} captures with text, of {len(one.warc_files):,} WARC files in the store"
        )
        for path in one.external_files:
            click.secho(f"  outside of the store, for you to delete: {path}", fg="yellow")
    for folder in plan.crawling:
        click.echo(f"interrupted crawl {folder.parent.name}")
    shards = [one for one in plan.removed if one.record.asset == "token_shards"]
    found = [rows for one in shards for path in one.table("documents") if len(rows := documents(path, plan.urls))]
    count, tokens = sum(map(len, found)), sum(int(rows["length"].sum()) for rows in found)
    click.echo(f"documents in token shards: {count:,} ({tokens:,} tokens) of {len(shards)} versions")
    size = sum(one.record.total_bytes for one in plan.removed)
    versions = Counter(one.record.asset for one in plan.removed)
    click.echo(
        f"artifacts to delete: {len(plan.removed)} ({human_size(size)})"
        + "".join(f"\n  {name} × {number}" for name, number in versions.items())
    )
    rankings = sum(one.record.rows.get("rankings", 0) for one in plan.removed)
    click.echo(f"rankings of answers by these models: {rankings:,}")
    for folder in plan.staging:
        click.echo(f"interrupted build to delete: {folder.parts[-3]}/{folder.parts[-2]}")
    click.echo(
        f"models that were trained on them: {len(plan.models)}"
        + "".join(f"\n  {one.record.key} {one.record.short_id}" for one in plan.models)
    )
    if plan.copies:
        shown = ", ".join(plan.copies[:SHOWN]) + (" …" if len(plan.copies) > SHOWN else "")
        click.secho(f"the same bytes are at {len(plan.copies):,} other URLs, which stay: {shown}", fg="yellow")


def documents(path: Path, urls: frozenset[str]) -> pl.DataFrame:
    return pl.scan_parquet(path).filter(pl.col("url").is_in(list(urls))).collect()


def rebuild_cheap(context: click.Context, plan: Plan, workspace: Workspace, recipe: str | None) -> bool:
    """Run what was removed and needs no training, for the crawls that are there; whether all of it was built."""
    graph, store = workspace.graph, workspace.store
    sources = workspace.recipe.sources()
    names = [stage.name for stage in graph if stage.name in plan.assets and not needs_training(graph, stage.name)]
    crawls = {str(one.record.partition) for one in store.artifacts("raw_warc")}
    wanted = (set(workspace.recipe.corpus()) | {one.crawl for one in plan.pages}) & crawls & sources.keys()
    if not names or not wanted:
        return True
    try:
        context.invoke(
            run,
            select=",".join(f"*{name}" for name in names),
            crawl_names=tuple(sorted(wanted)),
            recipe=recipe,
            plain=True,
        )
    except SystemExit:
        return False
    return True


def needs_training(graph: Graph, name: str) -> bool:
    """Whether an asset runs a model, or is made from one that does (these take a slot of a pool)."""
    return graph[name].pool is not None or any(needs_training(graph, upstream) for upstream in graph[name].inputs)


def tell_cleared(takedowns: Takedowns, workspace: Workspace) -> None:
    """Take marks off models that turn out the same without the pages, and say so."""
    for model in clear_marks(takedowns, workspace.resolver()):
        click.echo(
            f"{model.record.key} {model.record.short_id} is the same, byte for byte, without the pages: its mark is gone"
        )


def delete_replaced(takedowns: Takedowns, workspace: Workspace) -> None:
    """Delete marked models that have a retrained one in their place."""
    replaced, _ = replaced_models(takedowns, workspace.resolver())
    for model in replaced:
        workspace.store.delete(model)
        click.echo(f"deleted {model.record.key} {model.record.short_id}: a model without the pages is in its place")


def tell_takedowns(takedowns: Takedowns, workspace: Workspace, rule: str | None = None) -> None:
    """Takedowns (or one), and the models that still hold pages of them, with what to do."""
    known = [one for one in takedowns.load_all() if rule in (None, one.rule)]
    if not known:
        click.echo("nothing has been taken down from this store")
    for one in known:
        when = (
            f"taken down {one.finished[:10]}"
            if one.finished
            else f"begun {one.began[:10]} and NOT FINISHED: llm-assets takedown {one.rule}"
        )
        click.echo(f"{one.rule}: {one.urls:,} URLs of {', '.join(one.crawls) or 'no crawl'}, {when}")
    marked = takedowns.marked_models()
    still = {identity for identity, rules in marked.items() if rule is None or rule in rules}
    replaced, waiting = (
        [one for one in group if one.record.identity in still]
        for group in replaced_models(takedowns, workspace.resolver())
    )
    for model in (*replaced, *waiting):
        click.secho(
            f"  {model.record.key} {model.record.short_id} was trained on pages of {', '.join(marked[model.record.identity])}",
            fg="yellow",
        )
    if replaced:
        click.echo(f"{len(replaced)} of them are retrained; delete the old ones: llm-assets takedown --finish")
    if waiting:
        names = {model.record.asset for model in waiting} & workspace.graph.stages.keys()
        last = sorted(name for name in names if not any(name in all_inputs(workspace.graph, other) for other in names))
        select = ",".join(f"*{name}" for name in last)
        click.echo(followable(f"retrain: llm-assets run --select '{select}'; then: llm-assets takedown --finish"))
    if known and not still:
        click.echo("no model of the store holds these pages")


def all_inputs(graph: Graph, name: str) -> set[str]:
    """Names of everything that an asset is made from."""
    inputs = set(graph[name].inputs)
    return inputs.union(*(all_inputs(graph, upstream) for upstream in inputs))
