"""What every demonstration's stage shares: its tables, its report, its verdict on the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import polars_schema, read_table
from llm_assets.report import plots, render

from .results import HELD, Claim, conclusion, judge, result_tables
from .schemas import Examples, Results, SeedResults, Verdicts

GROUP = "demonstrations"
REPORT = "report.html"
TEMPLATE = "demonstration.html.j2"
TABLES = {"results": Results, "by_seed": SeedResults, "verdicts": Verdicts}
OPTIONAL_TABLES = {"examples": Examples}
LIBRARIES = ("torch", "numpy", "polars", "scipy")


@dataclass(frozen=True)
class Figure:
    """A measured figure, as it is plotted.

    unit: ``%`` shows shares as percentages. log_x: to base 2. places: names of the places 1, 2, … of `x`, where these
    are no numbers.
    """

    title: str
    x: str
    unit: str = "%"
    log_x: bool = False
    places: tuple[str, ...] = ()

    @property
    def axis(self) -> str:
        """The label of the horizontal axis."""
        return ", ".join(f"{number} {name}" for number, name in enumerate(self.places, 1)) or self.x

    def place(self, x: float) -> str:
        """A place of the horizontal axis in words."""
        return self.places[int(x) - 1] if self.places else f"{x:g}"

    @property
    def scale(self) -> float:
        return 100.0 if self.unit == "%" else 1.0

    def text(self, value: float) -> str:
        """A value in words."""
        return f"{100 * value:.1f} %" if self.unit == "%" else f"{value:.3f} {self.unit}"


@dataclass(frozen=True)
class Demonstration:
    """How a demonstration is presented.

    phenomenon, method, controls: sentences of the report. figures: by name, in the order of the report.
    """

    title: str
    phenomenon: str
    method: str
    controls: tuple[str, ...]
    figures: dict[str, Figure]

    def summary(self, artifact: Artifact) -> dict[str, str]:
        """The verdicts in Markdown, for the asset's page in Dagster."""
        verdicts = read_table(artifact.table("verdicts"))
        lines = [conclusion(verdicts), ""]
        lines += ["| claim | measured | 95 % interval | n | verdict |", "|---|--:|--:|--:|---|"]
        for row in verdicts.to_dicts():
            text = self.figures[row["figure"]].text
            value, low, high, bound = (text(row[name]) for name in ("value", "low", "high", "bound"))
            claim = f"{row['claim']}: {row['side']} {bound}"
            lines.append(f"| {claim} | {value} | {low} to {high} | {row['n']:,} | {row['verdict']} |")
        return {"summary": "\n".join(lines)}


def keep_results(step: Step, findings: Mapping[str, Any], claims: Sequence[Claim]) -> None:
    """Write the tables of an experiment's findings (`experiment.run_all`) as one task."""
    results, by_seed = result_tables(findings["observations"])
    verdicts = judge(claims, results)
    with step.task("findings") as task:
        task.table("results", Results).frame(results)
        task.table("by_seed", SeedResults).frame(by_seed)
        task.table("verdicts", Verdicts).frame(verdicts)
        if findings["examples"]:
            rows = pl.DataFrame(findings["examples"], schema=polars_schema(Examples))
            task.table("examples", Examples).frame(rows)
        task.stats.update(
            claims=len(verdicts),
            claims_held=verdicts.filter(pl.col("verdict") == HELD).height,
            conclusion=conclusion(verdicts),
        )


def draw_plots(demonstration: Demonstration, results: pl.DataFrame) -> dict[str, str]:
    """Each measured figure by its `x`, one line per series, as SVG."""
    drawn = {}
    measured = set(results["figure"])
    for name, figure in demonstration.figures.items():
        if name not in measured:
            continue
        series = {
            series: (rows["x"].to_list(), (figure.scale * rows["value"]).to_list())
            for (series,), rows in results.filter(pl.col("figure") == name).group_by("series", maintain_order=True)
        }
        title = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
        drawn[name] = plots.svg(series, figure.axis, title, log_x=figure.log_x, marks=True)
    return drawn


def render_report(demonstration: Demonstration, artifact: Artifact, more_plots: Mapping[str, str] | None = None) -> str:
    """The HTML report of a demonstration. more_plots: SVG by title, besides one for each figure."""
    tables = {name: read_table(artifact.table(name)) for name in TABLES}
    examples = artifact.table("examples")
    return render(
        __package__,
        TEMPLATE,
        demonstration=demonstration,
        conclusion=conclusion(tables["verdicts"]),
        verdicts=tables["verdicts"].to_dicts(),
        plots=draw_plots(demonstration, tables["results"]),
        more_plots=more_plots or {},
        results=tables["results"],
        examples=read_table(examples).to_dicts() if examples else [],
    )


def prediction_held(artifact: Artifact, inputs: Inputs, config: Any) -> CheckOutcome:
    """Whether every claim of the prediction held."""
    verdicts = read_table(artifact.table("verdicts"))
    others = verdicts.filter(pl.col("verdict") != HELD)
    numbers = {"claims": len(verdicts), "held": len(verdicts) - len(others)}
    return CheckOutcome(not len(others), conclusion(verdicts), others.to_dicts(), numbers)


CHECKS = (
    Check(
        "prediction_held",
        "Every claim of the prediction, which was written down before the experiment was run, held.",
        prediction_held,
    ),
)
