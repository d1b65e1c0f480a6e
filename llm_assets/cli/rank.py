"""``llm-assets rank``: ask a person which of two answers is better, and record the ranking."""

from __future__ import annotations

import getpass
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from llm_assets.artifacts.tables import read_table
from llm_assets.graph import open_workspace
from llm_assets.settings import load_settings

from .options import recipe_option

PREFERENCES = {"1": "first", "2": "second", "t": "tie"}  # by key


@click.command()
@click.option("--labeller", default=getpass.getuser, help="Name of the person who ranks.  [default: the user's name]")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to which rankings are added.  [default: rankings/<labeller>.jsonl in the data folder]",
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

    workspace = open_workspace(recipe)
    stage, table = ("rlhf_checkpoint", "adversarial") if adversarial else ("response_pairs", "pairs")
    files = workspace.resolver().artifact(stage, None).table(table)
    pairs = read_table(files).to_dicts() if files else []
    target = path or load_settings().data / "rankings" / f"{labeller}.jsonl"
    ranked = ranked_by(target, labeller)
    unranked = [pair for pair in sorted(pairs, key=lambda pair: pair["pair"]) if pair["pair"] not in ranked]
    random.Random(f"rank-{seed}").shuffle(unranked)
    if not unranked:
        click.echo(f"nothing is left to rank: {len(pairs):,} pairs, all ranked by {labeller} in {target}")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    added = 0
    for pair in unranked[:count]:
        key = ask_preference(pair)
        if key == "q":
            break
        if key in PREFERENCES:
            add_ranking(target, pair, PREFERENCES[key], labeller)
            added += 1
    click.echo(f"\n{added} rankings by {labeller} added to {target}; name it in human_rankings.files")


def ask_preference(pair: Mapping[str, Any]) -> str:
    """Show a pair and return the key that was pressed; Ctrl-C counts as q."""
    click.echo(f"\n{click.style(pair['question'], bold=True)}\n\n1. {pair['first']}\n\n2. {pair['second']}\n")
    keys = click.Choice([*PREFERENCES, "s", "q"])
    try:
        return str(click.prompt("better", type=keys, prompt_suffix=" (1, 2, t, s, q): ", show_choices=False))
    except click.Abort:
        return "q"


def ranked_by(path: Path, labeller: str) -> set[str]:
    """The pairs in a file that the labeller has ranked."""
    from llm_assets.preference.preference_files import read_rankings
    from llm_assets.preference.response_pairs import pair_digest

    rows = [row for _, row in read_rankings(path)] if path.exists() else []
    return {
        pair_digest(row["question"], row["first"], row["second"])
        for row in rows
        if not isinstance(row, str) and row["labeller"] == labeller
    }


def add_ranking(path: Path, pair: Mapping[str, Any], preferred: str, labeller: str) -> None:
    """Append a line to the file, after completing a line that a killed process left without its end."""
    row = {
        **{name: pair[name] for name in ("question", "subject", "first", "second")},
        "preferred": preferred,
        "labeller": labeller,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with path.open("a+b") as stream:
        if stream.tell():
            stream.seek(-1, 2)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(f"{json.dumps(row, ensure_ascii=False)}\n".encode())
