"""A corpus of a few stories, built up to what the demonstrations read."""

import shutil

import pytest

from tests.support.building import build
from tests.support.sample_pipeline import stages_up_to_corpus_and
from tests.support.shared_folders import shared_folder
from tests.support.small_recipe import warc_recipe

TO_SHARDS = stages_up_to_corpus_and("tokenizer token_shards")


@pytest.fixture(scope="session")
def shared_shards(tmp_path_factory):
    """A recipe whose token shards are built, and the folder of its data."""
    with shared_folder(tmp_path_factory, "demonstrations") as folder:
        recipe = warc_recipe(folder)
        build(recipe, TO_SHARDS)
    return folder, recipe


@pytest.fixture
def shards_recipe(shared_shards, tmp_path):
    """The same in a store in which a test may build."""
    folder, recipe = shared_shards
    shutil.copytree(folder / "data", tmp_path / "data")
    return recipe
