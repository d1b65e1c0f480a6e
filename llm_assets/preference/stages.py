"""The stages of preference tuning, upstream first."""

from .dpo_checkpoint import DPO_CHECKPOINT
from .dpo_evaluation import DPO_EVALUATION
from .human_rankings import HUMAN_RANKINGS
from .response_pairs import RESPONSE_PAIRS
from .reward_checkpoint import REWARD_CHECKPOINT
from .rlhf_checkpoint import RLHF_CHECKPOINT
from .rlhf_evaluation import RLHF_EVALUATION

STAGES = (
    RESPONSE_PAIRS,
    HUMAN_RANKINGS,
    REWARD_CHECKPOINT,
    RLHF_CHECKPOINT,
    RLHF_EVALUATION,
    DPO_CHECKPOINT,
    DPO_EVALUATION,
)
