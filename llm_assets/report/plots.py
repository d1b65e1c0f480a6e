"""Line plots: as SVG in the colours of the page that shows them, as PNG for Dagster and MLflow."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Series = tuple[Sequence[float], Sequence[float]]  # x and y values
COLOURS = ("#4a7dbd", "#c9803a", "#4f9d69", "#b5546e", "#8a6fc0", "#7a7f87")
_PAGE_INK = "#010203"  # placeholder, replaced by the text colour of the page
_PNG_INK = "#333333"


@dataclass(frozen=True)
class Plot:
    """What a plot shows: lines by name, labels of the axes, and horizontal lines by name.

    log_x: logarithmic x axis to base 2. marks: mark every point.
    """

    series: Mapping[str, Series]
    x: str
    y: str
    log_x: bool
    marks: bool
    lines: Mapping[str, float]


def _draw(plot: Plot, ink: str) -> Any:
    """The plot as a matplotlib figure, with text and axes in the colour `ink`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_lines(axes, plot)
    if plot.log_x:
        axes.set_xscale("log", base=2)
    axes.set_xlabel(plot.x, color=ink)
    axes.set_ylabel(plot.y, color=ink)
    axes.tick_params(colors=ink, which="both")
    for side, spine in axes.spines.items():
        spine.set_color(ink)
        spine.set_visible(side in ("left", "bottom"))
    axes.grid(alpha=0.25, linewidth=0.5)
    if len(plot.series) + len(plot.lines) > 1:
        axes.legend(frameon=False, labelcolor=ink, fontsize=8)
    return figure


def _draw_lines(axes: Any, plot: Plot) -> None:
    marker = "o" if plot.marks else None
    for number, (name, (xs, ys)) in enumerate(plot.series.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(xs, ys, label=name, color=colour, linewidth=1.4, marker=marker, markersize=3.5)
    for number, (name, value) in enumerate(plot.lines.items(), start=len(plot.series)):
        axes.axhline(value, label=name, color=COLOURS[number % len(COLOURS)], linewidth=1, linestyle="--")


def svg(
    series: Mapping[str, Series],
    x: str,
    y: str,
    log_x: bool = False,
    marks: bool = False,
    lines: Mapping[str, float] | None = None,
) -> str:
    """The plot (see `Plot`) as an SVG element. The same values give the same bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "llm-assets", "svg.fonttype": "none"}):
        figure = _draw(Plot(series, x, y, log_x, marks, lines or {}), _PAGE_INK)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    element = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return element.replace(_PAGE_INK, "currentColor")


def png(
    series: Mapping[str, Series],
    x: str,
    y: str,
    log_x: bool = False,
    marks: bool = False,
    lines: Mapping[str, float] | None = None,
) -> bytes:
    """The plot (see `Plot`) as the bytes of a PNG file."""
    figure = _draw(Plot(series, x, y, log_x, marks, lines or {}), _PNG_INK)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def markdown(image: bytes) -> str:
    """Markdown that shows a PNG, with the image's bytes in the text."""
    return f"![plot](data:image/png;base64,{base64.b64encode(image).decode()})"
