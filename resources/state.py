"""Keeps what stands on an asset's page true while nothing is materialised: the recipe, its crawls and the code change."""

import json

import dagster as dg

from llm_assets.artifacts import Graph, Workspace
from llm_assets.artifacts.explain import Explanation, explain
from llm_assets.artifacts.identity import fingerprint
from llm_assets.compute import LocalEngine

from .assets import UP_TO_DATE
from .metadata import state_result
from .recipe import ChosenRecipe
from .store import ArtifactStore


def state_sensor(graph: Graph) -> dg.SensorDefinition:
    """Tells the check `up_to_date` of an asset anew when what `explain` says of it has changed."""

    @dg.sensor(
        name="recipe_state",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Says on each asset's page what the recipe would build, and why; it starts no run.",
    )
    def recipe_state(
        context: dg.SensorEvaluationContext, recipe: ChosenRecipe, store: ArtifactStore
    ) -> dg.SensorResult | dg.SkipReason:
        workspace = Workspace(recipe.load(), store.open(), graph, LocalEngine(1))
        keys = graph.keys(workspace.recipe)
        by_asset: dict[str, list[Explanation]] = {stage.name: [] for stage in graph}
        for (name, _), explanation in zip(keys, explain(workspace, keys), strict=True):
            by_asset[name].append(explanation)
        told = json.loads(context.cursor or "{}")
        now, evaluations = {}, []
        for name, explanations in by_asset.items():
            event = context.instance.get_latest_materialization_event(dg.AssetKey(name))
            if event is None:
                continue  # Dagster says itself what was never materialised
            state = state_result(explanations, workspace.recipe.name)
            # A materialisation tells the check too, under the recipe of its run: it is told again after each.
            now[name] = fingerprint([state["description"], event.timestamp])[:16]
            if told.get(name) != now[name]:
                evaluations.append(dg.AssetCheckEvaluation(dg.AssetKey(name), UP_TO_DATE, **state))
        if not evaluations:
            return dg.SkipReason("every asset's page says what the recipe would build")
        return dg.SensorResult(asset_events=evaluations, cursor=json.dumps(now))

    return recipe_state
