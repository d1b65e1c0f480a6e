"""Tokens, the model's shape, how it is trained, and what is asked of it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.model.shape import ASPECT, ROW_MULTIPLE, ModelShape

from .compute import Compute
from .frozen import Frozen


class PublishedEncoding(Frozen):
    """An encoding that OpenAI published, instead of an own one."""

    name: Literal["gpt2", "cl100k_base", "o200k_base"]
    ranks: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="its ranks file; None is tiktoken's cache (TIKTOKEN_CACHE_DIR), or its URL. The file's digest is known, so the name bears the identity",
    )


class Tokenizer(Frozen):
    """Byte-level BPE with GPT-4's split pattern, trained on the clean corpus; or a published encoding."""

    vocabulary: int = Field(
        32_768,
        ge=272,
        le=1 << 20,
        description="ids: 256 bytes, merges, and the 16 special tokens; up to 65,536 a token takes two bytes on disk",
    )
    digits: int = Field(
        3,
        ge=1,
        le=3,
        description="digits of a number that one token may hold: GPT-4's pattern has 3; a small vocabulary has room for all numbers of 2",
    )
    training_bytes: int = Field(
        2 << 30, ge=1, description="bytes of text it is trained on; of a larger corpus, documents are drawn by hash"
    )
    encoding: PublishedEncoding | None = Field(None, description="this published encoding instead of training one")
    crawls: tuple[str, ...] | None = Field(
        None,
        description="crawls it is trained on; None is those of the recipe that no schedule registered. Name them to keep the tokenizer, and the shards and models behind it, when a crawl is added",
    )
    compare: tuple[PublishedEncoding, ...] = Field(
        (), description="published encodings that the report holds the tokenizer against"
    )
    samples: int = Field(6, ge=0, le=100, description="documents in the report with their tokens coloured")


class TokenShards(Frozen):
    """How tokens are stored, and what is held out."""

    shard_tokens: int = Field(1 << 26, ge=1 << 10, description="tokens of one file; the last of a split may hold fewer")
    validation_share: float = Field(
        0.05, gt=0, lt=0.5, description="share of documents, by hash, that are never trained on"
    )
    split_by: Literal["document", "host"] = Field(
        "document",
        description="what is hashed: the page's URL (a page keeps its split when it is crawled again), or its host",
    )


class Model(Frozen):
    """The base model's shape. `depth` derives what is left None (llm-assets plan prints the table)."""

    architecture: Literal["qwen3", "gpt2"] = Field(
        "qwen3",
        description="qwen3: rotary positions, QK-norm, SwiGLU, grouped-query attention; gpt2: as published in 2019",
    )
    depth: int = Field(12, ge=1, le=256, description="layers; the dial")
    context: int = Field(2048, ge=8, le=1 << 20, description="tokens that are seen at once")
    width: int | None = Field(None, ge=8, description="features of a token; None is 64 a layer")
    heads: int | None = Field(
        None, ge=1, description="query heads; None makes heads of 128 features (32 in models narrower than 512)"
    )
    kv_heads: int | None = Field(None, ge=1, description="key and value heads; None is as many as query heads")
    head_dim: int | None = Field(None, ge=2, description="features of a head")
    hidden: int | None = Field(
        None,
        ge=8,
        description="features of the feed-forward layer; None is 8/3 of the width (SwiGLU) or 4 times (GPT-2)",
    )
    tied: bool | None = Field(None, description="one matrix for embedding and output; None ties in gpt2 only")
    rope_theta: float = Field(
        10_000.0,
        gt=1,
        description="base of the rotary positions' wave lengths; more for long contexts and for narrow heads",
    )
    induction: bool = Field(
        False,
        description="begin with an induction head instead of waiting for one to form: small models trained for minutes do not find it by themselves",
    )

    @model_validator(mode="after")
    def _possible(self) -> Model:
        """A shape that cannot be is an error of the recipe, not of the training hours later."""
        if self.heads and self.head_dim is None:
            width = self.width or self.depth * ASPECT
            if width % self.heads:
                raise ValueError(f"heads {self.heads} do not divide the width {width}; change one, or give head_dim")
        self.shape(ROW_MULTIPLE)
        return self

    def shape(self, vocabulary: int) -> ModelShape:
        """The whole shape, for a tokenizer of that many ids. Raises ModelError where the fields do not fit each other."""
        return ModelShape.of_depth(
            self.depth,
            vocabulary,
            self.context,
            self.architecture,
            width=self.width,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            hidden=self.hidden,
            tied=self.tied,
            rope_theta=self.rope_theta,
        )


class Rates(Frozen):
    """What every later training takes over from pretraining: learning rates, clipping, the optimiser."""

    learning_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="AdamW's plateau, for embeddings, output layer, norms; None is 2e-3 x sqrt(768 / width)",
    )
    matrix_learning_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Muon's plateau, for the hidden matrices, scaled to AdamW's size of update; "
        "None is as learning_rate",
    )
    clip: float = Field(1.0, gt=0, description="greatest norm of a gradient")
    muon: bool = Field(True, description="Muon for hidden matrices; otherwise AdamW for all")

    def rates(self, shape: ModelShape) -> tuple[float, float]:
        """Plateau rates of AdamW and Muon."""
        plain = self.learning_rate or 2e-3 * math.sqrt(768 / shape.width)
        return plain, self.matrix_learning_rate or plain


class PretrainingRun(Rates):
    """How the base model is trained, whatever crawls it reads: how much, how fast, what is evaluated on the way."""

    tokens: int | None = Field(
        None, ge=1, description="tokens trained on; None is tokens_per_parameter of the model's parameters"
    )
    tokens_per_parameter: float = Field(20.0, gt=0, description="Hoffmann et al., arXiv:2203.15556")
    batch_tokens: int | None = Field(
        None,
        ge=8,
        description="tokens of a step, over all processes; None is 2^19 times sqrt(parameters / 124M), as a power of two in [2^13, 2^21]",
    )
    weight_decay: float = Field(0.1, ge=0, le=1, description="of matrices")
    warmup: float = Field(0.02, ge=0, le=0.5, description="share of the steps in which the rates rise")
    cooldown: float = Field(0.5, ge=0, le=1, description="share of the steps in which they fall")
    seed: int = Field(1, ge=0, description="of weights, order of documents, samples")
    validation_runs: int = Field(10, ge=0, description="evaluations of the validation split, evenly over the run")
    validation_tokens: int = Field(1 << 20, ge=1, description="of the validation split that one evaluation reads")
    samples: int = Field(4, ge=0, description="times that texts are sampled on the way")
    prompts: tuple[str, ...] = Field(
        ("", "The capital of France is", "Once upon a time"), description="what they begin with; empty is from nothing"
    )
    sample_tokens: int = Field(64, ge=1, description="tokens of a sample")
    continue_from: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="folder of an earlier base checkpoint to go on from (its content is part of the identity); needs the same shape and tokenizer",
    )
    compute: Annotated[Compute, EXECUTION_ONLY] = Compute()

    def budget(self, shape: ModelShape) -> tuple[int, int]:
        """Steps, and sequences a step."""
        batch = self.batch_tokens or min(
            max(2 ** round(math.log2(2**19 * math.sqrt(shape.parameters / 124e6))), 1 << 13), 1 << 21
        )
        rows = max(1, batch // shape.context)
        tokens = self.tokens or round(self.tokens_per_parameter * shape.parameters)
        return max(1, round(tokens / (rows * shape.context))), rows

    def inherited(self) -> Rates:
        """What later trainings take over."""
        return Rates(**{name: getattr(self, name) for name in Rates.model_fields})


class Pretraining(PretrainingRun):
    """How the base model is trained, and on which crawls."""

    crawls: tuple[str, ...] | None = Field(
        None,
        description="crawls trained on; None is those of the recipe, less those of schedules that leave the model "
        "alone",
    )

    def run(self) -> PretrainingRun:
        """The same without the crawls: which are read, a stage's inputs say."""
        return PretrainingRun(**{name: getattr(self, name) for name in PretrainingRun.model_fields})


class BaseEvaluation(Frozen):
    """What is asked of the base model."""

    validation_tokens: int = Field(
        1 << 20, ge=1, description="of the validation split, for bits a byte and what it is held against"
    )
    baseline_tokens: int = Field(
        1 << 25, ge=1, description="of the training split, on which the 5-gram model of bytes is counted"
    )
    prefixes: int = Field(
        64, ge=0, description="pages asked to be recited, for each number of times that pages were seen"
    )
    prefix_tokens: int = Field(32, ge=1, description="tokens of a page that are given")
    recited_tokens: int = Field(
        50, ge=1, description="tokens that must follow as in the page for it to count as recited"
    )
    free_samples: int = Field(32, ge=0, description="samples from nothing, held against the corpus word for word")
    sample_tokens: int = Field(128, ge=1, description="tokens of a sample")
    problems: int = Field(40, ge=1, description="in-context problems for each task and number of examples")
    facts: int = Field(2_000, ge=0, description="fact sentences to complete, where the crawl comes with its facts")
    prompts: tuple[str, ...] = Field(
        ("The capital of France is", "Once upon a time", "The"),
        description="prompts whose next tokens and continuations are shown",
    )
    instruction: str = Field(
        "A conversation in which questions are answered, one line each.",
        description="what the assistant by prompt is told first",
    )
    examples: tuple[tuple[str, str], ...] = Field(
        (("What is the colour of grass?", "Green."), ("How many days has a week?", "Seven.")),
        description="questions and answers that it is shown, where the crawl has none of its own",
    )
    questions: tuple[str, ...] = Field(
        ("Who are you?", "What is the capital of France?", "What is 7 plus 5?"), description="what it is asked"
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="auto is a GPU where there is one"
    )
    seed: int = Field(1, ge=0, description="of samples and of what is drawn")

    @model_validator(mode="after")
    def _prompted(self) -> BaseEvaluation:
        if not all(self.prompts):
            raise ValueError("prompts: an empty prompt has samples of its own (free_samples)")
        return self
