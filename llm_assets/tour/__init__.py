"""A guided tour of what was built, from a page's bytes to the tuned model, on the artifacts of any recipe.

The order is that of Karpathy's "Deep Dive into LLMs like ChatGPT" (2025). Questions come from the artifacts; where the
corpus is the sample web, the examples of that talk are asked as well.
"""

from .steps import STEPS, Report, TourError, find_step, overview, take_step
from .visit import Visit

__all__ = ["STEPS", "Report", "TourError", "Visit", "find_step", "overview", "take_step"]
