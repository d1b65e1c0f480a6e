"""The benchmark of a fresh search index, at small size."""

import polars as pl

from benchmarks.search_after_recrawl import Examination, later_facts, measure
from llm_assets.model.sampling import Engine
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.recipes import Tools
from llm_assets.sample_web.truth import truth_questions
from llm_assets.tools.search import write_index
from tests.support.training_jobs import ENCODING

PAGES = {
    "today": ["Ann Holt is a pilot.", "Cy Mere works as a potter."],
    "at training": ["Ann Holt is a baker."],
}


def questions(*professions):
    """The truth questions about people, given as (name, profession)."""
    rows = [
        {"entity": name, "entity_kind": "person", "relation": "profession", "value": profession, "reach": "many"}
        for name, profession in professions
    ]
    return truth_questions(pl.DataFrame(rows))


def facts():
    before = questions(("Ann Holt", "baker"), ("Bo Lund", "poet"))
    after = questions(("Ann Holt", "pilot"), ("Bo Lund", "poet"), ("Cy Mere", "potter"))
    return later_facts(before, after)


def test_later_facts_are_those_that_the_later_crawl_changed_or_added():
    assert {(fact["entity"], fact["answer"], fact["kind"]) for fact in facts()} == {
        ("Ann Holt", "pilot", "changed"),
        ("Cy Mere", "potter", "new"),
    }


def test_findable_facts_and_right_answers_are_counted_for_each_index(tmp_path):
    for name, texts in PAGES.items():
        write_index(tmp_path / name, [("http://site.example/", text) for text in texts])
    model = Transformer(ModelShape.of_depth(1, 500, 160, width=32))
    model.initialise(1)
    examination = Examination(facts(), {"profession": {"baker", "pilot", "poet", "potter"}}, Tools())
    result = measure(Engine(model, ENCODING), examination, {name: tmp_path / name for name in PAGES})
    assert result["facts"] == {"changed": 1, "new": 1}
    assert result["findable"] == {"today": {"changed": 1, "new": 1}, "at training": {"changed": 0, "new": 0}}
    assert result["right"].keys() == {
        "today",
        "at training",
        "today, search first",
        "at training, search first",
        "none",
    }
