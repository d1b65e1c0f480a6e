"""Options that several commands share."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from typing import Any

import click

CHOSEN_RECIPE = "llm_assets.recipe"  # key of click's context under which the option's value is kept


def _remember_recipe(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    context.meta[CHOSEN_RECIPE] = value
    return value


def with_chosen_recipe(message: str) -> str:
    """The message with the command's recipe added to every `llm-assets run` that it advises."""
    recipe = click.get_current_context().meta.get(CHOSEN_RECIPE)
    if not recipe:
        return message
    return message.replace("llm-assets run ", f"llm-assets run --recipe {shlex.quote(recipe)} ")


recipe_option = click.option(
    "--recipe",
    default=None,
    callback=_remember_recipe,
    help="Recipe: name of a preset, module:function or file.py:function. Append @crawl to read only that crawl, as in "
    "laptop@mine, and #seed=2,world=4 for a replica with other seeds on another sample web.  "
    "[default: the variable LLM_ASSETS_RECIPE, or laptop]",
)


class FiniteRange(click.FloatRange):
    """A range of numbers to which neither infinity nor NaN belongs, as click has it."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        number = super().convert(value, parameter, context)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", parameter, context)
        return number


def sampling_options(max_tokens: int, temperature: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options for the fields of `llm_assets.model.sampling.Sampling` that a user sets, with these defaults."""
    options = (
        click.option(
            "--max-tokens",
            default=max_tokens,
            show_default=True,
            type=click.IntRange(1),
            help="Longest text to generate, in tokens.",
        ),
        click.option(
            "--temperature",
            default=temperature,
            show_default=True,
            type=float,
            help="Sampling temperature. 0 always takes the most probable token.",
        ),
        click.option(
            "--top-k",
            default=50,
            show_default=True,
            type=int,
            help="Sample from this many most probable tokens. 0 takes all.",
        ),
        click.option(
            "--top-p",
            default=1.0,
            show_default=True,
            type=float,
            help="Sample from the most probable tokens that have this probability together.",
        ),
        click.option(
            "--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the random numbers."
        ),
    )

    def add_options(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add_options
