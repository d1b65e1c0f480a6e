"""One choice of an answer while it is sampled: its text, its calls, and when it ends."""

from __future__ import annotations

from dataclasses import replace

from llm_assets.model.chat import CALL_ENDS, CALL_STARTS, Call
from llm_assets.model.choosing import uniform_draws
from llm_assets.model.decoding import Choice, Row, call_or_end, room_for_output, tool_turn
from llm_assets.model.tool_calls import PendingCall, ToolCall, Tools

from .jobs import Job, Piece, Prompt, ScoredToken
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
        self._open_call: list[int] | None = None
        self._text_begins = prompt.in_turn

    def tokens(self) -> list[int]:
        """All tokens so far: the prompt's, the sampled ones, and tool output."""
        return [*self.prompt.tokens, *self.row.completion.tokens]

    def echo(self) -> Piece | None:
        """The prompt as the first piece of the answer, scored if log-probabilities are wanted."""
        prompt, encoding = self.prompt, self.model.encoding
        if not prompt.echo:
            return None
        tokens = list(prompt.tokens)
        shown = tokens[prompt.first :]
        text = encoding.decode([token for token in shown if token in encoding.text_ids])
        if not prompt.scored:
            return Piece(self.choice, text)
        scored = [ScoredToken(tokens[0], None)]
        if len(tokens) > 1:
            likelihoods = self.model.engine.token_likelihoods(tokens, prompt.sampling.alternatives)
            scored += [
                ScoredToken(token, *likelihood) for token, likelihood in zip(tokens[1:], likelihoods, strict=True)
            ]
        return Piece(self.choice, text, scored[prompt.first :])

    def take(self, choice: Choice) -> Piece:
        """What a sampled token adds to the answer. A stop text ends the row."""
        piece = Piece(self.choice)
        if self.prompt.scored and choice.token in self.model.encoding.text_ids:
            piece.tokens.append(ScoredToken(choice.token, choice.log_probability, choice.alternatives, choice.entropy))
        offers_tools = self.prompt.tools is not None
        if offers_tools and choice.token in self.starts:
            self._open_call = []
        elif choice.token in self.model.encoding.text_ids:
            if self._open_call is not None:
                self._open_call.append(choice.token)
            else:
                piece.text = self._push(choice.token)
        if self.text.is_stopped and not self.row.ended:
            self.row.end("stop")
        return piece

    def _push(self, token: int) -> str:
        begins, self._text_begins = self._text_begins, False
        return self.text.push(token, without_space=begins)

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

    def next_call(self, call: tuple[str, str]) -> PendingCall | str:
        """The call that the server is to make, or why the choice ends instead."""
        assert self.prompt.tools is not None
        return call_or_end(self.row.completion, call, self.prompt.tools, self._room())

    def _room(self) -> int:
        return room_for_output(self.model.shape.context, len(self.tokens()) - 1)

    def answer(self, call: ToolCall) -> Piece:
        """Put a call's result into the sequence, which `continued_row` continues."""
        tools: Tools = self.prompt.tools  # type: ignore[assignment]
        tokens = tool_turn(self.model.encoding, call.result, min(tools.result_tokens, self._room()))
        self.row.completion.add_output(call, tokens)
        self.job.prompt_tokens += len(tokens)
        self._open_call = None
        return Piece(self.choice, server_call=call)

    def continued_row(self) -> Row:
        """A row that goes on where this one ended."""
        self.row, self.is_calling = replace(self.row, ended=False), False
        return self.row

    def finish(self, reason: str, client_call: Call | None = None) -> Piece:
        """The last piece. The text of a call that was never closed is part of the answer, as in `to_messages`."""
        text = ""
        if client_call is None:
            text = "".join(self._push(token) for token in self._open_call or [])
        text += self.text.finish()
        return Piece(self.choice, text, client_call=client_call, finish=FINISHES.get(reason, reason))
