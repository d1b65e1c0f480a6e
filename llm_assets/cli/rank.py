"""``llm-assets rank``: which of two answers is better, asked on the terminal and written down."""

from __future__ import annotations

import getpass
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from llm_assets.graph import open_workspace
from llm_assets.settings import load_settings

from .options import recipe_option

KEYS = {"1": "first", "2": "second", "t": "tie"}


@click.command()
@click.option("--labeller", default=getpass.getuser, help="Who ranks; default: the user's name.")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where rankings are added; default: rankings/<labeller>.jsonl in the data folder.",
)
@click.option("--count", default=20, show_default=True, type=click.IntRange(1), help="Pairs to ask for.")
@click.option(
    "--adversarial",
    is_flag=True,
    help="Pairs that fooled the last reward model (of rlhf_checkpoint) instead of response_pairs'.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Of the order; people with the same seed rank the same pairs first, so that their agreement is seen.",
)
@recipe_option
def rank(labeller: str, path: Path | None, count: int, adversarial: bool, seed: int, recipe: str | None) -> None:
    """Rank pairs of answers. Keys: 1 or 2 for the better one, t for a tie, s to skip, q to leave."""
    import polars as pl

    workspace = open_workspace(recipe)
    stage, table = ("rlhf_checkpoint", "adversarial") if adversarial else ("response_pairs", "pairs")
    files = workspace.resolver().artifact(stage, None).table(table)
    pairs = pl.concat([pl.read_parquet(file) for file in files]).to_dicts() if files else []
    target = path or load_settings().data / "rankings" / f"{labeller}.jsonl"
    done = ranked_by(target, labeller)
    left = [pair for pair in sorted(pairs, key=lambda one: one["pair"]) if pair["pair"] not in done]
    random.Random(f"rank-{seed}").shuffle(left)
    if not left:
        click.echo(f"nothing is left to rank: {len(pairs):,} pairs, all ranked by {labeller} in {target}")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    given = 0
    for pair in left[:count]:
        click.echo(f"\n{click.style(pair['question'], bold=True)}\n\n1. {pair['first']}\n\n2. {pair['second']}\n")
        try:
            said = click.prompt(
                "better", type=click.Choice([*KEYS, "s", "q"]), prompt_suffix=" (1, 2, t, s, q): ", show_choices=False
            )
        except click.Abort:
            break
        if said == "q":
            break
        if said in KEYS:
            add_ranking(target, pair, KEYS[said], labeller)
            given += 1
    click.echo(f"\n{given} rankings by {labeller} added to {target}; name it in human_rankings.files")


def ranked_by(path: Path, labeller: str) -> set[str]:
    """Pairs that a labeller has ranked in a file."""
    from llm_assets.preference.human_rankings import read_rankings
    from llm_assets.preference.response_pairs import pair_digest

    rows = [row for _, row in read_rankings(path)] if path.exists() else []
    return {
        pair_digest(row["question"], row["first"], row["second"])
        for row in rows
        if not isinstance(row, str) and row["labeller"] == labeller
    }


def add_ranking(path: Path, pair: Mapping[str, Any], preferred: str, labeller: str) -> None:
    """One line more. A line that an earlier kill left unfinished is ended first."""
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
