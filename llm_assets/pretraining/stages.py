"""The stages of pretraining, upstream first."""

from .base_checkpoint import BASE_CHECKPOINT
from .base_evaluation import BASE_EVALUATION

STAGES = (BASE_CHECKPOINT, BASE_EVALUATION)
