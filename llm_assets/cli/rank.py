"""``llm-assets rank``: ask a person which of two answers is better, and record the ranking."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from llm_assets.graph import open_workspace
from llm_assets.preference.human_rankings import HUMAN_RANKINGS, is_counted, without_rankings
from llm_assets.preference.ranking_files import (
    add_ranking,
    in_order,
    models_of_pairs,
    pairs_of,
    ranked_by,
    rankings_file,
    stage_of_pairs,
)
from llm_assets.recipes import Recipe
from llm_assets.settings import load_settings

from .options import recipe_option, with_chosen_recipe

PREFERENCES = {"1": "first", "2": "second", "t": "tie"}  # by key


@click.command()
@click.option("--labeller", default=getpass.getuser, help="Name of the person who ranks.  [default: the user's name]")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File (.jsonl) to which rankings are added.  [default: rankings/<labeller>.jsonl in the data folder]",
)
@click.option("--count", default=20, show_default=True, type=click.IntRange(1), help="Number of pairs to rank.")
@click.option(
    "--adversarial",
    is_flag=True,
    help="Rank the pairs of rlhf_checkpoint that misled the reward model, instead of those of response_pairs.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Seed of the order. Labellers with the same seed rank the same pairs first, so that their agreement can be "
    "measured.",
)
@recipe_option
def rank(labeller: str, path: Path | None, count: int, adversarial: bool, seed: int, recipe: str | None) -> None:
    """Rank pairs of answers by hand.

    Press 1 or 2 for the better answer, t for a tie, s to skip the pair, q to quit.
    """
    if path is not None and path.suffix != ".jsonl":  # an added line would make a file of another format unreadable
        message = f"{path}: rankings are added as lines of JSON, to a file named *.jsonl"
        raise click.BadParameter(message, param_hint="--file")
    workspace, data = open_workspace(recipe), load_settings().data
    artifact = workspace.resolver().artifact(stage_of_pairs(adversarial), None)
    pairs, models = pairs_of(artifact), models_of_pairs(workspace.store, artifact)
    target = path or rankings_file(data, labeller)
    ranked = ranked_by(target, labeller)
    unranked = in_order([pair for pair in pairs if pair["pair"] not in ranked], seed)
    if not unranked:
        click.echo(f"nothing is left to rank: {len(pairs):,} pairs, all ranked by {labeller} in {target}")
        return
    added = 0
    for pair in unranked[:count]:
        key = ask_preference(pair)
        if key == "q":
            break
        if key in PREFERENCES:
            add_ranking(target, pair, PREFERENCES[key], labeller, models)
            added += 1
    click.echo(f"\n{added} rankings by {labeller} added to {target}; {what_next(target, workspace.recipe, data)}")


def what_next(file: Path, recipe: Recipe, data: Path) -> str:
    """How the rankings of a file get into a version of `human_rankings`."""
    if not is_counted(file, recipe.human_rankings, data):
        return f"recipe {recipe.name} does not read this file: name it in human_rankings.files"
    if (reason := without_rankings(recipe)) is not None:
        return reason
    return with_chosen_recipe(f"build them into the data: llm-assets run --select {HUMAN_RANKINGS.name}")


def ask_preference(pair: Mapping[str, Any]) -> str:
    """Show a pair and return the key that was pressed; Ctrl-C counts as q."""
    click.echo(f"\n{click.style(pair['question'], bold=True)}\n\n1. {pair['first']}\n\n2. {pair['second']}\n")
    keys = click.Choice([*PREFERENCES, "s", "q"])
    try:
        return str(click.prompt("better", type=keys, prompt_suffix=" (1, 2, t, s, q): ", show_choices=False))
    except click.Abort:
        return "q"
