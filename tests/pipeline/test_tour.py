"""The tour on real artifacts: of the whole pipeline, of a corpus with a tokenizer, and of other pages."""

import re

import pytest
from click.testing import CliRunner

from llm_assets.cli import cli
from llm_assets.graph import open_workspace
from llm_assets.tour import STEPS, Visit, take_step
from llm_assets.tour.layout import COLUMNS, width
from tests.support.sample_pipeline import REFERENCE

TITLES = [f"{number}. {step.title}" for number, step in enumerate(STEPS, 1)]


def tour(*words):
    result = CliRunner().invoke(cli, ["tour", *words])
    assert result.exit_code == 0, result.output[-3000:]
    return result.output


def sections(output):
    """The output by the titles of its steps."""
    pieces = re.split(rf"^({'|'.join(map(re.escape, TITLES))})$", output, flags=re.MULTILINE)[1:]
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


@pytest.fixture
def sample(pipeline, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_RECIPE", REFERENCE)
    return pipeline


def test_every_step_is_shown_or_says_why_not(sample):
    by_step = sections(tour())
    assert list(by_step) == TITLES
    left_out = {title for title, text in by_step.items() if text.strip().startswith("left out: ")}
    # A model that was trained for seconds knows no fact.
    assert left_out <= {"10. A fact"}
    assert all(len(text.strip().splitlines()) >= 3 for title, text in by_step.items() if title not in left_out)


def test_it_fits_its_columns_and_is_the_same_again(sample):
    first = tour()
    assert max(map(width, first.splitlines())) <= COLUMNS
    assert tour() == first


def test_one_step_is_taken_by_number_or_name(sample):
    by_name = tour("--step", "tokens")
    assert by_name == tour("--step", "3") and list(sections(by_name)) == ["3. Bits, bytes and tokens"]


def test_the_list_names_every_step(sample):
    listed = tour("--list").splitlines()
    assert [line.split()[1] for line in listed] == [step.name for step in STEPS]


def test_an_unknown_step_is_an_error(sample):
    result = CliRunner().invoke(cli, ["tour", "--step", "nothing"])
    assert result.exit_code != 0 and "no step 'nothing'" in str(result.exception)


def test_the_examples_of_the_talk_are_asked_where_the_corpus_is_the_sample_web(sample):
    by_step = sections(tour())
    assert "The sky is" in by_step["4. What comes next"]
    assert "Who is Orson Kovats?" in by_step["11. Somebody who does not exist"]
    assert "strawberry" in by_step["16. Models see tokens, not letters"]
    assert "Why is the sky blue?" in by_step["14. What it cannot do"]


def test_bits_bytes_and_tokens_are_those_of_the_text(sample):
    text = tour("--step", "tokens")
    beginning = re.search(r"^  text +(.+)", text, re.MULTILINE)[1]
    bits = re.search(r"^  bits +([01]+)", text, re.MULTILINE)[1]
    assert bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)).decode() in beginning


def test_a_corpus_with_a_tokenizer_is_enough_for_the_first_steps(run_project):
    """Pages of the user's own WARC files, built up to the token shards."""
    by_step = sections(tour("--recipe", f"{run_project}/recipe.py:mine"))
    shown = [title for title, text in by_step.items() if "left out: " not in text]
    assert shown == TITLES[:3]
    missing = "".join(by_step["4. What comes next"].split())
    assert "base_checkpoint" in missing and f"llm-assetsrun--recipe{run_project}/recipe.py:mine" in missing


def test_an_empty_store_leaves_every_step_out(run_project, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(run_project / "nothing"))
    by_step = sections(tour("--recipe", f"{run_project}/recipe.py:mine"))
    assert list(by_step) == TITLES and all("left out: " in text for text in by_step.values())


def test_other_corpora_are_shown_with_their_own_words(base_recipe):
    with Visit(open_workspace(base_recipe)) as visit:
        reports = {step.name: take_step(place, visit) for place, step in enumerate(STEPS)}
        beginning = " ".join(visit.page["text"].split()[:3])
    shown = [name for name, report in reports.items() if not report.left_out]
    assert shown == ["page", "text", "tokens", "next", "samples", "recite", "pairs", "prompted"]
    assert beginning in reports["next"].text() and "The sky is" not in reports["next"].text()
    assert "strawberry" not in reports["letters"].text()
