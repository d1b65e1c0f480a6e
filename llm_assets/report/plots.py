"""Line plots as SVG for pages (text and frame in the reader's colours) and as PNG for Dagster and MLflow."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

Series = tuple[Sequence[float], Sequence[float]]
COLOURS = ("#4a7dbd", "#c9803a", "#4f9d69", "#b5546e", "#8a6fc0", "#7a7f87")
_INK = "#010203"  # stands for the page's own text colour


def _figure(
    series: Mapping[str, Series], x: str, y: str, ink: str, log_x: bool, marks: bool, lines: Mapping[str, float] | None
) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, (name, (xs, ys)) in enumerate(series.items()):
        axes.plot(
            xs,
            ys,
            label=name,
            color=COLOURS[place % len(COLOURS)],
            linewidth=1.4,
            marker="o" if marks else None,
            markersize=3.5,
        )
    for place, (name, value) in enumerate((lines or {}).items()):
        axes.axhline(
            value, label=name, color=COLOURS[(len(series) + place) % len(COLOURS)], linewidth=1, linestyle="--"
        )
    if log_x:
        axes.set_xscale("log", base=2)
    axes.set_xlabel(x, color=ink)
    axes.set_ylabel(y, color=ink)
    axes.tick_params(colors=ink, which="both")
    for side, spine in axes.spines.items():
        spine.set_color(ink)
        spine.set_visible(side in ("left", "bottom"))
    axes.grid(alpha=0.25, linewidth=0.5)
    if len(series) + len(lines or {}) > 1:
        axes.legend(frameon=False, labelcolor=ink, fontsize=8)
    return figure


def svg(
    series: Mapping[str, Series],
    x: str,
    y: str,
    log_x: bool = False,
    marks: bool = False,
    lines: Mapping[str, float] | None = None,
) -> str:
    """The plot as an SVG element: the same bytes for the same values. `lines` are horizontal, by name."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "llm-assets", "svg.fonttype": "none"}):
        figure = _figure(series, x, y, _INK, log_x, marks, lines)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL).replace(
        _INK, "currentColor"
    )


def png(
    series: Mapping[str, Series],
    x: str,
    y: str,
    log_x: bool = False,
    marks: bool = False,
    lines: Mapping[str, float] | None = None,
) -> bytes:
    out = io.BytesIO()
    _figure(series, x, y, "#333333", log_x, marks, lines).savefig(
        out, format="png", dpi=110, facecolor="white", metadata={"Software": None}
    )
    return out.getvalue()


def markdown(image: bytes) -> str:
    """A PNG for Markdown metadata, with its bytes in it."""
    return f"![plot](data:image/png;base64,{base64.b64encode(image).decode()})"
