"""From base model to assistant: what it is asked, what it is taught, its tools, and what is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .compute import Compute
from .frozen import Frozen


class Endpoint(Frozen):
    """A chat model behind an OpenAI-compatible API, which writes questions on articles and judges answers."""

    model: str = Field(min_length=1, description="its name at the endpoint")
    url: Annotated[str, EXECUTION_ONLY] = Field(description="base URL, to which /chat/completions is added")
    key_variable: Annotated[str, EXECUTION_ONLY] = Field(
        "OPENAI_API_KEY", description="environment variable that holds the key; none is sent where it is empty"
    )
    timeout: Annotated[float, EXECUTION_ONLY] = Field(120.0, gt=0, description="seconds for one request")
    concurrency: Annotated[int, EXECUTION_ONLY] = Field(8, ge=1, le=256, description="requests at once")
    retries: Annotated[int, EXECUTION_ONLY] = Field(
        4, ge=0, le=20, description="further tries after a connection error, 429 or 5xx"
    )


class SearchIndex(Frozen):
    """Full-text search over the clean corpus."""

    passage_characters: int = Field(
        400, ge=80, le=20_000, description="greatest length of a passage; longer paragraphs are cut between sentences"
    )


class Tools(Frozen):
    """What the assistant's tools may do."""

    results: int = Field(1, ge=1, le=20, description="passages that a search gives back")
    match: Literal["all", "any"] = Field("all", description="a passage must hold all words of the query, or any")
    calls: int = Field(3, ge=1, le=64, description="calls in one answer")
    result_tokens: int = Field(150, ge=8, description="tokens of a result; what is longer is cut")
    python_seconds: float = Field(1.0, gt=0, le=60, description="a program's running time")
    python_memory: int = Field(64 << 20, ge=1 << 20, description="bytes that a program may hold")
    python_characters: int = Field(400, ge=16, description="characters of a program's output")


class KnowledgeBoundary(Frozen):
    """Interrogation: what the base model knows, as Llama 3 was asked (arXiv:2407.21783, section 4.3.6)."""

    topics: int = Field(2_000, ge=0, description="facts asked for, drawn by seed")
    wordings: int = Field(2, ge=1, description="wordings of each")
    samples: int = Field(3, ge=1, description="answers sampled for each wording")
    temperature: float = Field(0.7, ge=0, description="of the samples")
    max_tokens: int = Field(24, ge=1, description="of an answer")
    examples: int = Field(
        3, ge=0, description="questions with their answers in front of each, so that a base model answers"
    )
    known: float = Field(0.75, gt=0, le=1, description="least share of right answers of what it knows")
    unknown: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="greatest share of right answers of what it does not know; between the two it is unsure",
    )
    kept_share: float = Field(
        0.4, ge=0, le=1, description="share of things, by hash, that no conversation mentions: evaluation asks for them"
    )
    fictitious: int = Field(2_000, ge=0, description="names made up for things of each kind that do not exist")
    endpoint: Endpoint | None = Field(
        None,
        description="who writes questions on the corpus's articles and judges the answers; None takes the crawl's own questions (the sample web has them)",
    )
    articles: int = Field(500, ge=1, description="articles that the endpoint is shown")
    questions_per_article: int = Field(4, ge=1, le=50)
    article_characters: int = Field(6_000, ge=200, description="characters of an article that the endpoint is shown")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="auto is a GPU where there is one"
    )
    seed: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _apart(self) -> KnowledgeBoundary:
        if self.unknown >= self.known:
            raise ValueError(f"unknown {self.unknown} must lie below known {self.known}")
        return self


class ConversationFile(Frozen):
    """Conversations of a user's own."""

    path: Annotated[str, EXECUTION_ONLY] = Field(
        description="JSONL (also .gz) or Parquet: OpenAI messages, ShareGPT, Alpaca, prompt and completion, question and answer"
    )
    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$", description="its name in the mixture")
    most: int | None = Field(None, ge=1, description="conversations taken, drawn by seed; None is all")


class Conversations(Frozen):
    """The mixture that the assistant is trained on."""

    count: int = Field(20_000, ge=0, description="conversations made, besides those of files")
    weights: dict[
        Literal[
            "known", "unknown", "fictitious", "open", "reading", "calculation", "letters", "repetition", "guidelines"
        ],
        float,
    ] = Field(
        {
            "known": 30.0,
            "unknown": 5.0,
            "fictitious": 15.0,
            "open": 6.0,
            "reading": 25.0,
            "calculation": 12.0,
            "letters": 15.0,
            "repetition": 3.0,
            "guidelines": 6.0,
        },
        description="how often an exchange is of each source",
    )
    tools: tuple[float, float, float, float] = Field(
        (0.45, 0.27, 0.18, 0.10), description="shares of conversations with no tool, search, Python, both"
    )
    turns: tuple[float, ...] = Field(
        (0.65, 0.25, 0.10), min_length=1, description="shares of conversations with one exchange, two, three …"
    )
    name: str = Field("Ada", min_length=1, description="of the assistant")
    maker: str = Field("the llm-assets project", min_length=1, description="who made it, by its own account")
    guidelines: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="labelling guidelines (Markdown; its content is part of the identity); None is the project's own",
    )
    files: tuple[ConversationFile, ...] = Field((), description="further conversations")
    evaluation_files: tuple[ConversationFile, ...] = Field(
        (), description="evaluation sets: conversations that overlap with one are left out"
    )
    overlap_words: int = Field(
        13,
        ge=4,
        description="words in a row that a user's message may not share with a question of an evaluation (Brown et al., arXiv:2005.14165, appendix C)",
    )
    seed: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _distinct(self) -> Conversations:
        names = [file.name for file in (*self.files, *self.evaluation_files)]
        if len(names) != len(set(names)):
            raise ValueError(
                f"files: two have the same name ({', '.join(sorted(name for name in set(names) if names.count(name) > 1))})"
            )
        if self.count and not sum(weight for weight in self.weights.values()) > 0:
            raise ValueError("weights: one at least must be above 0")
        if (
            any(weight < 0 for weight in (*self.weights.values(), *self.tools, *self.turns))
            or not sum(self.tools) > 0
            or not sum(self.turns) > 0
        ):
            raise ValueError("weights, tools, turns: shares are 0 or above, and not all 0")
        return self


class Finetuning(Frozen):
    """How the assistant is trained: the base model's loop, on conversations."""

    epochs: float = Field(1.0, gt=0, le=100, description="times that each conversation is trained on")
    ablation_epochs: float | None = Field(
        None,
        gt=0,
        le=100,
        description="the same for the checkpoint without the mitigation, which only serves to be compared; None is as epochs",
    )
    document_share: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of rows that are documents of the base model's training, so that it does not forget them",
    )
    batch_tokens: int | None = Field(None, ge=8, description="tokens of a step; None is as in pretraining")
    learning_rate_scale: float = Field(
        0.5, gt=0, le=10, description="plateau learning rates as a multiple of pretraining's"
    )
    weight_decay: float = Field(0.0, ge=0, le=1)
    warmup: float = Field(0.05, ge=0, le=0.5)
    cooldown: float = Field(0.5, ge=0, le=1)
    held_out: float = Field(
        0.02, ge=0, lt=0.5, description="share of conversations, by hash, on which the loss is measured"
    )
    validation_runs: int = Field(4, ge=0)
    seed: int = Field(1, ge=0)
    compute: Annotated[Compute, EXECUTION_ONLY] = Compute()


class SftEvaluation(Frozen):
    """What is asked of the assistant, of the base model with a prompt, and of the assistant without the mitigation."""

    questions: int = Field(300, ge=1, description="of each group")
    max_tokens: int = Field(80, ge=1)
    transcripts: int = Field(4, ge=0, description="answers of each group in the report")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field("auto")
    seed: int = Field(1, ge=0)
