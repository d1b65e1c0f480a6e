"""A recorded decoding step samples what the plain step samples, and is recorded again once its memory has changed."""

import pytest

from llm_assets.model.decoding import Decoder
from llm_assets.model.decoding_graph import DecodingGraph
from llm_assets.model.sampling import Engine, Sampling
from tests.support.tiny_models import ENCODING, SHAPES, random_model

PROMPTS = [ENCODING.document(text) for text in ("In the evening", "a", "some words here and there")]


@pytest.fixture
def recordings(monkeypatch):
    """Lets decoders record their steps, on a CPU as calls; what was recorded so far."""
    recorded, begin = [], Decoder.__init__

    def record(work):
        recorded.append(work)
        return work

    def begin_with_graph(decoder, *values):
        begin(decoder, *values)
        decoder.graph = DecodingGraph(decoder.model, record)

    monkeypatch.setattr(Decoder, "__init__", begin_with_graph)
    return recorded


@pytest.mark.parametrize("name", SHAPES)
def test_recorded_steps_sample_the_same_tokens(name, request):
    engine = Engine(random_model(SHAPES[name]), ENCODING)
    sampling = Sampling(max_tokens=40, stop=tuple(range(0, 500, 9)))
    plain = engine.complete(PROMPTS, sampling, samples=4)
    recorded = request.getfixturevalue("recordings")
    completions = engine.complete(PROMPTS, sampling, samples=4)
    assert recorded and [completion.tokens for completion in completions] == [completion.tokens for completion in plain]


def test_a_step_is_recorded_once_for_each_size_of_the_cache(recordings):
    engine = Engine(random_model(SHAPES["plain"]), ENCODING)
    engine.complete(PROMPTS, Sampling(max_tokens=20, temperature=0))
    assert len(recordings) == 1  # the cache has room for 64 positions


def test_a_step_is_recorded_again_without_the_sequences_that_ended(recordings):
    engine = Engine(random_model(SHAPES["plain"]), ENCODING)
    completions = engine.complete(PROMPTS, Sampling(max_tokens=30, stop=tuple(range(0, 500, 9))), samples=4)
    assert len({len(completion.tokens) for completion in completions}) > 2 and len(recordings) > 1
