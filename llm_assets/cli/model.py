"""``llm-assets plan`` and ``llm-assets complete``: what a model will take, and what it says."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.progress import human_size
from llm_assets.artifacts.purge import NOTICE
from llm_assets.compute.devices import TrainingDevices
from llm_assets.compute.engine import cores
from llm_assets.graph import open_workspace
from llm_assets.model.devices import DEVICES, PLANNED_MFU, predict
from llm_assets.model.encoding import PUBLISHED, SPECIAL_TOKENS
from llm_assets.model.shape import ModelError
from llm_assets.recipes import Recipe
from llm_assets.release.model_export import card_of

from .options import recipe_option, sampling_options

DEPTHS = (4, 6, 8, 12, 16, 20, 24, 28, 32)


def vocabulary_of(recipe: Recipe) -> int:
    """Ids of the recipe's tokenizer, known before it is trained."""
    settings = recipe.tokenizer
    return PUBLISHED[settings.encoding.name].tokens + len(SPECIAL_TOKENS) if settings.encoding else settings.vocabulary


def _time(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"


@click.command()
@click.option(
    "--depth",
    "depths",
    multiple=True,
    type=int,
    help="Depth of the model (may be given several times); default: a table of depths, and the recipe's own model.",
)
@click.option("--device", default=None, help=f"cpu, {', '.join(device.name for device in DEVICES)}; default: cpu.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1), help="Devices that train together.")
@click.option("--tokens", default=None, type=click.IntRange(1), help="Tokens trained on; default: as the recipe says.")
@recipe_option
def plan(depths: tuple[int, ...], device: str | None, processes: int, tokens: int | None, recipe: str | None) -> None:
    """Parameters, tokens, FLOPs, memory, time and cost of a base model, before any of them is spent."""
    from rich.console import Console
    from rich.table import Table

    device = device or "cpu"
    # The laptop's small vocabulary and context say little about a GPU.
    workspace = open_workspace(recipe or (None if device == "cpu" or os.environ.get("LLM_ASSETS_RECIPE") else "gpu"))
    chosen: Recipe = workspace.recipe
    vocabulary = vocabulary_of(chosen)
    dialled = chosen.model.replace(width=None, heads=None, kv_heads=None, head_dim=None, hidden=None)
    free = chosen.pretraining.replace(tokens=tokens, batch_tokens=None)
    rows = (
        [
            (
                f"recipe {chosen.name}",
                chosen.model.shape(vocabulary),
                chosen.pretraining.replace(tokens=tokens or chosen.pretraining.tokens),
            )
        ]
        if not depths
        else []
    )
    rows += [(f"depth {depth}", dialled.replace(depth=depth).shape(vocabulary), free) for depth in depths or DEPTHS]
    table = Table(box=None, pad_edge=False)
    for name in (
        "model",
        "width",
        "heads",
        "parameters",
        "tokens",
        "steps",
        "batch",
        "FLOPs",
        "rows a pass",
        "memory",
        "tokens/s",
        "time",
        "cost",
    ):
        table.add_column(name, justify="left" if name == "model" else "right")
    for name, shape, pretraining in rows:
        steps, sequences = pretraining.budget(shape)
        try:
            found = predict(
                shape, steps * sequences * shape.context, sequences * shape.context, device, processes, cores()
            )
        except ModelError as error:
            if device != "cpu" and "needs" in str(error):
                table.add_row(
                    name,
                    str(shape.width),
                    str(shape.heads),
                    f"{shape.parameters / 1e6:,.1f} M",
                    "",
                    "",
                    "",
                    "",
                    "",
                    "does not fit",
                    "",
                    "",
                    "",
                )
                continue
            raise
        table.add_row(
            name,
            str(shape.width),
            str(shape.heads),
            f"{shape.parameters / 1e6:,.1f} M",
            f"{steps * sequences * shape.context / 1e6:,.1f} M",
            f"{steps:,}",
            f"{sequences * shape.context:,}",
            f"{found.flops:.2g}",
            str(found.micro_batch_size),
            human_size(found.memory),
            f"{found.tokens_per_second:,.0f}",
            _time(found.seconds),
            f"${found.cost:,.2f}" if found.cost is not None else "",
        )
    console = Console(highlight=False, width=None if click.get_text_stream("stdout").isatty() else 180)
    console.print(table)
    console.print(
        f"vocabulary {vocabulary:,}, context {chosen.model.context:,}, {processes} x {device}"
        + ("" if device == "cpu" else f" at {PLANNED_MFU:.0%} of its peak (MFU)")
        + "; memory a device, estimated"
    )
    _actual(workspace, console)


def _actual(workspace: Workspace, console: object) -> None:
    """What earlier trainings took, beside what was predicted for them."""
    for artifact in workspace.store.artifacts("base_checkpoint"):
        stats = artifact.record.stats
        if "actual" in stats and "predicted" in stats:
            actual, predicted = stats["actual"], stats["predicted"]
            console.print(  # type: ignore[attr-defined]
                f"built before: {artifact.record.short_id}, {stats['parameters'] / 1e6:,.1f} M parameters, {stats['tokens'] / 1e6:,.1f} M tokens: {_time(actual['seconds'])} at {actual['tokens_per_second']:,.0f} tokens/s, {human_size(actual['memory'])}"
                f" (predicted {_time(predicted['seconds'])}, {predicted['tokens_per_second']:,.0f} tokens/s, {human_size(predicted['memory'])})"
            )


def checkpoint_folder(name: str, workspace: Workspace) -> Path:
    """A checkpoint's folder, by stage (``base``), asset, identity, or path; a takedown's mark is told. Raises ModelError; NotBuilt says the command."""
    folder = _checkpoint_folder(name, workspace)
    if (notice := folder / NOTICE).is_file():
        click.secho(notice.read_text().strip("> \n").replace("**", ""), fg="yellow", err=True)
    return folder


def _checkpoint_folder(name: str, workspace: Workspace) -> Path:
    checkpoints = [stage for stage in workspace.graph.stages if stage.endswith("_checkpoint")]
    path = Path(name).expanduser()
    if (path / "shape.json").is_file():
        return path
    if f"{name}_checkpoint" in workspace.graph.stages or name in workspace.graph.stages:
        asset = name if name in workspace.graph.stages else f"{name}_checkpoint"
        if asset not in checkpoints:
            raise ModelError(f"{asset} is no checkpoint; there are {', '.join(checkpoints)}")
        return workspace.resolver().artifact(asset, None).path
    for artifact in workspace.store.artifacts():
        if len(name) >= 6 and artifact.record.identity.startswith(name) and (artifact.path / "shape.json").is_file():
            return artifact.path
    short = ", ".join(stage.removesuffix("_checkpoint") for stage in checkpoints)
    raise ModelError(
        f"no checkpoint {name!r}: there are {short}; or name an identity (llm-assets artifacts list) or a folder with a shape.json"
    )


@click.command()
@click.argument("prompt", default="")
@click.option("--checkpoint", default="base", show_default=True, help="Stage, identity or folder of a checkpoint.")
@click.option(
    "--next", "next_tokens", is_flag=True, help="The table of the most probable next tokens instead of a continuation."
)
@click.option("--count", default=10, show_default=True, type=click.IntRange(1), help="Rows of that table.")
@sampling_options(max_tokens=128, temperature=0.8)
@recipe_option
def complete(prompt: str, checkpoint: str, next_tokens: bool, count: int, recipe: str | None, **sampled: Any) -> None:
    """Go on with PROMPT as a document of the crawl would; without one, begin a document."""
    workspace = open_workspace(recipe)
    folder = checkpoint_folder(checkpoint, workspace)
    TrainingDevices.from_environment().to_environment()
    from llm_assets.model.checkpoint import load_checkpoint
    from llm_assets.model.devices import pick_device
    from llm_assets.model.sampling import Engine, Sampling

    sampling = Sampling(**sampled)
    model, encoding = load_checkpoint(folder, pick_device("auto"))
    engine = Engine(model, encoding)
    if next_tokens:
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("token", "id", "probability", ""):
            table.add_column(name, justify="right" if name in ("id", "probability") else "left")
        for token, share in engine.next_tokens(encoding.document(prompt), count):
            table.add_row(repr(encoding.decode([token])), str(token), f"{100 * share:.2f} %", "█" * round(40 * share))
        Console(highlight=False, markup=False).print(table)
        return
    click.echo(prompt, nl=False)
    for piece in engine.text(prompt, replace(sampling, stop=(encoding.bos,))):
        click.echo(piece, nl=False)
        click.get_text_stream("stdout").flush()
    click.echo()


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--checkpoint", default="rlhf", show_default=True, help="Stage, identity or folder of a checkpoint.")
@click.option(
    "--gguf",
    "kind",
    type=click.Choice(["f32", "f16", "none"]),
    default="f16",
    show_default=True,
    help="Precision of the GGUF file beside it.",
)
@recipe_option
def export(folder: Path, checkpoint: str, kind: str, recipe: str | None) -> None:
    """Write any checkpoint into FOLDER as transformers reads it, and as one GGUF file; with its card, where it has one.

    model_export makes the card, of the last checkpoint.
    """
    workspace = open_workspace(recipe)
    source = checkpoint_folder(checkpoint, workspace)
    from llm_assets.model.assistant import is_chat_model
    from llm_assets.model.checkpoint import load_checkpoint
    from llm_assets.model.gguf_file import write_gguf
    from llm_assets.model.huggingface import export as write

    model, encoding = load_checkpoint(source)
    chat = is_chat_model(source)
    names = write(model, encoding, folder, chat=chat)
    if kind != "none":
        name = workspace.recipe.conversations.name if chat else Path(checkpoint).name
        write_gguf(model, encoding, folder / "model.gguf", name, kind, chat)
        names.append("model.gguf")
    if (card := card_of(source, workspace.store)) is not None:
        shutil.copyfile(card, folder / "README.md")
        names.append("README.md")
    click.echo(f"{folder}: {', '.join(names)}")
