"""Commands that cannot do what they are asked for: one line says why, and advice in it works when it is followed."""

import sys

import click
import pytest

from llm_assets.cli import main
from llm_assets.cli.run import chosen_assets
from tests.support.commands import command_here, dagster_materialize
from tests.support.small_recipe import recipe_file, warc_sources
from tests.support.warcs import page, story, write


@pytest.fixture
def failed_command(run_project, monkeypatch, capsys):
    """A function that runs a command in this process and returns its exit code and standard error."""
    monkeypatch.setenv("DAGSTER_HOME", str(run_project / "data" / "dagster"))
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{run_project}/recipe.py:mine")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["llm-assets", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("artifacts", "list", "--asset", "corpus_reprt"), "no asset 'corpus_reprt'"),
        (("artifacts", "explain", "corpus_reprt"), "nothing in the graph is called corpus_reprt"),
        (("artifacts", "show", "corpus_reprt"), "no artifact and no asset is called 'corpus_reprt'"),
        (("artifacts", "adopt", "corpus_reprt", "--from", "."), "no asset 'corpus_reprt'"),
        (("artifacts", "render", "corpus_reprt"), "nothing in the graph is called corpus_reprt"),
    ],
)
def test_a_misspelt_asset_is_one_line(failed_command, words, message):
    code, error = failed_command(*words)
    assert code in (1, 2) and message in error and len(error.splitlines()) == 1, error


def test_a_misspelt_selection_gets_a_suggestion(run_project):
    refused = command_here(run_project, "run", "--select", "*corpus_reprt")
    message = "Error: --select: no asset 'corpus_reprt'; did you mean corpus_report?\n"
    assert (refused.returncode, refused.stderr) == (1, message)


def test_a_selection_is_understood_or_one_line_says_why_not():
    from llm_assets.definitions import defs

    chosen = {key.to_user_string() for key in chosen_assets("*filtered_urls,group:tokens", defs)}
    assert {"raw_warc", "filtered_urls", "tokenizer", "token_shards"} <= chosen and "clean_corpus" not in chosen
    for select, message in [
        ("group:wbe", "selects no asset; groups are web, curation"),
        ("corpus_report,,", "Invalid selection string"),
        ("corpus_report and", "Invalid selection string"),
    ]:
        with pytest.raises(click.ClickException) as error:
            chosen_assets(select, defs)
        assert message in error.value.message and len(error.value.message.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [("run",), ("artifacts", "explain"), ("status",), ("corpus", "report"), ("plan",)], ids=" ".join
)
def test_an_exception_in_a_recipe_names_file_line_and_type(run_project, failed_command, words):
    path = run_project / "broken.py"
    path.write_text("from pathlib import Path\n\ndef mine():\n    return Path('never').read_text()\n")
    code, error = failed_command(*words, "--recipe", f"{path}:mine")
    assert code in (1, 2) and len(error.splitlines()) == 1, error
    assert f"{path}, line 4" in error and "FileNotFoundError: " in error and "'never'" in error


def advised_command(error):
    """The words of the command that an error message advises."""
    line = error[error.index("llm-assets run") :].splitlines()[0]
    return [word.strip("'") for word in line.split()]


def test_following_the_advice_of_an_error_works(run_project):
    """If one of several crawls lacks an artifact, the advice names the crawl and the recipe that was chosen."""
    recipe = ("--recipe", f"{run_project}/recipe.py:two")

    def run(*words):
        return command_here(run_project, "run", *recipe, *words)

    report = run("--crawl", "d", "--select", "*corpus_report")
    assert report.returncode == 0, report.stdout + report.stderr
    # Only c has shards of this recipe's tokenizer, which is not built.
    refused = run("--crawl", "d", "--select", "token_shards")
    assert refused.returncode == 1, refused.stdout
    advice = advised_command(refused.stderr)
    assert advice[2:] == [*recipe, "--crawl", "d", "--select", "*token_shards"]
    assert command_here(run_project, *advice[1:]).returncode == 0
    refused = run("--crawl", "d", "--select", "base_checkpoint")
    advice = advised_command(refused.stderr)
    assert advice[2:] == [*recipe, "--crawl", "c", "--select", "*base_checkpoint"], refused.stderr
    followed = command_here(run_project, *advice[1:])
    assert followed.returncode == 0, followed.stdout + followed.stderr
    words = ("complete", *recipe, "The", "--max-tokens", "2", "--checkpoint", "sft")
    completed = command_here(run_project, *words)
    assert advised_command(completed.stderr)[2:] == [*recipe, "--select", "*sft_checkpoint"]


def test_a_failed_blocking_check_fails_the_run(tmp_path):
    """With both commands; also the check of the last asset, which has nothing downstream to stop."""
    write(tmp_path / "warc" / "0.warc.gz", [page("http://host.example/0", b"x", "404 Not Found")])
    recipe_file(tmp_path / "recipe.py", warc_sources(tmp_path / "warc"))
    for _ in range(2):  # built, and found in the store
        ran = command_here(tmp_path, "run", "--select", "*corpus_report")
        assert ran.returncode == 1, ran.stdout + ran.stderr
        assert "failed: corpus_report: blocking check corpus_not_empty: the corpus is empty" in ran.stderr
    home = str(tmp_path / "data" / "dagster")
    by_dagster = dagster_materialize(tmp_path, "*corpus_report", "--partition", "c", dagster_home=home)
    assert by_dagster.returncode == 1 and "corpus_not_empty" in by_dagster.stderr


def status_lines(project):
    """The lines of `llm-assets status`: what is built, stale or missing, left out, running."""
    return command_here(project, "status").stdout.splitlines()


def test_status_without_and_with_a_dagster_instance(tmp_path):
    pages = [page(f"http://host.example/{number}", story(number)) for number in range(4)]
    write(tmp_path / "warc" / "0.warc.gz", pages)
    recipe_file(tmp_path / "recipe.py", warc_sources(tmp_path / "warc"))
    built, stale_or_missing, left_out, running = status_lines(tmp_path)
    assert built.startswith("built: 0 of ") and built.endswith("by crawl: c 0 of 11")
    assert stale_or_missing.startswith("stale or missing: missing url_blocklists, raw_warc/c, ")
    assert left_out == "left out: benchmark_evaluation: the recipe names no benchmarks (benchmarks)"
    assert running == "running: nothing" and not (tmp_path / "data" / "dagster").exists()
    assert command_here(tmp_path, "run", "--select", "*extracted_text").returncode == 0
    recipe = tmp_path / "recipe.py"
    changed = "Recipe(extraction=recipes.Extraction(min_characters=2), name"
    recipe.write_text(recipe.read_text().replace("Recipe(name", changed))
    built, stale_or_missing, left_out, running = status_lines(tmp_path)
    assert built.startswith("built: 3 of ") and built.endswith("by crawl: c 2 of 11")
    assert stale_or_missing.startswith("stale or missing: stale extracted_text/c; missing language_filtered_text/c, ")
    assert running == "running: nothing"
