"""The sample web: a small, deterministic, fictional web with the defects of the real one, and its ground truth."""

from .pages import LANGUAGES, Page, Web
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
from .web import make_web

# The version of the pages and of their ground truth. Raise it when either changes; then only this web is crawled again.
EDITION = 9

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
