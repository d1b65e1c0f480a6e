"""The shape of a model, and what follows from it: parameters, FLOPs, memory. The depth determines all other sizes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

ARCHITECTURES = ("qwen3", "gpt2", "qwen2", "llama", "olmo2")
ASPECT = 64  # width per layer, as in nanochat
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")  # as peft names them
ROW_MULTIPLE = 64  # embedding rows are padded to a multiple of it, which suits tensor cores


class ModelError(ValueError):
    """A model that cannot be built, read or run; the message says which value is wrong and what would work."""


@dataclass(frozen=True)
class RopeScaling:
    """How Llama 3.1 stretches rotary positions to a longer context (transformers' ``rope_type`` "llama3").

    context: the tokens that the model was first trained on. A pair of features that turns fewer than `low` times in
    them turns `factor` times slower, one that turns more than `high` times is left as it is, and between the two the
    turn is interpolated.
    """

    factor: float
    low: float
    high: float
    context: int

    def __post_init__(self) -> None:
        if not (self.factor >= 1 and 0 < self.low < self.high and self.context >= 1):
            raise ModelError(f"rope_scaling {self} needs factor >= 1, 0 < low < high and a context of at least 1")


@dataclass(frozen=True)
class ModelShape:
    """A decoder-only transformer. All sizes are counts; `context` is in tokens, `head_dim` in features of one head.

    qwen3: RMSNorm before each block, rotary positions, RMSNorm on the queries and keys of each head, SwiGLU,
    grouped-query attention (arXiv:2505.09388; the layout of transformers' Qwen3ForCausalLM).
    qwen2: the same with biases on queries, keys and values, and no norms on them (arXiv:2407.10671).
    llama: the same without biases and without norms on queries and keys (arXiv:2407.21783).
    olmo2: like llama, with RMSNorm on all queries and all keys of a token, and norms after each block instead of before
    it (arXiv:2501.00656).
    gpt2: LayerNorm, learnt positions, GELU (tanh), biases everywhere, tied embeddings (Radford et al., 2019).

    rope_scaling: None leaves rotary positions as they are. embedding_rows: of a published model, which may have any
    number of them; None pads the vocabulary to a multiple of ROW_MULTIPLE.
    """

    architecture: str
    vocabulary: int
    context: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    tied: bool
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-6
    rope_scaling: RopeScaling | None = None
    embedding_rows: int | None = None

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ModelError(f"unknown architecture {self.architecture!r}; available: {', '.join(ARCHITECTURES)}")
        for name in ("vocabulary", "context", "layers", "width", "heads", "kv_heads", "head_dim", "hidden"):
            if getattr(self, name) < 1:
                raise ModelError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        if self.heads % self.kv_heads:
            raise ModelError(f"model.heads {self.heads} is no multiple of kv_heads {self.kv_heads}")
        if self.head_dim % 2:
            raise ModelError(f"model.head_dim {self.head_dim} is odd; rotary positions turn pairs of features")
        if self.architecture == "gpt2" and (
            self.heads * self.head_dim != self.width or self.kv_heads != self.heads or not self.tied
        ):
            raise ModelError("gpt2 has heads x head_dim = width, as many key as query heads, and tied embeddings")
        if self.architecture == "gpt2" and self.rope_scaling is not None:
            raise ModelError("gpt2 has learnt positions, which rope_scaling does not apply to")
        if self.embedding_rows is not None and self.embedding_rows < self.vocabulary:
            raise ModelError(
                f"model.embedding_rows is {self.embedding_rows:,}, fewer than the vocabulary's {self.vocabulary:,} ids"
            )

    @classmethod
    def of_depth(
        cls, depth: int, vocabulary: int, context: int, architecture: str = "qwen3", **given: Any
    ) -> ModelShape:
        """The shape of a model of this depth; values in `given` that are not None are used as they are.

        The width is 64 per layer. Heads have 128 features, or fewer in models narrower than 512. The hidden layer is
        8/3 of the width with SwiGLU (Shazeer, arXiv:2002.05202) and 4 times with GELU, in multiples of 64 (32 in narrow
        models).
        """
        if depth < 1:
            raise ModelError(f"model.depth is {depth}; it must be at least 1")
        width = given.get("width") or depth * ASPECT
        head_dim = given.get("head_dim") or (
            width // given["heads"]
            if given.get("heads")
            else next((size for size in ((128, 64, 32, 16) if width >= 512 else (32, 16)) if width % size == 0), width)
        )
        heads = given.get("heads") or max(1, width // head_dim)
        kv_heads = given.get("kv_heads") or heads
        multiple = 64 if width >= 512 else 32
        hidden = given.get("hidden") or (
            4 * width if architecture == "gpt2" else -(-8 * width // (3 * multiple)) * multiple
        )
        tied = given.get("tied")
        if tied is None:
            tied = architecture == "gpt2"
        epsilon = 1e-5 if architecture == "gpt2" else 1e-6
        theta = given.get("rope_theta") or cls.rope_theta
        return cls(
            architecture,
            vocabulary,
            context,
            depth,
            width,
            heads,
            kv_heads,
            head_dim,
            hidden,
            tied,
            rope_theta=theta,
            norm_epsilon=epsilon,
        )

    @property
    def rows(self) -> int:
        """Rows of the embedding: the vocabulary, padded. Ids from `vocabulary` on never occur."""
        return self.embedding_rows or -(-self.vocabulary // ROW_MULTIPLE) * ROW_MULTIPLE

    @property
    def embedding_parameters(self) -> int:
        """Parameters of look-up tables, which cost no multiplication.

        With tied embeddings, the matrix counts as the output layer, in `matrix_parameters`.
        """
        positions = self.context * self.width if self.architecture == "gpt2" else 0
        return positions + (0 if self.tied else self.rows * self.width)

    @property
    def matrix_parameters(self) -> int:
        """Parameters of the matrices that each token is multiplied with, including the output layer."""
        attention = self.width * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        feed_forward = (2 if self.architecture == "gpt2" else 3) * self.width * self.hidden
        return self.layers * (attention + feed_forward) + self.rows * self.width

    @property
    def vector_parameters(self) -> int:
        """Parameters of norms and biases."""
        if self.architecture == "gpt2":
            return self.layers * (4 * self.width + 4 * self.width + self.width + self.hidden) + 2 * self.width
        on_queries_and_keys = {
            "qwen3": 2 * self.head_dim,
            "qwen2": (self.heads + 2 * self.kv_heads) * self.head_dim,
            "olmo2": (self.heads + self.kv_heads) * self.head_dim,
        }
        return self.layers * (2 * self.width + on_queries_and_keys.get(self.architecture, 0)) + self.width

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return self.embedding_parameters + self.matrix_parameters + self.vector_parameters

    @property
    def flops_per_token(self) -> int:
        """FLOPs of training on a token, forward and backward: 6 per matrix parameter, and 12 x layers x heads x
        head_dim x context for attention (PaLM, arXiv:2204.02311, appendix B, which also counts the masked half of
        causal attention).
        """
        return 6 * self.matrix_parameters + 12 * self.layers * self.heads * self.head_dim * self.context

    def cache_bytes(self, tokens: int, precision_bytes: int = 2) -> int:
        """Bytes of the keys and values of that many tokens."""
        return 2 * self.layers * self.kv_heads * self.head_dim * tokens * precision_bytes

    def dump(self) -> str:
        """The shape as JSON. Fields that were added later are left out where they are None, for equal files."""
        values = asdict(self)
        later = {name for name in ("rope_scaling", "embedding_rows") if values[name] is None}
        return json.dumps({name: value for name, value in values.items() if name not in later}, indent=1) + "\n"

    @classmethod
    def load(cls, text: str, name: str) -> ModelShape:
        """The inverse of `dump`. name: of the file, for errors. Raises ModelError."""
        try:
            values = json.loads(text)
            unknown = set(values) - {field.name for field in fields(cls)}
            if unknown:
                raise ModelError(f"{name}: unknown field {sorted(unknown)[0]!r}")
            if values.get("rope_scaling") is not None:
                values["rope_scaling"] = RopeScaling(**values["rope_scaling"])
            return cls(**values)
        except (ValueError, TypeError) as error:
            raise (
                error if isinstance(error, ModelError) else ModelError(f"{name}: not the shape of a model: {error}")
            ) from error


@dataclass(frozen=True)
class Adapters:
    """Low-rank adapters of a model (`lora`).

    rank: of their product. alpha: the product is scaled by alpha / rank. targets: names of layers; None adapts all
    matrices of attention and feed-forward. seed: A is drawn with it; B begins as 0, so that the adapted model begins as
    the model was.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] | None = None
    seed: int = 0

    @property
    def scale(self) -> float:
        return self.alpha / self.rank
