"""Whether a run has anything to do.

A Dagster run that finds all 33 artifacts in the store spends ten seconds on bookkeeping. `find_all_cached` answers
the same question without a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.checks import CheckResult, remembered_result, stage_checks
from llm_assets.artifacts.progress import Progress
from llm_assets.artifacts.resolver import Resolution
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.views import draw_views

if TYPE_CHECKING:
    import dagster as dg

VERSIONS = ("dagster/data_version", "dagster/code_version")


@dataclass(frozen=True)
class CachedArtifact:
    """An artifact that is in the store, with the results of its checks."""

    resolution: Resolution
    checks: list[CheckResult]

    def report(self) -> None:
        """Report the artifact as cached to the listeners of this process's builds."""
        assert self.resolution.artifact is not None
        pages = int(self.resolution.artifact.record.stats.get("pages", 0))
        Progress(self.resolution.key).report("cached", pages=pages)


def find_all_cached(
    workspace: Workspace, instance: dg.DagsterInstance, assets: set[str], crawls: list[str]
) -> list[CachedArtifact] | None:
    """The artifacts of these assets if there is nothing to do, or None if Dagster has to run.

    There is nothing to do if every artifact is in the store and every crawl that it would read is built, the latest
    materialisation in Dagster's history has the same data and code version, and every check has been examined and none
    that failed is blocking. Views whose template or code has changed are drawn again.
    """
    resolver = workspace.resolver()
    artifacts = []
    for stage in workspace.graph:
        if stage.name not in assets:
            continue
        for crawl in crawls if stage.per_crawl else [None]:
            resolution = resolver.resolve(stage.name, crawl)
            cached = _cached(workspace, instance, stage, resolution)
            if cached is None:
                return None
            artifacts.append(cached)
    return artifacts


def _cached(
    workspace: Workspace, instance: dg.DagsterInstance, stage: Stage, resolution: Resolution
) -> CachedArtifact | None:
    from resources.assets import dagster_code_version

    artifact = resolution.artifact
    if artifact is None or resolution.unbuilt_crawls:
        return None
    versions = (artifact.data_version, dagster_code_version(stage, workspace.recipe))
    if versions != latest_versions(instance, stage.name, resolution.partition):
        return None
    examined = [
        remembered_result(check, resolution, workspace.recipe, workspace.store) for check in stage_checks(stage)
    ]
    good = [check for check in examined if check is not None and (check.outcome.passed or not check.check.blocking)]
    if len(good) < len(examined):
        return None
    draw_views(resolution, artifact)
    workspace.remember(resolution)
    return CachedArtifact(resolution, good)


def latest_versions(instance: dg.DagsterInstance, asset: str, crawl: str | None) -> tuple[str | None, str | None]:
    """Data and code version of the latest materialisation in Dagster's history."""
    import dagster as dg

    partitions = [crawl] if crawl is not None else None
    record_filter = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=partitions)
    records = instance.fetch_materializations(record_filter, limit=1).records
    event = records[0].asset_materialization if records else None
    tags = event.tags if event is not None and event.tags else {}
    return tags.get(VERSIONS[0]), tags.get(VERSIONS[1])
