"""What is measured of a base model, against values worked out another way and a model that knows its pages by heart."""

import math
import re
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_assets.artifacts.tables import validate
from llm_assets.evaluation.figures import figures_table, find, once, row, value_of
from llm_assets.evaluation.question_baselines import MAJORITY
from llm_assets.model.checkpoint import load_model, steps_saved
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.pretraining import base_evaluation
from llm_assets.pretraining import overlap as overlap_module
from llm_assets.pretraining.base_figures import (
    NGRAM,
    XZ,
    fact_figures,
    in_context_figures,
    majority_right,
    text_figures,
)
from llm_assets.pretraining.evaluation import answers, choices, document_losses, prompted_answers, recitations
from llm_assets.pretraining.in_context import (
    SHOTS,
    TASKS,
    Problem,
    few_shot_questions,
    latest_choice,
    make_problems,
    prompt_words,
)
from llm_assets.pretraining.overlap import SIZES, chunk_starts, find_overlap, hashes
from llm_assets.recipes import SampleWeb
from llm_assets.sample_web import TruthPrompts, make_web, truth_facts, truth_prompts
from llm_assets.sample_web.pages import HELD_OUT_SITE
from llm_assets.training.loader import PackedDocuments
from llm_assets.training.loop import train
from llm_assets.training.plan import Optimisation, TrainingPlan
from llm_assets.training.processes import Devices, TrainingProcess
from llm_assets.training.shards import TokenStream
from tests.support.token_shards import write_shards
from tests.support.training_jobs import ENCODING, TEXTS, write_corpus

SHAPE = ModelShape.of_depth(2, 500, 64, width=64)


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    """A model that has read six pages a hundred times, and their stream."""
    folder = tmp_path_factory.mktemp("parrot")
    write_corpus(folder, TEXTS[:7])  # the first is held out
    stream = TokenStream([folder / "shards"], "train")
    model = Transformer(SHAPE)
    model.initialise(1)
    plan = TrainingPlan(
        steps=250,
        batch_size=8,
        micro_batch_size=8,
        optimisation=Optimisation(learning_rate=5e-3, matrix_learning_rate=5e-3),
    )
    process = TrainingProcess(folder, Devices(torch.device("cpu")), lambda kind, **values: None)
    train(model, PackedDocuments(stream, 64, 1), plan, process)
    return Engine(load_model(steps_saved(folder)[-1][1]), ENCODING), stream


@pytest.mark.slow
def test_document_losses_by_hand(parrot):
    engine, stream = parrot
    losses = document_losses(engine, stream, [0, 3], batch_size=3)
    for number, loss in zip([0, 3], losses, strict=True):
        ids = stream.document(number).tolist()
        nats = 0.0
        for place in range(1, len(ids)):
            # Windows begin at multiples of 32 and hold 64 inputs; a token is counted in the first that reaches it.
            start = max(0, math.ceil((place - 64) / 32)) * 32
            with torch.no_grad():
                row = engine.model(torch.tensor([ids[start:place]]))[0, -1]
            nats -= float(row[:512].log_softmax(-1)[ids[place]])
        assert len(ids) > 64
        assert loss["nats"] == pytest.approx(nats, rel=1e-4) and loss["bytes"] == len(ENCODING.decode_bytes(ids[1:]))


def test_a_model_recites_the_pages_that_it_knows_and_no_others(parrot, tmp_path):
    engine, stream = parrot
    known = recitations(engine, stream, range(6), 16, 20, 1)
    assert len(known) == 6 and sum(row["matched"] == 20 for row in known) >= 4
    text = ENCODING.decode(stream.document(known[0]["document"])[1:])
    assert known[0]["prefix"] in text
    write_shards(tmp_path, [ENCODING.document(text) for text in TEXTS[100:106]], 4_000)
    other = recitations(engine, TokenStream([tmp_path], "train"), range(6), 16, 20, 1)
    assert all(row["matched"] < 20 for row in other)
    assert recitations(engine, stream, range(6), 16, 100_000, 1) == []


def test_samples_of_a_parrot_occur_in_its_pages(parrot):
    engine, stream = parrot
    completions = engine.complete(
        [[ENCODING.bos]] * 4, Sampling(max_tokens=40, temperature=0.3, seed=2, stop=(ENCODING.bos,))
    )
    overlap = find_overlap([completion.tokens for completion in completions], stream)
    assert overlap.share[8] > 0.5
    for completion, match in zip(completions, overlap.matches, strict=True):
        if match is not None:
            assert (
                stream.tokens(match.position, match.length).tolist()
                == completion.tokens[match.start : match.start + match.length]
            )


def test_of_a_larger_corpus_evenly_spaced_chunks_are_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(overlap_module, "CHUNK", 100)
    assert chunk_starts(1_000, 1_000) == [*range(0, 1_000, 100)]
    assert chunk_starts(1_001, 500) == [0, 200, 400, 600, 800]
    assert len(chunk_starts(1_001, 1_000)) == 10 and chunk_starts(0, 1_000) == []
    # A tenth of the chunks: of sequences that occur once, about as many are found, each at its place.
    write_shards(tmp_path, [np.random.default_rng(1).integers(0, 500, 10_000)], 20_000)
    stream = TokenStream([tmp_path], "train")
    samples = [stream.tokens(start, 20).tolist() for start in range(0, 9_900, 50)]
    complete, part = find_overlap(samples, stream, 10_000), find_overlap(samples, stream, 1_000)
    assert (complete.searched, part.searched, part.tokens) == (10_000, 1_000, 10_000)
    assert complete.share[16] == 1.0 and 0.05 < part.share[16] < 0.4
    assert all(match is None or match == whole for match, whole in zip(part.matches, complete.matches, strict=True))


def test_answers_end_with_a_word_and_a_line(parrot):
    engine, _ = parrot
    beginning, rest = TEXTS[1][:60].rsplit(" ", 1)[0], TEXTS[1][:90]
    word = rest[len(beginning) :].split()[0]
    right, half, other = answers(engine, [beginning] * 3, [word, word[:-1], "Nobody"])
    assert right["right"] and right["answer"].startswith(word)
    assert not half["right"] and not other["right"]


def test_the_most_probable_choice_is_preferred(parrot):
    engine, _ = parrot
    beginning = TEXTS[1][:60].rsplit(" ", 1)[0]
    word = TEXTS[1][len(beginning) :].split()[0]
    offered = ["Nobody", word, "zebra", "Monday"]
    assert choices(engine, [beginning, beginning], [offered, offered[::-1]]) == [word, word]
    scores = engine.log_likelihoods(
        [ENCODING.document(beginning)] * 4, [ENCODING.encode(f" {choice}") for choice in offered]
    )
    assert max(zip(scores, offered, strict=True), key=lambda pair: pair[0] / len(pair[1]))[1] == word


def test_prompted_answers_are_one_line_per_question(parrot):
    rows = prompted_answers(
        parrot[0], "Answers.", [("What?", "This.")] * 40, ["Who?", "Where?"], max_tokens=8
    )  # longer than the context
    assert [row["question"] for row in rows] == ["Who?", "Where?"] and all("\n" not in row["answer"] for row in rows)


small = st.lists(st.integers(0, 2), min_size=0, max_size=90)


@settings(max_examples=40)
@given(st.lists(small.filter(bool), min_size=1, max_size=4), st.lists(small, min_size=1, max_size=3), st.data())
def test_the_overlap_equals_a_brute_force_search(tmp_path_factory, documents, samples, data):
    if data.draw(st.booleans()):  # a sample that is a piece of the corpus
        whole = [token for document in documents for token in document]
        start = data.draw(st.integers(0, len(whole) - 1))
        samples = [*samples, [7, *whole[start : start + 50], 8]]
    folder = tmp_path_factory.mktemp("s")
    write_shards(folder, documents, 16)
    stream = TokenStream([folder], "train")
    flat = stream.tokens(0, len(stream)).tolist()
    grams = {size: {tuple(flat[i : i + size]) for i in range(len(flat) - size + 1)} for size in SIZES}
    overlap = find_overlap(samples, stream)
    for size in SIZES:
        grams_of_samples = [tuple(sample[i : i + size]) for sample in samples for i in range(len(sample) - size + 1)]
        assert overlap.share[size] == pytest.approx(
            sum(gram in grams[size] for gram in grams_of_samples) / len(grams_of_samples) if grams_of_samples else 0.0
        )
    for sample, match in zip(samples, overlap.matches, strict=True):
        longest = max(
            (
                size
                for size in SIZES
                for i in range(len(sample) - size + 1)
                if tuple(sample[i : i + size]) in grams[size]
            ),
            default=0,
        )
        assert (match is None) == (longest == 0)
        if match is not None:
            assert match.length >= longest
            assert (
                flat[match.position : match.position + match.length] == sample[match.start : match.start + match.length]
            )


def test_hashes_by_doubling_are_hashes_of_the_grams():
    tokens = np.random.default_rng(1).integers(0, 5, 200)
    with np.errstate(over="ignore"):
        by_size = hashes(tokens)
    for size in SIZES:
        by_gram: dict[tuple, int] = {}
        for place in range(200 - size + 1):
            assert by_gram.setdefault(tuple(tokens[place : place + size]), int(by_size[size][place])) == int(
                by_size[size][place]
            )
        assert len(set(by_gram.values())) == len(by_gram)


def test_problems_can_be_solved_from_their_prompts():
    words = prompt_words(TEXTS)
    assert len(set(words)) == len(words) > 40 and all(word.isalpha() and word.islower() for word in words)
    problems = make_problems(words, 5, 1)
    assert problems == make_problems(words, 5, 1) != make_problems(words, 5, 2)
    assert len(problems) == 5 * len(TASKS) * len(SHOTS)
    for problem in problems:
        assert len(set(problem.choices)) == 4 and problem.answer in problem.choices
        if problem.shots >= 4 and problem.task in ("recall", "copy"):
            assert all(choice in problem.prompt for choice in problem.choices)  # the answer does not stand out
        if problem.shots and problem.task in ("recall", "alternate", "copy"):
            assert problem.answer in problem.prompt
        mentioned = set(re.findall(r"\w+", problem.prompt))
        if problem.answer not in mentioned:  # no choice can be copied then
            assert not mentioned & set(problem.choices)
        if problem.task == "count":
            assert int(problem.answer) == int(problem.prompt.rstrip(",").split(", ")[-1]) + 1
    assert make_problems(words[:5], 5, 1) == []


def test_few_shot_prompts_never_contain_the_answer():
    pairs = [("river", f"Which river flows through Town{n}?", f"River{n}") for n in range(20)] + [
        ("rare", "What?", "That")
    ]
    problems = few_shot_questions(pairs, 6, 1)
    assert len(problems) == 6 * len(SHOTS) and all(
        problem.prompt.count("Answer:") == problem.shots + 1 and problem.answer not in problem.prompt.split()
        for problem in problems
    )
    assert few_shot_questions(pairs[-1:], 6, 1) == []


def test_prompts_of_the_sample_web_have_one_answer_which_its_pages_state():
    facts = truth_facts(SampleWeb())
    prompts = truth_prompts(facts)
    validate(TruthPrompts, prompts)
    completions = prompts.filter(pl.col("kind") == "completion")
    assert completions.group_by("prompt").agg(pl.col("answer").n_unique())["answer"].max() == 1
    assert set(completions["relation"]) == set(facts["relation"])
    pages = [page for page in make_web(1, 1.0, 1).pages.values() if page.in_crawl]
    archive = "\n".join(page.text for page in pages if urlsplit(page.url).hostname == HELD_OUT_SITE)
    text = "\n".join(page.text for page in pages if urlsplit(page.url).hostname != HELD_OUT_SITE)
    sampled = completions.filter(pl.col("reach") == "many").sample(300, seed=1)
    # A fact is stated in one of many wordings; most beginnings occur on some page, and none continues otherwise.
    stand = [(row["prompt"] in text, f"{row['prompt']} {row['answer']}" in text) for row in sampled.to_dicts()]
    assert sum(occurs for occurs, _ in stand) > 200 and all(right for occurs, right in stand if occurs)
    held_out = completions.filter(pl.col("reach") == "held_out")
    assert not any(name in text for name in held_out["entity"])
    assert len(held_out) and all(name in archive for name in held_out["entity"])


def test_the_most_common_answer_of_a_relation_is_that_of_facts_on_many_pages():
    rows = [("many", "a", "x"), ("many", "a", "x"), ("many", "a", "y"), ("many", "b", "z"), ("once", "a", "y")]
    facts = pl.DataFrame(
        [
            {"kind": "completion", "entity": str(n), "reach": reach, "relation": relation, "answer": answer}
            for n, (reach, relation, answer) in enumerate(rows)
        ]
    )
    truth = pl.concat([facts, *[facts.filter(reach="once")] * 5])  # more common, but only on single pages
    right = majority_right(truth, facts)
    assert right == [True, True, False, True, False]
    table = figures_table(fact_figures(facts.with_columns(right=True), right))
    assert value_of(table, model=MAJORITY, group="facts on many pages") == 0.75
    assert value_of(table, model=MAJORITY, group="facts on one page") == 0.0
    assert value_of(table, model="base", group="facts on one page") == 1.0
    assert majority_right(truth.clear(), facts) == [False] * 5


def test_bits_per_byte_are_those_of_all_pages_and_the_interval_draws_pages():
    pages = [{"nats": math.log(2) * 30, "bytes": 100}, {"nats": math.log(2) * 10, "bytes": 300}]
    table = figures_table(text_figures({"documents": pages, "ngram_bits": [60.0, 20.0], "xz": 0.6}))
    assert dict(table.select("model", "value").iter_rows()) == {"base": 0.1, NGRAM: 0.2, XZ: 0.6}
    [base] = find(table, model="base").to_dicts()
    assert (base["low"], base["high"], base["n"]) == (round(10 / 300, 6), 0.3, 2)
    assert text_figures({"documents": []}) == []


def test_problems_in_context_stand_beside_a_guess_and_the_latest_choice():
    rows = [(True, 1.0), (False, 0.0), (True, 0.25), (True, 1.0)]
    problems = pl.DataFrame(
        [
            {"task": "copy", "shots": 2, "right": right, "answer_right": False, "latest": latest}
            for right, latest in rows
        ]
    )
    table = figures_table(in_context_figures(problems))
    assert dict(find(table, metric="right").select("model", "value").iter_rows()) == {
        "base": 0.75,
        "guess": 0.25,
        "latest choice": 0.5625,
    }
    assert value_of(table, metric="answered") == 0.0 and set(table["group"]) == {"copy, 2 examples"}


def test_the_latest_choice_is_what_the_prompt_mentions_last():
    def latest(prompt, answer, *wrong):
        return latest_choice(Problem("t", 1, prompt, answer, (answer, *wrong)))

    assert latest("tea rain sun tea rain", "sun", "tea", "rain") == 0
    assert latest("tea, tea\nsun,", "sun", "tea", "rain", "storm") == 1
    assert latest("4, 5, 6,", "7", "8", "9", "16") == 0.25  # 6 is no choice


def test_the_check_against_baselines(monkeypatch):
    def outcome(**bits):
        rows = [
            row(model, "text", "validation pages", "bits_per_byte", once(value, 9)) for model, value in bits.items()
        ]
        monkeypatch.setattr(base_evaluation, "read_figures", lambda evaluation: figures_table(rows))
        return base_evaluation.beats_baselines(None, None, None)

    passed = outcome(base=1.0, gzip=2.0, xz=1.5)
    assert passed.passed and passed.numbers == {"bits_per_byte": 1.0, "best_baseline": 1.5, "margin": 0.5}
    failed = outcome(base=1.7, gzip=2.0, xz=1.5)
    assert not failed.passed and failed.failures == [{"predictor": "xz", "bits_per_byte": 1.5}]
    assert not outcome().passed
