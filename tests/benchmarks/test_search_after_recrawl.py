"""The benchmark of fresh search runs, at small size."""

import polars as pl

from benchmarks import search_after_recrawl as benchmark
from llm_assets.model.sampling import Engine
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.recipes import Tools
from llm_assets.sample_web.truth import truth_questions
from llm_assets.tools.search import write_index
from tests.support.training_jobs import ENCODING


def questions(*facts):
    rows = [
        {"entity": entity, "entity_kind": "person", "relation": "profession", "value": value, "reach": "many"}
        for entity, value in facts
    ]
    return truth_questions(pl.DataFrame(rows))


def test_it_asks_for_what_the_later_crawl_changed_and_brought(tmp_path):
    before = questions(("Ann Holt", "baker"), ("Bo Lund", "poet"))
    after = questions(("Ann Holt", "pilot"), ("Bo Lund", "poet"), ("Cy Mere", "potter"))
    facts = benchmark.later_facts(before, after)
    assert {(fact["entity"], fact["answer"], fact["kind"]) for fact in facts} == {
        ("Ann Holt", "pilot", "changed"),
        ("Cy Mere", "potter", "new"),
    }
    pages = {"today": ["Ann Holt is a pilot.", "Cy Mere works as a potter."], "then": ["Ann Holt is a baker."]}
    for name, texts in pages.items():
        write_index(tmp_path / name, [("http://site.example/", text) for text in texts])
    model = Transformer(ModelShape.of_depth(1, 500, 160, width=32))
    model.initialise(1)
    distractors = {"profession": {"baker", "pilot", "poet", "potter"}}
    found = benchmark.measure(
        Engine(model, ENCODING), facts, distractors, {name: tmp_path / name for name in pages}, Tools()
    )
    assert found["facts"] == {"changed": 1, "new": 1}
    assert found["findable"] == {"today": {"changed": 1, "new": 1}, "then": {"changed": 0, "new": 0}}
    assert found["right"].keys() == {"today", "then", "today, search first", "then, search first", "none"}
