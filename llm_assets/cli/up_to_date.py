"""Whether a run has anything to do: a run of Dagster's that finds 33 artifacts in the store takes ten seconds of bookkeeping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.checks import CheckResult, remembered_result, stage_checks
from llm_assets.artifacts.progress import Progress
from llm_assets.artifacts.stage import Resolution
from llm_assets.artifacts.views import draw_views

if TYPE_CHECKING:
    import dagster as dg

VERSIONS = ("dagster/data_version", "dagster/code_version")


@dataclass(frozen=True)
class Found:
    """An artifact that is there, and what its checks found."""

    resolution: Resolution
    checks: list[CheckResult]

    def tell(self) -> None:
        """Report it as cached to whoever hears this process's builds."""
        assert self.resolution.artifact is not None
        pages = int(self.resolution.artifact.record.stats.get("pages", 0))
        Progress(self.resolution.key).report("cached", pages=pages)


def find_everything(
    workspace: Workspace, instance: dg.DagsterInstance, assets: set[str], crawls: list[str]
) -> list[Found] | None:
    """The artifacts of these assets, if nothing is left to do; None where Dagster has to run.

    Nothing is left where every artifact is in the store, every crawl that one would be made from is built, Dagster's
    history holds the same data and code version as the latest, and every check has been examined and blocks nothing.
    """
    from resources.assets import dagster_code_version

    resolver = workspace.resolver()
    found = []
    for stage in workspace.graph:
        for crawl in (crawls if stage.per_crawl else [None]) if stage.name in assets else []:
            resolution = resolver.resolve(stage.name, crawl)
            artifact = resolution.artifact
            if artifact is None or resolution.unbuilt_crawls:
                return None
            versions = (artifact.data_version, dagster_code_version(stage, workspace.recipe))
            if versions != latest_versions(instance, stage.name, crawl):
                return None
            examined = [
                remembered_result(check, resolution, workspace.recipe, workspace.store) for check in stage_checks(stage)
            ]
            known = [one for one in examined if one is not None and (one.outcome.passed or not one.check.blocking)]
            if len(known) < len(examined):
                return None
            draw_views(resolution, artifact)
            workspace.remember(resolution)
            found.append(Found(resolution, known))
    return found


def latest_versions(instance: dg.DagsterInstance, asset: str, crawl: str | None) -> tuple[str | None, str | None]:
    """Data and code version of the latest materialisation in Dagster's history."""
    import dagster as dg

    partitions = [crawl] if crawl is not None else None
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=partitions)
    records = instance.fetch_materializations(wanted, limit=1).records
    event = records[0].asset_materialization if records else None
    tags = event.tags if event is not None and event.tags else {}
    return tags.get(VERSIONS[0]), tags.get(VERSIONS[1])
