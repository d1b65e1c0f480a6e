"""Checkpoints of a server are found by asset, stage, identity and named folder, and by no path."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from llm_assets.artifacts import Graph, RemoteStore, Store, Workspace, materialize
from llm_assets.artifacts.errors import NotBuilt
from llm_assets.artifacts.explain import explain
from llm_assets.compute import LocalEngine
from llm_assets.graph import GRAPH
from llm_assets.model.shape import ModelError
from llm_assets.preference.open_prompts import PreferenceError
from llm_assets.recipes import Recipe, laptop
from llm_assets.release.checkpoint_lineage import stored_checkpoints
from llm_assets.serving import checkpoints as checkpoints_module
from llm_assets.serving import server
from llm_assets.serving.checkpoints import Checkpoints
from llm_assets.serving.encodings import Encodings
from llm_assets.serving.errors import ApiError
from llm_assets.serving.server import named_checkpoints, named_folders
from llm_assets.tools.search import write_index
from tests.support.stored_checkpoints import build_checkpoints


@pytest.fixture
def workspace(tmp_path):
    """A workspace in which one checkpoint is built."""
    folder = tmp_path / "store" / "sft_checkpoint"
    folder.mkdir(parents=True)
    (folder / "shape.json").write_text("{}")
    record = SimpleNamespace(identity="0123456789abcdef", files={"shape.json": None})
    built = SimpleNamespace(path=folder, folder_with=lambda names: folder, record=record)

    def artifact(asset, partition):
        if asset != "sft_checkpoint":
            raise NotBuilt(f"{asset} is not built")
        return built

    def artifacts(asset=None):
        return [built] if asset in (None, "sft_checkpoint") else []

    return SimpleNamespace(
        graph=GRAPH,
        recipe=laptop(),
        store=SimpleNamespace(artifacts=artifacts, recipe_labels=list),
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


def test_a_name_that_was_looked_up_waits_for_no_other_name(workspace, monkeypatch):
    checkpoints, is_looking, may_end = Checkpoints(workspace, {}), threading.Event(), threading.Event()
    stored = checkpoints.find("sft")

    def slow(*_):
        is_looking.set()
        assert may_end.wait(60)
        raise NotBuilt("rlhf_checkpoint is not built")

    monkeypatch.setattr(checkpoints_module, "current_or_last_built", slow)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(checkpoints.find, "rlhf")
        assert is_looking.wait(60) and checkpoints.find("sft") == stored and not other.done()
        may_end.set()
        assert isinstance(other.exception(), ApiError)


def test_names_that_have_no_model_are_not_looked_up_anew(workspace, monkeypatch):
    calls, checkpoints = [], Checkpoints(workspace, {})
    artifacts, resolver = workspace.store.artifacts, workspace.resolver
    workspace.store.artifacts = lambda asset=None: calls.append("artifacts") or artifacts(asset)
    workspace.resolver = lambda: calls.append("resolver") or resolver()
    for name in ("deadbeef", "rlhf"):
        with pytest.raises(ApiError):
            checkpoints.find(name)
    calls.clear()
    for name in ("deadbeef", "deadbee0", "rlhf", "x" * 300):
        with pytest.raises(ApiError):
            checkpoints.find(name)
    assert not calls
    monkeypatch.setattr(checkpoints_module, "MISSING_SECONDS", 0.0)  # a moment later, it may have been built
    with pytest.raises(ApiError):
        checkpoints.find("rlhf")
    assert calls


@pytest.mark.parametrize("name", ["reward", "reward_checkpoint", "tokenizer", "", "../sft_checkpoint", "x" * 300])
def test_clients_are_told_of_no_folders_and_of_language_models_only(workspace, name):
    with pytest.raises(ApiError) as error:
        Checkpoints(workspace, {}).find(name)
    assert error.value.message == f"no model {name[:100]!r}; GET /v1/models lists them"


def test_a_server_does_not_start_with_a_model_that_scores(workspace):
    with pytest.raises(ModelError, match="reward_checkpoint is not a language model; available: base_checkpoint"):
        named_checkpoints(workspace, ("reward",))


def test_a_server_starts_without_the_recipes_last_model_but_not_without_a_named_one(workspace):
    with pytest.raises(ApiError, match="rlhf_checkpoint is not built"):
        named_checkpoints(workspace, ()).find(None)
    with pytest.raises(NotBuilt):
        named_checkpoints(workspace, ("rlhf",))
    with pytest.raises(ModelError, match="no checkpoint 'nothing'"):
        named_checkpoints(workspace, ("sft", "nothing"))


def test_search_is_offered_once_its_index_is_built(workspace, tmp_path, monkeypatch):
    built = []

    def current(_, asset):
        if not built:
            raise NotBuilt(f"{asset} is not built")
        path = tmp_path / "index.sqlite"
        return SimpleNamespace(file=lambda name: path, record=SimpleNamespace(files=[path.name])), False

    monkeypatch.setattr(server, "current_or_last_built", current)
    with server.open_tools(workspace, ("search", "python")) as tools:
        assert set(tools) == {"python"} and "search" not in tools
        built.append(write_index(tmp_path / "index.sqlite", [("http://a.example/", "Senna plays the oboe.")]))
        assert "search" not in tools  # it has been looked for a moment ago
        monkeypatch.setattr(server, "LOOK_SECONDS", 0.0)
        assert "search" in tools and set(tools) == {"python", "search"}
        assert "oboe" in tools["search"]("Senna")
    with server.open_tools(workspace, ("python",)) as tools:
        assert "search" not in tools


def test_a_model_whose_recipe_or_input_changed_is_served_as_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints_module, "REMEMBERED_SECONDS", 0.0)
    recipe = Recipe(name="mine", crawls={})
    stages = build_checkpoints(Store(tmp_path), recipe)  # two models; the recipe's is the newest
    newest = Checkpoints(Workspace(recipe, Store(tmp_path), Graph(stages), LocalEngine(1)), {}).find("sft")[1]

    def served(**changes):
        workspace = Workspace(recipe.replace(**changes), Store(tmp_path), Graph(stages), LocalEngine(1))
        checkpoints = Checkpoints(workspace, {})
        assert checkpoints.default == "sft_checkpoint"
        return checkpoints.find("sft")[1], checkpoints.is_stale("sft")

    changed = recipe.finetuning.replace(seed=recipe.finetuning.seed + 7)
    assert served() == (newest, False)
    assert served(finetuning=changed) == (newest, True)
    other = recipe.replace(name="other", finetuning=recipe.finetuning.replace(seed=recipe.finetuning.seed + 8))
    for stage in stages:
        materialize(stage, None, Workspace(other, Store(tmp_path), Graph(stages), LocalEngine(1)))
    assert served(finetuning=changed) == (newest, True)  # not the newer one of another recipe
    with pytest.raises(ApiError, match="sft"):  # a recipe that never had a model has none, whatever others have
        served(name="third", finetuning=changed)


def test_a_file_that_is_missing_takes_no_model_away(tmp_path):
    def missing(config):
        raise PreferenceError("human_rankings.files: no such file: ann")

    recipe = Recipe(name="mine", crawls={})
    base, tuned = build_checkpoints(Store(tmp_path), recipe)
    graph = Graph([base, replace(tuned, external_inputs=missing)])
    workspace = Workspace(recipe, Store(tmp_path), graph, LocalEngine(1))
    checkpoints = Checkpoints(workspace, {})
    assert checkpoints.names() == ["sft_checkpoint", "base_checkpoint"]
    assert checkpoints.is_stale("sft_checkpoint") and not checkpoints.is_stale("base_checkpoint")
    states = {explanation.key: explanation.text() for explanation in explain(workspace)}
    assert states["sft_checkpoint"] == "unknown: human_rankings.files: no such file: ann"
    assert states["base_checkpoint"].startswith("cached")
    assert [checkpoint.is_current for checkpoint in stored_checkpoints(workspace)].count(True) == 1


def test_clients_are_not_told_of_the_folder_of_a_damaged_model(tmp_path, caplog):
    recipe = Recipe(name="mine", crawls={})
    stages = build_checkpoints(Store(tmp_path), recipe)
    workspace = Workspace(recipe, Store(tmp_path), Graph(stages), LocalEngine(1))
    tuned = workspace.resolver().artifact("sft_checkpoint", None)
    name = next(iter(tuned.record.files))
    (tuned.folder / name).unlink()
    with pytest.raises(ApiError, match=r"^model 'sft' cannot be read; the server's log says why$"):
        Checkpoints(workspace, {}).find("sft")
    assert str(tuned.folder) in caplog.text
    with pytest.raises(ApiError, match=r"^the checkpoint's tokenizer cannot be read; the server's log says why$"):
        Encodings().of(tmp_path)


def test_a_model_that_the_recipe_leaves_out_is_neither_served_by_name_nor_the_default(tmp_path):
    recipe = Recipe(name="mine", crawls={})
    stages = build_checkpoints(Store(tmp_path), recipe)
    workspace = Workspace(recipe.replace(leave_out=("sft_checkpoint",)), Store(tmp_path), Graph(stages), LocalEngine(1))
    checkpoints = Checkpoints(workspace, {})
    assert checkpoints.default == "base_checkpoint" and checkpoints.names() == ["base_checkpoint"]
    with pytest.raises(ApiError, match="left out"):
        checkpoints.find("sft")
    nothing = replace(workspace, recipe=recipe.replace(leave_out=("base_checkpoint",)))
    with pytest.raises(ApiError, match="left out"):
        Checkpoints(nothing, {}).find(None)


def test_of_a_store_at_a_url_only_models_that_are_asked_are_copied(tmp_path):
    recipe, url = Recipe(name="mine", crawls={}), f"local://{tmp_path}/objects"
    graph = Graph(build_checkpoints(RemoteStore(url, tmp_path / "here"), recipe))
    workspace = Workspace(recipe, RemoteStore(url, tmp_path / "there"), graph, LocalEngine(1))
    checkpoints = Checkpoints(workspace, {})
    assert {checkpoints.facts(name).is_chat for name in checkpoints.names()} == {True, False}
    assert len(stored_checkpoints(workspace)) == 3
    assert not list((tmp_path / "there").rglob("*.safetensors"))
    _, folder = checkpoints.find("sft")
    assert list((tmp_path / "there").rglob("*.safetensors")) == [folder / "model.safetensors"]


def test_two_folders_of_one_name_are_refused(tmp_path):
    for parent in ("a", "b"):
        (tmp_path / parent / "model").mkdir(parents=True)
        (tmp_path / parent / "model" / "shape.json").write_text("{}")
    with pytest.raises(ModelError, match="two folders are named model"):
        named_folders((str(tmp_path / "a" / "model"), str(tmp_path / "b" / "model")))
