"""The sample web: a deterministic, fictional little web with every defect of the real one, and its ground truth."""

from .pages import LANGUAGES, Page, Web, make_web
from .server import SampleWebServer, serve
from .truth import (
    TruthFacts,
    TruthPages,
    TruthPrompts,
    TruthQuestions,
    newest,
    truth_facts,
    truth_pages,
    truth_prompts,
    truth_questions,
    write_ground_truth,
)

# Of the pages and the truth that comes with them: raise it when either changes, and this web alone is crawled again.
EDITION = 7

__all__ = [
    "EDITION",
    "LANGUAGES",
    "Page",
    "SampleWebServer",
    "TruthFacts",
    "TruthPages",
    "TruthPrompts",
    "TruthQuestions",
    "Web",
    "make_web",
    "newest",
    "serve",
    "truth_facts",
    "truth_pages",
    "truth_prompts",
    "truth_questions",
    "write_ground_truth",
]
