"""Spans of an answer: those of a brute-force search, their places, their rank, and what comes from a tool."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_assets.model.chat import Call, Message, encode_text, render
from llm_assets.tracing import TraceError, TraceIndex, trace_answer
from llm_assets.tracing.matches import MAX_TOKENS
from tests.support.trace_indexes import write_trace_index
from tests.support.training_jobs import ENCODING, TEXTS

LETTERS = [ENCODING.encode(letter)[0] for letter in "abc"]
DOCUMENTS = st.lists(
    st.lists(st.sampled_from(LETTERS), max_size=12).map(lambda body: [ENCODING.bos, *body]), max_size=6
)


def stands_in(documents, run):
    """How often a run of tokens stands in documents."""
    return sum(document[place : place + len(run)] == run for document in documents for place in range(len(document)))


def brute_force(documents, answer, minimum):
    """The runs of an answer that stand in one document and are part of no longer such run."""
    runs = [
        (start, end)
        for start in range(len(answer))
        for end in range(start + 1, len(answer) + 1)
        if ENCODING.bos not in answer[start:end] and stands_in(documents, answer[start:end])
    ]
    return [
        (start, end)
        for start, end in runs
        if end - start >= minimum and not any((a, b) != (start, end) and a <= start and end <= b for a, b in runs)
    ]


@settings(max_examples=60, deadline=None)
@given(
    DOCUMENTS,
    DOCUMENTS,
    st.lists(st.sampled_from([*LETTERS, ENCODING.bos]), max_size=20),
    st.integers(1, 4),
    st.integers(1, 30),
)
def test_spans_are_those_of_a_brute_force_search(pages, conversations, answer, minimum, segment_tokens):
    with tempfile.TemporaryDirectory() as name:
        index = write_trace_index(Path(name) / "index", pages, conversations, segment_tokens)
        spans = trace_answer(index, answer, minimum=minimum, places=100).spans
    for kind, documents in (("pages", pages), ("conversations", conversations)):
        bounds = sorted((span.start, span.end) for span in spans if kind in span.longest_in)
        assert bounds == brute_force(documents, answer, minimum)
    for span in spans:
        run = answer[span.start : span.end]
        assert span.page_count == len(span.pages) == stands_in(pages, run)
        assert span.conversation_count == len(span.conversations) == stands_in(conversations, run)
        for place in span.pages:
            document = pages[int(place.doc_id)]
            assert document[place.position : place.position + len(run)] == run
        for place in span.conversations:
            document = conversations[place.conversation]
            assert document[place.position : place.position + len(run)] == run


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Pages of prose; a conversation with a search, and one without."""
    searched = [
        Message("user", "Who keeps bees?"),
        Message("assistant", "I will look.", Call("search", "keeps bees in winter")),
        Message("tool", "In the valley an old baker keeps bees."),
        Message("assistant", "It is an old baker of the valley."),
    ]
    short = [Message("user", "Who is an old baker of the valley?"), Message("assistant", "Nobody that I know of.")]
    conversations = [render(ENCODING, messages)[0] for messages in (searched, short)]
    folder = tmp_path_factory.mktemp("traced") / "index"
    return write_trace_index(folder, [ENCODING.document(text) for text in TEXTS[:40]], conversations, 2000)


def test_a_sentence_leads_to_its_page(index):
    words = TEXTS[7].split()
    trace = trace_answer(index, " ".join(words[4:24]))
    (page,) = {place.url for place in trace.spans[0].pages}
    assert page == "http://host.example/7" and trace.spans[0].page_count == 1
    assert trace.spans[0].pages[0].warc_offset == 700 and trace.spans[0].pages[0].crawl == "c"


def test_characters_are_the_place_in_the_answer(index):
    quoted = " ".join(TEXTS[3].split()[5:20])
    answer = f"Zürich, ½ — {quoted}"
    span = trace_answer(index, answer).spans[0]
    begin, end = span.characters
    assert answer[begin:end] == span.text and span.text.strip() in quoted


@pytest.mark.parametrize(
    ("answer", "speakers"),
    [
        ("an old baker of the valley", {"assistant", "user"}),
        ("an old baker keeps bees", {"tool"}),
        ("keeps bees in winter", {"search query"}),
        ("Who keeps bees", {"user"}),
    ],
)
def test_a_place_in_a_conversation_names_the_speaker(index, answer, speakers):
    tokens = encode_text(ENCODING, answer)
    spans = trace_answer(index, tokens, minimum=len(tokens)).spans
    assert {place.speaker for place in spans[0].conversations} == speakers


def test_improbable_words_come_first(index):
    answer = f"{' '.join(TEXTS[1].split()[:12])} {' '.join(TEXTS[9].split()[20:40])}"
    bits = [span.bits for span in trace_answer(index, answer, minimum=2).spans]
    assert len(bits) > 2 and bits == sorted(bits, reverse=True) and bits[-1] > 0


def test_what_a_tool_said_is_told_apart(index):
    shown, remembered = " ".join(TEXTS[5].split()[3:15]), " ".join(TEXTS[6].split()[3:15])
    spans = trace_answer(index, f"{shown}? {remembered}", [f"page: {shown}."]).spans
    by_tool = {span.from_tool for span in spans if span.text.strip() in shown}
    assert by_tool == {True}
    assert not any(span.from_tool for span in spans if span.text.strip() in remembered)


def test_more_places_than_the_limit_are_counted(index):
    span = trace_answer(index, encode_text(ENCODING, "of"), minimum=1, places=2).spans[0]
    assert len(span.pages) == 2 < span.page_count


def test_an_index_of_nothing_finds_nothing(tmp_path):
    assert trace_answer(write_trace_index(tmp_path / "index"), "Who keeps bees?", minimum=1).spans == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [([0] * (MAX_TOKENS + 1), "at most 10,000"), ([ENCODING.size], "the tokenizer has only"), ([-1], "token -1")],
)
def test_an_answer_that_cannot_be_traced_gives_an_error(index, answer, message):
    with pytest.raises(TraceError, match=message):
        trace_answer(index, answer)


@pytest.mark.parametrize("lost", ["encoding.json", "pages-00000-suffixes.npy", "pages-00000-tokens.npy"])
def test_a_missing_file_gives_one_clear_error(tmp_path, lost):
    write_trace_index(tmp_path / "index", [ENCODING.document(TEXTS[0])])
    (tmp_path / "index" / lost).unlink()
    with pytest.raises(TraceError, match=r"trace_index|rebuild it"):
        TraceIndex(tmp_path / "index")
