"""``llm-assets complete`` and ``llm-assets export``: continue a text with a model, write a model for other programs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.purge import NOTICE
from llm_assets.compute.devices import TrainingDevices
from llm_assets.evaluation.figures import released_model
from llm_assets.graph import open_workspace
from llm_assets.release.model_export import card_of
from llm_assets.serving.checkpoints import SHAPE, find_checkpoint

from .options import recipe_option, sampling_options

if TYPE_CHECKING:
    from llm_assets.model.encoding import Encoding
    from llm_assets.model.sampling import Engine


def checkpoint_folder(name: str, workspace: Workspace) -> Path:
    """The folder of a checkpoint that is named by stage (``base``), asset, identity or path.

    Prints the notice of a model that was trained on pages taken down since. Raises ModelError if there is no such
    checkpoint, and NotBuilt with the command that builds it.
    """
    folder = _checkpoint_folder(name, workspace)
    if (notice := folder / NOTICE).is_file():
        click.secho(notice.read_text().strip("> \n").replace("**", ""), fg="yellow", err=True)
    return folder


def _checkpoint_folder(name: str, workspace: Workspace) -> Path:
    path = Path(name).expanduser()
    return path if (path / SHAPE).is_file() else find_checkpoint(name, workspace)


@click.command()
@click.argument("prompt", default="")
@click.option("--checkpoint", default="base", show_default=True, help="Stage, identity or folder of the checkpoint.")
@click.option(
    "--next", "next_tokens", is_flag=True, help="Show a table of the most probable next tokens instead of a text."
)
@click.option("--count", default=10, show_default=True, type=click.IntRange(1), help="With --next: number of tokens.")
@sampling_options(max_tokens=128, temperature=0.8)
@recipe_option
def complete(prompt: str, checkpoint: str, next_tokens: bool, count: int, recipe: str | None, **sampled: Any) -> None:
    """Continue PROMPT as a document of the corpus.

    Without PROMPT, the model writes a document from its beginning.
    """
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
        print_next_tokens(engine, encoding, prompt, count)
        return
    click.echo(prompt, nl=False)
    for piece in engine.text(prompt, replace(sampling, stop=(encoding.bos,))):
        click.echo(piece, nl=False)
        click.get_text_stream("stdout").flush()
    click.echo()


def print_next_tokens(engine: Engine, encoding: Encoding, prompt: str, count: int) -> None:
    """Print the most probable tokens after a prompt, with a bar for each probability."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("token", "id", "probability", ""):
        table.add_column(name, justify="right" if name in ("id", "probability") else "left")
    for token, share in engine.next_tokens(encoding.document(prompt), count):
        table.add_row(repr(encoding.decode([token])), str(token), f"{100 * share:.2f} %", "█" * round(40 * share))
    Console(highlight=False, markup=False).print(table)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--checkpoint",
    default=None,
    help="Stage, identity or folder of the checkpoint.  [default: the last model that the recipe builds]",
)
@click.option(
    "--gguf",
    "precision",
    type=click.Choice(["f32", "f16", "none"]),
    default="f16",
    show_default=True,
    help="Precision of the GGUF file. none writes no such file.",
)
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Type of the weights for transformers.",
)
@recipe_option
def export(folder: Path, checkpoint: str | None, precision: str, dtype: str, recipe: str | None) -> None:
    """Export a checkpoint into FOLDER.

    Writes the formats of transformers and llama.cpp, a Modelfile for Ollama, and the model card. If model_export has
    exported the checkpoint, the card has its evaluations and lineage.
    """
    workspace = open_workspace(recipe)
    checkpoint = checkpoint or released_model(dict(workspace.graph.keys(workspace.recipe)))
    source = checkpoint_folder(checkpoint, workspace)
    from llm_assets.model.assistant import is_chat_model
    from llm_assets.model.checkpoint import load_checkpoint
    from llm_assets.recipes.language_tags import languages_of
    from llm_assets.release.exported_files import ExportOptions, write_files
    from llm_assets.release.model_card import card

    model, encoding = load_checkpoint(source)
    is_chat = is_chat_model(source)
    options = ExportOptions(
        name=workspace.recipe.conversations.name if is_chat else Path(checkpoint).name,
        chat=is_chat,
        gguf=None if precision == "none" else precision,
        dtype=dtype,
        languages=languages_of(workspace.recipe.language.targets),
        license=workspace.recipe.model_export.license,
    )
    files, stats = write_files(model, encoding, folder, options)
    drawn = card_of(source, workspace.store)
    text = card(options, model.shape, encoding) if drawn is None else drawn.read_text()
    (folder / "README.md").write_text(text, encoding="utf-8")
    if "gguf_refused" in stats:
        click.echo(f"no GGUF file: {stats['gguf_refused']}", err=True)
    click.echo(f"{folder}: {', '.join([*files, 'README.md'])}")
