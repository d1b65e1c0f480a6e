"""The published model that a recipe starts from: its folder, and the version of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llm_assets.artifacts.errors import ExternalInputError
from llm_assets.artifacts.external import external_digests, external_version
from llm_assets.model.shape import ModelError
from llm_assets.recipes.pretraining import PublishedModel
from llm_assets.settings import load_settings


class StartError(ExternalInputError, ValueError):
    """The published model that a recipe starts from cannot be read; the message names the file and the field."""


def start_folder(start: PublishedModel) -> Path:
    """The folder of the published model."""
    return Path(start.path).expanduser()


def start_version(start: PublishedModel | None, files: Callable[[Path], dict[str, Path]]) -> dict[str, str]:
    """The `external_inputs` of a stage that reads files of the published model; empty without one.

    files: gives those that are read, of a folder. Raises StartError.
    """
    if start is None:
        return {}
    try:
        return {"start": external_version(external_digests(files(start_folder(start)), load_settings().digest_cache))}
    except (ModelError, OSError) as error:
        raise StartError(f"pretraining.start: {error}") from error
