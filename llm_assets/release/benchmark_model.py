"""The sampling engine with the LM interface of lm-evaluation-harness.

Texts become tokens, and tokens texts, by the tokenizer that an export has, through transformers; prompts are cut and
responses ended as by the harness's own ``--model hf``. So the numbers are those of ``lm_eval --model hf`` on an export.
Only the process of `benchmark_evaluation` imports this module, because it needs the harness.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from llm_assets.model.chat import CHAT_TEMPLATE
from llm_assets.model.encoding import Encoding
from llm_assets.model.huggingface import generation_config
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.model.tokenizer_files import write_tokenizer

from .benchmark_files import BenchmarkError

# Settings of a generating task that the engine knows, besides those that `normalize_gen_kwargs` reads.
KNOWN_SETTINGS = {"until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p"}
DEFAULT_RESPONSE = 256  # tokens of a response where a task has no limit, as ``--model hf``


def exported_tokenizer(encoding: Encoding, context: int, has_chat: bool, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of an export, whose files are written into a folder. context: of the model, in tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(encoding, folder, context, CHAT_TEMPLATE if has_chat else None)
    return AutoTokenizer.from_pretrained(folder)


class EngineModel(TemplateLM):
    """A checkpoint as the harness asks it.

    cut: requests whose beginning did not fit into the context. requests: all of them.
    """

    def __init__(self, engine: Engine, tokenizer: PreTrainedTokenizerBase, has_chat: bool, seed: int):
        super().__init__()
        self.engine, self.tokenizer, self.seed = engine, tokenizer, seed
        ends = generation_config(engine.encoding, has_chat)["eos_token_id"]
        self.ends = tuple(ends) if isinstance(ends, list) else (ends,)
        self.cut = self.requests = 0

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        return int(self.tokenizer.bos_token_id)

    @property
    def max_length(self) -> int:
        return self.engine.shape.context

    @property
    def tokenizer_name(self) -> str:
        return "exported"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The ids of a text. It begins with BOS unless the text does so already, as a rendered chat template does."""
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(self.tokenizer.decode(self.prefix_token_id))
        return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text of a conversation, which ends where the assistant answers, or within its answer."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """Log-probability of each continuation, and whether it is the greedy one.

        requests: of each, anything, the ids of the context, and those of the continuation.
        """
        return self.score([(context, continuation) for _, context, continuation in requests])

    def score(self, requests: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        """Log-probability of each continuation after its context, and whether it is the greedy one.

        What does not fit into the model's context is cut from the beginning; of a continuation that does not fit by
        itself, its beginning is not scored.
        """
        pairs = []
        self.requests += len(requests)
        for context, continuation in requests:
            whole = [*context, *continuation][-(self.max_length + 1) :]
            self.cut += len(whole) < len(context) + len(continuation)
            scored = min(len(continuation), len(whole) - 1)
            pairs.append((whole[:-scored], whole[-scored:]))
        # The longest first: if a batch does not fit into memory, that shows at once. Those of one context are adjacent.
        order = sorted(range(len(pairs)), key=lambda number: (-sum(map(len, pairs[number])), pairs[number]))
        prompts, continuations = zip(*(pairs[number] for number in order), strict=True)
        batch = self.engine.fitting_batch([[*prompt, *rest] for prompt, rest in pairs], 0)
        scores = self.engine.likelihoods(prompts, continuations, batch, padded=True)
        by_number = dict(zip(order, scores, strict=True))
        return [tuple(by_number[number]) for number in range(len(pairs))]  # type: ignore[misc]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each whole text. A longer one is read in windows, each as long as the context."""
        windows: list[tuple[None, list[int], list[int]]] = []
        counts = []
        for [text] in (request.args for request in requests):
            of_text = utils.get_rolling_token_windows(
                self.tok_encode(text), prefix_token=self.prefix_token_id, max_seq_len=self.max_length, context_len=1
            )
            pairs = [utils.make_disjoint_window(window) for window in of_text]
            windows += [(None, context, continuation) for context, continuation in pairs]
            counts.append(len(pairs))
        scores = iter(self._loglikelihood_tokens(windows))
        return [sum(next(scores)[0] for _ in range(count)) for count in counts]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The response to each prompt, up to the first of the task's texts that end it, or an end token."""
        by_settings: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            by_settings.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(number)
        self.requests += len(requests)
        responses: dict[int, str] = {}
        for settings, numbers in by_settings.items():
            texts = [requests[number].args[0] for number in numbers]
            task = str(requests[numbers[0]].task_name)
            responses.update(zip(numbers, self._generate(texts, json.loads(settings), task), strict=True))
        return [responses[number] for number in range(len(requests))]

    def _generate(self, texts: Sequence[str], settings: dict[str, Any], task: str) -> Iterable[str]:
        """Responses to prompts with the same settings. Raises BenchmarkError."""
        settings = dict(normalize_gen_kwargs(settings, DEFAULT_RESPONSE))
        unknown = sorted(settings.keys() - KNOWN_SETTINGS)
        if unknown:
            raise BenchmarkError(f"benchmark {task}: its generation_kwargs have unknown settings: {', '.join(unknown)}")
        until = handle_stop_sequences(settings["until"], self.tokenizer.decode(self.eot_token_id))
        tokens = settings["max_gen_toks"]
        room = self.max_length - tokens
        if room < 1:
            raise BenchmarkError(
                f"benchmark {task}: a response of up to {tokens} tokens leaves no room for a prompt in a context of "
                f"{self.max_length}; set benchmarks.max_tokens"
            )
        prompts = [self.tok_encode(text) for text in texts]
        self.cut += sum(len(prompt) > room for prompt in prompts)
        prompts = [prompt[-room:] for prompt in prompts]
        sampling = Sampling(
            max_tokens=tokens,
            temperature=settings.get("temperature", 0.0) if settings["do_sample"] else 0.0,
            top_k=settings.get("top_k", 0) or 0,
            top_p=settings.get("top_p", 1.0),
            seed=self.seed,
            stop=self.ends,
            until=tuple(until),
        )
        order = sorted(range(len(prompts)), key=lambda number: (-len(prompts[number]), number))
        in_order = [prompts[number] for number in order]
        completions = self.engine.complete(in_order, sampling, batch=self.engine.fitting_batch(in_order, tokens))
        by_number = dict(zip(order, completions, strict=True))
        for number in range(len(prompts)):
            completion = by_number[number]
            # An end token is in the text unless it is special: the end of a tool call is not.
            ids = [*completion.tokens, *([] if completion.stop is None else [completion.stop])]
            yield postprocess_generated_text(self.tokenizer.decode(ids, skip_special_tokens=True), until, None)
