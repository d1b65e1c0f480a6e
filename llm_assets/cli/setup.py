"""``llm-assets setup``: a persistent Dagster instance, the file `.env`, and the recipe's crawls as partitions."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import click
from dotenv import dotenv_values, set_key

from llm_assets.graph import open_workspace
from llm_assets.settings import PROJECT, Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg

ENV_FILE = Path(".env")


def prepare_instance(settings: Settings) -> None:
    """Make DAGSTER_HOME a Dagster instance: create the folder and `dagster.yaml`, set the variable in this process.

    Raises ValueError for a folder in which Dagster cannot open its databases, because it writes their URLs unescaped.
    """
    home = settings.dagster_home.absolute()
    if "?" in str(home) or unquote(str(home)) != str(home):
        raise ValueError(
            f"Dagster cannot keep its databases in {home}: '?' or '%' in a path is part of a URL to it; "
            "set DAGSTER_HOME to another folder"
        )
    home.mkdir(parents=True, exist_ok=True)
    target, template = home / "dagster.yaml", PROJECT / "dagster.yaml"
    if not target.exists():
        if template.exists():
            shutil.copyfile(template, target)
        else:
            target.touch()
    os.environ["DAGSTER_HOME"] = str(home)


def register_partitions(names: list[str], instance: dg.DagsterInstance) -> list[str]:
    """Add crawls to Dagster's dynamic partitions; return those that were new."""
    known = set(instance.get_dynamic_partitions("crawl"))
    new = [name for name in names if name not in known]
    if new:
        instance.add_dynamic_partitions("crawl", new)
    return new


def open_instance() -> dg.DagsterInstance:
    """The instance in DAGSTER_HOME. The caller closes it."""
    import dagster as dg

    return dg.DagsterInstance.get()


def remember_instance(home: Path) -> None:
    """Write an absolute DAGSTER_HOME into `.env`, which Dagster's own commands read."""
    if not ENV_FILE.exists() or dotenv_values(ENV_FILE).get("DAGSTER_HOME") != str(home):
        ENV_FILE.touch()
        is_plain = re.fullmatch(r"[\w./+-]+", str(home))  # otherwise " #" begins a comment
        set_key(ENV_FILE, "DAGSTER_HOME", str(home), quote_mode="never" if is_plain else "always")


@click.command()
def setup() -> None:
    """Prepare the Dagster instance in this folder.

    Writes an absolute DAGSTER_HOME into `.env`, creates the instance there, and registers the recipe's crawls as
    partitions.
    """
    home_in_environment = os.environ.get("DAGSTER_HOME")
    settings = load_settings()
    prepare_instance(settings)
    home = settings.dagster_home.absolute()
    if home_in_environment is None:
        remember_instance(home)
    else:  # a variable set for this one command is no decision for later commands
        click.echo(f"{ENV_FILE} is left as it is, because DAGSTER_HOME is set in the environment")
    workspace = open_workspace(settings=settings)
    names = sorted(workspace.recipe.sources())
    with open_instance() as instance:
        register_partitions(names, instance)
    click.echo(
        f"Dagster instance {home}, artifacts {settings.store}, recipe {workspace.recipe.name}, "
        f"crawls {', '.join(names)}"
    )
