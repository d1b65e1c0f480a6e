"""Options that several commands share."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import click

RECIPE = "llm_assets.recipe"


def _remember(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    context.meta[RECIPE] = value
    return value


def followable(message: str) -> str:
    """A message whose advice to run something names the recipe that this command was given."""
    recipe = click.get_current_context().meta.get(RECIPE)
    return message.replace("llm-assets run ", f"llm-assets run --recipe {shlex.quote(recipe)} ") if recipe else message


recipe_option = click.option(
    "--recipe",
    default=None,
    callback=_remember,
    help="Recipe name, module:function or file.py:function, with @crawl to read that crawl alone (laptop@mine); default: LLM_ASSETS_RECIPE or laptop.",
)


def sampling_options(max_tokens: int, temperature: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """How tokens are chosen: the fields of `llm_assets.model.sampling.Sampling` that a user sets, with these defaults."""
    options = (
        click.option("--max-tokens", default=max_tokens, show_default=True, type=click.IntRange(1)),
        click.option("--temperature", default=temperature, show_default=True, type=float, help="0 is greedy."),
        click.option("--top-k", default=50, show_default=True, type=int, help="0 is all."),
        click.option("--top-p", default=1.0, show_default=True, type=float),
        click.option("--seed", default=0, show_default=True, type=click.IntRange(0)),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
