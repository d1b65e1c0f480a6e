"""From base model to assistant: interrogation, conversations, fine-tuning, tools and evaluation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY, OMITTED_IF_NONE

from .compute import Compute
from .frozen import Frozen
from .lora import Lora


class Endpoint(Frozen):
    """A chat model with an OpenAI-compatible API, which writes questions about articles and judges answers."""

    model: str = Field(min_length=1, description="the model's name at the endpoint")
    url: Annotated[str, EXECUTION_ONLY] = Field(description="base URL, to which /chat/completions is added")
    key_variable: Annotated[str, EXECUTION_ONLY] = Field(
        "OPENAI_API_KEY", description="environment variable with the API key; if it is empty, no key is sent"
    )
    timeout: Annotated[float, EXECUTION_ONLY] = Field(120.0, gt=0, description="seconds per request")
    concurrency: Annotated[int, EXECUTION_ONLY] = Field(8, ge=1, le=256, description="concurrent requests")
    retries: Annotated[int, EXECUTION_ONLY] = Field(
        4,
        ge=0,
        le=20,
        description="retries after a connection error or status 408, 409, 425, 429, 500, 502, 503 or 504",
    )


class SearchIndex(Frozen):
    """Full-text search over the clean corpus."""

    passage_characters: int = Field(
        400, ge=80, le=20_000, description="maximum length of a passage; longer paragraphs are split between sentences"
    )
    segment_files: Annotated[int | None, OMITTED_IF_NONE] = Field(
        None,
        ge=1,
        description="files of the corpus (one per WARC file) in each segment of the index, built in parallel; None "
        "builds one index. A large corpus needs segments; each ranks its passages by its own word counts",
    )


class Tools(Frozen):
    """Limits of the assistant's tools."""

    results: int = Field(1, ge=1, le=20, description="passages that a search returns")
    match: Literal["all", "any"] = Field(
        "all", description="whether a passage must contain all words of the query, or any"
    )
    calls: int = Field(3, ge=1, le=64, description="maximum calls per answer")
    result_tokens: int = Field(150, ge=8, description="maximum tokens of a result; longer results are truncated")
    python_seconds: float = Field(1.0, gt=0, le=60, description="maximum running time of a program")
    python_memory: int = Field(64 << 20, ge=1 << 20, description="maximum memory of a program in bytes")
    python_characters: int = Field(400, ge=16, description="maximum characters of a program's output")


class KnowledgeBoundary(Frozen):
    """Interrogation of the base model about what it knows, as for Llama 3 (arXiv:2407.21783, section 4.3.6)."""

    topics: int = Field(2_000, ge=0, description="facts to ask for, drawn by seed")
    wordings: int = Field(2, ge=1, description="wordings per fact")
    samples: int = Field(3, ge=1, description="answers sampled per wording")
    temperature: float = Field(0.7, ge=0, description="sampling temperature")
    max_tokens: int = Field(24, ge=1, description="maximum tokens per answer")
    examples: int = Field(
        3, ge=0, description="example questions with answers before each question, so that a base model answers"
    )
    known: float = Field(0.75, gt=0, le=1, description="minimum share of right answers of a known fact")
    unknown: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="maximum share of right answers of an unknown fact; in between, the model is unsure",
    )
    fictitious_names: int = Field(2_000, ge=0, description="names of fictitious entities to make up, per kind")
    endpoint: Endpoint | None = Field(
        None,
        description="the model that writes questions about articles of the corpus and judges the answers; None uses "
        "the questions that come with the crawl (the sample web has them)",
    )
    articles: int = Field(500, ge=1, description="articles that the endpoint reads")
    questions_per_article: int = Field(
        4, ge=1, le=50, description="questions that the endpoint writes about an article"
    )
    article_characters: int = Field(6_000, ge=200, description="characters of an article that the endpoint reads")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="auto is a GPU where there is one"
    )
    seed: int = Field(1, ge=0, description="seed of the selection of facts and articles, and of sampled answers")

    @model_validator(mode="after")
    def _apart(self) -> KnowledgeBoundary:
        if self.unknown >= self.known:
            raise ValueError(f"unknown {self.unknown} must be below known {self.known}")
        return self


def file_name(path: str | Path) -> str:
    """The name of a user's file in reports: as the file is named, without its endings."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(path).name.partition(".")[0]) or "file"


class ConversationFile(Frozen):
    """A file of the user's own conversations."""

    path: Annotated[str, EXECUTION_ONLY] = Field(
        description="JSONL (also .gz and .zst) or Parquet: OpenAI messages, ShareGPT, Alpaca, prompt and completion, "
        "or question and answer"
    )
    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$", description="its name in the mixture")
    max_rows: int | None = Field(None, ge=1, description="rows to take, drawn by seed; None takes all")
    repeat: Annotated[float | None, OMITTED_IF_NONE] = Field(
        None,
        gt=0,
        le=1000,
        description="how often each conversation is in the mixture; 2.5 is twice, and every other one, drawn by seed, "
        "a third time; below 1, that share of them. Only for conversations.files",
    )
    share: Annotated[float | None, OMITTED_IF_NONE] = Field(
        None,
        gt=0,
        lt=1,
        description="instead of `repeat`: the share of the mixture that the file is to make up. It is repeated, or "
        "drawn from, until it does. Only for conversations.files",
    )

    @model_validator(mode="after")
    def _one_weight(self) -> ConversationFile:
        if self.repeat is not None and self.share is not None:
            raise ValueError(f"repeat and share: file {self.name} may have only one of them")
        return self


class Conversations(Frozen):
    """The mixture that the assistant is trained on."""

    count: int = Field(20_000, ge=0, description="conversations to generate, besides those of files")
    weights: dict[
        Literal[
            "known",
            "unknown",
            "fictitious",
            "open",
            "two_hops",
            "reading",
            "calculation",
            "letters",
            "repetition",
            "guidelines",
            "general",
        ],
        float,
    ] = Field(
        {
            "known": 30.0,
            "unknown": 5.0,
            "fictitious": 15.0,
            "two_hops": 2.0,
            "open": 6.0,
            "reading": 25.0,
            "calculation": 12.0,
            "letters": 15.0,
            "repetition": 3.0,
            "guidelines": 6.0,
            "general": 6.0,
        },
        description="relative frequencies of the sources of exchanges",
    )
    tools: tuple[float, float, float, float] = Field(
        (0.45, 0.27, 0.18, 0.10), description="shares of conversations with no tool, search, Python, both"
    )
    turns: tuple[float, ...] = Field(
        (0.65, 0.25, 0.10), min_length=1, description="shares of conversations with one exchange, two, three …"
    )
    refusals: Literal["boundary", "random"] = Field(
        "boundary",
        description="what the assistant is taught not to know: facts that the base model did not know, and fictitious "
        "entities; random is a control that refuses as often, but at random facts",
    )
    name: str = Field("Ada", min_length=1, description="the assistant's name")
    maker: str = Field("the llm-assets project", min_length=1, description="the maker that the assistant names")
    guidelines: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="labelling guidelines (Markdown; its content is part of the identity); None is the project's own, "
        "of which a published model has others",
    )
    files: tuple[ConversationFile, ...] = Field((), description="conversations to add to the generated ones")
    evaluation_files: tuple[ConversationFile, ...] = Field(
        (), description="evaluation sets: conversations that overlap with one are left out"
    )
    overlap_words: int = Field(
        13,
        ge=4,
        description="consecutive words (in scripts without spaces, characters) that a user's message may not share "
        "with a question of an evaluation (Brown et al., arXiv:2005.14165, appendix C)",
    )
    seed: int = Field(1, ge=0, description="seed of the generated conversations, and of rows drawn from files")

    @model_validator(mode="after")
    def _distinct(self) -> Conversations:
        names = [file.name for file in (*self.files, *self.evaluation_files)]
        if len(names) != len(set(names)):
            duplicates = sorted(name for name in set(names) if names.count(name) > 1)
            raise ValueError(f"files: several files have the same name ({', '.join(duplicates)})")
        unused = [file.name for file in self.evaluation_files if file.repeat is not None or file.share is not None]
        if unused:
            raise ValueError(f"evaluation_files: {unused[0]} has repeat or share, which only files of the mixture have")
        if sum(file.share or 0.0 for file in self.files) >= 1:
            raise ValueError("files: their shares must add up to less than 1")
        if self.count and not sum(self.weights.values()) > 0:
            raise ValueError("weights: at least one must be above 0")
        has_negative = any(share < 0 for share in (*self.weights.values(), *self.tools, *self.turns))
        if has_negative or not sum(self.tools) > 0 or not sum(self.turns) > 0:
            raise ValueError("weights, tools, turns: shares must be at least 0, and not all of them 0")
        return self


class Finetuning(Frozen):
    """Training of the assistant: the base model's training loop, on conversations."""

    epochs: float = Field(1.0, gt=0, le=100, description="passes over the conversations")
    ablation_epochs: float | None = Field(
        None,
        gt=0,
        le=100,
        description="passes over the conversations for the ablation, which only serves as a comparison; None uses "
        "the value of `epochs`",
    )
    document_share: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of sequences that are documents of the base model's training, so that it does not forget "
        "them",
    )
    batch_tokens: int | None = Field(None, ge=8, description="tokens per step; None is as in pretraining")
    learning_rate_scale: float = Field(
        0.5, gt=0, le=10, description="plateau learning rates as a multiple of pretraining's"
    )
    weight_decay: float = Field(0.0, ge=0, le=1, description="weight decay of matrices")
    warmup: float = Field(0.05, ge=0, le=0.5, description="share of the steps in which the learning rates rise")
    cooldown: float = Field(0.5, ge=0, le=1, description="share of the steps in which the learning rates fall")
    held_out: float = Field(
        0.02, ge=0, lt=0.5, description="share of conversations, by hash, that the loss is validated on"
    )
    cut_long_conversations: Annotated[Literal[True] | None, OMITTED_IF_NONE] = Field(
        None,
        description="end a conversation that is longer than the model's context after the last answer that fits; None "
        "leaves it out, as is done in any case with one whose first answer does not fit",
    )
    validation_runs: int = Field(4, ge=0, description="evaluations of the held-out conversations, evenly over the run")
    seed: int = Field(1, ge=0, description="seed of the order of sequences")
    compute: Annotated[Compute, EXECUTION_ONLY] = Field(Compute(), description="devices, memory and checkpoints")
    lora: Annotated[Lora | None, OMITTED_IF_NONE] = Field(
        None, description="train low-rank adapters in place of all weights; None trains all weights"
    )


class QuestionFile(Frozen):
    """A file of the user's own questions, which every model is asked."""

    path: Annotated[str, EXECUTION_ONLY] = Field(
        description="JSONL (also .gz and .zst) or Parquet: question and answers (a list), or a conversation of one "
        "question and one answer in any layout of conversation files"
    )
    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$", description="its name in the evaluation")
    grading: Literal["exact", "contains", "judged"] = Field(
        "contains",
        description="an answer is right if it is one of the expected answers (but for case and a final period), if it "
        "contains one as whole words, or if the endpoint of `judge` says that it means the same",
    )
    tools: tuple[Literal["search", "python"], ...] = Field((), description="tools that the assistant has")


class SftEvaluation(Frozen):
    """Evaluation of the assistant, compared with the prompted base model and with the ablation."""

    questions: int = Field(300, ge=1, description="questions per group, of development and of the test each")
    max_tokens: int = Field(80, ge=1, description="maximum tokens per answer")
    transcripts: int = Field(4, ge=0, description="answers per group in the report")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="`auto` uses a GPU if there is one"
    )
    seed: int = Field(1, ge=0, description="seed of the selection of questions")
    files: Annotated[tuple[QuestionFile, ...] | None, OMITTED_IF_NONE] = Field(
        None,
        description="the user's own questions: every model is asked them, and no conversation that contains one of "
        "them is trained on",
    )
    judge: Annotated[Endpoint | None, OMITTED_IF_NONE] = Field(
        None, description="the model that grades the answers to files whose grading is judged"
    )

    @model_validator(mode="after")
    def _distinct(self) -> SftEvaluation:
        names = [file.name for file in self.files or ()]
        if len(set(names)) != len(names):
            raise ValueError("files: two files have the same name")
        judged = [file.name for file in self.files or () if file.grading == "judged"]
        if judged and self.judge is None:
            raise ValueError(f"judge: the file {judged[0]} is graded by an endpoint; name one")
        return self
