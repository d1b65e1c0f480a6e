"""Bodies of the endpoints below ``/api/``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from llm_assets.artifacts.graph_state import AssetState
from llm_assets.curation.documents import PagePart
from llm_assets.curation.verdicts import RuleCount
from llm_assets.preference.arena import Comparison, Contestant
from llm_assets.preference.ranking_files import LABELLER
from llm_assets.tracing import Span

from ..protocol import ChatMessage, Strict

Labeller = Annotated[str, Field(pattern=LABELLER, description="Name of the person, which names a file too.")]
Vote = Literal["first", "second", "tie", "both_bad"]
Text = Annotated[str, Field(max_length=100_000)]
Answer = Annotated[str, Field(min_length=1, max_length=100_000)]


# Data


class FunnelRow(BaseModel):
    """What a stage of a crawl kept and rejected. bytes: of bodies, and of texts from `extracted_text` on."""

    crawl: str
    stage: str
    pages: int
    rejected: int
    bytes: int


class RejectedByRule(BaseModel):
    crawl: str
    stage: str
    rule: str
    pages: int


class FunnelBody(BaseModel):
    """crawls: that are built. unbuilt: crawls of the recipe that are not."""

    crawls: list[str]
    unbuilt: list[str]
    funnel: list[FunnelRow]
    rules: list[RejectedByRule]


class DocumentRow(BaseModel):
    """A capture. stage, rule, value, threshold: of its reject. Texts have placeholders for personal data.

    placeholders: how many of each kind the text of the corpus has.
    """

    doc_id: str
    crawl: str
    warc_file: str
    warc_offset: int
    url: str
    host: str
    fetched_at: str
    status: int | None
    mime: str | None
    state: Literal["kept", "rejected"]
    stage: str | None
    rule: str | None
    value: str | None
    threshold: str | None
    title: str | None
    language: str | None
    characters: int | None
    snippet: str | None
    placeholders: dict[str, int]


class DocumentList(BaseModel):
    total: int
    documents: list[DocumentRow]


class BrokenRule(BaseModel):
    rule: str
    value: float
    drops: str
    threshold: float
    source: str


class DocumentBody(BaseModel):
    """A capture's history. reject: as in the ledger; none for a page that is kept, whose row of the corpus is `page`.

    texts: by stage. cluster: the capture's duplicates. versions: the page's texts over the crawls.
    """

    capture: dict[str, Any]
    state: Literal["kept", "rejected", "unknown"]
    reject: dict[str, Any] | None
    page: dict[str, Any] | None
    broken_rules: list[BrokenRule]
    cluster: list[dict[str, Any]]
    versions: list[dict[str, Any]]
    title: str
    texts: dict[str, str]
    parts: list[PagePart]


class RuleBody(BaseModel):
    """A quality rule of the recipe, and where the pages lie. quantiles: of its statistic, at `RulesBody.shares`.

    breaking: pages that break it, whether or not an earlier rule drops them.
    """

    rule: str
    column: str
    drops: str
    threshold: float
    is_ratio: bool
    source: str
    breaking: int
    quantiles: list[float]


class RulesBody(BaseModel):
    pages: int
    shares: list[float]
    rules: list[RuleBody]


class WhatIfRequest(Strict):
    """Other thresholds, by rule; null switches a rule off. crawls: empty for all of the recipe."""

    thresholds: Annotated[dict[str, float | None], Field(min_length=1, max_length=64)]
    crawls: Annotated[list[str], Field(max_length=64)] = []
    samples: Annotated[int, Field(ge=0, le=20)] = 3


class Flip(BaseModel):
    """A page that is kept under one set of thresholds only, the rule that drops it, and the measured value."""

    crawl: str
    url: str
    warc_file: str
    warc_offset: int
    rule: str
    value: str
    text: str


class WhatIfBody(BaseModel):
    pages: int
    kept_before: int
    kept_after: int
    now_dropped: int
    now_kept: int
    rules: list[RuleCount]
    dropped_samples: list[Flip]
    kept_samples: list[Flip]


class SqlTable(BaseModel):
    """A table that SQL can read. columns: types by name. artifacts: identities. stale: a sentence for each of
    them that is not what the recipe asks for now.
    """

    name: str
    asset: str
    columns: dict[str, str]
    rows: int
    artifacts: list[str]
    stale: list[str]


class SqlTables(BaseModel):
    tables: list[SqlTable]


class SqlRequest(Strict):
    """One SELECT. skip: rows to skip."""

    sql: Annotated[str, Field(min_length=1, max_length=20_000)]
    skip: Annotated[int, Field(ge=0, le=10_000_000)] = 0


# Pipeline


class BuildBody(BaseModel):
    key: str
    holder: str
    since: str


class PipelineBody(BaseModel):
    recipe: str
    crawls: list[str]
    dagster: str
    mlflow: str
    assets: list[AssetState]
    dagster_assets: dict[str, str]
    builds: list[BuildBody]


class Related(BaseModel):
    key: str
    identity: str


class ArtifactBody(BaseModel):
    """An artifact's record, what it was built from, and what was built from it."""

    record: dict[str, Any]
    upstream: list[Related]
    downstream: list[Related]


# Trace


class TraceRequest(Strict):
    """An answer. tool_results: what tools returned for it; they are also taken from the messages, if there are any."""

    answer: Text
    tool_results: Annotated[list[Text], Field(max_length=64)] = []
    messages: Annotated[list[ChatMessage], Field(max_length=2048)] = []
    minimum: Annotated[int, Field(ge=1, le=1000)] = 6
    places: Annotated[int, Field(ge=0, le=100)] = 10


class TraceBody(BaseModel):
    """A `Trace`. tool_runs: places of the answer that are also in results of tools, see `tracing.tool_runs`. stale: why
    the index is not what the recipe asks for now; empty if it is.
    """

    stale: str
    answer: str
    tokens: int
    spans: list[Span]
    tool_runs: list[tuple[int, int]]
    seconds: float


class ConversationBody(BaseModel):
    """A conversation that the assistant was tuned on. source, line: where it comes from. sources: of its exchanges."""

    conversation: int
    source: str
    sources: list[str]
    line: int
    messages: list[dict[str, Any]]


# Rank and arena


class PairBody(BaseModel):
    pair: str
    question: str
    first: str
    second: str


class NextPairRequest(Strict):
    """adversarial: pairs that misled the reward model. skip: a pair that the labeller does not want to rank."""

    labeller: Labeller
    adversarial: bool = False
    skip: Annotated[str | None, Field(max_length=100)] = None


class NextPairBody(BaseModel):
    """pair: none if all are ranked. left: pairs that this labeller has not ranked. ranked: those that they have."""

    pair: PairBody | None
    left: int
    ranked: int


class FreshRequest(Strict):
    """A question that a model answers twice. model: None is the server's default. max_tokens: see `chat_request`."""

    question: Answer
    model: Annotated[str | None, Field(max_length=300)] = None
    max_tokens: Annotated[int | None, Field(ge=1, le=1 << 31)] = None
    temperature: Annotated[float, Field(gt=0, le=2)] = 0.9


class RankRequest(Strict):
    """A vote on a pair that was given by ``/api/rank/next``, or on a comparison by ``/api/rank/fresh``."""

    labeller: Labeller
    vote: Vote
    pair: Annotated[str | None, Field(max_length=100)] = None
    comparison: Annotated[str | None, Field(max_length=100)] = None
    adversarial: bool = False


class StoredVote(BaseModel):
    """A vote that is on the disk. file: where. is_read: whether the recipe's `human_rankings` reads this file."""

    ranking: dict[str, Any]
    file: str
    is_read: bool


class LabellerBody(BaseModel):
    labeller: str
    file: str
    rankings: int
    is_read: bool


class RankingsBuild(BaseModel):
    """A build of `human_rankings`. problem: why it failed."""

    state: Literal["none", "running", "built", "failed"]
    problem: str


class RankingsVersion(BaseModel):
    """The last version of `human_rankings`. identity: None if there is none. by_people: of its rankings.

    unread: votes that are stored and not in it. refusal: why the recipe builds none. build: of the next version.
    dagster: the asset's page. finished_at: UTC, ISO 8601.
    """

    identity: str | None
    rankings: int
    by_people: int
    finished_at: str
    unread: int
    refusal: str | None
    build: RankingsBuild
    dagster: str


class RankState(BaseModel):
    """agreement: of labellers on the same pairs, see `human_rankings.agreement`. state: of the asset, and why."""

    pairs: int
    labellers: list[LabellerBody]
    agreement: dict[str, float]
    state: str
    reason: str
    version: RankingsVersion
    guidelines: str


class ComparisonRequest(Strict):
    """models: names of the two to compare; none draws two of those that can chat. max_tokens: see `chat_request`."""

    question: Answer
    models: Annotated[list[str], Field(max_length=2)] = []
    tools: Annotated[list[Literal["search", "python"]], Field(max_length=2)] = []
    max_tokens: Annotated[int | None, Field(ge=1, le=1 << 31)] = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7


class ComparisonBody(BaseModel):
    """Two answers, whose models the server knows. comparison: its name in the vote."""

    comparison: str
    question: str
    first: str
    second: str

    @classmethod
    def of(cls, name: str, comparison: Comparison) -> ComparisonBody:
        return cls(comparison=name, question=comparison.question, first=comparison.first, second=comparison.second)


class ComparisonVote(Strict):
    labeller: Labeller
    comparison: Annotated[str, Field(max_length=100)]
    vote: Vote


class RevealedBody(BaseModel):
    """The models of a comparison, after its vote is on the disk."""

    first: Contestant
    second: Contestant
    file: str
