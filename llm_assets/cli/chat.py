"""``llm-assets chat``: talk with a model from the terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.errors import ArtifactError
from llm_assets.compute.devices import TrainingDevices
from llm_assets.dialogue.transcript import transcript
from llm_assets.graph import open_workspace
from llm_assets.model.assistant import Conversation, ConversationSettings, ConversationTooLong, is_chat_model, tools_of

from .model import checkpoint_folder
from .options import recipe_option, sampling_options

if TYPE_CHECKING:
    from llm_assets.model.sampling import Tools

COMMANDS = """/reset          forget what was said
/system [text]  instructions that stand before everything; alone, to see them
/tools [names]  tools that the assistant has (search, python, none); alone, to see them
/history        what was said, with calls and results
/help           this
/exit           leave (also Ctrl-D)"""


@contextlib.contextmanager
def open_tools(workspace: Workspace, names: tuple[str, ...]) -> Iterator[dict[str, object]]:
    """The tools of these names that there is something for: search needs its index to be built."""
    from llm_assets.tools import PythonLimits, PythonTool, SearchIndex, SearchTool
    from llm_assets.tools.search import INDEX

    settings = workspace.recipe.tools
    with PythonTool(
        PythonLimits(settings.python_seconds, settings.python_memory, characters=settings.python_characters)
    ) as python:
        found: dict[str, object] = {"python": python} if "python" in names else {}
        if "search" in names:
            with contextlib.suppress(ArtifactError):  # told by what /tools shows
                index = workspace.resolver().artifact("search_index", None)
                found["search"] = SearchTool(SearchIndex(index.file(INDEX)), settings.results, settings.match)
        yield found


def say(conversation: Conversation, question: str, colour: bool) -> None:
    """Ask, and write the reply as it comes; calls are shown between brackets, in another colour."""
    for piece in conversation.ask(question):
        if piece.call is not None:
            shown = f"[{piece.call.tool}: {piece.call.text.strip()}]\n[{piece.call.result}]\n"
            click.echo(click.style(shown, fg="cyan") if colour else shown, nl=False)
        else:
            click.echo(piece.text, nl=False)
        sys.stdout.flush()
    click.echo()
    if conversation.left_out:
        click.echo(
            f"({conversation.left_out} earlier {'exchange was' if conversation.left_out == 1 else 'exchanges were'} left out: the context is full)",
            err=True,
        )


@click.command()
@click.argument("question", required=False)
@click.option("--checkpoint", default="sft", show_default=True, help="Stage, identity or folder of a checkpoint.")
@click.option(
    "--tools",
    "tool_names",
    default=None,
    help="search, python, both with a comma, or none; default: those that the checkpoint has learnt to call.",
)
@click.option(
    "--search-first",
    is_flag=True,
    help="Search before every answer: what was crawled since the training wins over what is remembered.",
)
@click.option("--system", "instructions", default="", help="Instructions that stand before everything.")
@sampling_options(max_tokens=200, temperature=0.0)
@recipe_option
def chat(
    question: str | None,
    checkpoint: str,
    tool_names: str | None,
    search_first: bool,
    instructions: str,
    recipe: str | None,
    **sampled: Any,
) -> None:
    """Talk with a model; with QUESTION, one answer. A base model answers as a page of questions and answers would."""
    workspace = open_workspace(recipe)
    folder = checkpoint_folder(checkpoint, workspace)
    chosen = _names(tool_names) if tool_names is not None else tools_of(folder)
    TrainingDevices.of_environment().to_environment()
    from llm_assets.model.checkpoint import load_checkpoint
    from llm_assets.model.devices import pick_device
    from llm_assets.model.sampling import Engine, Sampling, Tools

    sampling = Sampling(**sampled)
    model, encoding = load_checkpoint(folder, pick_device("auto"))
    chats = is_chat_model(folder)
    settings = workspace.recipe.tools

    def given(found: dict[str, object]) -> Tools | None:
        return Tools(found, settings.calls, settings.result_tokens) if found and chats else None  # type: ignore[arg-type]

    with open_tools(workspace, ("search", "python")) as available:
        wanted = {name: available[name] for name in chosen if name in available}
        conversation = Conversation(
            Engine(model, encoding),
            sampling,
            given(wanted),
            ConversationSettings(instructions, chats, search_first=search_first),
        )
        colour = sys.stdout.isatty()
        if question is not None:
            say(conversation, question, colour)
            return
        if sys.stdin.isatty():
            click.echo(
                f"{checkpoint}: {model.shape.parameters:,} parameters, context {model.shape.context:,}, tools: {', '.join(wanted) or 'none'}. /help for commands.",
                err=True,
            )
        while True:
            try:
                line = input("> " if sys.stdin.isatty() else "").strip()
            except (EOFError, KeyboardInterrupt):
                break
            if not line:
                continue
            if line.startswith("/"):
                if not _command(line, conversation, available, given, chats):
                    break
                continue
            try:
                say(conversation, line, colour)
            except ConversationTooLong as error:
                click.echo(f"error: {error}", err=True)
            except KeyboardInterrupt:
                click.echo(" (stopped)")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip() and name.strip() != "none")
    for name in names:
        if name not in ("search", "python"):
            raise click.BadParameter(f"{name!r}: there are search, python and none", param_hint="--tools")
    return names


def _command(line: str, conversation: Conversation, available: dict[str, object], given: object, chats: bool) -> bool:
    """Do what a line that begins with a slash says; False to leave."""
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    if command in ("/exit", "/quit"):
        return False
    if command == "/reset":
        conversation.reset()
        click.echo("(forgotten)")
    elif command == "/system":
        if rest:
            conversation.instructions = rest
        click.echo(conversation.instructions or "(no instructions)")
    elif command == "/tools":
        if rest and chats:
            try:
                names = _names(rest)
            except click.BadParameter as error:
                click.echo(f"error: {error.message}", err=True)
                return True
            conversation.tools = given({name: available[name] for name in names if name in available})  # type: ignore[operator]
        click.echo(
            ", ".join(conversation.tools.tools)
            if conversation.tools
            else "(none)"
            if chats
            else "(a base model calls no tools)"
        )
    elif command == "/history":
        click.echo("\n".join(transcript(exchange) for exchange in conversation.history) or "(nothing was said)")
    else:
        click.echo(
            COMMANDS if command == "/help" else f"error: no command {command}; /help tells of them",
            err=command != "/help",
        )
    return True
