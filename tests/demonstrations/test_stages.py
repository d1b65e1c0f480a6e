"""The demonstrations at tiny size, in a real store."""

import pytest

from benchmarks.demonstrations import summaries
from llm_assets.artifacts import materialize
from llm_assets.artifacts.tables import read_table
from llm_assets.demonstrations.stages import STAGES
from llm_assets.graph import GRAPH, open_workspace

OF_CORPUS = [stage.name for stage in STAGES if {*stage.inputs} <= {"tokenizer", "token_shards", "training_pages"}]


@pytest.mark.parametrize("name", OF_CORPUS)
def test_a_demonstration_is_built_judged_and_found_again(name, shards_recipe):
    workspace = open_workspace(shards_recipe)
    outcome = materialize(GRAPH[name], None, workspace)
    verdicts = read_table(outcome.artifact.table("verdicts"))
    assert outcome.artifact.record.stats["claims"] == len(verdicts) > 0
    report = outcome.artifact.view("report.html").read_text()
    assert outcome.artifact.record.stats["conclusion"] in report and report.count("<svg") >= 1
    assert all(claim in report for claim in verdicts["claim"])
    assert materialize(GRAPH[name], None, workspace).cached


def test_nothing_reads_a_demonstration_and_no_demonstration_is_built_by_default():
    assert all(stage.on_demand for stage in GRAPH if stage.group == "demonstrations")
    assert not {stage.name for stage in STAGES} & {name for stage in GRAPH for name in stage.inputs}


def test_the_verdicts_of_what_is_built_are_printed_for_the_documentation(shards_recipe):
    workspace = open_workspace(shards_recipe)
    artifact = materialize(GRAPH["longer_solutions"], None, workspace).artifact
    sections = {section.split()[1]: section for section in summaries(workspace)}
    assert sections.keys() == {stage.name for stage in STAGES}
    assert artifact.record.stats["conclusion"] in sections["longer_solutions"]
    assert "not built" in sections["regurgitation"]
