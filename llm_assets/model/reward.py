"""The reward model: a language model with a head that gives one number, fitted to pairs of which one was preferred.

Its checkpoints have the layout of transformers' Qwen3ForSequenceClassification with one label, as is common for reward
models. `training.pairs` has its training data and loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import IGNORE
from .shape import ModelShape
from .training_memory import MemorySavings
from .transformer import Transformer

SCORE_BATCH = 64  # conversations that are scored together
_BODY = "language_model."


class RewardModel(nn.Module):
    """A score for each conversation, read at its last token (InstructGPT; Ouyang et al., arXiv:2203.02155, section
    3.5).
    """

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.shape = shape
        self.language_model = Transformer(shape)
        self.score = nn.Linear(shape.width, 1, bias=False)
        if not shape.tied:
            # It has no part in a score; several processes would wait for its gradient.
            self.language_model.lm_head.weight.requires_grad_(False)
        self.register_state_dict_post_hook(_drop_prefix)
        self.register_load_state_dict_pre_hook(_add_prefix)

    @classmethod
    def of(cls, language_model: Transformer) -> RewardModel:
        """A reward model with this language model's weights; its head is zero, so that all scores are equal."""
        model = cls(language_model.shape)
        model.load_state_dict({**language_model.state_dict(), "score.weight": torch.zeros_like(model.score.weight)})
        return model.to(language_model.device)

    @property
    def device(self) -> torch.device:
        return self.language_model.device

    def save_memory(self, savings: MemorySavings) -> None:
        """Train with these savings from now on."""
        self.language_model.save_memory(savings)

    def layers(self) -> nn.ModuleList:
        """The language model's layers, in their order."""
        return self.language_model.layers()

    def compile_layers(self) -> None:
        """As `Transformer.compile_layers`."""
        self.language_model.compile_layers()

    def matrices(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The language model's hidden matrices, which Muon trains."""
        return self.language_model.matrices()

    def forward(self, tokens: Tensor, last: Tensor) -> Tensor:
        """Scores (B,) fp32. tokens: (B, T) conversations, padded on the right. last: (B,), index of the last token."""
        # No token attends to what follows it, so padding is cut off. A GPU would have to wait for the width.
        width = tokens.shape[1] if tokens.is_cuda else int(last.max()) + 1
        hidden = self.language_model.hidden_states(tokens[:, :width])
        return self.score(hidden[torch.arange(len(tokens), device=tokens.device), last]).squeeze(-1).float()


def _drop_prefix(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Name weights as transformers does: the language model's names, and score.weight."""
    for name in list(state):
        state[f"{prefix}{name.removeprefix(prefix).removeprefix(_BODY)}"] = state.pop(name)


def _add_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """The inverse of `_drop_prefix`, before weights are loaded."""
    for name in list(state):
        plain_name = name.removeprefix(prefix)
        if not plain_name.startswith("score."):
            state[f"{prefix}{_BODY}{plain_name}"] = state.pop(name)


def pair_losses(scores: Tensor) -> Tensor:
    """-log sigmoid(preferred - other), (B / 2,), of scores (B,) in pairs (Bradley, Terry, Biometrika 39, 1952)."""
    return -F.logsigmoid(scores[0::2] - scores[1::2])


def pad_conversations(conversations: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (B, T), padded on the right, and targets (B, T): 1 at the last token, IGNORE elsewhere."""
    size = (len(conversations), max(map(len, conversations)))
    tokens, targets = np.zeros(size, np.int64), np.full(size, IGNORE, np.int64)
    for row, conversation in enumerate(conversations):
        tokens[row, : len(conversation)] = conversation
        targets[row, len(conversation) - 1] = 1
    return tokens, targets


def score_all(model: RewardModel, conversations: Sequence[Sequence[int]]) -> list[float]:
    """The scores of conversations (as tokens), in their order."""
    by_length = sorted(range(len(conversations)), key=lambda number: (len(conversations[number]), number))
    scores = [0.0] * len(conversations)
    with torch.no_grad():
        for first in range(0, len(by_length), SCORE_BATCH):
            numbers = by_length[first : first + SCORE_BATCH]
            padded, _ = pad_conversations([conversations[number] for number in numbers])
            last = torch.tensor([len(conversations[number]) - 1 for number in numbers], device=model.device)
            values = model(torch.from_numpy(padded).to(model.device), last).tolist()
            for number, value in zip(numbers, values, strict=True):
                scores[number] = value
    return scores
