"""The blind arena: two models answer one question, and the vote reveals their names."""

from __future__ import annotations

import asyncio
import random
from functools import partial

from fastapi import APIRouter, Request

from llm_assets.model.assistant import is_chat_model
from llm_assets.preference.arena import ArenaTable, Contestant, OpenComparisons, arena_table
from llm_assets.preference.ranking_files import ARENA, rankings_file

from ..checkpoints import DESCRIPTION, Checkpoints
from ..errors import ApiError, invalid
from ..protocol import ServerTool
from ..service import Service
from .contestants import ChatAnswer, chat_request, comparison_of, contestant, texts_of
from .protocol import ComparisonBody, ComparisonRequest, ComparisonVote, RevealedBody
from .reading import Reader


def add_arena(router: APIRouter, reader: Reader, service: Service, answer: ChatAnswer) -> None:
    opened = OpenComparisons()

    @router.post("/arena/comparisons", status_code=201)
    async def compare(request: Request, body: ComparisonRequest) -> ComparisonBody:
        """Two models answer a question; their names are revealed after the vote."""
        models = await reader.run(partial(_pick, reader, service.checkpoints, body.models))
        tools = [ServerTool(type=name) for name in dict.fromkeys(body.tools)]
        sampling = {"temperature": body.temperature, "tools": tools or None}
        requests = [
            chat_request(body.question, service.limits, body.max_tokens, model=model.name, **sampling)
            for model in models
        ]
        try:
            async with asyncio.TaskGroup() as group:  # ends the other answer if one fails
                tasks = [group.create_task(answer(request, each)) for each in requests]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        comparison = comparison_of(body.question, [texts_of(task.result())[0] for task in tasks], models)
        return ComparisonBody.of(opened.add(comparison), comparison)

    @router.post("/arena/votes", status_code=201)
    async def vote(body: ComparisonVote) -> RevealedBody:
        """Store a vote, and reveal the models that gave the answers. It is on the disk when the answer comes."""
        data = reader.settings.data
        comparison, _ = await reader.run(partial(opened.vote, body.comparison, body.vote, body.labeller, data))
        file = rankings_file(data, body.labeller, ARENA)
        return RevealedBody(first=comparison.models[0], second=comparison.models[1], file=str(file))

    @router.get("/arena/ratings")
    async def ratings() -> ArenaTable:
        """Bradley-Terry ratings of the models by all votes, on Elo's scale."""
        return await reader.run(partial(arena_table, reader.settings.data))


def _pick(reader: Reader, checkpoints: Checkpoints, names: list[str]) -> tuple[Contestant, Contestant]:
    """The two models of these names, or two that can chat, in random order. Raises ApiError."""
    chosen = list(names)
    if not chosen:
        folders = {name: checkpoints.find(name, DESCRIPTION)[1] for name in checkpoints.names()}
        able = [name for name, folder in folders.items() if is_chat_model(folder)]
        if len(able) < 2:
            raise ApiError(409, f"two models that chat are needed; there are: {', '.join(able) or 'none'}", "not_built")
        chosen = random.SystemRandom().sample(able, 2)
    if len(chosen) != 2:
        raise invalid("name two models, or none", "models")
    random.SystemRandom().shuffle(chosen)
    first, second = (contestant(reader, checkpoints, name) for name in chosen)
    if first.identity == second.identity:
        raise invalid(f"{chosen[0]} and {chosen[1]} are the same model", "models")
    return first, second
