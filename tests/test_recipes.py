"""Recipes: found by name or file, immutable, and clear about what is wrong."""

import pytest
from pydantic import ValidationError

from llm_assets.recipes import Recipe, RecipeError, SampleWeb, WarcFiles, laptop, load_recipe
from llm_assets.web.crawls import CrawlRegistry
from llm_assets.web.errors import SourceError


def test_the_default_is_the_sample_web(monkeypatch):
    assert load_recipe() == laptop()
    assert laptop().corpus() == ["sample"]


def test_a_recipe_from_a_file(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from llm_assets.recipes import laptop\ndef mine():\n    return laptop().but(name='mine')\n")
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/mine.py:mine")
    assert load_recipe().name == "mine"


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("nothing", "no recipe 'nothing': use one of laptop, gpu, node"),
        ("nowhere.py:f", r"nowhere\.py: no such recipe file"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("llm_assets.recipes:nothing", "has no attribute 'nothing'"),
        ("llm_assets.recipes:describe_nothing", "has no attribute"),
        ("llm_assets.recipes.dial:dict", "has no attribute 'dict'"),
        ("builtins:dict", "returned dict, not Recipe"),
    ],
)
def test_what_cannot_be_found_is_named(reference, problem):
    with pytest.raises(RecipeError, match=problem):
        load_recipe(reference)


def test_recipes_are_immutable_and_copies_are_checked():
    with pytest.raises(ValidationError):
        laptop().name = "other"
    with pytest.raises(ValidationError):
        laptop().but(name="not a name")
    assert laptop().but(name="other").crawls == laptop().crawls


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"crawls": {"a/b": SampleWeb()}}, "crawl name 'a/b'"),
        ({"crawls": {"a": SampleWeb(since="b")}}, "crawl 'a' continues 'b', which is no crawl"),
        ({"crawls": {"a": SampleWeb(since="b"), "b": SampleWeb(since="a")}}, "in a circle: a → b → a"),
        ({"crawls": {}, "corpus_crawls": ("x",)}, "corpus_crawls names 'x'"),
        ({"crawls": {"a": {"kind": "warc_files"}}}, "path"),
        ({"crawls": {"a": {"kind": "ftp"}}}, "'ftp' found using 'kind' does not match"),
        ({"crawls": {}, "extraction": {"max_bytes": 3}}, "extraction.max_bytes"),
    ],
)
def test_impossible_recipes_say_why(fields, problem):
    with pytest.raises(ValidationError, match=problem):
        Recipe(name="t", **fields)


def test_the_registry_keeps_a_crawl_s_source(tmp_path):
    registry = CrawlRegistry(tmp_path)
    assert registry.add("mine", WarcFiles(path="/x"))
    assert not registry.add("mine", WarcFiles(path="/x"))
    with pytest.raises(SourceError, match="registered with another source"):
        registry.add("mine", WarcFiles(path="/y"))
    assert registry.effective(laptop()).corpus() == ["mine", "sample"]
    assert registry.effective(laptop().but(crawls={"mine": SampleWeb()})).crawls == {"mine": SampleWeb()}


def test_a_damaged_registration_is_named(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SourceError, match=r"broken\.json: not JSON"):
        CrawlRegistry(tmp_path).sources()
    (tmp_path / "broken.json").write_text('{"kind": "crawl", "seeds": []}')
    with pytest.raises(SourceError, match=r"broken\.json: crawl.seeds: Tuple should have at least 1 item"):
        CrawlRegistry(tmp_path).sources()
