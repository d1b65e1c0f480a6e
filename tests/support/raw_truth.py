"""A stage `raw_warc` that brings prompts with known answers and no pages, for tests of evaluations."""

import polars as pl

from llm_assets.artifacts import Stage
from llm_assets.sample_web import TruthPrompts


def build_truth(step, config):
    """A raw crawl that comes with prompts and known answers."""
    rows = [
        {
            "kind": kind,
            "entity": "Ann",
            "relation": relation,
            "reach": reach,
            "prompt": f"{prompt} {reach}",
            "answer": "1900",
        }
        for relation in ("born", "died")
        for reach in ("many", "once", "held_out")
        for kind, prompt in (("completion", f"Ann was {relation} in"), ("question", f"When was Ann {relation}?"))
    ]
    with step.task("truth") as task:
        task.table("truth_prompts", TruthPrompts).frame(pl.DataFrame(rows))


RAW = Stage("raw_warc", "web", "Answers of a test.", build_truth, "1", per_crawl=True)
