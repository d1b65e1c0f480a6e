"""The stages of this package, upstream first."""

from .model_export import MODEL_EXPORT
from .scorecard import SCORECARD

STAGES = (MODEL_EXPORT, SCORECARD)
