"""Pairs of answers to rank, and votes that `human_rankings` reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from fastapi import APIRouter, Request

from llm_assets.artifacts.errors import NotBuilt
from llm_assets.artifacts.explain import explain
from llm_assets.dialogue.guidelines import DEFAULT_GUIDELINES
from llm_assets.preference.arena import OpenComparisons
from llm_assets.preference.human_rankings import HUMAN_RANKINGS, agreement, is_counted, rankings_of_files
from llm_assets.preference.journals import journals
from llm_assets.preference.ranking_files import RANKINGS, add_ranking, ranking_files, rankings_file

from ..errors import ApiError, invalid
from ..service import Service
from .contestants import ChatAnswer, chat_request, comparison_of, contestant, texts_of
from .protocol import (
    ComparisonBody,
    FreshRequest,
    LabellerBody,
    NextPairBody,
    NextPairRequest,
    PairBody,
    RankingsVersion,
    RankRequest,
    RankState,
    StoredVote,
)
from .rank_queues import RankQueues
from .ranking_versions import RankingsBuilds, current_version, start_build
from .reading import Reader


def add_rank(router: APIRouter, reader: Reader, service: Service, answer: ChatAnswer, builds: RankingsBuilds) -> None:
    queues = RankQueues(reader.workspace, reader.settings.data)
    opened = OpenComparisons(RANKINGS)

    @router.get("/rank")
    async def state() -> RankState:
        """Who has ranked how much, how often labellers agree, and what it means for `human_rankings`."""
        return await reader.run(partial(_state, reader, queues, builds))

    @router.post("/rank/next")
    async def next_pair(body: NextPairRequest) -> NextPairBody:
        """The pair that a labeller ranks next. Nobody else gets it as long as they hold it."""
        return await reader.run(partial(_next, queues, body))

    @router.post("/rank/fresh", status_code=201)
    async def fresh(request: Request, body: FreshRequest) -> ComparisonBody:
        """A model answers a question twice, for a vote within the hour."""
        model = await reader.run(partial(contestant, reader, service.checkpoints, body.model))
        choices = min(2, service.limits.sequences)  # of one request
        sampling = {"n": choices, "temperature": body.temperature}
        chat = chat_request(body.question, service.limits, body.max_tokens, model=model.name, **sampling)
        answers = [await answer(request, chat) for _ in range(2 // choices)]
        texts = [text for body_of_answer in answers for text in texts_of(body_of_answer)]
        comparison = comparison_of(body.question, texts, (model, model))
        return ComparisonBody.of(opened.add(comparison), comparison)

    @router.post("/rank/votes", status_code=201)
    async def vote(body: RankRequest) -> StoredVote:
        """Store a vote. It is on the disk when the answer comes."""
        return await reader.run(partial(_vote, reader, queues, opened, body))

    @router.get("/rank/version")
    async def version() -> RankingsVersion:
        """The last version of `human_rankings`, the votes that it is without, and the build of the next one."""
        return await reader.run(partial(current_version, reader, builds))

    @router.post("/rank/version", status_code=202)
    async def build() -> RankingsVersion:
        """Build the next version, as a run of Dagster, unless that is going on already."""
        return await reader.run(partial(start_build, reader, builds))


def _next(queues: RankQueues, body: NextPairRequest) -> NextPairBody:
    pair, left, ranked = queues.open(body.adversarial).queue.next(body.labeller, body.skip)
    shown = None
    if pair is not None:
        shown = PairBody(**{name: pair[name] for name in ("pair", "question", "first", "second")})
    return NextPairBody(pair=shown, left=left, ranked=ranked)


def _vote(reader: Reader, queues: RankQueues, comparisons: OpenComparisons, body: RankRequest) -> StoredVote:
    if (body.pair is None) == (body.comparison is None):
        raise invalid("give either pair or comparison", "pair")
    settings, data = reader.workspace.recipe.human_rankings, reader.settings.data
    path = rankings_file(data, body.labeller)
    if body.comparison is not None:
        _, row = comparisons.vote(body.comparison, body.vote, body.labeller, data)
    else:
        pairs = queues.open(body.adversarial)
        pair = pairs.queue.by_id.get(str(body.pair))
        if pair is None:
            message = f"no pair {str(body.pair)!r} is to be ranked; ask for the next one"
            raise ApiError(404, message, "not_found", "pair")
        if pairs.queue.is_held_from(body.labeller, str(body.pair)):
            message = f"somebody else is ranking the pair {body.pair}; ask for the next one"
            raise ApiError(409, message, "held", "pair")
        row = add_ranking(path, pair, body.vote, body.labeller, pairs.models)
    return StoredVote(ranking=row, file=str(path), is_read=is_counted(path, settings, data))


def _state(reader: Reader, queues: RankQueues, builds: RankingsBuilds) -> RankState:
    settings, data = reader.workspace.recipe.human_rankings, reader.settings.data
    voted = [journal for journal in journals(data) if journal.name.startswith("votes/")]
    rankings, _, _ = rankings_of_files((), voted)
    counts = Counter(row["labeller"] for row in rankings.values())
    left_out = reader.workspace.graph.left_out(reader.workspace.recipe).get(HUMAN_RANKINGS.name)
    (explanation,) = explain(reader.workspace, [(HUMAN_RANKINGS.name, None)])
    try:
        pairs = len(queues.open(False).queue.pairs)
    except NotBuilt:
        pairs = 0
    labellers = [
        LabellerBody(
            labeller=path.stem, file=str(path), rankings=counts[path.stem], is_read=is_counted(path, settings, data)
        )
        for path in ranking_files(data)
    ]
    return RankState(
        pairs=pairs,
        labellers=labellers,
        agreement=agreement(list(rankings.values())),
        state="left_out" if left_out else explanation.state,
        reason=left_out or replace(explanation, drifted=[]).text(),
        version=current_version(reader, builds),
        guidelines=_guidelines(reader),
    )


def _guidelines(reader: Reader) -> str:
    """The labelling guidelines of the recipe, in Markdown."""
    named = reader.workspace.recipe.conversations.guidelines
    return (Path(named).expanduser() if named else DEFAULT_GUIDELINES).read_text(encoding="utf-8")
