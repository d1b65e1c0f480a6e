"""Pages from Jinja2 templates. HTML pages extend one base and load no script, font, style sheet or image."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from llm_assets.artifacts.progress import human_size


def _count(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}".rstrip("0").rstrip(".")


def render(package: str, template: str, **values: Any) -> str:
    """Render a template of a package. HTML templates may extend ``base.html.j2``.

    Values are escaped, except in Markdown templates (``.md.j2``). Raises jinja2.UndefinedError for a missing value.
    """
    import jinja2

    loader = jinja2.ChoiceLoader(
        [
            jinja2.FunctionLoader(lambda name: _read(package, name)),
            jinja2.FunctionLoader(lambda name: _read(__package__, name)),
        ]
    )
    environment = jinja2.Environment(
        loader=loader,
        autoescape=not template.endswith(".md.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(count=_count, size=human_size)
    return environment.get_template(template).render(**values)


def _read(package: str | None, name: str) -> str | None:
    path = files(str(package)).joinpath(name)
    return path.read_text(encoding="utf-8") if path.is_file() else None


def bars(values: dict[Any, int | float]) -> list[dict[str, Any]]:
    """Rows of a bar chart: label, value, and width in per cent of the largest value."""
    largest = max(values.values(), default=0) or 1
    return [
        {"label": label, "value": value, "width": round(100 * value / largest, 1)} for label, value in values.items()
    ]
