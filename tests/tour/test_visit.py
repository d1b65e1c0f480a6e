"""The tour visits stale assets as they were last built, and says so."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from llm_assets.artifacts import NotBuilt
from llm_assets.model.checkpoint import save_model
from llm_assets.model.reward import RewardModel
from llm_assets.recipes import Recipe, WarcFiles
from llm_assets.serving.explorer import tour_routes
from llm_assets.serving.explorer.reading import Reader
from llm_assets.serving.explorer.tour_routes import Walk
from llm_assets.tour import Visit
from llm_assets.tour.steps import Report, Step
from tests.support.stand_ins import build_all, stand_in
from tests.support.tiny_models import ENCODING, SHAPES, initialised_model

NOTICE = "model is stale, and shown as it was last built (would build: code_version: 1 → 2)"


@pytest.fixture
def workspace(tmp_path):
    recipe = Recipe(name="mine", crawls={name: WarcFiles(path="/none") for name in "ab"})
    return build_all([stand_in("model"), stand_in("pages", per_crawl=True)], recipe, tmp_path)[0]


def make_stale(workspace, name):
    workspace.graph.stages[name] = replace(workspace.graph[name], code_version="2")


def test_a_stale_asset_is_visited_as_it_was_last_built(workspace):
    model = workspace.resolver().artifact("model", None)
    with Visit(workspace) as visit:
        assert visit.artifact("model") == model and not visit.notices
        assert visit.read["model"] == (model.record.identity, "")
        make_stale(workspace, "model")
        assert visit.artifact("model") == model and visit.has("model") and list(visit.notices) == [NOTICE]
        assert visit.read["model"] == (model.record.identity, NOTICE)


def test_a_crawl_that_is_current_comes_before_one_that_is_stale(workspace):
    make_stale(workspace, "pages")
    with Visit(workspace) as visit:
        assert visit.artifact("pages").record.partition == "a"
        (older,) = workspace.store.artifacts("pages", "a")
        workspace.store.delete(older)
        assert visit.artifact("pages").record.partition == "b"


def test_a_reward_model_reads_the_tokens_of_its_own_tokenizer(workspace, tmp_path, monkeypatch):
    """The assistant's may have been built again since."""
    save_model(RewardModel.of(initialised_model(SHAPES["plain"])), tmp_path)
    ENCODING.save(tmp_path)
    monkeypatch.setattr(
        Visit, "artifact", lambda visit, asset: {"reward_checkpoint": SimpleNamespace(path=tmp_path)}[asset]
    )
    with Visit(workspace) as visit:
        assert visit.rewards("Who lives here?", ["Ann.", "Bob."]) == [0.0, 0.0]


def test_what_was_never_built_is_still_missing(workspace):
    workspace.recipe = workspace.recipe.replace(name="other")
    make_stale(workspace, "model")
    with Visit(workspace) as visit:
        assert not visit.has("model") and visit.read["model"] is None
        with pytest.raises(NotBuilt, match="llm-assets run --select"):
            visit.artifact("model")


def test_a_step_is_taken_again_when_what_it_shows_has_become_stale(workspace, monkeypatch):
    taken = []

    def take_step(place, visit):
        taken.append(visit.artifact("model").record.identity)
        return Report(Step("model", "A model", "It is seen.", ("model",), lambda visit: []), 1, ["shown"])

    monkeypatch.setattr(tour_routes, "take_step", take_step)
    walk = Walk(Reader(workspace, None))
    assert walk.take(0).notices == walk.take(0).notices == [] and len(taken) == 1
    make_stale(workspace, "model")
    assert walk.take(0).notices == walk.take(0).notices == [NOTICE] and len(taken) == 2
