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
    PairQueue,
    add_ranking,
    pairs_to_rank,
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
from .reading import Reader

HOUR = 3600.0


def add_rank(router: APIRouter, reader: Reader, checkpoints: Checkpoints) -> None:
    @router.get("/rank")
    async def state() -> RankState:
        """Who has ranked how much, how often labellers agree, and what it means for `human_rankings`."""
        return await reader.run(partial(_state, reader))

    @router.post("/rank/next")
    async def next_pair(body: NextPairRequest) -> NextPairBody:
        """The pair that a labeller ranks next. Nobody else gets it as long as they hold it."""
        return await reader.run(partial(_next, reader, body))

    @router.post("/rank/votes", status_code=201)
    async def vote(body: RankRequest) -> StoredVote:
        """Store a vote. It is on the disk when the answer comes."""
        return await reader.run(partial(_vote, reader, checkpoints, body))


def _queue(reader: Reader, adversarial: bool) -> PairQueue:
    """The pairs of the recipe's current artifact, and who holds them. Raises NotBuilt."""
    stage = "rlhf_checkpoint" if adversarial else "response_pairs"
    identity = reader.workspace.resolver().artifact(stage, None).record.identity

    def make() -> PairQueue:
        return PairQueue(pairs_to_rank(reader.workspace, adversarial), reader.settings.data)

    return reader.remembered(("pairs", identity), make, 24 * HOUR)


def _next(reader: Reader, body: NextPairRequest) -> NextPairBody:
    queue = _queue(reader, body.adversarial)
    pair, left = queue.next(body.labeller, body.skip)
    shown = None
    if pair is not None:
        shown = PairBody(**{name: pair[name] for name in ("pair", "question", "first", "second")})
    return NextPairBody(pair=shown, left=left, ranked=len(queue.pairs) - left)


def _vote(reader: Reader, checkpoints: Checkpoints, body: RankRequest) -> StoredVote:
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
        known = _queue(reader, body.adversarial).by_id.get(str(body.pair))
        if known is None:
            raise ApiError(
                404, f"no pair {str(body.pair)!r} is to be ranked; ask for the next one", "not_found", "pair"
            )
        pair = dict(known)
        if not body.adversarial:
            policy = _policy(reader)
            models = {"first": policy, "second": policy}
    path = rankings_file(reader.settings.data, body.labeller)
    row = add_ranking(path, pair, body.vote, body.labeller, models)
    return StoredVote(ranking=row, file=str(path), is_read=path.resolve() in _read_files(reader))


def _policy(reader: Reader) -> dict[str, str]:
    """The model whose answers the pairs of `response_pairs` are."""
    inputs = reader.workspace.resolver().resolve("response_pairs", None).inputs
    for name in ("rl_checkpoint", "sft_checkpoint"):
        if name in inputs:
            return {"name": name, "identity": inputs.artifact(name).record.short_id}
    return {"name": "policy", "identity": ""}


def _read_files(reader: Reader) -> set[Path]:
    """The files of rankings that the recipe names."""
    return {Path(file.path).expanduser().resolve() for file in reader.workspace.recipe.human_rankings.files}


def _state(reader: Reader) -> RankState:
    files = ranking_files(reader.settings.data)
    rankings, _, _ = rankings_of_files([RankingFile(path=str(path), name=f"f{n}") for n, path in enumerate(files)])
    counts = Counter(row["labeller"] for row in rankings.values())
    read = _read_files(reader)
    left_out = reader.workspace.graph.left_out(reader.workspace.recipe).get(HUMAN_RANKINGS.name)
    (explanation,) = explain(reader.workspace, [(HUMAN_RANKINGS.name, None)])
    try:
        pairs = len(_queue(reader, False).pairs)
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
