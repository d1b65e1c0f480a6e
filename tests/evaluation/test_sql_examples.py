"""The statements of the guide on comparing models run on a table `evaluation`, and give what they promise."""

import re

import duckdb
import pytest

from llm_assets.evaluation.figures import figures_table, row
from llm_assets.evaluation.intervals import Estimate
from llm_assets.settings import PROJECT

GUIDE = PROJECT / "docs/how-to/compare-models.md"
FILES = "data/artifacts/scorecard/*/*/evaluation/*.parquet"


def figure(model, suite, group, metric, value):
    return row(model, suite, group, metric, Estimate(value, value - 0.05, value + 0.05, 300))


ROWS = [
    figure("sft", "questions", "known", "right", 0.9),
    figure("rlhf", "questions", "known", "right", 0.8),
    figure("majority by relation", "questions", "known", "right", 0.125),
    figure("rlhf", "questions", "known", "change from sft", -0.1),
    figure("rlhf", "questions", "sums", "change from sft", 0.02),
    figure("rlhf", "problems", "letters", "pass@1", 0.3),
    figure("rlhf", "problems", "arithmetic", "pass@1", 0.6),
    figure("best constant answer", "problems", "letters", "pass@1", 0.33),
    figure("best constant answer", "problems", "arithmetic", "pass@1", 0.1),
]


@pytest.fixture
def results(tmp_path):
    """The rows of each statement of the guide."""
    folder = tmp_path / "data/artifacts/scorecard/all/0123abcd/evaluation"
    folder.mkdir(parents=True)
    figures_table(ROWS).write_parquet(folder / "scorecard.parquet")
    statements = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert all(FILES in statement for statement in statements)
    return [duckdb.sql(statement.replace(FILES, f"{tmp_path}/{FILES}")).fetchall() for statement in statements]


def test_each_statement_gives_what_the_guide_says(results):
    side_by_side, changes, not_better = results
    assert side_by_side == [("known", 0.125, 0.8, 0.9)]
    assert changes == [("known", -10.0, -15.0, -5.0, 300), ("sums", 2.0, -3.0, 7.0, 300)]
    assert not_better == [("letters", 0.3, 0.25, 0.35, 0.33)]
