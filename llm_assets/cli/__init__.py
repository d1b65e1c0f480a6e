"""The command line ``llm-assets``; `SECTIONS` lists its commands."""

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
from .export_data import export_data
from .interrupts import INTERRUPTED
from .model import complete, export
from .options import with_chosen_recipe
from .plan import plan
from .rank import rank
from .replicate import replicate
from .run import run
from .serve import serve
from .setup import setup
from .status import status
from .takedown import takedown
from .tour import tour
from .trace_answer import trace_answer

# Commands as `llm-assets --help` lists them.
SECTIONS = {
    "Set up and run": (setup, run, status, doctor),
    "Crawls and corpus": (crawls, corpus, takedown),
    "Artifacts": (artifacts,),
    "Models": (plan, tour, complete, chat, serve, trace_answer, rank, replicate, export, export_data),
}


class SectionedGroup(click.Group):
    """A group whose help lists its commands by section.

    Ctrl-C ends a command with one line. Error messages that advise `llm-assets run` name the recipe that the command
    was given, so that the advice can be copied.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NotBuilt as error:
            raise NotBuilt(with_chosen_recipe(str(error))) from error
        except KeyboardInterrupt:
            click.echo(INTERRUPTED if ctx.invoked_subcommand == "run" else "interrupted", err=True)
            ctx.exit(130)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [str(command.name) for commands in SECTIONS.values() for command in commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.list_commands(ctx)))
        limit = formatter.width - 6 - width  # what the formatter leaves for the text beside the names
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                rows = [(str(command.name).ljust(width), command.get_short_help_str(limit)) for command in commands]
                formatter.write_dl(rows)


@click.group(cls=SectionedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llm-assets")
def cli() -> None:
    """Go from raw web pages to a chat model. Every artifact on the way is cached and versioned."""


for section in SECTIONS.values():
    for command in section:
        cli.add_command(command)


def main() -> None:
    """The entry point. It prints the project's own errors as one line, without a traceback."""
    try:
        cli()
    except (ArtifactError, RecipeError, WebError, ValueError) as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
