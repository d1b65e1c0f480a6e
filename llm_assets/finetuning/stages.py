"""The stages of fine-tuning, upstream first."""

from .conversations import CONVERSATIONS
from .knowledge_boundary import KNOWLEDGE_BOUNDARY
from .search_index import SEARCH_INDEX, TRAINING_SEARCH_INDEX
from .sft_checkpoint import ABLATION_CHECKPOINT, SFT_CHECKPOINT
from .sft_evaluation import SFT_EVALUATION

STAGES = (
    SEARCH_INDEX,
    TRAINING_SEARCH_INDEX,
    KNOWLEDGE_BOUNDARY,
    CONVERSATIONS,
    SFT_CHECKPOINT,
    ABLATION_CHECKPOINT,
    SFT_EVALUATION,
)
