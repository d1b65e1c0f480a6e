"""``llm-assets trace-answer``: the longest verbatim matches of an answer with the training data, and their sources."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from llm_assets.graph import open_workspace
from llm_assets.model.assistant import ConversationSettings

from .chat import open_session, tool_names_in
from .options import recipe_option

if TYPE_CHECKING:
    from llm_assets.artifacts import Workspace
    from llm_assets.tracing import Span, Trace

SHOWN = 5  # spans, unless --spans is given


@click.command("trace-answer")
@click.argument("answer", required=False)
@click.option("--chat", "question", default=None, help="Ask this question, and trace the answer to it.")
@click.option("--checkpoint", default="sft", show_default=True, help="With --chat: stage, identity or folder.")
@click.option("--tools", "tool_names", default=None, help="With --chat: as in `llm-assets chat`.")
@click.option("--search-first", is_flag=True, help="With --chat: search before the answer.")
@click.option(
    "--minimum", default=6, show_default=True, type=click.IntRange(1), help="Shortest match to show, in tokens."
)
@click.option("--spans", default=SHOWN, show_default=True, type=click.IntRange(1), help="Matches to show.")
@click.option("--places", default=3, show_default=True, type=click.IntRange(1), help="Places to show of each match.")
@click.option("--json", "as_json", is_flag=True, help="Print every match as JSON.")
@recipe_option
def trace_answer(
    answer: str | None,
    question: str | None,
    checkpoint: str,
    tool_names: str | None,
    search_first: bool,
    minimum: int,
    spans: int,
    places: int,
    as_json: bool,
    recipe: str | None,
) -> None:
    """Show where the words of ANSWER occur in the training data.

    Its longest verbatim matches with training pages and conversations, the most improbable first. Without ANSWER, the
    text is read from standard input. Needs the asset `trace_index`.
    """
    if answer is not None and question is not None:
        raise click.UsageError("give either an answer or --chat, not both")
    workspace = open_workspace(recipe)
    from llm_assets.tracing import TraceIndex
    from llm_assets.tracing import trace_answer as trace

    index = TraceIndex(workspace.resolver().artifact("trace_index", None).path)
    tool_results: list[str] = []
    if question is not None:
        answer, tool_results = ask(workspace, question, checkpoint, tool_names, search_first)
    elif answer is None:
        answer = click.get_text_stream("stdin", errors="replace").read().rstrip("\n")
    if not answer.strip():
        raise click.ClickException("the answer is empty, so nothing can be traced")
    result = trace(index, answer, tool_results, minimum, places)
    if as_json:
        click.echo(json.dumps({**asdict(result), "tool_results": tool_results}, ensure_ascii=False, indent=1))
    else:
        show(result, spans, minimum)


def ask(
    workspace: Workspace, question: str, checkpoint: str, tool_names: str | None, search_first: bool
) -> tuple[str, list[str]]:
    """A model's answer to a question, with the results of the tools that it called."""
    from llm_assets.model.sampling import Sampling

    names = tool_names_in(tool_names) if tool_names is not None else None
    sampling, settings = Sampling(max_tokens=200, temperature=0.0), ConversationSettings(search_first=search_first)
    with open_session(workspace, checkpoint, names, sampling, settings) as session:
        for _ in session.conversation.ask(question):
            pass
        if not session.conversation.history:
            raise click.ClickException("the model gave an empty answer, so nothing can be traced")
        messages = session.conversation.history[-1]
    return messages[-1].content, [message.content for message in messages if message.role == "tool"]


def show(trace: Trace, limit: int, minimum: int) -> None:
    """Print an answer and its first spans, with the places of each."""
    click.echo(trace.answer)
    click.echo(f"\n{trace.tokens} tokens, {len(trace.spans)} matches of at least {minimum}, {trace.seconds:.2f} s")
    for span in trace.spans[:limit]:
        _show_span(span)
    if len(trace.spans) > limit:
        click.echo(f"\n{len(trace.spans) - limit} further matches; --spans or --json shows them")


def _show_span(span: Span) -> None:
    has_colour = sys.stdout.isatty()
    text = f"“{span.text.strip()}”"
    click.echo()
    click.echo(click.style(text, bold=True) if has_colour else text)
    tool = "; also in a tool's result" if span.from_tool else ""
    click.echo(f"  {span.end - span.start} tokens, {span.bits:.0f} bits{tool}")
    if span.page_count:
        click.echo(f"  training pages: {span.page_count:,}")
    for page in span.pages:
        click.echo(f"    {page.url}  ({page.crawl}, {page.warc_file}, offset {page.warc_offset:,})")
    if span.conversation_count:
        click.echo(f"  conversations: {span.conversation_count:,}")
    for place in span.conversations:
        sources: list[Any] = json.loads(place.sources)
        kinds = ", ".join(dict.fromkeys(map(str, sources))) or place.source
        click.echo(f"    conversation {place.conversation} ({kinds}), {place.speaker}")
