"""Options that several commands share."""

import click

recipe_option = click.option("--recipe", default=None, help="Recipe name, module:function or file.py:function; default: LLM_ASSETS_RECIPE or laptop.")
