"""The engine with the harness's interface gives the numbers of ``lm_eval --model hf`` on the export."""

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra benchmarks)")
pytest.importorskip("accelerate", reason="accelerate, which the harness's own model needs, is not installed")

from lm_eval.api.instance import Instance
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from llm_assets.model.huggingface import export
from llm_assets.model.sampling import Engine
from llm_assets.model.shape import ModelShape
from llm_assets.release.benchmark_files import BenchmarkError
from llm_assets.release.benchmark_model import EngineModel, exported_tokenizer
from llm_assets.release.benchmark_tasks import write_tasks
from llm_assets.tokens.tokenizer import train
from tests.support.benchmark_files import benchmark_files
from tests.support.tiny_models import TEXTS, random_model

ENCODING = train(TEXTS, 512)
SHAPE = ModelShape.of_depth(2, 512, 128, width=64)
LONG = " ".join(TEXTS)[:900]  # more tokens than the context


@pytest.fixture(scope="module", params=[False, True], ids=["base", "chat"])
def models(request, tmp_path_factory):
    """A checkpoint in the engine, its export in transformers, and whether it is a chat model."""
    folder, model = tmp_path_factory.mktemp("export"), random_model(SHAPE)
    export(model, ENCODING, folder / "export", chat=request.param)
    tokenizer = exported_tokenizer(ENCODING, SHAPE.context, request.param, folder / "tokenizer")
    engine_model = EngineModel(Engine(model, ENCODING), tokenizer, request.param, seed=1)
    harness_model = HFLM(pretrained=str(folder / "export"), device="cpu", dtype="float32", batch_size=3)
    return engine_model, harness_model, request.param


def requests(kind, arguments):
    return [
        Instance(kind, {}, arguments=pair, idx=0, metadata=("task", number, 1)) for number, pair in enumerate(arguments)
    ]


def test_log_likelihoods_are_the_same(models):
    engine_model, harness_model, _ = models
    pairs = [
        *(("Question: Who was born in 1931?\nAnswer:", f" {letter}") for letter in "ABCD"),
        ("A town ", "lies by the sea."),
        ("", "Nothing came before it."),
        ("<|bos|><|user_start|> Who?<|user_end|><|assistant_start|>", "It is <|tool_start|> Ann."),
        (LONG, " and the end."),
        ("Who?", LONG[:250]),
    ]
    for (score, is_greedy), (their_score, their_greedy) in zip(
        engine_model.loglikelihood(requests("loglikelihood", pairs)),
        harness_model.loglikelihood(requests("loglikelihood", pairs)),
        strict=True,
    ):
        assert score == pytest.approx(their_score, abs=1e-3) and is_greedy == their_greedy
    assert engine_model.cut > 0


def test_whole_texts_have_the_same_log_likelihood(models):
    engine_model, harness_model, _ = models
    texts = [(LONG,), ("Short.",)]
    scores = engine_model.loglikelihood_rolling(requests("loglikelihood_rolling", texts))
    assert scores == pytest.approx(
        harness_model.loglikelihood_rolling(requests("loglikelihood_rolling", texts)), abs=1e-2
    )


def test_responses_are_the_same_and_end_at_the_texts_of_the_task(models):
    engine_model, harness_model, _ = models
    prompts = [TEXTS[number][:60] for number in range(5)] + [LONG]
    settings = {"until": [], "max_gen_toks": 24, "do_sample": False}
    arguments = [(prompt, settings) for prompt in prompts]
    free = engine_model.generate_until(requests("generate_until", arguments))
    assert free == harness_model.generate_until(requests("generate_until", arguments)) and all(free)
    until = free[0][4:7]  # in no token of its own
    arguments = [(prompt, {**settings, "until": [until, "\n\n"]}) for prompt in prompts]
    stopped = engine_model.generate_until(requests("generate_until", arguments))
    assert stopped == harness_model.generate_until(requests("generate_until", arguments))
    assert stopped[0] == free[0].partition(until)[0] and not any(until in text for text in stopped)


def test_a_conversation_has_the_same_text(models):
    engine_model, harness_model, has_chat = models
    assert (engine_model.tokenizer.chat_template is not None) == has_chat
    if not has_chat:  # a base model has no template
        return
    messages = [
        {"role": "user", "content": "Two <|user_end|>?"},
        {"role": "assistant", "content": "Four."},
        {"role": "user", "content": "Three?"},
    ]
    assert engine_model.apply_chat_template(messages) == harness_model.apply_chat_template(messages)
    begun = [*messages, {"role": "assistant", "content": "Six"}]
    text = engine_model.apply_chat_template(begun, add_generation_prompt=False)
    assert text == harness_model.apply_chat_template(begun, add_generation_prompt=False) and text.endswith("Six")


def test_every_format_has_the_same_figures_and_responses(models, tmp_path):
    engine_model, harness_model, has_chat = models
    folder = tmp_path / "tasks [1]*"  # no pattern
    write_tasks(benchmark_files(tmp_path), folder)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    results = []
    for model in (engine_model, harness_model):
        loaded = manager.load(["own_arc", "own_mmlu", "own_hellaswag", "own_gsm8k"])
        for task in loaded["tasks"].values():
            task.set_fewshot_seed(1234)
            if task.OUTPUT_TYPE == "generate_until":
                task.set_config("generation_kwargs", {"max_gen_toks": 12}, update=True)
            elif task.get_config("num_fewshot") is None:
                task.set_config("num_fewshot", 0)
        results.append(
            evaluate(model, loaded, bootstrap_iters=0, apply_chat_template=has_chat, fewshot_as_multiturn=has_chat)
        )
    assert results[0]["results"] == results[1]["results"] and len(results[0]["results"]) == 6
    for name, samples in results[0]["samples"].items():
        for sample, their_sample in zip(samples, results[1]["samples"][name], strict=True):
            assert sample["prompt_hash"] == their_sample["prompt_hash"]
            if name == "own_gsm8k":
                assert sample["resps"] == their_sample["resps"]


def test_a_response_without_room_for_a_prompt_is_an_error(models):
    with pytest.raises(BenchmarkError, match=r"task: a response of up to 256 tokens .* set benchmarks.max_tokens"):
        models[0].generate_until(requests("generate_until", [("Who?", {"until": ["."]})]))
    with pytest.raises(BenchmarkError, match="task: its generation_kwargs have unknown settings: num_beams"):
        models[0].generate_until(requests("generate_until", [("Who?", {"max_gen_toks": 8, "num_beams": 2})]))
