"""One choice of an answer while it is sampled: its text, its calls, and when it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from llm_assets.model.chat import CALL_ENDS, CALL_STARTS
from llm_assets.model.choosing import uniform_draws
from llm_assets.model.decoding import Choice, Row, call_or_end, room_for_output, tool_turn
from llm_assets.model.tool_calls import PendingCall, ToolCall, Tools

from .errors import ApiError
from .jobs import ClientCall, Job, Piece, Prompt, ScoredToken
from .pool import LoadedModel
from .text import GrowingText

# How the API names the ends of `Completion.finish`.
FINISHES = {"stop": "stop", "length": "length", "context": "length", "calls": "length"}


class Generation:
    """A choice of a job. sequence: its number in the batch. row: its place in the batch, a new one after each call."""

    def __init__(self, job: Job, choice: int, prompt: Prompt, model: LoadedModel, sequence: int):
        self.job, self.choice, self.prompt, self.model = job, choice, prompt, model
        special = model.encoding.special
        self.starts = {special[name] for name in CALL_STARTS}
        self.ends = {special[name] for name in CALL_ENDS}
        sampling = prompt.sampling
        if prompt.tools is not None:  # the batch goes on without the sequence until its call is answered
            sampling = replace(sampling, last=frozenset([*sampling.last, *self.ends]))
        [draws] = uniform_draws(sampling, prompt.number, 1)
        self.row = Row(sequence, sampling, draws)
        self.text = GrowingText(model.encoding, prompt.stops)
        self.is_calling = False  # waits for a tool
        self._open_call: list[ScoredToken] | None = None
        self._text_begins = prompt.in_turn

    def tokens(self) -> list[int]:
        """All tokens so far: the prompt's, the sampled ones, and tool output."""
        return [*self.prompt.tokens, *self.row.completion.tokens]

    @property
    def reading_size(self) -> int:
        """Tokens to be read before the next one is sampled. A prompt that is scored, with logits at each of its places,
        counts twice more.
        """
        scored = 2 * len(self.prompt.tokens) if self.prompt.echo and self.prompt.scored else 0
        return scored + (len(self.tokens()) if self.row.sampling.max_tokens else 0)

    def echo(self) -> Piece | None:
        """The prompt as the first piece of the answer, scored if log-probabilities are wanted."""
        prompt, encoding = self.prompt, self.model.encoding
        if not prompt.echo:
            return None
        tokens = list(prompt.tokens)
        shown = tokens[prompt.first_shown :]
        text = encoding.decode([token for token in shown if token in encoding.text_ids])
        if not prompt.scored:
            return Piece(self.choice, text)
        scored = [ScoredToken(tokens[0], None)]
        if len(tokens) > 1:
            likelihoods = self.model.engine.token_likelihoods(tokens, prompt.sampling.alternatives)
            check_scores([likelihood.log_probability for likelihood in likelihoods])
            scored += [
                ScoredToken(token, *likelihood) for token, likelihood in zip(tokens[1:], likelihoods, strict=True)
            ]
        return Piece(self.choice, text, scored[prompt.first_shown :])

    def take(self, choice: Choice) -> Piece:
        """What a sampled token adds to the answer. A stop text ends the row. Raises ApiError for a score of NaN."""
        check_scores([choice.log_probability])
        piece = Piece(self.choice)
        scored = ScoredToken(choice.token, choice.log_probability, choice.alternatives, choice.entropy)
        if self.prompt.tools is not None and choice.token in self.starts:
            self._open_call = []
        elif choice.token in self.model.encoding.text_ids:
            if self._open_call is not None:
                self._open_call.append(scored)
            else:
                self._show(scored, piece)
        if self.text.is_stopped and not self.row.ended:
            self.row.end("stop")
        return piece

    def _show(self, scored: ScoredToken, piece: Piece) -> None:
        """Put a token into the text, with its score if scores are wanted."""
        begins, self._text_begins = self._text_begins, False
        piece.text += self.text.push(scored.token, without_space=begins)
        if self.prompt.scored:
            piece.tokens.append(scored)

    def closed_call(self) -> tuple[str, str] | None:
        """The call that the row's last token closes, if the model was offered tools."""
        if self.prompt.tools is None or self.text.is_stopped:
            return None
        return self.model.calls.closed_call(self.row.completion)

    def ended_by_call(self) -> bool:
        """Whether the row ended because its last token ends a call, well formed or not."""
        completion = self.row.completion
        closes = completion.stop is None and bool(completion.tokens) and completion.tokens[-1] in self.ends
        return self.prompt.tools is not None and closes and completion.finish == "stop" and not self.text.is_stopped

    def can_continue(self) -> bool:
        """Whether the row may sample another token after its last one, which a call's end was."""
        return self.row.step < self.row.sampling.max_tokens and len(self.tokens()) <= self.model.shape.context

    def next_call(self, call: tuple[str, str]) -> PendingCall | str:
        """The call that the server is to make, or why the choice ends instead. It then ends without the call's text."""
        assert self.prompt.tools is not None
        outcome: PendingCall | str = "length"
        if self.can_continue():
            outcome = call_or_end(self.row.completion, call, self.prompt.tools, self._room())
        if isinstance(outcome, str):
            self._open_call = None
        return outcome

    def _room(self) -> int:
        return room_for_output(self.model.shape.context, len(self.tokens()) - 1)

    def answer(self, call: ToolCall) -> Piece:
        """Put a call's result into the sequence, which `continue_row` continues."""
        tools: Tools = self.prompt.tools  # type: ignore[assignment]
        tokens = tool_turn(self.model.encoding, call.result, min(tools.result_tokens, self._room()))
        self.row.completion.add_output(call, tokens)
        self.job.prompt_tokens += len(tokens)
        self._open_call = None
        return Piece(self.choice, server_call=call)

    def continue_row(self) -> None:
        """Go on where the row ended, in a new one."""
        self.row, self.is_calling = replace(self.row, ended=False), False

    def finish(self, reason: str, client_call: ClientCall | None = None) -> Piece:
        """The last piece. The text of a call that was never closed is part of the answer, as in `to_messages`, unless
        the client required the call.
        """
        piece = Piece(self.choice, client_call=client_call)
        is_required = self.prompt.sampling.opening is not None and not self.row.completion.calls  # the open call
        if client_call is None and not is_required:
            for scored in self._open_call or []:
                if not self.text.is_stopped:
                    self._show(scored, piece)
        piece.text += self.text.finish()
        is_stopped = self.text.is_stopped and client_call is None  # maybe by the last token that was allowed
        piece.finish = "stop" if is_stopped else FINISHES.get(reason, reason)
        return piece


def check_scores(scores: Sequence[float]) -> None:
    """Raise ApiError if a log-probability is not a finite number, which JSON could not hold either."""
    if not all(map(math.isfinite, scores)):
        raise diverged()


def diverged() -> ApiError:
    message = "the model's logits are not finite numbers: its training has diverged; use another checkpoint"
    return ApiError(500, message, "model_diverged", "model", is_permanent=True)
