"""The thread that owns the models: it admits requests, samples all of them together, and delivers what comes out.

Requests join and leave the batch between two steps. A sequence that waits for a tool is not in the batch; tools run in
threads of their own. With several models in use, they take turns, a step each. Only so many tokens of prompts are read
between two steps that the sequences in the batch need not wait for long.
"""

from __future__ import annotations

import itertools
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from llm_assets.compute import cores
from llm_assets.model.decoding import Choice
from llm_assets.model.tool_calls import TOOL_THREADS, PendingCall

from .errors import RETRY_SECONDS, ApiError
from .generation import Generation, diverged
from .jobs import ClientCall, Ended, Event, Job, Piece, Started
from .limits import Limits
from .pool import LoadedModel, ModelPool

IDLE_SECONDS = 0.05  # between two looks at deadlines and cancellations while nothing can be sampled
# Of weights that are read, which takes one core 2 ms: from there on, all cores compute together.
DIVIDED_BYTES = 1 << 24
TOKENS_PER_READING = 20  # whose products take as long as reading the weights
# Of prompts that are read between two steps: enough for 32 short chats at once. A longer prompt is read alone.
READ_TOKENS = 2048
SHUTTING_DOWN = "the server is shutting down"
LOG = logging.getLogger("llm_assets.serving")


class Worker:
    """Start it with `start`; `submit` is safe from any thread."""

    def __init__(self, pool: ModelPool, limits: Limits):
        self.pool, self.limits = pool, limits
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: deque[Job] = deque()
        self._jobs: dict[Job, list[Generation]] = {}  # that are being answered
        self._reading: deque[Job] = deque()  # those of them that have unread prompts
        self._tools = ThreadPoolExecutor(TOOL_THREADS, "tools")
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._lock = threading.Lock()
        self._accepted = 0
        self._numbers = itertools.count()
        self._threads = 0  # with which this one computes
        self._end = ""  # why no more requests are accepted

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; requests that are not answered yet fail."""
        self._end = self._end or SHUTTING_DOWN
        self._inbox.put(None)
        self._thread.join()
        self.pool.close()
        self._tools.shutdown(wait=False, cancel_futures=True)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def counts(self) -> dict[str, int]:
        """How many requests wait and are being answered, and how many models are loaded."""
        return {"waiting": len(self._waiting), "answering": len(self._jobs), "models": len(self.pool.models)}

    def submit(self, job: Job) -> None:
        """Queue a request. Raises ApiError: 400 if it has too many choices, 429 if the queue is full, 503 at the end.

        The queue holds the requests that cannot join the batch yet.
        """
        if job.choices > self.limits.sequences:
            raise ApiError(400, f"{job.choices} choices in one request; the server makes {self.limits.sequences}")
        with self._lock:
            if self._end or not self.is_alive:
                raise self._end_error()
            if self._accepted >= self.limits.sequences + self.limits.queue:
                message = f"{self._accepted} requests are being answered or waiting; try again later"
                raise ApiError(429, message, "rate_limit_exceeded", retry_after=RETRY_SECONDS)
            self._accepted += 1
            self._inbox.put(lambda: self._waiting.append(job))

    def _end_error(self) -> ApiError:
        return ApiError(503, self._end or SHUTTING_DOWN, "shutting_down", retry_after=RETRY_SECONDS)

    # -- in the worker's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._end:
                try:
                    self._turn()
                except BaseException:  # a panic in a Rust library, such as tiktoken, is not an Exception
                    LOG.exception("the worker failed; requests that it was answering fail")
                    self._fail_all(ApiError(500, "an internal error; the server's log has it", "internal_error"))
        except BaseException:
            LOG.critical("the worker has ended: the server answers no more requests; start it again", exc_info=True)
        finally:
            with self._lock:  # a request is either refused by `submit`, or in the inbox by now
                self._end = self._end or "the model's thread has ended; the server must be started again"
            self._fail_all(self._end_error())

    def _turn(self) -> None:
        """Take in requests, read some prompts, and sample a token of each sequence of each model."""
        self._receive()
        self._expire()
        self._admit()
        self._read()
        for model in list(self.pool.models.values()):
            if not model.decoder.is_done:
                self._share_cores(model, len(model.decoder.rows))
                self._step(model)
            if model.decoder.rows and model.decoder.is_done:  # frees the memory of their keys and values
                model.reset()

    def _receive(self) -> None:
        """Take in what came; wait for something if there is nothing to sample."""
        is_busy = bool(self._reading) or any(not model.decoder.is_done for model in self.pool.models.values())
        has_jobs = bool(self._jobs or self._waiting)
        while True:
            try:
                if is_busy:
                    message = self._inbox.get_nowait()
                else:
                    message = self._inbox.get(timeout=IDLE_SECONDS if has_jobs else None)
            except queue.Empty:
                return
            if message is None:
                return
            message()
            is_busy = True

    def _expire(self) -> None:
        """Drop requests whose client has gone or whose time is over."""
        now = time.monotonic()
        for job in [*self._waiting, *self._jobs]:
            if job.is_cancelled:
                self._fail(job, client_gone())
            elif now > job.deadline:
                message = f"the request took longer than {self.limits.seconds:g} seconds"
                self._fail(job, ApiError(503, message, "timeout", is_permanent=True))

    def _admit(self) -> None:
        """Let the prompts of waiting requests be read, in their order, as far as there is room in the batch."""
        for job in list(self._waiting):
            if self._sequences() + job.choices > self.limits.sequences:
                break
            try:
                model = self.pool.get(job.folder)
                if model is None and self.pool.is_loading(job.folder):  # those of other models need not wait
                    continue
                if model is None or not model.has_room(job.choices):  # until others leave
                    break
                self._waiting.remove(job)
                self._prepare(job, model)
            except BaseException as error:  # a panic of the tokenizer as well: only this request fails
                self._fail(job, _as_api_error(error, "the request could not be prepared"))

    def _sequences(self) -> int:
        """Choices that are being answered."""
        return sum(map(len, self._jobs.values()))

    def _prepare(self, job: Job, model: LoadedModel) -> None:
        """Make the choices of a job, which is answered from now on. Raises ApiError."""
        prompts = job.prepare(model)
        self._jobs[job] = generations = []
        groups: list[list[Generation]] = []
        for choice, prompt in enumerate(prompts):
            generation = Generation(job, choice, prompt, model, next(self._numbers))
            model.generations[generation.row.sequence] = generation
            generations.append(generation)
            if prompt.is_copy:
                groups[-1].append(generation)
            else:
                groups.append([generation])
        job.open_choices = len(generations)
        job.prompt_tokens = sum(len(prompt.tokens) for prompt in prompts if not prompt.is_copy)
        self._deliver(job, Started(model))
        for group in groups:
            self._let_read(job, group)

    def _let_read(self, job: Job, group: list[Generation]) -> None:
        """Let choices of one prompt join the batch once it has been read."""
        if not job.unread:
            self._reading.append(job)
        job.unread.append(group)

    def _read(self) -> None:
        """Read READ_TOKENS of prompts, or one longer prompt. Jobs take turns, so that a short one need not wait for all
        prompts of another.
        """
        prompts = longest = 0
        joining: dict[tuple[int, int], list[Generation]] = {}
        while self._reading:
            job = self._reading[0]
            longest = max(longest, job.unread[0][0].reading_size)
            if prompts and (prompts + 1) * longest > READ_TOKENS:  # they are padded
                break
            prompts += 1
            self._reading.popleft()
            group = job.unread.popleft()
            if job.unread:
                self._reading.append(job)
            try:
                self._echo(group)
            except BaseException as error:
                self._fail(job, _as_api_error(error, "the prompt could not be scored"))
                continue
            joining.setdefault((id(group[0].model), len(group)), []).extend(group)
        for (_, copies), generations in joining.items():
            self._join([generation for generation in generations if generation.job in self._jobs], copies)

    def _echo(self, group: list[Generation]) -> None:
        """Deliver a prompt that is to be given back, to each of its choices. Raises ApiError."""
        self._share_cores(group[0].model, len(group[0].prompt.tokens))
        piece = group[0].echo()
        if piece is not None:
            for generation in group:
                self._deliver(generation.job, replace(piece, choice=generation.choice))

    def _join(self, generations: list[Generation], copies: int = 1) -> None:
        """Read prompts, each of which so many choices in a row have, and let them join the batch of one model."""
        sampled = [generation for generation in generations if generation.row.sampling.max_tokens]
        for generation in generations:
            if not generation.row.sampling.max_tokens:
                self._finish(generation, "length")
        if not sampled:
            return
        model = sampled[0].model
        if not self._read_chosen(model):
            return
        self._share_cores(model, sum(len(generation.tokens()) for generation in sampled))
        try:
            with model.engine.inference():
                model.decoder.add(
                    [generation.tokens() for generation in sampled[::copies]],
                    [generation.row for generation in sampled],
                )
            are_finite = model.decoder.logits[-len(sampled) :].isfinite().all(-1).tolist()
        except Exception as error:  # most often, too little memory for the prompts; the batch is as it was
            for job in {generation.job for generation in sampled}:
                self._fail(job, _as_api_error(error, "the prompts could not be read"))
            return
        for generation, is_finite in zip(sampled, are_finite, strict=True):
            if not is_finite and generation.job in self._jobs:
                self._fail(generation.job, diverged())

    def _share_cores(self, model: LoadedModel, tokens: int) -> None:
        """Let this thread compute with as many others as are worth it, unless the environment says with how many."""
        import torch

        threads = worthwhile_threads(model.size, tokens)
        if threads != self._threads and not os.environ.get("OMP_NUM_THREADS"):
            torch.set_num_threads(threads)
            self._threads = threads

    def _read_chosen(self, model: LoadedModel) -> bool:
        """Read the last step's tokens of the batch; if that fails, so does all that is in it."""
        try:
            with model.engine.inference():
                model.decoder.read_chosen()
        except Exception as error:
            self._fail_batch(model, error)
            return False
        return True

    def _fail_batch(self, model: LoadedModel, error: Exception) -> None:
        for job in {generation.job for generation in model.generations.values()}:
            self._fail(job, _as_api_error(error, "sampling failed"))
        model.reset()

    def _step(self, model: LoadedModel) -> None:
        """Sample a token of each sequence of one model, and deliver what it adds."""
        try:
            with model.engine.inference():
                choices = model.decoder.step()
        except Exception as error:
            self._fail_batch(model, error)
            return
        for choice in choices:
            generation = model.generations.get(choice.sequence)
            if generation is not None:
                self._take(generation, choice)
        for generation in list(model.generations.values()):
            if generation.row.ended and not generation.is_calling:
                try:
                    self._ended(generation)
                except BaseException as error:  # only this request fails
                    self._fail(generation.job, _as_api_error(error, "the answer could not be ended"))
        for job in list(self._jobs):
            if job.streams:
                self._flush(job)

    def _take(self, generation: Generation, choice: Choice) -> None:
        generation.job.completion_tokens += 1
        try:
            self._deliver(generation.job, generation.take(choice))
        except BaseException as error:  # only this request fails
            self._fail(generation.job, _as_api_error(error, "a token could not be taken"))

    def _ended(self, generation: Generation) -> None:
        """A sequence has ended: the choice is finished, or a call is to be made."""
        call = generation.closed_call()
        if call is None:
            if not generation.ended_by_call():
                self._finish(generation, generation.row.completion.finish)
            elif generation.can_continue():  # malformed: it is no call, and the model goes on
                generation.continue_row()
                self._let_read(generation.job, [generation])
            else:
                self._finish(generation, "length")
            return
        name, text = call
        argument = generation.prompt.client_tools.get(name)
        if argument is not None:
            self._finish(generation, "tool_calls", ClientCall(name, argument, text))
            return
        outcome = generation.next_call(call)
        if isinstance(outcome, str):
            self._finish(generation, outcome)
        else:
            self._call(generation, outcome)

    def _call(self, generation: Generation, call: PendingCall) -> None:
        """Make a call in a thread; the sequence joins the batch again once its result has come."""
        assert generation.prompt.tools is not None
        generation.is_calling = True
        future = self._tools.submit(generation.prompt.tools.answer, call)

        def proceed() -> None:
            if generation.job not in self._jobs:
                return
            try:
                self._deliver(generation.job, generation.answer(future.result()))
                generation.continue_row()
                self._let_read(generation.job, [generation])
            except BaseException as error:  # only this request fails
                self._fail(generation.job, _as_api_error(error, "a tool's result could not be taken"))

        future.add_done_callback(lambda _: self._inbox.put(proceed))

    def _finish(self, generation: Generation, reason: str, client_call: ClientCall | None = None) -> None:
        job = generation.job
        self._deliver(job, generation.finish(reason, client_call))
        self._remove(generation)
        job.open_choices -= 1
        if not job.open_choices:
            self._deliver(job, Ended(job.prompt_tokens, job.completion_tokens))
            self._release(job)

    def _remove(self, generation: Generation) -> None:
        """Take a choice out of the batch."""
        generation.model.generations.pop(generation.row.sequence, None)
        if not generation.row.ended:
            generation.row.end("stop")

    def _deliver(self, job: Job, event: Event) -> None:
        if not isinstance(event, Piece) or event != Piece(event.choice):  # nothing new
            job.pending.append(event)

    def _flush(self, job: Job) -> None:
        events, job.pending = job.pending, []
        if events:
            job.deliver(events)

    def _fail(self, job: Job, error: ApiError) -> None:
        """End a request with an error."""
        for generation in self._jobs.get(job, []):
            self._remove(generation)
        if job in self._waiting:
            self._waiting.remove(job)
        self._deliver(job, error)
        self._release(job)

    def _release(self, job: Job) -> None:
        """Make room for other requests."""
        self._flush(job)
        self._jobs.pop(job, None)
        if job.unread:
            job.unread.clear()
            self._reading.remove(job)
        with self._lock:
            self._accepted -= 1

    def _fail_all(self, error: ApiError) -> None:
        while not self._inbox.empty():
            message = self._inbox.get()
            if message is not None:
                message()
        for job in [*self._waiting, *self._jobs]:
            self._fail(job, error)
        for model in self.pool.models.values():
            model.reset()


def worthwhile_threads(size: int, tokens: int) -> int:
    """How many threads to compute with.

    size: bytes of a model's weights. tokens: that are read together; so many as TOKENS_PER_READING take as long as
    reading the weights. Short products are slower divided: the event loop and the clients need a core as well.
    """
    return cores() if size * max(1, tokens / TOKENS_PER_READING) >= DIVIDED_BYTES else 1


def client_gone() -> ApiError:
    return ApiError(499, "the client has closed the connection")


def _as_api_error(error: BaseException, doing: str) -> ApiError:
    """An error of the API as it is; any other one is logged, and is the server's fault."""
    if isinstance(error, ApiError):
        return error
    LOG.error(doing, exc_info=error)
    return ApiError(500, f"{doing}: {type(error).__name__}; the server's log has more", "internal_error")
