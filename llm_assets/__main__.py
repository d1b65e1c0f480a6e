"""``python -m llm_assets``: the command line."""

from .cli import main

main()
