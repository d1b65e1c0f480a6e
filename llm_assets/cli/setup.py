"""``llm-assets setup``: a persistent Dagster instance, its `.env`, and the recipe's crawls as partitions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from llm_assets.graph import open_workspace
from llm_assets.settings import PROJECT, Settings, load_settings

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


def register_partitions(names: list[str]) -> list[str]:
    """Add crawls to Dagster's dynamic partitions; returns those that were new."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        known = set(instance.get_dynamic_partitions("crawl"))
        new = [name for name in names if name not in known]
        if new:
            instance.add_dynamic_partitions("crawl", new)
        return new


@click.command()
def setup() -> None:
    """Write `.env` with an absolute DAGSTER_HOME, prepare the Dagster instance, register the recipe's crawls."""
    settings = load_settings()
    prepare_instance(settings)
    lines = ENV_FILE.read_text().splitlines() if ENV_FILE.exists() else []
    kept = [line for line in lines if not line.startswith("DAGSTER_HOME=")]
    ENV_FILE.write_text("\n".join([*kept, f"DAGSTER_HOME={settings.dagster_home.absolute()}"]) + "\n")
    workspace = open_workspace(settings=settings)
    register_partitions(sorted(workspace.recipe.crawls))
    click.echo(f"Dagster instance {settings.dagster_home.absolute()}, artifacts {settings.store}, recipe {workspace.recipe.name}, crawls {', '.join(sorted(workspace.recipe.crawls))}")
