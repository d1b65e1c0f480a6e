"""Pairs of answers to rank, and votes that `human_rankings` reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from fastapi import APIRouter

from llm_assets.artifacts.errors import NotBuilt
from llm_assets.artifacts.explain import explain
from llm_assets.dialogue.guidelines import DEFAULT_GUIDELINES
from llm_assets.preference.human_rankings import HUMAN_RANKINGS, agreement, rankings_of_files
from llm_assets.preference.ranking_files import (
    add_ranking,
    ranking_files,
    rankings_file,
)
from llm_assets.preference.response_pairs import pair_digest
from llm_assets.recipes.preference import RankingFile

from ..checkpoints import Checkpoints
from ..errors import ApiError, invalid
from .contestants import contestant
from .protocol import (
    LabellerBody,
    NextPairBody,
    NextPairRequest,
    PairBody,
    RankRequest,
    RankState,
    StoredVote,
)
from .rank_queues import RankQueues
from .reading import Reader


def add_rank(router: APIRouter, reader: Reader, checkpoints: Checkpoints) -> None:
    queues = RankQueues(reader.workspace, reader.settings.data)

    @router.get("/rank")
    async def state() -> RankState:
        """Who has ranked how much, how often labellers agree, and what it means for `human_rankings`."""
        return await reader.run(partial(_state, reader, queues))

    @router.post("/rank/next")
    async def next_pair(body: NextPairRequest) -> NextPairBody:
        """The pair that a labeller ranks next. Nobody else gets it as long as they hold it."""
        return await reader.run(partial(_next, queues, body))

    @router.post("/rank/votes", status_code=201)
    async def vote(body: RankRequest) -> StoredVote:
        """Store a vote. It is on the disk when the answer comes."""
        return await reader.run(partial(_vote, reader, queues, checkpoints, body))


def _next(queues: RankQueues, body: NextPairRequest) -> NextPairBody:
    pair, left, ranked = queues.open(body.adversarial).queue.next(body.labeller, body.skip)
    shown = None
    if pair is not None:
        shown = PairBody(**{name: pair[name] for name in ("pair", "question", "first", "second")})
    return NextPairBody(pair=shown, left=left, ranked=ranked)


def _vote(reader: Reader, queues: RankQueues, checkpoints: Checkpoints, body: RankRequest) -> StoredVote:
    if (body.pair is None) == (body.fresh is None):
        raise invalid("give either pair or fresh", "pair")
    models = None
    if body.fresh is not None:
        texts = {name: getattr(body.fresh, name) for name in ("question", "first", "second")}
        if not all(text.strip() for text in texts.values()) or texts["first"].strip() == texts["second"].strip():
            raise invalid("a fresh pair has a question and two different answers", "fresh")
        pair = {"pair": pair_digest(*texts.values()), "subject": "", **texts}
        if body.fresh.models is not None:
            named = (asdict(contestant(reader, checkpoints, name)) for name in body.fresh.models)
            models = dict(zip(("first", "second"), named, strict=True))
    else:
        opened = queues.open(body.adversarial)
        known = opened.queue.by_id.get(str(body.pair))
        if known is None:
            raise ApiError(
                404, f"no pair {str(body.pair)!r} is to be ranked; ask for the next one", "not_found", "pair"
            )
        pair, models = dict(known), dict(opened.models)
    path = rankings_file(reader.settings.data, body.labeller)
    row = add_ranking(path, pair, body.vote, body.labeller, models)
    return StoredVote(ranking=row, file=str(path), is_read=path.resolve() in _read_files(reader))


def _read_files(reader: Reader) -> set[Path]:
    """The files of rankings that the recipe names."""
    return {Path(file.path).expanduser().resolve() for file in reader.workspace.recipe.human_rankings.files}


def _state(reader: Reader, queues: RankQueues) -> RankState:
    files = ranking_files(reader.settings.data)
    rankings, _, _ = rankings_of_files([RankingFile(path=str(path), name=f"f{n}") for n, path in enumerate(files)])
    counts = Counter(row["labeller"] for row in rankings.values())
    read = _read_files(reader)
    left_out = reader.workspace.graph.left_out(reader.workspace.recipe).get(HUMAN_RANKINGS.name)
    (explanation,) = explain(reader.workspace, [(HUMAN_RANKINGS.name, None)])
    try:
        pairs = len(queues.open(False).queue.pairs)
    except NotBuilt:
        pairs = 0
    labellers = [
        LabellerBody(labeller=path.stem, file=str(path), rankings=counts[path.stem], is_read=path.resolve() in read)
        for path in files
    ]
    return RankState(
        pairs=pairs,
        labellers=labellers,
        agreement=agreement(list(rankings.values())),
        state="left_out" if left_out else explanation.state,
        reason=left_out or replace(explanation, drifted=[]).text(),
        guidelines=_guidelines(reader),
    )


def _guidelines(reader: Reader) -> str:
    """The labelling guidelines of the recipe, in Markdown."""
    named = reader.workspace.recipe.conversations.guidelines
    return (Path(named).expanduser() if named else DEFAULT_GUIDELINES).read_text(encoding="utf-8")
