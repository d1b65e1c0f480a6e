"""The reward model: a language model's body with a head of one number, fitted to pairs of which one was preferred.

Parameters bear the names of transformers' Qwen3ForSequenceClassification with one label, as reward models are commonly kept. Trained
by `training.loop.train`: rows 2i and 2i + 1 are a pair of conversations, the preferred one first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import IGNORE
from .shape import ModelError, ModelShape
from .transformer import Mask, Transformer

BATCH = 64  # conversations that are scored at once


class RewardModel(Transformer):
    """A score for every conversation, read at its last token, as InstructGPT's (Ouyang et al., arXiv:2203.02155, section 3.5)."""

    def __init__(self, shape: ModelShape):
        super().__init__(shape)
        self.score = nn.Linear(shape.width, 1, bias=False)
        if not shape.tied:
            self.lm_head.weight.requires_grad_(
                False
            )  # has no part in a score; several processes would wait for its gradient

    @classmethod
    def of(cls, model: Transformer) -> RewardModel:
        """A language model's body with a head that scores all alike."""
        made = cls(model.shape)
        made.load_state_dict({**model.state_dict(), "score.weight": torch.zeros(1, model.shape.width)})
        return made.to(model.device)

    def matrices(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The body's hidden matrices."""
        return ((name, parameter) for name, parameter in super().matrices() if parameter is not self.score.weight)

    def scores(self, tokens: Tensor, last: Tensor) -> Tensor:
        """Scores (B,) fp32 of conversations (B, T), padded on the right; `last` (B,) is the place of each one's last token."""
        hidden = self.hidden_states(tokens)
        return self.score(hidden[torch.arange(len(tokens), device=tokens.device), last]).squeeze(-1).float()

    def forward(self, tokens: Tensor, targets: Tensor | None = None, mask: Mask | None = None) -> Tensor:
        """Of pairs, the preferred row first, each pair's loss at the last token of both rows, (B, T), 0 elsewhere.

        targets: IGNORE but at the last token. Raises ModelError without targets.
        """
        if targets is None:
            raise ModelError("a reward model has no logits; ask for scores")
        held = targets != IGNORE
        last = held.int().argmax(-1)
        # Nothing sees what stands behind it. A GPU would have to be asked how much that is, and waits for nobody.
        width = tokens.shape[1] if tokens.is_cuda else int(last.max()) + 1
        losses = pair_losses(self.scores(tokens[:, :width], last))
        return held * losses.repeat_interleave(2)[:, None]


def pair_losses(scores: Tensor) -> Tensor:
    """-log sigmoid(preferred - other), (B / 2,), of scores (B,) in pairs (Bradley, Terry, Biometrika 39, 1952)."""
    return -F.logsigmoid(scores[0::2] - scores[1::2])


def to_rows(conversations: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Conversations as inputs (B, T) padded on the right, and targets: 1 at each one's last token, IGNORE elsewhere."""
    width = max(map(len, conversations))
    tokens, targets = (
        np.zeros((len(conversations), width), np.int64),
        np.full((len(conversations), width), IGNORE, np.int64),
    )
    for row, one in enumerate(conversations):
        tokens[row, : len(one)] = one
        targets[row, len(one) - 1] = 1
    return tokens, targets


def score_all(model: RewardModel, conversations: Sequence[Sequence[int]]) -> list[float]:
    """Scores of conversations (tokens), in their order."""
    order = sorted(range(len(conversations)), key=lambda number: (len(conversations[number]), number))
    found = [0.0] * len(conversations)
    with torch.no_grad():
        for first in range(0, len(order), BATCH):
            numbers = order[first : first + BATCH]
            tokens, targets = (
                torch.from_numpy(array).to(model.device)
                for array in to_rows([conversations[number] for number in numbers])
            )
            for number, score in zip(
                numbers, model.scores(tokens, (targets != IGNORE).int().argmax(-1)).tolist(), strict=True
            ):
                found[number] = score
    return found
