"""The stages of this package, upstream first."""

from .benchmark_evaluation import BENCHMARK_EVALUATION
from .model_export import MODEL_EXPORT
from .scorecard import SCORECARD

STAGES = (BENCHMARK_EVALUATION, MODEL_EXPORT, SCORECARD)
