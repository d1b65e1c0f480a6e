"""The tokenizer, token shards, the model's shape, pretraining, and the evaluation of the base model."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY, OMITTED_IF_NONE
from llm_assets.model.shape import ASPECT, ROW_MULTIPLE, ModelShape

from .compute import Compute
from .frozen import Frozen


class PublishedEncoding(Frozen):
    """An encoding published by OpenAI, used instead of training one."""

    name: Literal["gpt2", "cl100k_base", "o200k_base"] = Field(description="the encoding's name in tiktoken")
    ranks: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="its ranks file; None uses tiktoken's cache (TIKTOKEN_CACHE_DIR) or downloads it. The file's "
        "digest is known, so its name is enough to identify it",
    )


class PublishedModel(Frozen):
    """A published model, in a folder in the format of Hugging Face transformers.

    Its architecture is Qwen3, Qwen2, Llama 3 (as SmolLM2's), OLMo 2 or GPT-2. The folder needs ``config.json``,
    ``tokenizer.json`` (byte-level BPE) and the weights as safetensors.
    """

    path: Annotated[str, EXECUTION_ONLY] = Field(
        description="the folder; its files' content, not its path, is part of the identity"
    )
    context: int | None = Field(
        None,
        ge=8,
        description="most tokens of a sequence, in training and in use; None is the model's own "
        "max_position_embeddings, which may need much memory",
    )


class Tokenizer(Frozen):
    """A byte-level BPE with GPT-4's split pattern, trained on the clean corpus, or a published encoding."""

    vocabulary: int = Field(
        32_768,
        ge=272,
        le=1 << 20,
        description="ids: 256 bytes, merges and 16 special tokens; with up to 65,536, a token takes two bytes on disk",
    )
    digits: int = Field(
        3,
        ge=1,
        le=3,
        description="maximum digits per token; GPT-4's pattern uses 3; with 2, a small vocabulary can hold every "
        "two-digit number",
    )
    training_bytes: int = Field(
        2 << 30, ge=1, description="bytes of text to train on; from a larger corpus, documents are selected by hash"
    )
    encoding: PublishedEncoding | None = Field(None, description="use this published encoding instead of training one")
    crawls: tuple[str, ...] | None = Field(
        None,
        description="crawls to train on; None uses those of the recipe that no schedule registered. If they are named, "
        "the tokenizer and everything downstream of it are kept when a crawl is added",
    )
    compare: tuple[PublishedEncoding, ...] = Field(
        (), description="published encodings that the report compares the tokenizer with"
    )
    samples: int = Field(6, ge=0, le=100, description="documents that the report shows with coloured tokens")


class TokenShards(Frozen):
    """How tokens are stored, and which documents are held out."""

    shard_tokens: int = Field(
        1 << 26, ge=1 << 10, description="tokens per file; the last file of a split may hold fewer"
    )
    validation_share: float = Field(
        0.05, gt=0, lt=0.5, description="share of documents, by hash, that are never trained on"
    )
    split_by: Literal["document", "host"] = Field(
        "document",
        description="what the hash is computed of: the page's URL, so that a page keeps its split when it is crawled "
        "again, or its host",
    )


class Model(Frozen):
    """The base model's shape. Fields that are None follow from `depth` (`llm-assets plan` prints a table)."""

    architecture: Literal["qwen3", "gpt2"] = Field(
        "qwen3",
        description="qwen3: rotary positions, QK-norm, SwiGLU, grouped-query attention; gpt2: as published in 2019",
    )
    depth: int = Field(12, ge=1, le=256, description="layers, from which the other sizes follow")
    context: int = Field(2048, ge=8, le=1 << 20, description="most tokens of a sequence")
    width: int | None = Field(None, ge=8, description="features per token; None is 64 per layer")
    heads: int | None = Field(
        None, ge=1, description="query heads; None makes heads of 128 features, or of 32 in models narrower than 512"
    )
    kv_heads: int | None = Field(None, ge=1, description="key and value heads; None is as many as query heads")
    head_dim: int | None = Field(None, ge=2, description="features per head")
    hidden: int | None = Field(
        None,
        ge=8,
        description="features of the feed-forward layer; None is 8/3 of the width (SwiGLU) or 4 times it (GPT-2)",
    )
    tied: bool | None = Field(None, description="use one matrix for embedding and output; None does so in gpt2 only")
    rope_theta: float = Field(
        10_000.0,
        gt=1,
        description="base of the rotary positions' wavelengths; raise it for long contexts and for narrow heads",
    )
    induction: bool = Field(
        False,
        description="start with an induction head; small models trained for minutes do not form one by themselves",
    )

    @model_validator(mode="after")
    def _possible(self) -> Model:
        """Report an impossible shape when the recipe is read, not when the training starts."""
        if self.heads and self.head_dim is None:
            width = self.width or self.depth * ASPECT
            if width % self.heads:
                raise ValueError(
                    f"heads {self.heads} do not divide the width {width}; change one of them, or set head_dim"
                )
        self.shape(ROW_MULTIPLE)
        return self

    def shape(self, vocabulary: int) -> ModelShape:
        """The complete shape for a tokenizer of `vocabulary` ids.

        Raises ModelError if the fields do not fit each other.
        """
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
    """What later training stages take over from pretraining: learning rates, clipping, optimisers."""

    learning_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="AdamW's plateau rate, for embeddings, output layer and norms; None is 2e-3 x sqrt(768 / width)",
    )
    matrix_learning_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Muon's plateau rate, for the hidden matrices, scaled to the size of AdamW's updates; None is "
        "learning_rate",
    )
    clip: float = Field(1.0, gt=0, description="greatest norm of a gradient")
    muon: bool = Field(True, description="train hidden matrices by Muon; otherwise AdamW trains all weights")

    def rates(self, shape: ModelShape) -> tuple[float, float]:
        """The plateau learning rates of AdamW and of Muon."""
        plain = self.learning_rate or 2e-3 * math.sqrt(768 / shape.width)
        return plain, self.matrix_learning_rate or plain


class PretrainingRun(Rates):
    """How the base model is trained, apart from the crawls: how much, how fast, and what is evaluated during the
    training.
    """

    tokens: int | None = Field(
        None,
        ge=0,
        description="tokens to train on; None is tokens_per_parameter times the number of parameters, or 0 with "
        "`start`: the published model is then used as it is",
    )
    tokens_per_parameter: float = Field(20.0, gt=0, description="see Hoffmann et al., arXiv:2203.15556")
    batch_tokens: int | None = Field(
        None,
        ge=8,
        description="tokens of a step, over all processes; None is 2^19 x sqrt(parameters / 124M), rounded to a power "
        "of two from 2^13 to 2^21",
    )
    weight_decay: float = Field(0.1, ge=0, le=1, description="weight decay of matrices")
    warmup: float = Field(0.02, ge=0, le=0.5, description="share of the steps in which the learning rates rise")
    cooldown: float = Field(0.5, ge=0, le=1, description="share of the steps in which the learning rates fall")
    seed: int = Field(1, ge=0, description="seed of weights, order of documents, and samples")
    validation_runs: int = Field(10, ge=0, description="evaluations of the validation split, evenly over the run")
    validation_tokens: int = Field(
        1 << 20, ge=1, description="tokens of the validation split that one evaluation reads"
    )
    samples: int = Field(4, ge=0, description="how often texts are sampled, evenly over the run")
    prompts: tuple[str, ...] = Field(
        ("", "The capital of France is", "Once upon a time"),
        description="beginnings of the sampled texts; an empty one samples without a prompt",
    )
    sample_tokens: int = Field(64, ge=1, description="tokens of a sample")
    start: Annotated[PublishedModel | None, OMITTED_IF_NONE] = Field(
        None,
        description="published model to start from instead of new weights; its architecture and tokenizer replace "
        "`model` and `tokenizer`",
    )
    continue_from: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="folder of an earlier base checkpoint to continue from, with the same shape and tokenizer; its "
        "content, not its path, is part of the identity",
    )
    compute: Annotated[Compute, EXECUTION_ONLY] = Field(Compute(), description="devices, memory and checkpoints")

    @model_validator(mode="after")
    def _startable(self) -> PretrainingRun:
        if self.start is not None and self.continue_from is not None:
            raise ValueError("start and continue_from both name a model to start from; name one")
        if self.tokens == 0 and self.start is None:
            raise ValueError("tokens 0 needs a published model (start): new weights must be trained")
        return self

    def budget(self, shape: ModelShape) -> tuple[int, int]:
        """The number of steps, which is 0 for a published model as it is, and the sequences per step (batch size)."""
        batch = self.batch_tokens or min(
            max(2 ** round(math.log2(2**19 * math.sqrt(shape.parameters / 124e6))), 1 << 13), 1 << 21
        )
        batch_size = max(1, batch // shape.context)
        default = 0 if self.start is not None else round(self.tokens_per_parameter * shape.parameters)
        tokens = default if self.tokens is None else self.tokens
        return max(min(1, tokens), round(tokens / (batch_size * shape.context))), batch_size

    def inherited(self) -> Rates:
        """The part that later training stages take over."""
        return Rates(**{name: getattr(self, name) for name in Rates.model_fields})


class Pretraining(PretrainingRun):
    """How the base model is trained, and on which crawls."""

    crawls: tuple[str, ...] | None = Field(
        None,
        description="crawls to train on; None uses the recipe's, except those of schedules that leave the model alone",
    )

    def run(self) -> PretrainingRun:
        """The settings without the crawls, which a stage knows from its inputs."""
        return PretrainingRun(**{name: getattr(self, name) for name in PretrainingRun.model_fields})


class BaseEvaluation(Frozen):
    """How the base model is evaluated."""

    validation_tokens: int = Field(
        1 << 20, ge=1, description="tokens of the validation split, for bits per byte and its baselines"
    )
    baseline_tokens: int = Field(1 << 25, ge=1, description="tokens of the training split that the baselines have read")
    prefixes: int = Field(
        64, ge=0, description="pages tested for recitation, for each number of times that pages were seen"
    )
    prefix_tokens: int = Field(32, ge=1, description="tokens of the page that serve as the prompt")
    recited_tokens: int = Field(50, ge=1, description="tokens that must equal the page's for it to count as recited")
    free_samples: int = Field(
        32, ge=0, description="samples without a prompt, which are compared with the corpus word for word"
    )
    sample_tokens: int = Field(128, ge=1, description="tokens of a sample")
    problems: int = Field(40, ge=1, description="in-context problems per task and number of examples")
    facts: int = Field(2_000, ge=0, description="sentences about facts to complete, if the crawl comes with its facts")
    prompts: tuple[str, ...] = Field(
        ("The capital of France is", "Once upon a time", "The"),
        description="prompts whose next tokens and continuations are shown",
    )
    instruction: str = Field(
        "A conversation in which questions are answered, one line each.",
        description="the instruction of the prompted assistant",
    )
    examples: tuple[tuple[str, str], ...] = Field(
        (("What is the colour of grass?", "Green."), ("How many days has a week?", "Seven.")),
        description="example questions and answers, if the crawl has none of its own",
    )
    questions: tuple[str, ...] = Field(
        ("Who are you?", "What is the capital of France?", "What is 7 plus 5?"),
        description="questions that the prompted assistant answers",
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="`auto` uses a GPU if there is one"
    )
    seed: int = Field(1, ge=0, description="seed of samples and of random selections")

    @model_validator(mode="after")
    def _prompted(self) -> BaseEvaluation:
        if not all(self.prompts):
            raise ValueError("prompts: a prompt is empty; samples without a prompt are set by free_samples")
        return self
