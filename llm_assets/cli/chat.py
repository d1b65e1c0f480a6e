"""``llm-assets chat``: talk with a model on the terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from llm_assets.compute.devices import TrainingDevices
from llm_assets.dialogue.transcript import transcript
from llm_assets.graph import open_workspace
from llm_assets.model.assistant import Conversation, ConversationSettings, ConversationTooLong, is_chat_model, tools_of
from llm_assets.serving.server import open_tools

from .model import checkpoint_folder
from .options import recipe_option, sampling_options

if TYPE_CHECKING:
    from llm_assets.artifacts import Workspace
    from llm_assets.model.sampling import Sampling, Tools

TOOLS = ("search", "python")
COMMANDS = """/reset          forget the conversation
/system [text]  set the instructions before the conversation; without text, show them
/tools [names]  set the tools of the assistant (search, python, none); without names, show them
/history        show the conversation, with tool calls and their results
/help           show this list
/exit           quit (also Ctrl-D)"""


@dataclass
class Session:
    """A conversation on the terminal.

    available: every tool that can be given to the model. make_tools: makes the model's tools from some of these.
    is_chat: whether the model is an assistant; a base model has no tools.
    """

    conversation: Conversation
    available: Mapping[str, object]
    make_tools: Callable[[dict[str, object]], Tools | None]
    is_chat: bool

    def ask(self, question: str) -> None:
        """Print the reply as it is generated, tool calls in brackets and in another colour."""
        has_colour = sys.stdout.isatty()
        for piece in self.conversation.ask(question):
            if piece.call is not None:
                shown = f"[{piece.call.tool}: {piece.call.text.strip()}]\n[{piece.call.result}]\n"
                click.echo(click.style(shown, fg="cyan") if has_colour else shown, nl=False)
            else:
                click.echo(piece.text, nl=False)
            sys.stdout.flush()
        click.echo()
        if count := self.conversation.left_out:
            exchanges = "exchange was" if count == 1 else "exchanges were"
            click.echo(f"({count} earlier {exchanges} left out: the context is full)", err=True)

    def loop(self) -> None:
        """Read questions and commands until the end of the input or /exit."""
        prompt = "> " if sys.stdin.isatty() else ""
        while True:
            try:
                line = input(prompt).strip()
            except (EOFError, KeyboardInterrupt):
                return
            if line.partition(" ")[0] in ("/exit", "/quit"):
                return
            if line.startswith("/"):
                self.obey(line)
            elif line:
                try:
                    self.ask(line)
                except ConversationTooLong as error:
                    click.echo(f"error: {error}", err=True)
                except KeyboardInterrupt:
                    click.echo(" (stopped)")

    def obey(self, line: str) -> None:
        """Carry out a command that begins with a slash."""
        command, _, argument = line.partition(" ")
        argument = argument.strip()
        if command == "/reset":
            self.conversation.reset()
            click.echo("(forgotten)")
        elif command == "/system":
            self.conversation.instructions = argument or self.conversation.instructions
            click.echo(self.conversation.instructions or "(no instructions)")
        elif command == "/tools":
            self.set_tools(argument)
        elif command == "/history":
            exchanges = [transcript(exchange) for exchange in self.conversation.history]
            click.echo("\n".join(exchanges) or "(nothing was said)")
        elif command == "/help":
            click.echo(COMMANDS)
        else:
            click.echo(f"error: no command {command}; /help lists them", err=True)

    def set_tools(self, text: str) -> None:
        """Give the model the tools that the text names, if it names any, and print the model's tools."""
        if text and self.is_chat:
            try:
                names = tool_names_in(text)
            except click.BadParameter as error:
                click.echo(f"error: {error.message}", err=True)
                return
            self.conversation.tools = self.make_tools(self.choose(names))
        if self.conversation.tools:
            click.echo(", ".join(self.conversation.tools.tools))
        else:
            click.echo("(none)" if self.is_chat else "(a base model calls no tools)")

    def choose(self, names: tuple[str, ...]) -> dict[str, object]:
        """The available tools among these."""
        return {name: self.available[name] for name in names if name in self.available}


@click.command()
@click.argument("question", required=False)
@click.option("--checkpoint", default="sft", show_default=True, help="Stage, identity or folder of the checkpoint.")
@click.option(
    "--tools",
    "tool_names",
    default=None,
    help="Tools of the assistant: search, python, both separated by a comma, or none.  [default: the tools that the "
    "checkpoint has learned to call]",
)
@click.option(
    "--search-first",
    is_flag=True,
    help="Search before every answer, so that pages crawled after the training take precedence over memory.",
)
@click.option("--system", "instructions", default="", help="Instructions before the conversation.")
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
    """Talk with a model.

    With QUESTION, it gives one answer and exits. A base model is prompted with a page of questions and answers.
    """
    workspace = open_workspace(recipe)
    from llm_assets.model.sampling import Sampling

    names = tool_names_in(tool_names) if tool_names is not None else None
    settings = ConversationSettings(instructions, search_first=search_first)
    with open_session(workspace, checkpoint, names, Sampling(**sampled), settings) as session:
        if question is not None:
            session.ask(question)
            return
        if sys.stdin.isatty():
            shape, tools = session.conversation.engine.shape, session.conversation.tools
            click.echo(
                f"{checkpoint}: {shape.parameters:,} parameters, context {shape.context:,}, "
                f"tools: {', '.join(tools.tools) if tools else 'none'}. /help lists the commands.",
                err=True,
            )
        session.loop()


@contextlib.contextmanager
def open_session(
    workspace: Workspace,
    checkpoint: str,
    tool_names: tuple[str, ...] | None,
    sampling: Sampling,
    settings: ConversationSettings | None = None,
) -> Iterator[Session]:
    """A conversation with a checkpoint, which is loaded first.

    tool_names: the assistant's tools; None gives it those that the checkpoint has learned to call.
    """
    folder = checkpoint_folder(checkpoint, workspace)
    chosen = tools_of(folder) if tool_names is None else tool_names
    TrainingDevices.from_environment().to_environment()
    from llm_assets.model.checkpoint import load_checkpoint
    from llm_assets.model.devices import pick_device
    from llm_assets.model.sampling import Engine, Tools

    model, encoding = load_checkpoint(folder, pick_device("auto"))
    is_chat, limits = is_chat_model(folder), workspace.recipe.tools

    def make_tools(tools: dict[str, object]) -> Tools | None:
        if not tools or not is_chat:
            return None
        return Tools(tools, limits.calls, limits.result_tokens)  # type: ignore[arg-type]

    with open_tools(workspace, TOOLS) as available:
        tools = make_tools({name: available[name] for name in chosen if name in available})
        settings = replace(settings or ConversationSettings(), chat=is_chat)
        conversation = Conversation(Engine(model, encoding), sampling, tools, settings)
        yield Session(conversation, available, make_tools, is_chat)


def tool_names_in(text: str) -> tuple[str, ...]:
    """Names of tools, separated by commas; ``none`` is no tool. Raises BadParameter for an unknown name."""
    names = tuple(name.strip() for name in text.split(",") if name.strip() and name.strip() != "none")
    for name in names:
        if name not in TOOLS:
            raise click.BadParameter(f"unknown tool {name!r}; available: search, python, none", param_hint="--tools")
    return names
