"""The sampling engine: equal to full forward passes, each prompt independent of its batch, filters and seeds as
documented.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_assets.model.choosing import uniform_draws
from llm_assets.model.decoding import Decoder, Row
from llm_assets.model.prefill import shared_prefix_length
from llm_assets.model.sampling import Choice, Engine, Sampling, choose, filtered
from llm_assets.model.shape import ModelError, ModelShape
from tests.support.tiny_models import ENCODING, SHAPES, TEXTS, random_model

ENGINES = {name: Engine(random_model(shape), ENCODING) for name, shape in SHAPES.items()}
FINAL_SHAPES = {
    **SHAPES,
    "llama": ModelShape.of_depth(2, 500, 64, "llama", width=64, heads=4, kv_heads=1, rope_theta=500.0),
    "qwen2": ModelShape.of_depth(2, 500, 64, "qwen2", width=64, heads=4, kv_heads=2, tied=True),
    "olmo2": ModelShape.of_depth(2, 500, 64, "olmo2", width=64, heads=4),
}
ENGINES |= {
    f"final, {name}": Engine(random_model(shape), ENCODING, is_final=True) for name, shape in FINAL_SHAPES.items()
}
PROMPTS = [ENCODING.document(text)[:length] for text, length in zip(TEXTS, [1, 9, 30, 5, 17], strict=False)]


def greedy(model, prompt, count):
    """Continuation and log-probabilities by a full forward pass for each token."""
    tokens, scores = list(prompt), []
    for _ in range(count):
        with torch.no_grad():
            row = model(torch.tensor([tokens]))[0, -1, : model.shape.vocabulary]
        tokens.append(int(row.argmax()))
        scores.append(float(row.log_softmax(-1)[tokens[-1]]))
    return tokens[len(prompt) :], scores


@pytest.mark.parametrize("name", ENGINES)
def test_equal_to_the_full_forward_pass_token_by_token(name):
    engine = ENGINES[name]
    completions = engine.complete(PROMPTS, Sampling(max_tokens=20, temperature=0))
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        tokens, scores = greedy(engine.model, prompt, 20)
        assert completion.tokens == tokens
        assert completion.log_probabilities == pytest.approx(scores, abs=1e-4)
        assert completion.finish == "length"


@pytest.mark.parametrize("name", ENGINES)
def test_completions_do_not_depend_on_the_batch(name):
    engine, sampling = (
        ENGINES[name],
        Sampling(max_tokens=24, temperature=1.0, top_k=40, seed=3, stop=tuple(range(0, 500, 11))),
    )
    together = engine.complete(PROMPTS, sampling)
    assert {completion.finish for completion in together} == {"stop", "length"} or all(
        completion.finish == "stop" for completion in together
    )
    by_two = engine.complete(PROMPTS, sampling, batch=2)
    assert [completion.tokens for completion in together] == [completion.tokens for completion in by_two]
    *_, alone = engine.stream([PROMPTS[3]], sampling, first=3)
    assert alone[0].tokens == together[3].tokens


@pytest.mark.parametrize("name", ENGINES)
def test_sequences_that_join_and_leave_between_steps_are_sampled_as_if_alone(name):
    engine = ENGINES[name]
    samplings = [
        Sampling(max_tokens=20 - 3 * number, temperature=number % 3 / 2, top_k=20 * (number % 2), seed=number)
        for number in range(5)
    ]
    rows = [Row(number, sampling, uniform_draws(sampling, 0, 1)[0]) for number, sampling in enumerate(samplings)]
    with engine.inference():
        decoder = Decoder(engine.cached, ENCODING)
        for number, row in enumerate(rows):  # the next one joins two steps after the last, or once all have ended
            decoder.add([PROMPTS[number]], [row])
            for _ in range(2 if number < 3 else 30):
                decoder.step()
            if number == 1:
                row.end("cancelled")
        for _ in decoder.run():
            pass
    for number, row in enumerate(rows):
        [alone] = engine.complete([PROMPTS[number]], samplings[number])
        length = 2 if number == 1 else len(alone.tokens)
        assert row.completion.tokens == alone.tokens[:length]


def test_choices_name_the_most_probable_tokens():
    engine, sampling = ENGINES["plain"], Sampling(max_tokens=4, temperature=0, alternatives=3)
    *steps, [completion] = engine.stream([PROMPTS[1]], sampling)
    for [choice] in steps:
        assert choice.alternatives[0] == (choice.token, choice.log_probability) and len(choice.alternatives) == 3
    tokens = [*PROMPTS[1], *completion.tokens]
    scores = engine.token_likelihoods(tokens, 2)
    [whole] = engine.likelihoods([tokens[:1]], [tokens[1:]], padded=True)
    assert len(scores) == len(tokens) - 1 and all(len(score.alternatives) == 2 for score in scores)
    assert all(score.entropy is None for score in engine.token_likelihoods(tokens))
    assert sum(score.log_probability for score in scores) == pytest.approx(whole.log_probability, abs=1e-4)


def test_entropies_are_those_of_the_distributions():
    """By a sum over the whole vocabulary; those of scored tokens are without the padding, as when they are sampled."""
    engine = ENGINES["plain"]
    sampling = Sampling(max_tokens=3, seed=2, alternatives=engine.shape.vocabulary)
    *steps, [completion] = engine.stream([PROMPTS[1]], sampling)
    for [choice] in steps:
        bits = -sum(math.exp(value) * value for _, value in choice.alternatives) / math.log(2)
        assert choice.entropy == pytest.approx(bits, abs=1e-3)
    scored = engine.token_likelihoods([*PROMPTS[1], *completion.tokens], 1)[-3:]
    assert [entry.entropy for entry in scored] == pytest.approx([choice.entropy for [choice] in steps], abs=1e-3)


def test_several_samples_equal_a_repeated_prompt():
    engine, sampling = ENGINES["plain"], Sampling(max_tokens=10, seed=1)
    assert [completion.tokens for completion in engine.complete(PROMPTS[1:3], sampling, samples=3)] == [
        completion.tokens for completion in engine.complete([PROMPTS[1]] * 3 + [PROMPTS[2]] * 3, sampling)
    ]


def test_each_seed_gives_its_own_samples():
    engine = ENGINES["plain"]
    runs = [
        [completion.tokens for completion in engine.complete(PROMPTS, Sampling(max_tokens=10, seed=seed))]
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_stop_tokens_end_a_sequence_and_are_not_part_of_it():
    engine = ENGINES["plain"]
    tokens, _ = greedy(engine.model, PROMPTS[2], 12)
    completion = engine.complete([PROMPTS[2]], Sampling(max_tokens=12, temperature=0, stop=(tokens[5],)))[0]
    assert completion.finish == "stop" and completion.tokens == tokens[: tokens.index(tokens[5])]


def test_last_tokens_end_a_sequence_and_are_part_of_it():
    engine = ENGINES["plain"]
    tokens, _ = greedy(engine.model, PROMPTS[2], 12)
    completion = engine.complete([PROMPTS[2]], Sampling(max_tokens=12, temperature=0, last=(tokens[5],)))[0]
    assert completion.finish == "stop" and completion.tokens == tokens[: tokens.index(tokens[5]) + 1]


def test_a_line_is_the_text_before_its_end():
    engine = ENGINES["plain"]
    whole = [
        ENCODING.decode(completion.tokens)
        for completion in engine.complete(PROMPTS, Sampling(max_tokens=30, seed=3, stop=(ENCODING.bos,)), 32)
    ]
    assert any("\n" in text for text in whole)
    assert engine.lines(PROMPTS, 30, 32, temperature=1.0, seed=3) == [text.split("\n")[0].strip() for text in whole]


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("beginnings", "ends"), [(1, (1, 4, 2)), (1, (0, 3)), (2, (2, 5, 1, 4)), (3, (6,) * 6), (1, (6,))]
)
def test_shared_prefixes_are_read_once_and_change_no_completion(name, beginnings, ends):
    engine = ENGINES[name]
    prefixes = [ENCODING.document(" ".join(TEXTS[number:]))[:40] for number in range(beginnings)]
    prompts = [[*prefixes[number % beginnings], *PROMPTS[2][1 : 1 + size]] for number, size in enumerate(ends)]
    assert (shared_prefix_length(prompts) > 0) == (len(ends) > beginnings)
    for prompt, completion in zip(
        prompts, engine.complete(prompts, Sampling(max_tokens=12, temperature=0)), strict=True
    ):
        tokens, scores = greedy(engine.model, prompt, 12)
        assert completion.tokens == tokens
        assert completion.log_probabilities == pytest.approx(scores, abs=1e-4)


def test_the_context_ends_a_sequence():
    engine = ENGINES["grouped and tied"]
    long, short = (ENCODING.document(TEXTS[0]) * 3)[:60], PROMPTS[0]
    completions = engine.complete([long, short], Sampling(max_tokens=100, temperature=0))
    # 60 tokens, 4 more positions, and one token after the last of them.
    assert [len(completion.tokens) for completion in completions] == [5, 64] and {
        completion.finish for completion in completions
    } == {"context"}


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "prompt 0 is empty"),
        ([1] * 65, "prompt 0 has 65 tokens, but the context holds only 64"),
        ([500], "has the id 500; the vocabulary has 500"),
    ],
)
def test_impossible_prompts_are_errors(prompt, message):
    with pytest.raises(ModelError, match=message):
        ENGINES["plain"].complete([prompt], Sampling())


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}]
)
def test_impossible_settings_are_errors(wrong):
    with pytest.raises(ModelError, match=next(iter(wrong))):
        Sampling(**wrong)


logits = st.lists(st.integers(-40, 40), min_size=2, max_size=30, unique=True).map(
    lambda values: torch.tensor([values]) / 4
)


@given(logits, st.integers(1, 30), st.floats(0.05, 1.0))
def test_filters_keep_the_most_probable(row, top_k, top_p):
    probabilities = row[0].softmax(-1)
    is_kept = filtered(row, Sampling(top_k=top_k))[0].isfinite()
    assert (
        is_kept.sum() == min(top_k, len(row[0])) and probabilities[is_kept].min() >= probabilities[~is_kept].max()
        if (~is_kept).any()
        else is_kept.all()
    )
    is_kept = filtered(row, Sampling(top_p=top_p))[0].isfinite()
    assert probabilities[is_kept].sum() >= top_p - 1e-5 and is_kept[probabilities.argmax()]
    if is_kept.sum() > 1:
        assert probabilities[is_kept].sum() - probabilities[is_kept].min() < top_p + 1e-5


@settings(max_examples=10)
@given(logits)
def test_choices_follow_the_probabilities(row):
    draws = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    chosen = choose(row.expand(2000, -1), Sampling(), draws)
    shares = torch.bincount(chosen, minlength=row.shape[1]) / 2000
    assert torch.allclose(shares, row[0].softmax(-1), atol=2e-3)
    assert choose(row, Sampling(temperature=0), draws[:1]) == row.argmax()


def test_streamed_tokens_are_those_of_the_completion():
    engine, sampling = ENGINES["plain"], Sampling(max_tokens=30, temperature=0)
    *steps, completions = engine.stream(PROMPTS[:2], sampling)
    for number in range(2):
        assert [
            choice.token
            for step in steps
            for choice in step
            if isinstance(choice, Choice) and choice.sequence == number
        ] == completions[number].tokens
    text = "".join(engine.text(TEXTS[0][:40], sampling))
    tokens, _ = greedy(engine.model, ENCODING.document(TEXTS[0][:40]), 30)
    assert text == ENCODING.decode_bytes(tokens).decode("utf-8", "replace")


def test_next_tokens_and_log_likelihoods_agree_with_greedy_sampling():
    engine = ENGINES["gpt2"]
    table = engine.next_tokens(PROMPTS[1], 500)
    assert sum(share for _, share in table) == pytest.approx(1, abs=1e-4) and table[0][1] == max(
        share for _, share in table
    )
    tokens, scores = greedy(engine.model, PROMPTS[1], 6)
    assert table[0][0] == tokens[0]
    assert engine.log_likelihoods([PROMPTS[1], PROMPTS[0]], [tokens, [7]])[0] == pytest.approx(sum(scores), abs=1e-4)
    assert [likelihood.is_greedy for likelihood in engine.likelihoods([PROMPTS[1]] * 2, [tokens, [7]])] == [True, False]


def test_likelihoods_of_continuations_that_share_all_but_the_last_token_are_those_of_each_alone():
    engine = ENGINES["plain"]
    prompts, continuations = [PROMPTS[0]] * 4 + [PROMPTS[1]], [[5, 6], [5, 7], [5, 8], [6, 6], [5]]
    alone = [engine.likelihoods([prompt], [rest])[0] for prompt, rest in zip(prompts, continuations, strict=True)]
    together = engine.likelihoods(prompts, continuations)
    assert [score for score, _ in together] == pytest.approx([score for score, _ in alone], abs=1e-5)
    logits = engine.model(torch.tensor([PROMPTS[0]]))[0, -1].detach().log_softmax(-1)
    padded = engine.likelihoods([PROMPTS[0]], [[5]], padded=True)[0].log_probability
    assert padded == pytest.approx(float(logits[5]), abs=1e-5)
    assert engine.likelihoods([PROMPTS[0]], [[5]])[0].log_probability > padded  # without the embedding's padding


def test_a_continuation_may_have_one_token_more_than_the_context():
    engine = ENGINES["plain"]
    full = [1] * engine.shape.context
    assert engine.likelihoods([full], [[7]])[0].log_probability < 0
    with pytest.raises(ModelError, match=f"has {len(full) + 2} tokens, but the context holds only {len(full)}"):
        engine.likelihoods([full], [[7, 7]])


def test_a_text_ends_a_sequence_in_whichever_tokens_it_is_spelled():
    engine = ENGINES["plain"]
    [free] = engine.complete([PROMPTS[0]], Sampling(max_tokens=20, temperature=0))
    text = ENCODING.decode(free.tokens)
    for start in range(4):
        until = text[start : start + 3]
        [stopped] = engine.complete([PROMPTS[0]], Sampling(max_tokens=20, temperature=0, until=("\0", until)))
        ended = ENCODING.decode(stopped.tokens)
        assert stopped.finish == "stop" and until in ended and until not in ENCODING.decode(stopped.tokens[:-1])
        assert stopped.tokens == free.tokens[: len(stopped.tokens)]
