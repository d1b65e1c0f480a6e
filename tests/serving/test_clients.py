"""Programs of others understand the API: the openai client, schemathesis, lm-evaluation-harness, curl."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llm_assets.release.benchmark_model import exported_tokenizer
from llm_assets.serving.protocol import ChatRequest, CompletionRequest
from llm_assets.settings import PROJECT
from tests.support.api_schema import CHECKS, assert_generated_conform, assert_success_conforms, operations_of
from tests.support.model_server import SHAPE, model_server
from tests.support.tiny_models import TEXTS

QUESTIONS = [{"role": "user", "content": "Who lives in the town?"}]
GUIDES = [PROJECT / "docs" / "how-to" / name for name in ("serve.md", "page.md")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with model_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def openai(server):
    client = pytest.importorskip("openai", reason="openai is not installed (extra test)")
    return client.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_the_openai_client_chats_and_streams(openai):
    settings = {"model": "chat", "messages": QUESTIONS, "max_completion_tokens": 12, "temperature": 0.8, "seed": 2}
    whole = openai.chat.completions.create(**settings, logprobs=True, top_logprobs=2)
    [choice] = whole.choices
    assert choice.message.role == "assistant" and whole.usage.total_tokens > whole.usage.completion_tokens > 0
    assert choice.logprobs.content[0].top_logprobs[0].logprob >= choice.logprobs.content[0].logprob
    stream = openai.chat.completions.create(**settings, stream=True, stream_options={"include_usage": True})
    *chunks, last = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == choice.message.content and last.usage == whole.usage
    offered = openai.chat.completions.create(**settings, tools=[{"type": "function", "function": {"name": "search"}}])
    assert offered.choices[0].finish_reason in ("length", "stop", "tool_calls")


def test_the_openai_client_offers_functions_that_no_model_has_learnt(openai):
    """As agents do, which send all of their functions and the results of several calls at once."""
    import openai as package

    names = ("get_weather", "read_file", *(f"function{number}" for number in range(40)))
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    functions = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in names]
    settings = {"model": "chat", "max_tokens": 8, "tools": functions}
    for choice in ("auto", "none", package.omit):
        answer = openai.chat.completions.create(**settings, messages=QUESTIONS, tool_choice=choice).choices[0]
        assert answer.finish_reason in ("length", "stop") and answer.message.tool_calls is None
    calls = [
        {"id": f"call{number}", "type": "function", "function": {"name": name, "arguments": '{"city": "Ulm"}'}}
        for number, name in enumerate(names[:2])
    ]
    results = [{"role": "tool", "tool_call_id": item["id"], "content": "18 °C"} for item in calls]
    messages = [*QUESTIONS, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    assert openai.chat.completions.create(**settings, messages=messages).choices[0].message.role == "assistant"
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        with pytest.raises(package.BadRequestError, match="trained to call search and python only"):
            openai.chat.completions.create(**settings, messages=QUESTIONS, tool_choice=choice)


def test_the_openai_client_completes_lists_and_reads_errors(openai):
    import openai as package

    answer = openai.completions.create(model="base", prompt=["In the", "A"], max_tokens=3, n=2, logprobs=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert all(len(choice.logprobs.tokens) <= 3 for choice in answer.choices)
    assert [model.id for model in openai.models.list()] == ["chat", "base"]
    assert openai.models.retrieve("base").owned_by == "llm-assets"
    with pytest.raises(package.NotFoundError, match="no model 'other'"):
        openai.chat.completions.create(model="other", messages=QUESTIONS)
    with pytest.raises(package.BadRequestError) as refused:
        openai.completions.create(model="base", prompt="word " * 2000)
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(package.InternalServerError, match="not trained to embed"):
        openai.embeddings.create(model="base", input="a")


def test_every_field_of_the_openai_client_is_known():
    pytest.importorskip("openai", reason="openai is not installed (extra test)")
    from openai.types import completion_create_params as document
    from openai.types.chat import completion_create_params as chat

    for fields, model in ((chat, ChatRequest), (document, CompletionRequest)):
        assert set(fields.CompletionCreateParamsBase.__annotations__) <= model.model_fields.keys()


SHORT = {"max_tokens": 2, "stream": False}
# Of each operation, a request that is answered, and fields that all requests have, so that some more are.
ANSWERED = {
    "POST /v1/chat/completions": (
        {"body": {"messages": QUESTIONS, "n": 2, "logprobs": True, "top_logprobs": 2}},
        {"model": "chat", **SHORT},
    ),
    "POST /v1/completions": (
        {"body": {"prompt": ["a", "b"], "logprobs": 2, "echo": True}},
        {"model": "base", **SHORT},
    ),
    "GET /v1/models": ({}, {}),
    "GET /v1/models/{name}": ({"path_parameters": {"name": "chat"}}, {}),
    "GET /health": ({}, {}),
    "POST /api/render": ({"body": {"messages": QUESTIONS, "tools": ["python"]}}, {"model": "chat"}),
    "POST /api/frame": ({"body": {"path": "api/data/raw", "query": "crawl=c"}}, {}),
    "POST /api/tokenize": ({"body": {"text": "Äpfel <|bos|>"}}, {"model": "base"}),
    "POST /api/merges": ({"body": {"id": 300}}, {"model": "base"}),
    "POST /api/continue": ({"body": {"prompt": "In the"}}, {"model": "base", "max_tokens": 2}),
}
NOT_IMPLEMENTED = "POST /v1/embeddings"


def test_every_request_that_fits_the_schema_has_an_answer_that_does(server):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (extra test)")
    operations = operations_of(server, schemathesis)
    assert operations.keys() == {*ANSWERED, NOT_IMPLEMENTED}
    for name, (request, fixed) in ANSWERED.items():
        if "body" in request:
            request = {"body": {**request["body"], **fixed}}
        assert_success_conforms(server, operations[name], **request)
        assert_generated_conform(server, operations[name], 8, fixed)
    assert_generated_conform(server, operations[NOT_IMPLEMENTED], 8, {}, CHECKS[1:])  # its status is 501


@pytest.fixture
def harness():
    """lm-evaluation-harness, with what its models over HTTP need."""
    pytest.importorskip("tenacity", reason="tenacity is not installed (extra test)")
    return pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra benchmarks)")


def harness_model(server, tokenizer, **settings):
    """A model of the harness that asks the server. tokenizer: a folder in which it is to be written."""
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    exported_tokenizer(server.engine().encoding, SHAPE.context, False, tokenizer)
    return LocalCompletionsAPI(
        base_url=f"{server.url}/v1/completions",
        model="base",
        tokenizer=str(tokenizer),
        tokenizer_backend="huggingface",
        max_length=SHAPE.context,
        **settings,
    )


@pytest.mark.parametrize("with_bos", [True, False])
def test_the_harness_gets_the_likelihoods_that_it_gets_in_this_process(server, harness, tmp_path, with_bos):
    remote = harness_model(server, tmp_path / "tokenizer", add_bos_token=with_bos, batch_size=4)
    from lm_eval.api.instance import Instance

    from llm_assets.release.benchmark_model import EngineModel

    tokenizer = exported_tokenizer(server.engine().encoding, SHAPE.context, False, tmp_path / "own")
    local = EngineModel(server.engine("base"), tokenizer, has_chat=False, seed=1)
    pairs = [(text[:60], text[60:90]) for text in TEXTS[:5]]
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    expected = local.loglikelihood(requests, disable_tqdm=True)
    received = remote.loglikelihood(requests, disable_tqdm=True)
    assert [score for score, _ in received] == pytest.approx([score for score, _ in expected], abs=1e-3)
    assert [is_greedy for _, is_greedy in received] == [is_greedy for _, is_greedy in expected]
    until = {"until": ["\n", "the"], "max_gen_toks": 20, "temperature": 0, "do_sample": False}
    wanted = [Instance("generate_until", {}, (text[:40], dict(until)), 0) for text in TEXTS[:2]]
    for request in wanted:
        request.task_name = "task"
    assert remote.generate_until(wanted, disable_tqdm=True) == local.generate_until(wanted, disable_tqdm=True)


TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {rows}}}
test_split: train
target_delimiter: ""
doc_to_text: "{{{{text}}}}"
doc_to_target: "{{{{target}}}}"
"""
CHOICES = """
output_type: multiple_choice
doc_to_choice: choices
metric_list: [{metric: acc}]
"""
ANSWERS = """
output_type: generate_until
generation_kwargs: {until: ["the"], max_gen_toks: 12, temperature: 0}
metric_list: [{metric: exact_match}]
"""


def write_task(folder, name, kind, rows):
    """A task of the harness whose rows are in a file."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / f"{name}.yaml").write_text(TASK.format(name=name, rows=path) + kind)


def choices_of_the_model(server, tokenizer):
    """Rows of CHOICES; the target is the place of the one that the base model finds more probable."""
    from lm_eval.api.instance import Instance

    from llm_assets.release.benchmark_model import EngineModel

    local = EngineModel(server.engine("base"), tokenizer, has_chat=False, seed=1)
    choices = [" Ann", " it"]
    rows = [{"text": text[:40].strip(), "choices": both} for text in TEXTS[:4] for both in (choices, choices[::-1])]
    for row in rows:
        pairs = [Instance("loglikelihood", {}, (row["text"], choice), 0) for choice in row["choices"]]
        (first, _), (second, _) = local.loglikelihood(pairs, disable_tqdm=True)
        row["target"] = int(second > first)
    return rows


def answers_of_the_model(server):
    """Rows of ANSWERS; the target is what the chat model answers."""
    body = {"model": "chat", "max_tokens": 12, "temperature": 0, "stop": ["the"]}
    rows = [{"text": text[:40].strip()} for text in TEXTS[:4]]
    for row in rows:
        messages = [{"role": "user", "content": row["text"]}]
        [choice] = server.post("chat/completions", {**body, "messages": messages}).json()["choices"]
        row["target"] = choice["message"]["content"]
    return rows


def test_the_guides_harness_commands_work(server, harness, tmp_path):
    """On tasks of which the models' own answers are the right ones."""
    tokenizer = exported_tokenizer(server.engine().encoding, SHAPE.context, False, tmp_path / "exported")
    choices, answers = choices_of_the_model(server, tokenizer), answers_of_the_model(server)
    assert all(len({row["target"] for row in rows}) > 1 for rows in (choices, answers))
    write_task(tmp_path / "tasks", "choices", CHOICES, choices)
    write_task(tmp_path / "tasks", "answers", ANSWERS, answers)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache"), "PATH": path}
    commands = re.findall(r"^lm_eval(?:.*\\\n)*.*", "".join(examples("console")), re.MULTILINE)
    for command, task, metric in zip(commands, ("choices", "answers"), ("acc", "exact_match"), strict=True):
        options = f"--tasks {task} --include_path tasks --output_path {task}"
        words = ["sh", "-ec", re.sub(r"--tasks \S+", options, on_server(command, server))]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        (results,) = (tmp_path / task).rglob("results_*.json")
        assert json.loads(results.read_text())["results"][task][f"{metric},none"] == 1, done.stdout


def examples(language):
    text = "".join(guide.read_text() for guide in GUIDES)
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return [block for block in blocks if "localhost:8000" in block]


def on_server(text, server):
    """An example of the guide, for the server of the test."""
    text = text.replace("localhost:8000", f"127.0.0.1:{server.address.port}")
    return text.replace("rlhf_checkpoint", "chat").replace("base_checkpoint", "base")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_guides_curl_commands_work(server):
    commands = examples("sh")
    assert len(commands) >= 5
    for command in commands:
        done = subprocess.run(["sh", "-ec", on_server(command, server)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and '"error"' not in done.stdout and len(done.stdout) > 20, done


def test_the_guides_python_works(server, openai):
    programs = examples("python")
    assert programs
    for program in programs:
        exec(compile(on_server(program, server), "an example of the guides", "exec"), {})
