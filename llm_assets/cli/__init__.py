"""The command line: ``llm-assets run|crawls|artifacts|corpus|plan|complete|chat|rank|export|takedown|setup|status|doctor``."""

from __future__ import annotations

import sys
from typing import Any

import click

from llm_assets import __version__
from llm_assets.artifacts.errors import ArtifactError, NotBuilt
from llm_assets.recipes import RecipeError
from llm_assets.web.errors import WebError

from .artifacts import artifacts
from .chat import chat
from .corpus import corpus
from .crawls import crawls
from .doctor import doctor
from .interrupts import INTERRUPTED
from .model import complete, export, plan
from .options import followable
from .rank import rank
from .run import run
from .setup import setup
from .status import status
from .takedown import takedown


class Commands(click.Group):
    """The commands. Ctrl-C is one line, and advice names the recipe that was chosen, so that it works when followed."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NotBuilt as error:
            raise NotBuilt(followable(str(error))) from error
        except KeyboardInterrupt:
            click.echo(INTERRUPTED if ctx.invoked_subcommand == "run" else "interrupted", err=True)
            ctx.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llm-assets")
def cli() -> None:
    """From raw web pages to a chat model; every artifact is cached and versioned."""


for command in (setup, run, status, crawls, artifacts, corpus, plan, complete, chat, rank, export, takedown, doctor):
    cli.add_command(command)


def main() -> None:
    """Entry point: the project's own errors are one line, not a traceback."""
    try:
        cli()
    except (ArtifactError, RecipeError, WebError, ValueError) as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
