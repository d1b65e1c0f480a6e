"""The longest verbatim matches of an answer with the training data, as in OLMoTrace (arXiv:2504.07096, section 3).

For each token of the answer, bisection finds how far the answer from there on stands anywhere in the data. Matches that
are part of a longer one are left out. The rest is ranked by how improbable its words are together, as the product of
their frequencies in the data: names and numbers come before common phrases.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from llm_assets.model.chat import encode_text

from .index import CONVERSATIONS, PAGES, ConversationPlace, PagePlace, TraceError, TraceIndex
from .suffix_array import Segment

MINIMUM = 6  # tokens of a span; shorter ones are mostly phrases that any text has
PLACES = 10  # shown of each span, of pages and of conversations
MAX_TOKENS = 10_000  # of an answer; the time grows with its square if it repeats one page


@dataclass(frozen=True)
class Span:
    """A run of the answer's tokens, [start, end), that stands verbatim in the training data.

    characters: its place in the answer's text. longest_in: the kinds of data (`pages`, `conversations`) in which no
    longer run around it stands. bits: how improbable its tokens are by their frequencies, -Σ log2. pages,
    conversations: some of the places where it stands, of `page_count` and `conversation_count`. from_tool: whether it
    also stands verbatim in a result that a tool gave for this answer, so that the model may have copied it from there.
    """

    start: int
    end: int
    characters: tuple[int, int]
    text: str
    longest_in: tuple[str, ...]
    bits: float
    page_count: int
    pages: list[PagePlace]
    conversation_count: int
    conversations: list[ConversationPlace]
    from_tool: bool


@dataclass(frozen=True)
class Trace:
    """An answer and its spans, the most improbable first. tokens: of the answer. seconds: what the search took."""

    answer: str
    tokens: int
    spans: list[Span]
    seconds: float


def trace_answer(
    index: TraceIndex,
    answer: str | Sequence[int],
    tool_results: Sequence[str] = (),
    minimum: int = MINIMUM,
    places: int = PLACES,
) -> Trace:
    """The maximal spans of an answer with at least `minimum` tokens.

    answer: a text, or tokens of the index's tokenizer. A text is encoded as within a turn. Special tokens match
    nothing, so that no span crosses documents or turns. tool_results: what tools returned for this answer. places: how
    many places to return of each span, of pages and of conversations. Raises TraceError for an answer that is too long
    or has ids that the tokenizer lacks.
    """
    began = time.perf_counter()
    encoding = index.encoding
    is_text = isinstance(answer, str)
    tokens = encode_text(encoding, answer) if isinstance(answer, str) else [int(token) for token in answer]
    if len(tokens) > MAX_TOKENS:
        raise TraceError(f"the answer has {len(tokens):,} tokens; at most {MAX_TOKENS:,} can be traced at once")
    unknown = [token for token in tokens if not 0 <= token < encoding.size]
    if unknown:
        raise TraceError(f"the answer has the token {unknown[0]}, but the tokenizer has only {encoding.size:,} ids")
    longest = {kind: maximal_spans(index, kind, tokens, max(1, minimum)) for kind in (PAGES, CONVERSATIONS)}
    added_spaces = 1 if is_text and encoding.decode(tokens[:1]).startswith(" ") else 0  # by `encode_text`
    spans = []
    for start, end in sorted({span for kind_spans in longest.values() for span in kind_spans}):
        text = encoding.decode(tokens[start:end])
        ends = [len(encoding.decode_bytes(tokens[:place]).decode("utf-8", "ignore")) for place in (start, end)]
        page_count, pages = find_places(index, PAGES, tokens[start:end], places)
        conversation_count, conversations = find_places(index, CONVERSATIONS, tokens[start:end], places)
        spans.append(
            Span(
                start=start,
                end=end,
                characters=(max(0, ends[0] - added_spaces), max(0, ends[1] - added_spaces)),
                text=text,
                longest_in=tuple(kind for kind, kind_spans in longest.items() if (start, end) in kind_spans),
                bits=round(improbability(index, tokens[start:end]), 2),
                page_count=page_count,
                pages=[index.page_place(*place) for place in pages],
                conversation_count=conversation_count,
                conversations=[index.conversation_place(*place) for place in conversations],
                from_tool=bool(text.strip()) and any(text.strip() in result for result in tool_results),
            )
        )
    spans.sort(key=lambda span: (-span.bits, span.start))
    whole = answer if isinstance(answer, str) else encoding.decode(tokens)
    return Trace(whole, len(tokens), spans, round(time.perf_counter() - began, 4))


def maximal_spans(index: TraceIndex, kind: str, tokens: Sequence[int], minimum: int) -> list[tuple[int, int]]:
    """The runs of at least `minimum` tokens that occur in the segments of a kind and are part of no longer such run.

    Runs are (start, end), by start.
    """
    spans: list[tuple[int, int]] = []
    for begin, end in _text_runs(index, tokens):
        furthest = begin
        for start in range(begin, end):
            reached = start
            for segment in index.segments[kind]:
                reached = max(reached, start + segment.longest_match(segment.encoded(tokens[start:end])))
            # Ends never decrease, because a match without its first token is a match of the next start.
            if reached > furthest and reached - start >= minimum:
                spans.append((start, reached))
            furthest = max(furthest, reached)
    return spans


def _text_runs(index: TraceIndex, tokens: Sequence[int]) -> list[tuple[int, int]]:
    """The longest runs without special tokens, as (start, end)."""
    runs: list[tuple[int, int]] = []
    begin = 0
    for place, token in enumerate([*tokens, -1]):
        if token not in index.encoding.text_ids:
            if place > begin:
                runs.append((begin, place))
            begin = place + 1
    return runs


def find_places(
    index: TraceIndex, kind: str, tokens: Sequence[int], limit: int
) -> tuple[int, list[tuple[Segment, int]]]:
    """How often tokens occur in the segments of a kind, and the first `limit` places, as (segment, position).

    The first places are those of the least continuations, which does not depend on how the index was built.
    """
    count, places = 0, []
    for segment in index.segments[kind]:
        first, last = segment.range(segment.encoded(tokens))
        count += last - first
        shown = segment.suffixes[first : min(last, first + limit - len(places))]
        places += [(segment, int(position)) for position in shown]
    return count, places


def improbability(index: TraceIndex, tokens: Sequence[int]) -> float:
    """How many bits tokens of the index have together by their frequencies in it: -Σ log2(count / tokens)."""
    bits = 0.0
    for token in tokens:
        counts = [find_places(index, kind, [token], 0)[0] for kind in index.segments]
        bits -= math.log2(sum(counts) / index.tokens)
    return bits
