"""Writes the pages of docs/reference that follow from the code: recipes, commands, assets and tables.

    python -m docs.generate

The text comes from the types of recipes, the click commands, the stages and their pandera schemas.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from llm_assets.artifacts.checks import Check
from llm_assets.artifacts.identity import ExecutionOnly
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.tables import polars_schema
from llm_assets.cli import cli
from llm_assets.graph import GRAPH
from llm_assets.recipes import QUALITY_RULES, RECIPES, Recipe, Recrawl, Rule, Source, chat
from llm_assets.release.headlines import HEADLINES
from llm_assets.release.replication import description, missed, published, table

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "reference"
BEGIN, END = "<!-- replicated: begin; written by `python -m docs.generate` -->", "<!-- replicated: end -->"
NOTE = "<!-- Written by `python -m docs.generate`; do not edit. -->"
WIDTH = 120

FINEWEB2 = "fineweb-2-"  # prefix of the sets of other languages
DROPS = {"below": "<", "above": ">", "at_or_below": "≤", "at_or_above": "≥"}
BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}
LENGTHS = {"min_length": "at least {} long", "max_length": "at most {} long"}


def main() -> None:
    """Write every generated page."""
    FOLDER.mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text)


def pages() -> dict[Path, str]:
    """The generated pages by path, and the pages with a table of published replicas."""
    return {
        ROOT / "README.md": with_replicated(ROOT / "README.md", short=True),
        ROOT / "docs/explanation/evaluation.md": with_replicated(ROOT / "docs/explanation/evaluation.md"),
        FOLDER / "recipes.md": "\n".join(recipe_page()) + "\n",
        FOLDER / "commands.md": "\n".join(command_page()) + "\n",
        FOLDER / "assets.md": "\n".join(asset_page()) + "\n",
        FOLDER / "tables.md": "\n".join(table_page()) + "\n",
    }


def with_replicated(page: Path, short: bool = False) -> str:
    """A page with the table of the default recipe's published replicas between its two marks.

    short: without the figures that have no baseline. The page stays as it is while nothing is published.
    """
    text, record = page.read_text(), published("laptop")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if record is None or not after:
        return text
    text = description(record)
    if short and (names := missed(record)):
        count = sum(headline.target is not None for headline in HEADLINES)
        text += (
            f" {len(names)} of {count} targets are missed by some run: [all figures](docs/explanation/evaluation.md)."
        )
    return "\n".join([f"{before}{BEGIN}", *table(record, short), "", *paragraph(text), f"{END}{after}"])


# Recipes


def recipe_page() -> Iterator[str]:
    """Every type of a recipe with its fields, the presets, and the sets of quality rules."""
    yield from head(
        "Recipe fields", "A recipe is the whole configuration of a run ([how to write one](../how-to/recipe.md))."
    )
    yield from paragraph(
        "Fields marked *execution only* do not affect an artifact's identity: changing one rebuilds nothing. Every "
        "other field does, for the assets whose build receives it. An unknown field or an impossible value is an error."
    )
    yield from heading(2, "`Recipe`")
    groups = {name: info for name, info in Recipe.model_fields.items() if is_group(info)}
    yield from fields_of(Recipe, leave_out=set(groups))
    yield from paragraph("The remaining fields are groups, one section each: " + links(groups) + ".")
    for name, info in groups.items():
        yield from model_section(f"`{name}`", info.annotation, level=2)  # type: ignore[arg-type]
    yield from heading(2, "Types used above")
    for model in inner_models(groups):
        yield from model_section(f"`{model.__name__}`", model, level=3)
    yield from preset_sections()
    yield from rule_section()


def is_group(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)


def model_section(title: str, model: type[BaseModel], level: int) -> Iterator[str]:
    yield from heading(level, title)
    yield from paragraph(docstring(model) if model.__name__ in title else f"`{model.__name__}`: {docstring(model)}")
    yield from fields_of(model)


def fields_of(model: type[BaseModel], leave_out: set[str] = frozenset()) -> Iterator[str]:  # type: ignore[assignment]
    for name, info in model.model_fields.items():
        if name not in leave_out:
            yield from bullet(field_text(name, info))
    yield ""


def field_text(name: str, info: FieldInfo) -> str:
    """``**`name`** `type` = `default`: description (bounds; execution only)``."""
    default = (
        "required" if info.is_required() else f"default `{value_text(info.get_default(call_default_factory=True))}`"
    )
    notes = [bound_text(mark) for mark in info.metadata]
    if any(isinstance(mark, ExecutionOnly) for mark in info.metadata):
        notes.append("*execution only*")
    remarks = "; ".join(note for note in notes if note)
    text = f"**`{name}`** (`{type_text(info.annotation)}`, {default})"
    if info.description:
        text += f": {info.description}"
    return f"{text} [{remarks}]" if remarks else text


def bound_text(mark: Any) -> str:
    """A constraint of a field in words; empty for a mark that is none."""
    for attribute, form in {**BOUNDS, **LENGTHS}.items():
        if (bound := getattr(mark, attribute, None)) is not None:
            return form.format(value_text(bound))
    pattern = getattr(mark, "pattern", None)
    return f"matches `{pattern}`" if pattern else ""


def type_text(annotation: Any) -> str:
    """A type as it is written in Python, with the discriminated union of sources as `Source`."""
    if annotation == Source:
        return "Source"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in arguments)
    if origin in (Union, UnionType):
        return " | ".join(type_text(argument) for argument in arguments)
    if annotation is NoneType:
        return "None"
    if annotation is Ellipsis:
        return "..."
    if origin is not None:
        return f"{origin.__name__}[{', '.join(type_text(argument) for argument in arguments)}]"
    return str(getattr(annotation, "__name__", annotation))


def value_text(value: Any) -> str:
    """A default value as it is written in a recipe; groups by their type's name and changed fields."""
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        defaults = {name: info.default for name, info in type(value).model_fields.items()}
        changed = {name: getattr(value, name) for name in defaults if getattr(value, name) != defaults[name]}
        return f"{type(value).__name__}({', '.join(f'{name}={value_text(item)}' for name, item in changed.items())})"
    if isinstance(value, tuple):
        return f"({', '.join(value_text(item) for item in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{value_text(key)}: {value_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:_}"
    return str(value.value if isinstance(value, Enum) else value)


def inner_models(groups: dict[str, FieldInfo]) -> list[type[BaseModel]]:
    """The types that fields of groups hold, the sources of crawls first."""
    models: dict[type[BaseModel], None] = {}

    def add(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in models:
            models[annotation] = None
            for inner in annotation.model_fields.values():
                add(inner.annotation)
        for argument in get_args(annotation):
            add(argument)

    add(Source)
    models[Recrawl] = None
    for name, info in Recipe.model_fields.items():  # groups that a recipe may lack
        if name not in groups:
            add(info.annotation)
    for info in groups.values():
        for inner in info.annotation.model_fields.values():  # type: ignore[union-attr]
            add(inner.annotation)
    return list(models)


def preset_sections() -> Iterator[str]:
    yield from heading(2, "Presets")
    yield from paragraph(
        "Each is a function in `llm_assets/recipes/presets.py`, and `chat`, which takes a model and files, in "
        "`llm_assets/recipes/chat.py`. Listed are the fields that differ from the defaults above."
    )
    recipes = {name: (preset, preset()) for name, preset in RECIPES.items()} | {"chat": (chat, chat("models/qwen3"))}
    for name, (preset, recipe) in recipes.items():
        yield from heading(3, f"`{name}`")
        yield from paragraph(docstring(preset))
        defaults = Recipe(name=name, crawls={})
        for group in Recipe.model_fields:
            old, new = getattr(defaults, group), getattr(recipe, group)
            if old == new:
                continue
            if isinstance(new, BaseModel) and old is not None:
                changed = [key for key in type(new).model_fields if getattr(old, key) != getattr(new, key)]
                settings = ", ".join(f"{key}={value_text(getattr(new, key))}" for key in changed)
                yield from bullet(f"`{group}`: `{settings}`")
            else:
                yield from bullet(f"`{group}`: `{value_text(new)}`")
        yield ""


def rule_section() -> Iterator[str]:
    yield from heading(2, "Quality rules")
    yield from paragraph(
        "The pinned sets of `quality.rules`. A page is dropped by the first rule that it breaks, in this order; the "
        "column is one of the table `statistics` of [text_statistics](tables.md#text_statistics)."
    )
    english = {name: rules for name, rules in QUALITY_RULES.items() if not name.startswith(FINEWEB2)}
    yield from rule_table(english)
    yield from heading(3, "Other languages")
    yield from paragraph("FineWeb-2's sets, which `Recipe.in_language` chooses. A dash: the language has no such rule.")
    yield from rule_table({name: rules for name, rules in QUALITY_RULES.items() if name not in english})


def rule_table(sets: dict[str, tuple[Rule, ...]]) -> Iterator[str]:
    """One row per rule, one column per set."""
    yield from row("rule", "column", *(f"`{name}` drops if" for name in sets), "source")
    yield from row("---", "---", *("---" for _ in sets), "---")
    by_name = {rule.name: rule for rules in sets.values() for rule in rules}
    for name, rule in by_name.items():
        limits = [{other.name: other for other in rules}.get(name) for rules in sets.values()]
        texts = (f"{DROPS[limit.drops]} {limit.threshold:,g}" if limit else "–" for limit in limits)
        yield from row(name, rule.column, *texts, rule.source)
    yield ""


# Commands


def command_page() -> Iterator[str]:
    """Every command with its usage, help and options."""
    yield from head("Commands", "Every command answers `--help`.")
    yield from commands_of(cli, "llm-assets", 2)


def commands_of(group: click.Group, path: str, level: int) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        yield from command_section(command, f"{path} {name}", level)
        if isinstance(command, click.Group):
            yield from commands_of(command, f"{path} {name}", level)


def command_section(command: click.Command, path: str, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    yield from heading(level, f"`{path}`")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ["```", f"{path} {usage}", "```", ""]
    for text in (command.help or "").replace("\b", "").split("\n\n"):
        yield from paragraph(text)
    records = [record for parameter in command.params if (record := parameter.get_help_record(context)) is not None]
    # Arguments have no help of their own: the command's text explains them.
    described = [(names, help_text) for names, help_text in records if help_text]
    for names, help_text in described:
        yield from bullet(f"`{names}`: {help_text}")
    if described:
        yield ""


# Assets


def asset_page() -> Iterator[str]:
    """Every asset by group: what it is, what it is made from, its tables and its checks."""
    yield from head("Assets and checks", "The assets by group, upstream first, as they appear in Dagster.")
    yield from paragraph(
        "An asset *per crawl* has one partition for each crawl. A failed blocking check stops everything downstream; "
        "the other checks are warnings. Three checks are not repeated below: every asset with tables has the blocking "
        "check `schema`, which passes if each row obeys its [schema](tables.md); every asset that reads all crawls has "
        "`every_crawl_is_built`; and every asset has `up_to_date`, which warns if the stored artifact is not "
        "the one that the current recipe asks for."
    )
    for group in dict.fromkeys(stage.group for stage in GRAPH):
        yield from heading(2, group)
        for stage in GRAPH:
            if stage.group == group:
                yield from asset_section(stage)


def asset_section(stage: Stage) -> Iterator[str]:
    yield from heading(3, stage.name)
    yield from paragraph(stage.description)
    yield from bullet(f"Partitions: {'one per crawl' if stage.per_crawl else 'none'}")
    if stage.inputs:
        yield from bullet("Inputs: " + ", ".join(f"[{name}](#{name})" for name in stage.inputs))
    tables = [*stage.tables, *stage.optional_tables]
    if tables:
        yield from bullet(f"Tables: {', '.join(f'`{name}`' for name in tables)} ([columns](tables.md#{stage.name}))")
    if stage.views:
        yield from bullet("Views: " + ", ".join(f"`{view.file}`" for view in stage.views))
    if stage.pool:
        yield from bullet(f"Pool: `{stage.pool}`")
    for check in stage.checks:
        yield from bullet(check_text(check))
    yield ""


def check_text(check: Check) -> str:
    return f"Check `{check.name}`{' (blocking)' if check.blocking else ''}: {check.description}"


# Tables


def table_page() -> Iterator[str]:
    """Every table by asset, with the columns of its pandera schema."""
    yield from head("Tables", "The Parquet tables of each asset, with their columns.")
    yield from paragraph(
        "A table is a folder of the artifact: `data/artifacts/<asset>/<crawl or _>/<identity>/<table>/*.parquet`. "
        "Columns hold no nulls unless marked `nullable`."
    )
    for stage in GRAPH:
        tables = {**stage.tables, **stage.optional_tables}
        if not tables:
            continue
        yield from heading(2, stage.name)
        for name, schema in tables.items():
            optional = "" if name in stage.tables else " (optional)"
            yield from heading(3, f"`{name}` of {stage.name}{optional}")
            yield from paragraph(docstring(schema))
            yield from columns_of(schema)


def columns_of(schema: Any) -> Iterator[str]:
    columns = schema.to_schema().columns
    for name, data_type in polars_schema(schema).items():
        column = columns[name]
        notes = ["nullable"] if column.nullable else []
        notes += ["unique"] if column.unique else []
        notes += [check_bounds(check.name, check.statistics or {}) for check in column.checks]
        remarks = "; ".join(note for note in notes if note)
        text = f"**`{name}`** (`{data_type}`)"
        if column.description:
            text += f": {column.description}"
        yield from bullet(f"{text} [{remarks}]" if remarks else text)
    yield ""


def check_bounds(name: str, statistics: dict[str, Any]) -> str:
    """A pandera check of a column in words."""
    if "allowed_values" in statistics:
        return "one of " + ", ".join(f"`{value}`" for value in statistics["allowed_values"])
    if "pattern" in statistics:
        return f"matches `{getattr(statistics['pattern'], 'pattern', statistics['pattern'])}`"
    bounds = []
    if statistics.get("min_value") is not None:
        bounds.append(f"≥ {statistics['min_value']}")
    if statistics.get("max_value") is not None:
        bounds.append(f"≤ {statistics['max_value']}")
    unit = " characters" if bounds and name == "str_length" else ""
    return ", ".join(bounds) + unit


# Markdown


def head(title: str, text: str) -> Iterator[str]:
    yield from [f"# {title}", "", NOTE, ""]
    yield from paragraph(text)


def heading(level: int, title: str) -> Iterator[str]:
    yield from ["#" * level + " " + title, ""]


def paragraph(text: str) -> Iterator[str]:
    if text.strip():
        yield from [*wrapped(text), ""]


def bullet(text: str) -> Iterator[str]:
    first, *others = wrapped(text, WIDTH - 2)
    yield f"* {first}"
    yield from (f"  {line}" for line in others)


def row(*cells: str) -> Iterator[str]:
    yield "| " + " | ".join(cells) + " |"


def wrapped(text: str, width: int = WIDTH) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)


def links(names: Iterable[str]) -> str:
    return ", ".join(f"[`{name}`](#{name})" for name in names)


def docstring(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((thing.__doc__ or "").split("\n\n")[0].split())


if __name__ == "__main__":
    main()
