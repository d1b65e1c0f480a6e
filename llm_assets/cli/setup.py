"""``llm-assets setup``: a persistent Dagster instance, its `.env`, and the recipe's crawls as partitions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click
from dotenv import dotenv_values, set_key

from llm_assets.graph import open_workspace
from llm_assets.settings import PROJECT, Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg

ENV_FILE = Path(".env")


def prepare_instance(settings: Settings) -> None:
    """Make DAGSTER_HOME a normal instance: the folder, `dagster.yaml`, and the variable for this process."""
    home = settings.dagster_home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    target, shipped = home / "dagster.yaml", PROJECT / "dagster.yaml"
    if not target.exists():
        if shipped.exists():
            shutil.copyfile(shipped, target)
        else:
            target.touch()
    os.environ["DAGSTER_HOME"] = str(home)


def register_partitions(names: list[str], instance: dg.DagsterInstance) -> list[str]:
    """Add crawls to Dagster's dynamic partitions; returns those that were new."""
    known = set(instance.get_dynamic_partitions("crawl"))
    new = [name for name in names if name not in known]
    if new:
        instance.add_dynamic_partitions("crawl", new)
    return new


def open_instance() -> dg.DagsterInstance:
    """The instance of DAGSTER_HOME, to be closed by the caller."""
    import dagster as dg

    return dg.DagsterInstance.get()


def remember_instance(home: Path) -> None:
    """Write an absolute DAGSTER_HOME into `.env`, which Dagster's own commands read."""
    if not ENV_FILE.exists() or dotenv_values(ENV_FILE).get("DAGSTER_HOME") != str(home):
        ENV_FILE.touch()
        set_key(ENV_FILE, "DAGSTER_HOME", str(home), quote_mode="never")


@click.command()
def setup() -> None:
    """Write `.env` with an absolute DAGSTER_HOME, prepare the Dagster instance, register the recipe's crawls."""
    chosen = os.environ.get("DAGSTER_HOME")
    settings = load_settings()
    prepare_instance(settings)
    home = settings.dagster_home.absolute()
    if chosen is None:
        remember_instance(home)
    else:  # a choice for this command is not one for all that follow
        click.echo(f"{ENV_FILE} is left as it is: DAGSTER_HOME is set in the environment")
    workspace = open_workspace(settings=settings)
    names = sorted(workspace.recipe.sources())
    with open_instance() as instance:
        register_partitions(names, instance)
    click.echo(
        f"Dagster instance {home}, artifacts {settings.store}, recipe {workspace.recipe.name}, "
        f"crawls {', '.join(names)}"
    )
