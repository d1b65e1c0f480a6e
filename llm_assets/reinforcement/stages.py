"""The stages of reinforcement learning, upstream first."""

from .practice_problems import PRACTICE_PROBLEMS
from .rl_checkpoint import RL_CHECKPOINT
from .rl_evaluation import RL_EVALUATION

STAGES = (PRACTICE_PROBLEMS, RL_CHECKPOINT, RL_EVALUATION)
