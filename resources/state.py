"""Keeps each asset's `up_to_date` check current between materialisations, when recipe, crawls or code change."""

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
    """A sensor that reports an asset's `up_to_date` check again when its explanation has changed."""

    @dg.sensor(
        name="recipe_state",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Shows on each asset's page what the recipe would build, and why. It starts no run.",
    )
    def recipe_state(
        context: dg.SensorEvaluationContext, recipe: ChosenRecipe, store: ArtifactStore
    ) -> dg.SensorResult | dg.SkipReason:
        workspace = Workspace(recipe.load(), store.open(), graph, LocalEngine(1))
        keys = graph.keys(workspace.recipe)
        by_asset: dict[str, list[Explanation]] = {stage.name: [] for stage in graph}
        for (name, _), explanation in zip(keys, explain(workspace, keys), strict=True):
            by_asset[name].append(explanation)
        reported = json.loads(context.cursor or "{}")
        current, evaluations = {}, []
        for name, explanations in by_asset.items():
            event = context.instance.get_latest_materialization_event(dg.AssetKey(name))
            if event is None:
                continue  # Dagster itself shows assets that were never materialised
            state = state_result(explanations, workspace.recipe.name)
            # A materialisation reports the check too, under the recipe of its run, so report it again after each.
            current[name] = fingerprint([state["description"], event.timestamp])[:16]
            if reported.get(name) != current[name]:
                evaluations.append(dg.AssetCheckEvaluation(dg.AssetKey(name), UP_TO_DATE, **state))
        if not evaluations:
            return dg.SkipReason("every asset's page is current")
        return dg.SensorResult(asset_events=evaluations, cursor=json.dumps(current))

    return recipe_state
