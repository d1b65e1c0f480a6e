"""The ground truth of crawls, by which statements of answers are judged; labellers never see it."""

from __future__ import annotations

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.tables import read_table
from llm_assets.evaluation.ground_truth import GroundTruth, TruthFact

from .fact_wordings import WORDINGS
from .question_wordings import ANSWER_SENTENCES
from .truth import newest


def wordings_of_facts() -> dict[str, tuple[str, ...]]:
    """The wordings of the sample web's pages and of the assistant's answers, by relation."""
    return {relation: (ANSWER_SENTENCES[relation], *wordings) for relation, wordings in WORDINGS.items()}


def read_truth(inputs: Inputs) -> GroundTruth | None:
    """The facts of the crawls that come with ground truth (table `truth_facts` of `raw_warc`); None if none does."""
    crawls = inputs.by_crawl("raw_warc").values()
    frames = [read_table(path) for crawl in crawls for path in crawl.table("truth_facts")]
    if not frames:
        return None
    rows = newest(frames).select("entity", "entity_kind", "relation", "value").iter_rows()
    return GroundTruth(tuple(TruthFact(*row) for row in rows), wordings_of_facts())
