"""Checkpoints of a server are found by asset, stage, identity and named folder, and by no path."""

from types import SimpleNamespace

import pytest

from llm_assets.artifacts.errors import NotBuilt
from llm_assets.graph import GRAPH
from llm_assets.model.shape import ModelError
from llm_assets.serving.checkpoints import Checkpoints
from llm_assets.serving.errors import ApiError
from llm_assets.serving.server import named_checkpoints, named_folders


@pytest.fixture
def workspace(tmp_path):
    """A workspace in which one checkpoint is built."""
    folder = tmp_path / "store" / "sft_checkpoint"
    folder.mkdir(parents=True)
    (folder / "shape.json").write_text("{}")
    built = SimpleNamespace(path=folder, record=SimpleNamespace(identity="0123456789abcdef"))

    def artifact(asset, partition):
        if asset != "sft_checkpoint":
            raise NotBuilt(f"{asset} is not built")
        return built

    return SimpleNamespace(
        graph=GRAPH,
        store=SimpleNamespace(artifacts=lambda: [built]),
        resolver=lambda: SimpleNamespace(artifact=artifact),
    )


def test_a_checkpoint_is_found_by_any_of_its_names(workspace, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "shape.json").write_text("{}")
    checkpoints = named_checkpoints(workspace, ("sft", str(tmp_path / "own")))
    stored = tmp_path / "store" / "sft_checkpoint"
    for name in ("sft", "sft_checkpoint", "012345", None):
        assert checkpoints.find(name)[1] == stored
    assert checkpoints.find("own") == ("own", tmp_path / "own")
    assert named_checkpoints(workspace, (str(tmp_path / "own"), "sft")).default == "own"


def test_the_default_is_listed_first_and_each_checkpoint_once(workspace, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "shape.json").write_text("{}")
    for words, names in {
        ("012345", str(folder)): ["012345", "own"],
        (str(folder),): ["own", "sft_checkpoint"],
        (str(folder), "sft"): ["own", "sft"],
    }.items():
        assert named_checkpoints(workspace, words).names() == names
    checkpoints = named_checkpoints(workspace, (str(folder),))
    (folder / "shape.json").unlink()
    with pytest.raises(ApiError, match="deleted"):
        checkpoints.facts("own")


@pytest.mark.parametrize("name", ["rlhf", "01234", "../store/sft_checkpoint", "tokenizer", "", "x" * 300])
def test_other_names_are_no_models(workspace, tmp_path, name):
    checkpoints = Checkpoints(workspace, {})
    assert checkpoints.default == "rlhf_checkpoint"  # the last one of the recipe, which is not built
    for given in (name, str(tmp_path / "store" / "sft_checkpoint")):
        with pytest.raises(ApiError) as error:
            checkpoints.find(given)
        assert error.value.status == 404 and error.value.code == "model_not_found"


def test_a_server_starts_without_the_recipes_last_model_but_not_without_a_named_one(workspace):
    with pytest.raises(ApiError, match="rlhf_checkpoint is not built"):
        named_checkpoints(workspace, ()).find(None)
    with pytest.raises(NotBuilt):
        named_checkpoints(workspace, ("rlhf",))
    with pytest.raises(ModelError, match="no checkpoint 'nothing'"):
        named_checkpoints(workspace, ("sft", "nothing"))


def test_two_folders_of_one_name_are_refused(tmp_path):
    for parent in ("a", "b"):
        (tmp_path / parent / "model").mkdir(parents=True)
        (tmp_path / parent / "model" / "shape.json").write_text("{}")
    with pytest.raises(ModelError, match="two folders are named model"):
        named_folders((str(tmp_path / "a" / "model"), str(tmp_path / "b" / "model")))
