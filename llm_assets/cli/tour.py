"""``llm-assets tour``: walk through what was built, from a page's bytes to the tuned model."""

from __future__ import annotations

import click

from llm_assets.graph import open_workspace

from .options import recipe_option, with_chosen_recipe


@click.command()
@click.option("--step", "name", default=None, help="Take only this step, given its number or its name.")
@click.option("--list", "listed", is_flag=True, help="List the steps.")
@recipe_option
def tour(name: str | None, listed: bool, recipe: str | None) -> None:
    """Walk through the pipeline in small steps, from a page's HTML to the tuned model.

    Each step shows something real from the store or asks a model something, with a sentence on what is seen. Steps
    whose artifacts are not built are left out. Stale artifacts are shown as they were last built, and named at the end.
    Two runs print the same.
    """
    from llm_assets.tour import STEPS, Visit, find_step, overview, take_step

    if listed:
        click.echo("\n".join(overview()))
        return
    places = range(len(STEPS)) if name is None else [find_step(name)]
    with Visit(open_workspace(recipe)) as visit:
        for number, place in enumerate(places):
            report = take_step(place, visit)
            click.echo(f"{'' if number == 0 else chr(10)}{with_chosen_recipe(report.text())}")
        for notice in visit.notices:
            click.secho(notice, fg="yellow", err=True)
