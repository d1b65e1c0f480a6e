"""``llm-assets replicate``: run a recipe with several seeds on several worlds, and report how far its results vary."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from llm_assets.artifacts.tables import read_table
from llm_assets.graph import open_workspace
from llm_assets.recipes.load import chosen_recipe, load_recipe, split_replica
from llm_assets.recipes.replicas import Replica
from llm_assets.settings import load_settings

from .options import recipe_option


@click.command()
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Number of seeds, from 1.")
@click.option(
    "--worlds",
    default=2,
    show_default=True,
    type=click.IntRange(0),
    help="Number of other sample webs, from world 6; recipes are tuned on worlds 1 to 5. 0 keeps the recipe's crawls.",
)
@recipe_option
@click.option("--publish", is_flag=True, help="Keep the figures in the package, for README, docs and later runs.")
def replicate(seeds: int, worlds: int, recipe: str | None, publish: bool) -> None:
    """Run the recipe with several seeds on several worlds, and print how far its results vary.

    What is in the store already is reused, so an interrupted command continues where it stopped. Prints mean, 95 %
    interval and range of every headline figure, the baseline beside it, and whether each run meets the target.
    """
    from llm_assets.release import replication

    reference = chosen_recipe(recipe)
    if split_replica(reference)[1]:
        raise click.ClickException(f"recipe {reference} is a replica itself; name the recipe without #")
    wanted = replication.replicas(seeds, worlds)
    load_recipe(f"{reference}#{wanted[0]}")  # an impossible replica is an error before hours of work
    runs = [_run(reference, number, replica, len(wanted)) for number, replica in enumerate(wanted)]
    command = f"llm-assets replicate --seeds {seeds} --worlds {worlds}"
    if recipe:
        command += f" --recipe {shlex.quote(recipe)}"
    record = {"recipe": reference, "provenance": replication.provenance(command), "runs": runs}
    name = load_recipe(reference).name
    _write(load_settings().data / f"replications/{name}.json", record)
    if publish:
        _write(replication.PUBLISHED / f"{name}.json", record)
    click.echo("\n".join([replication.description(record), "", *replication.table(record)]))


def _run(reference: str, number: int, replica: Replica, count: int) -> dict[str, Any]:
    """Build a replica in a process of its own, so that memory is given back, and return its figures."""
    from llm_assets.release.headlines import figures_of
    from llm_assets.release.replication import run_record

    recipe = f"{reference}#{replica}"
    click.echo(f"run {number + 1} of {count}: {recipe}")
    program = [sys.executable, "-m", "llm_assets", "run", "--plain", "--recipe", recipe, "--select", "*scorecard"]
    if code := subprocess.run(program, check=False).returncode:
        raise click.ClickException(f"{recipe}: the run failed (exit code {code}); fix the cause and repeat the command")
    scorecard = open_workspace(recipe).resolver().artifact("scorecard", None)
    rows = read_table(scorecard.table("evaluation")).to_dicts()
    return run_record(replica, scorecard.record.short_id, figures_of(rows))


def _write(file: Path, record: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
