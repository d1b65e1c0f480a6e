"""Commands in folders whose names have a meaning to some library: to Dagster, dotenv or Rich."""

import os

import pytest
from click.testing import CliRunner
from dotenv import dotenv_values

from llm_assets.cli.crawls import list_crawls
from llm_assets.cli.setup import ENV_FILE, prepare_instance, remember_instance
from llm_assets.settings import load_settings


@pytest.mark.parametrize("name", ["plain", "a [b]", "100% #1 {x}", "it's", "url=zzz"])
def test_the_instance_is_remembered_in_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / name))
    prepare_instance(load_settings())
    remember_instance(tmp_path / name)
    assert dotenv_values(ENV_FILE)["DAGSTER_HOME"] == os.environ["DAGSTER_HOME"] == str(tmp_path / name)


@pytest.mark.parametrize("name", ["what?", "50%20"])
def test_a_folder_that_dagster_cannot_use_is_refused(tmp_path, monkeypatch, name):
    # Dagster writes the path into the URL of its databases as it is; there, "?" and "%" have a meaning (RFC 3986).
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / name))
    with pytest.raises(ValueError, match="set DAGSTER_HOME to another folder"):
        prepare_instance(load_settings())
    assert not (tmp_path / name).exists()


def test_the_list_of_crawls_shows_brackets(tmp_path, monkeypatch):
    # Rich would take [b] for the beginning of bold text, and [/b] for an error.
    (tmp_path / "recipe.py").write_text(
        "from llm_assets.recipes import Recipe, WarcFiles\n"
        "def mine():\n    return Recipe(name='mine', crawls={'c': WarcFiles(path='a [b]/x[/i].warc')})\n"
    )
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    result = CliRunner().invoke(list_crawls)
    assert result.exit_code == 0, result.output
    assert "a [b]/x[/i].warc" in "".join(result.output.split("\n"))
