"""Rollouts by a real HTTP server that serves the policy from the folder that the trainer writes."""

import contextlib
import json
import sys
import time

import pytest
import torch

from llm_assets.model.published_config import read_shape
from llm_assets.model.sampling import Completion, Engine, Tools
from llm_assets.model.shape import ModelShape
from llm_assets.training.plan import RolloutService, ServerRequest
from llm_assets.training.rollout_server import ServerSampler, differences, random_seed, weights_identity, write_policy
from llm_assets.training.sequences import TrainingError
from tests.support.policy_server import RELOAD, PolicyServer
from tests.support.policy_training import CPU, STOP, policy_plan, policy_trainer, read_curve
from tests.support.scripted_engine import call_tokens
from tests.support.tiny_models import ENCODING, initialised_model


@pytest.fixture
def serve(tmp_path):
    """A function that starts a server of the policy in `tmp_path / "policy"`."""
    servers = []

    def start(**settings):
        (tmp_path / "policy").mkdir(exist_ok=True)
        servers.append(PolicyServer(tmp_path / "policy", **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def trainer_with(server, folder, **changes):
    fields = {name: changes.pop(name) for name in ("reload", "model", "command", "url") if name in changes}
    settings = {"steps": 3, "prompts": 2, "samples": 4, "kl": 0.01, **changes}
    return policy_trainer(folder, server=server.service(**fields), **settings)


def test_a_policy_is_trained_on_what_the_server_samples_from_its_newest_weights(serve, tmp_path):
    server = serve(names_weights=False)
    trainer_with(server, tmp_path / "t", redraws=1, minibatches=2).run()
    curve = read_curve(tmp_path / "t")
    assert [row["step"] for row in curve] == [0, 1, 2] and all(row["mismatch"] < 1e-5 for row in curve)
    paths = [path for path, _ in server.requests]
    assert paths.count(RELOAD) == 3 and paths.count("/v1/completions") >= 3 * 8
    bodies = [body for path, body in server.requests if path == "/v1/completions"]
    assert len({body["seed"] for body in bodies}) == len(bodies)
    assert read_shape(tmp_path / "policy").width == 32
    assert not list((tmp_path / "policy").glob(".*"))


def test_the_same_server_gives_the_same_training(serve, tmp_path):
    for name in ("first", "again"):
        trainer_with(serve(), tmp_path / name, steps=2).run()
    assert read_curve(tmp_path / "first") == read_curve(tmp_path / "again")


@pytest.mark.parametrize(
    ("names_weights", "problem"),
    [
        (True, r"it serves weights-[0-9a-f]{16}, not weights-[0-9a-f]{16} of .*policy"),
        (False, r"step 1: the server's log-probabilities of its samples differ from the trainer's by .*other weights"),
    ],
)
def test_a_server_that_keeps_old_weights_is_an_error_before_anything_is_trained_on_its_samples(
    serve, tmp_path, names_weights, problem
):
    server = serve(names_weights=names_weights)
    server.is_stuck = True
    steps = []

    def report(kind, **values):
        if kind == "policy_step":
            steps.append(values["step"])

    with pytest.raises(TrainingError, match=problem):
        trainer_with(server, tmp_path / "t", report=report).run()
    assert steps == [1]  # whose samples were from the weights that the server read first


def test_the_name_of_the_model_can_be_that_of_its_weights(serve, tmp_path):
    server = serve()
    reload = (ServerRequest(RELOAD, {"path": "{folder}", "name": "policy-{weights}"}),)
    trainer_with(server, tmp_path / "t", steps=1, reload=reload, model="policy-{weights}").run()
    name = f"policy-{weights_identity(tmp_path / 'policy')}"
    assert {body.get("name", body.get("model")) for _, body in server.requests} == {name}


def without(answer, *path):
    value = answer
    for key in path[:-1]:
        value = value[key]
    value.pop(path[-1], None)
    return answer


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda answer: without(answer, "choices"), "choices"),
        (lambda answer: without(answer, "choices", 0, "token_ids"), r"no choices\[0\].token_ids; the server must know"),
        (lambda answer: without(answer, "choices", 0, "logprobs"), "not one log-probability for each token"),
        (lambda answer: {**answer, "choices": [{**answer["choices"][0], "token_ids": [10**6]}]}, "ids below 500"),
        (lambda answer: {**answer, "choices": [{**answer["choices"][0], "token_ids": []}]}, "not 1 to 6 ids"),
    ],
)
def test_an_answer_in_another_layout_is_one_clear_error(serve, tmp_path, change, problem):
    server = serve(change=lambda answer: change(answer) if "choices" in answer else answer)
    with pytest.raises(TrainingError, match=rf"rollouts: endpoint http.*/v1/completions: .*{problem}"):
        trainer_with(server, tmp_path / "t").update(0)


def test_a_dead_server_is_one_clear_error_after_its_retries(serve, tmp_path):
    trainer = trainer_with(serve(), tmp_path / "t", url="http://127.0.0.1:9/v1")
    trainer.sampler._wait = lambda seconds: None
    with pytest.raises(TrainingError, match=r"rollouts: endpoint http://127.0.0.1:9/reload: 2 tries failed"):
        trainer.run()


def test_a_command_can_restart_the_server_in_place_of_requests(serve, tmp_path):
    failing = (sys.executable, "-c", "import sys; sys.exit('no such unit')")
    with pytest.raises(TrainingError, match=r"server.command: .*no such unit"):
        trainer_with(serve(), tmp_path / "t", command=failing).update(0)
    trainer = trainer_with(serve(), tmp_path / "s", command=(sys.executable, "-c", "pass"), url="http://127.0.0.1:9/v1")
    object.__setattr__(trainer.sampler.service, "timeout", 5.0)
    clock = iter(range(0, 100, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm_assets.training.rollout_server.time.monotonic", lambda: next(clock))
        trainer.sampler._wait = lambda seconds: None
        with pytest.raises(TrainingError, match="/models did not answer within 5 seconds"):
            trainer.update(0)


def test_a_server_that_the_command_leaves_running_is_not_waited_for(serve, tmp_path):
    left_running = ("sh", "-c", "sleep 60 & echo {folder} > started")
    sampler = trainer_with(serve(), tmp_path / "t", command=left_running).sampler
    began = time.monotonic()
    with contextlib.chdir(tmp_path):
        sampler._restart()
    assert time.monotonic() - began < 60
    assert (tmp_path / "started").read_text().strip() == str(sampler.folder)


def test_a_hand_over_that_was_killed_is_written_again(tmp_path):
    engine = policy_trainer(tmp_path / "t").engine
    (tmp_path / "model" / ".new").mkdir(parents=True)
    (tmp_path / "model" / ".new" / "config.json").write_text("{")
    assert write_policy(engine.model, ENCODING, tmp_path / "model", "fp32")
    assert not (tmp_path / "model" / ".new").exists()


def test_a_folder_with_something_else_is_not_written_to(serve, tmp_path):
    engine = policy_trainer(tmp_path / "t").engine
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(TrainingError, match=r"server.folder: .*home is not an empty folder"):
        write_policy(engine.model, ENCODING, tmp_path / "home", "fp32")
    first = write_policy(engine.model, ENCODING, tmp_path / "model", "fp32")
    (tmp_path / "model" / "model-00001-of-00002.safetensors").write_bytes(b"old")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    assert write_policy(engine.model, ENCODING, tmp_path / "model", "fp32") == first
    assert write_policy(engine.model, ENCODING, tmp_path / "model", "bf16") != first
    assert {path.name for path in (tmp_path / "model").glob("*.safetensors")} == {"model.safetensors"}
    assert (tmp_path / "model" / "notes.txt").exists()


def sampler_of_answers(answers, tools=None, context=32, **changes):
    """A sampler whose server gives these answers: (tokens, finish reason), in order; and the bodies of its requests."""
    engine = Engine(initialised_model(ModelShape.of_depth(1, ENCODING.size, context, width=32)), ENCODING)
    service = RolloutService("http://127.0.0.1:9/v1", "policy", "policy")
    sampler = ServerSampler(engine, policy_plan(server=service, **changes), (STOP, ENCODING.bos), tools, CPU)
    bodies, remaining = [], list(answers)

    def post(url, body):
        bodies.append(body)
        tokens, finish = remaining.pop(0)
        logprobs = {"token_logprobs": [-1.0] * len(tokens)}
        return {"choices": [{"token_ids": list(tokens), "logprobs": logprobs, "finish_reason": finish}]}

    sampler._post = post
    return sampler, bodies


PROMPT = ENCODING.document("one")


def test_a_call_is_answered_in_place_and_sampling_goes_on_after_it():
    call = call_tokens("python", "1")
    tools = Tools({"python": lambda text: "x"}, calls=1)
    answers = [(call, "stop"), ([30, STOP], "stop")]
    sampler, bodies = sampler_of_answers(answers, tools, 96, max_tokens=12)
    completion = sampler._complete(3, PROMPT)
    assert completion.finish == "stop" and completion.stop == STOP and completion.tokens[-1] == 30
    assert [(made_call.tool, made_call.result) for made_call in completion.calls] == [("python", "x")]
    assert completion.tokens[: len(call)] == call and completion.own_length == len(call) + 1
    assert bodies[1]["prompt"] == [*PROMPT, *completion.tokens[:-1]]
    assert bodies[1]["max_tokens"] == 12 - len(call) and bodies[0]["seed"] != bodies[1]["seed"]
    refused, _ = sampler_of_answers([(call, "stop")] * 3, tools, 96, max_tokens=24)
    completion = refused._complete(3, PROMPT)
    assert (
        completion.finish == "calls" and len(completion.calls) == 2 and "no more than 1" in completion.calls[1].result
    )


def test_where_completions_end():
    cut, _ = sampler_of_answers([([30] * 6, "length")])
    assert cut._complete(0, PROMPT).finish == "length"
    short, _ = sampler_of_answers([([30] * 2, "length")])  # the server's own limit
    assert short._complete(0, PROMPT).finish == "context"
    full, bodies = sampler_of_answers([([30] * 2, "length")])
    assert full._complete(0, [5] * 30).finish == "context" and bodies[0]["max_tokens"] == 2
    document, _ = sampler_of_answers([([30, ENCODING.bos], "stop")])
    assert document._complete(0, PROMPT).stop == ENCODING.bos
    unknown, _ = sampler_of_answers([([30, 31], "stop")])
    with pytest.raises(TrainingError, match="the last one is none of stop_token_ids"):
        unknown._complete(0, PROMPT)


def test_differences_by_hand():
    completion = Completion([7, 8, 9], [-1.0, 0.0, -2.0], "stop", [False, True, False])
    scores = torch.tensor([[0.0, -1.5, 9.0, -1.0, 0.0]])
    assert differences([[1, 2]], [completion], scores) == (1.5, 2.0)


def test_seeds_are_kept_by_any_json_reader():
    seeds = {random_seed(1, sequence, request) for sequence in range(50) for request in range(2)}
    assert len(seeds) == 100 and max(seeds) < 2**48 and json.loads(json.dumps(max(seeds))) == max(seeds)
