"""What `llm-assets run` builds by default: no demonstrations, and no assistant in a language but English."""

import click
import dagster as dg
import pytest

from llm_assets.cli.dagster_runs import runs_for
from llm_assets.cli.run import check_named_benchmarks, without_assistant, without_demonstrations
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import Benchmarks, BenchmarkTask, gpu, laptop
from tests.support.benchmark_files import ARC, benchmark_files, write_rows

EVERY_KEY = {dg.AssetKey(stage.name) for stage in GRAPH}
KEYS = without_demonstrations(laptop(), EVERY_KEY)
DEMONSTRATIONS = EVERY_KEY - KEYS


def groups_of(keys):
    return {GRAPH[key.to_user_string()].group for key in keys}


@pytest.mark.parametrize("targets", [("en",), ("eng_Latn",), ("de", "en")])
def test_an_english_recipe_builds_everything(targets, capsys):
    recipe = laptop()
    workspace = open_workspace(recipe.replace(language=recipe.language.replace(targets=targets)))
    assert without_assistant(workspace, KEYS) == KEYS and not capsys.readouterr().out


def test_a_recipe_in_another_language_ends_with_the_base_model(capsys):
    """The assistant is taught, asked and graded in English, which a base model of German pages has not read."""
    keys = without_assistant(open_workspace(laptop().in_language("de")), KEYS)
    assert groups_of(keys) == {"web", "curation", "tokens", "pretraining"}
    assert "pages in de" in capsys.readouterr().out


def test_demonstrations_are_left_out_of_the_default_run_and_of_no_other():
    assert groups_of(DEMONSTRATIONS) == {"demonstrations", "finetuning", "preference"}
    assert "demonstrations" not in groups_of(KEYS)
    assert runs_for(laptop(), ["a"], DEMONSTRATIONS) == [("on_demand", None, DEMONSTRATIONS)]
    for crawls in (["a"], ["a", "b"]):
        runs = runs_for(laptop(), crawls, EVERY_KEY)
        assert runs[-1] == ("on_demand", None, DEMONSTRATIONS)
        assert not any(keys & DEMONSTRATIONS for _, _, keys in runs[:-1])


def test_benchmarks_are_read_before_anything_is_built(tmp_path):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra benchmarks)")
    named = laptop().replace(benchmarks=Benchmarks(files=benchmark_files(tmp_path)))
    check_named_benchmarks(open_workspace(named))
    write_rows(tmp_path / "arc.jsonl", [{**ARC[0], "answerKey": "E"}])
    with pytest.raises(click.ClickException, match=r"arc.jsonl, row 1: answerKey is 'E'; the labels are A, B"):
        check_named_benchmarks(open_workspace(named))


def test_a_model_that_the_recipe_leaves_out_cannot_be_asked():
    unranked = gpu().replace(benchmarks=Benchmarks(tasks=(BenchmarkTask(name="piqa"),), models=("rlhf",)))
    with pytest.raises(
        click.ClickException, match=r"benchmarks.models: rlhf is left out: the recipe names no rankings"
    ):
        check_named_benchmarks(open_workspace(unranked))
