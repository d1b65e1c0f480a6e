"""The command line: ``llm-assets run|crawls|artifacts|corpus|plan|complete|chat|rank|export|takedown|setup``."""

from __future__ import annotations

import sys

import click

from llm_assets import __version__
from llm_assets.artifacts.errors import ArtifactError
from llm_assets.recipes import RecipeError
from llm_assets.web.errors import WebError

from .artifacts import artifacts
from .chat import chat
from .corpus import corpus
from .crawls import crawls
from .model import complete, export, plan
from .rank import rank
from .run import run
from .setup import setup
from .takedown import takedown


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llm-assets")
def cli() -> None:
    """From raw web pages to a chat model; every artifact is cached and versioned."""


for command in (setup, run, crawls, artifacts, corpus, plan, complete, chat, rank, export, takedown):
    cli.add_command(command)


def main() -> None:
    """Entry point: the project's own errors are one line, not a traceback."""
    try:
        cli()
    except (ArtifactError, RecipeError, WebError, ValueError) as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
