"""The demonstrations. None reads another."""

from .hallucination_mitigations import HALLUCINATION_MITIGATIONS
from .in_context_learning import IN_CONTEXT_LEARNING
from .longer_solutions import LONGER_SOLUTIONS
from .over_optimisation import OVER_OPTIMISATION
from .regurgitation import REGURGITATION
from .tokens_to_think import TOKENS_TO_THINK

STAGES = (
    TOKENS_TO_THINK,
    LONGER_SOLUTIONS,
    IN_CONTEXT_LEARNING,
    REGURGITATION,
    HALLUCINATION_MITIGATIONS,
    OVER_OPTIMISATION,
)
