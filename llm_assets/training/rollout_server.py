"""Rollouts by an OpenAI-compatible server: the policy is handed over as a folder, and completions come by HTTP.

A prompt goes to POST <url>/completions as token ids, with ``return_token_ids`` (vLLM since 0.10.2, SGLang) and
``logprobs``; the answer has ids and log-probabilities of the sampled tokens, the one that ended them included. Text is
never tokenized again, so that what was sampled is what is trained.

A server that still has older weights must not go unnoticed. Its log-probabilities of the samples are compared with the
trainer's own in every step, both at temperature 1 and over all rows of the embedding, as transformers has them. And if
it names its weights, the name must be theirs: a `model` with ``{weights}``, or a ``system_fingerprint`` of
``weights-<identity>``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from llm_assets.json_requests import EndpointError, key_headers, post_json
from llm_assets.model.chat import CALL_ENDS
from llm_assets.model.decoding import CallReader, call_or_end, room_for_output, tool_turn
from llm_assets.model.encoding import Encoding
from llm_assets.model.huggingface import export
from llm_assets.model.sampling import Completion, Engine, Tools
from llm_assets.model.transformer import Transformer

from .plan import PolicyPlan, RolloutService
from .processes import Devices
from .sequences import TrainingError

WEIGHT_FILES = "model*.safetensors*"
IDENTITY_DIGITS = 16  # hex digits of the SHA-256 of the files of weights
FINGERPRINT = "weights-"  # begins the system_fingerprint of a server that names its weights
POLL_SECONDS = 1.0  # between two requests to a server that restarts


def write_policy(model: Transformer, encoding: Encoding, folder: Path, dtype: str) -> str:
    """Write the policy for transformers into a folder, the weights last; returns the identity of the weights.

    Files of the same names are replaced, and files of weights with other names deleted. Raises TrainingError if the
    folder holds something else than a model.
    """
    temporary = folder / ".new"
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed while it wrote
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "config.json").is_file())):
        raise TrainingError(f"server.folder: {folder} is not an empty folder, and has no model (no config.json)")
    try:
        names = export(model, encoding, temporary, chat=True, dtype=dtype)
        weights = sorted(file.name for file in temporary.glob(WEIGHT_FILES))
        for path in folder.glob(WEIGHT_FILES):
            if path.name not in weights:
                path.unlink()
        for name in [name for name in names if name not in weights] + weights:
            os.replace(temporary / name, folder / name)
    except OSError as error:
        raise TrainingError(f"server.folder: {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return weights_identity(folder)


def weights_identity(folder: Path) -> str:
    """The identity of a folder's weights: the first digits of the SHA-256 of its safetensors files, in their order."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("model*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:IDENTITY_DIGITS]


@dataclass(frozen=True)
class Sampled:
    """One answer of the server. stopped: whether the last token ended it, in place of the limit of tokens."""

    tokens: list[int]
    log_probabilities: list[float]
    stopped: bool


class ServerSampler:
    """Samples with a server. In every `prepare` the first process hands the weights over."""

    def __init__(
        self,
        engine: Engine,
        plan: PolicyPlan,
        stops: Sequence[int],
        tools: Tools | None,
        devices: Devices,
        wait: Callable[[float], None] = time.sleep,
    ):
        assert plan.server is not None
        self.engine, self.plan, self.tools, self.devices, self._wait = engine, plan, tools, devices, wait
        self.service: RolloutService = plan.server
        self.stops, self.calls = tuple(stops), CallReader(engine.encoding)
        # An exported model also stops at the end of a call, whether or not it is asked to.
        self._ends = (*self.stops, *(engine.encoding.special[name] for name in CALL_ENDS))
        self.folder, self.weights = Path(self.service.folder).expanduser().absolute(), ""

    # -- handing the weights over -----------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Write the policy, and have the server read it. Raises TrainingError."""
        self.engine.model.eval()
        if self.devices.rank == 0:
            self.weights = write_policy(self.engine.model, self.engine.encoding, self.folder, self.service.dtype)
            if self.service.command:
                self._restart()
            else:
                for request in self.service.reload:
                    self._post(self._root + self._filled(request.path), self._filled(request.body) or None)
        self.weights = self.devices.broadcast(self.weights)

    @property
    def _root(self) -> str:
        parts = urlsplit(self.service.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def _url(self) -> str:
        return self.service.url.rstrip("/")

    def _restart(self) -> None:
        """Run the command, and wait until the server answers."""
        import requests

        command = [self._filled(argument) for argument in self.service.command]
        # A file, not a pipe: a server that the command leaves running keeps it open.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            try:
                subprocess.run(
                    command,
                    check=True,
                    timeout=self.service.timeout,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            except (OSError, subprocess.SubprocessError) as error:
                output.seek(0)
                text = output.read().strip()
                raise TrainingError(f"server.command: {error}{f': {text[-300:]}' if text else ''}") from error
        deadline, url = time.monotonic() + self.service.timeout, f"{self._url}/models"
        while True:
            try:
                response = requests.get(url, headers=key_headers(self.service), timeout=self.service.timeout)
                if response.status_code == 200:
                    return
                problem = f"status {response.status_code}"
            except requests.RequestException as error:
                problem = type(error).__name__
            if time.monotonic() > deadline:
                raise TrainingError(
                    f"server.command: {url} did not answer within {self.service.timeout:g} seconds ({problem})"
                )
            self._wait(POLL_SECONDS)

    def _filled(self, value: Any) -> Any:
        """The value with the folder and the identity of the weights in its texts."""
        if isinstance(value, str):
            return value.replace("{folder}", str(self.folder)).replace("{weights}", self.weights)
        if isinstance(value, dict):
            return {name: self._filled(item) for name, item in value.items()}
        return [self._filled(item) for item in value] if isinstance(value, list) else value

    def _post(self, url: str, body: Any) -> Any:
        try:
            return post_json(url, body, self.service, self._wait)
        except EndpointError as error:
            raise TrainingError(f"rollouts: {error}") from error

    # -- sampling ---------------------------------------------------------------------------------------------------

    def sample(self, numbers: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[Completion]:
        """`samples` completions of each prompt, in order, by concurrent requests. Raises TrainingError."""
        samples = self.plan.samples
        wanted = [
            (number * samples + sample, prompt)
            for number, prompt in zip(numbers, prompts, strict=True)
            for sample in range(samples)
        ]
        with ThreadPoolExecutor(self.service.concurrency) as threads:
            return list(threads.map(lambda item: self._complete(*item), wanted))

    def _complete(self, sequence: int, prompt: Sequence[int]) -> Completion:
        """One completion: as many requests as it has tool calls, and one. sequence: its number in the training."""
        context, completion, request = self.engine.shape.context, Completion(), 0
        while not completion.finish:
            tokens = [*prompt, *completion.tokens]
            left = self.plan.max_tokens - completion.own_length
            wanted = min(left, context - len(tokens))
            if wanted < 1:
                completion.finish = "length" if left < 1 else "context"
                break
            sampled = self._request(tokens, wanted, random_seed(self.plan.seed, sequence, request))
            request += 1
            if sampled.stopped and sampled.tokens[-1] in self.stops:
                completion.stop, completion.finish = sampled.tokens.pop(), "stop"
            for token, log_probability in zip(sampled.tokens, sampled.log_probabilities, strict=False):
                completion.add(token, log_probability)
            if not completion.finish and sampled.stopped and self.tools is not None:
                self._answer_call(completion, len(prompt))
            elif not sampled.stopped and len(sampled.tokens) < wanted:
                completion.finish = "context"  # the server's own limit is lower
        return completion

    def _answer_call(self, completion: Completion, prompt_length: int) -> None:
        """Make the call that a completion has just closed, and append its output; or end the completion."""
        assert self.tools is not None
        call = self.calls.closed_call(completion)
        if call is None:
            return
        room = room_for_output(self.engine.shape.context, prompt_length + len(completion.tokens) - 1)
        pending = call_or_end(completion, call, self.tools, room)
        if isinstance(pending, str):
            completion.finish = pending
            return
        answer = self.tools.answer(pending)
        completion.calls.append(answer)
        for token in tool_turn(self.engine.encoding, answer.result, min(self.tools.result_tokens, room)):
            completion.add(token, from_tool=True)

    def _request(self, tokens: list[int], max_tokens: int, seed: int) -> Sampled:
        """What follows these tokens, up to one that ends it."""
        url = f"{self._url}/completions"
        body = {
            "model": self._filled(self.service.model),
            "prompt": tokens,
            "max_tokens": max_tokens,
            "temperature": self.plan.temperature,
            "top_p": 1.0,
            "seed": seed,
            "stop_token_ids": list(self._ends),
            "logprobs": 1,
            "return_token_ids": True,
            "skip_special_tokens": False,
        }
        answer = self._post(url, body)
        try:
            return self._read(answer, max_tokens)
        except (LookupError, TypeError, ValueError) as error:
            problem = error if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
            raise TrainingError(f"rollouts: endpoint {url}: {problem}; it answered {str(answer)[:300]!r}") from error

    def _read(self, answer: Any, max_tokens: int) -> Sampled:
        """The sampled tokens of an answer. Raises LookupError, TypeError or ValueError if it does not fit."""
        named = answer.get("system_fingerprint")
        if isinstance(named, str) and named.startswith(FINGERPRINT) and named != FINGERPRINT + self.weights:
            raise ValueError(f"it serves {named}, not {FINGERPRINT}{self.weights} of {self.service.folder}")
        [choice] = answer["choices"]
        tokens = choice.get("token_ids")
        if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
            raise ValueError("no choices[0].token_ids; the server must know return_token_ids (vLLM 0.10.2 or later)")
        size = self.engine.encoding.size
        if not 0 < len(tokens) <= max_tokens or not all(0 <= token < size for token in tokens):
            raise ValueError(f"choices[0].token_ids: not 1 to {max_tokens} ids below {size}")
        scores = (choice.get("logprobs") or {}).get("token_logprobs")
        if not isinstance(scores, list) or len(scores) != len(tokens):
            raise ValueError("choices[0].logprobs.token_logprobs: not one log-probability for each token")
        stopped = choice["finish_reason"] == "stop"
        if stopped and tokens[-1] not in self._ends:
            raise ValueError("choices[0].token_ids: the last one is none of stop_token_ids, but finish_reason is stop")
        return Sampled(list(tokens), [float(score) for score in scores], stopped)

    # -- checking ---------------------------------------------------------------------------------------------------

    def examine(self, difference: float, tokens: float, step: int) -> float:
        """The mean difference of log-probabilities, in nats per token.

        difference, tokens: sums over all processes, as `differences` returns them. Raises TrainingError if it is
        larger than the tolerance: the server does not serve the policy.
        """
        mean = difference / max(tokens, 1.0)
        if not mean <= self.service.tolerance:
            raise TrainingError(
                f"rollouts: step {step}: the server's log-probabilities of its samples differ from the trainer's by "
                f"{mean:.3g} nats per token on average (server.tolerance {self.service.tolerance:g}). {self._url} "
                f"serves other weights than those in {self.service.folder} (weights {self.weights}), or computes "
                "them otherwise"
            )
        return mean


def random_seed(seed: int, sequence: int, request: int) -> int:
    """The seed of a request: 48 bits, so that any JSON reader keeps it."""
    return int.from_bytes(hashlib.sha256(f"{seed}-{sequence}-{request}".encode()).digest()[:6], "big")


def differences(
    prompts: Sequence[Sequence[int]], completions: Sequence[Completion], scores: Tensor
) -> tuple[float, float]:
    """How far the completions' log-probabilities are from others: the sum of absolute differences, and of how many.

    scores: (B, T) the others, of the tokens as `to_batch` places them: token i of a completion at len(prompt) - 1 + i.
    """
    total, count = 0.0, 0
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        is_own = ~torch.tensor(completion.from_tool, dtype=torch.bool)
        start = len(prompt) - 1
        own_scores = scores[row, start : start + len(completion.tokens)].double()[is_own]
        reported = torch.tensor(completion.log_probabilities, dtype=torch.float64)[is_own]
        total, count = total + float((own_scores - reported).abs().sum()), count + len(reported)
    return total, float(count)
