"""Crawls that a recipe trains on."""

from __future__ import annotations

from .recipe import Recipe


def crawls_of(recipe: Recipe) -> list[str]:
    """Crawls that the base model is trained on."""
    return recipe.trained(recipe.pretraining.crawls)
