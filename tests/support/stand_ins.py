"""Stages that stand in for others: they write the rows and files that a test gives, so that one stage is tried alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from llm_assets.artifacts import Graph, Stage, Store, Workspace, materialize
from llm_assets.compute import LocalEngine


def stand_in(
    name: str,
    tables: Mapping[str, pl.DataFrame | Sequence[dict]] | None = None,
    stats: Mapping | None = None,
    write: Callable[[Path], None] | None = None,
    per_crawl: bool = False,
) -> Stage:
    """A stage without inputs. write: writes files into the folder that it is given."""

    def build(step, config):
        with step.part(name) as part:
            for table, rows in (tables or {}).items():
                (step.staging / table).mkdir()
                pl.DataFrame(rows).write_parquet(step.staging / table / f"{name}.parquet")
                part.add_file(f"{table}/{name}.parquet")
            before = set(step.staging.iterdir())
            if write is not None:
                write(step.staging)
            for path in sorted(set(step.staging.iterdir()) - before):
                part.add_file(path.name)
            part.stats.update(stats or {})

    return Stage(name, "test", "Stands in for another.", build, "1", per_crawl=per_crawl)


def build_all(stages: Sequence[Stage], recipe, root: Path) -> tuple[Workspace, dict]:
    """The workspace of these stages, and the artifacts that they built, by key."""
    workspace = Workspace(recipe, Store(root), Graph(list(stages)), LocalEngine(1))
    outcomes = [
        materialize(stage, crawl, workspace)
        for stage in stages
        for crawl in (recipe.corpus() if stage.per_crawl else [None])
    ]
    return workspace, {outcome.artifact.record.key: outcome.artifact for outcome in outcomes}
