"""Recipes are found by name or file, are immutable, and report errors by field."""

import os
import subprocess
import sys
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from docs.generate import is_group
from llm_assets.recipes import RECIPES, Recipe, RecipeError, Recrawl, SampleWeb, WarcFiles, laptop, load_recipe
from llm_assets.web.crawls import CrawlRegistry
from llm_assets.web.errors import SourceError

RECRAWL = Recrawl(prefix="a", cron="0 0 * * *", source=SampleWeb())


def test_the_default_recipe_reads_the_sample_web():
    assert load_recipe() == laptop()
    assert laptop().corpus() == ["sample"]


def test_a_recipe_is_loaded_from_a_file(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from llm_assets.recipes import laptop\ndef mine():\n    return laptop().replace(name='mine')\n"
    )
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/mine.py:mine")
    assert load_recipe().name == "mine"


def test_an_edit_within_a_second_that_leaves_the_size_as_it_was_is_read(tmp_path):
    path = tmp_path / "recipe.py"
    for name in ("first", "other"):
        path.write_text(
            f"from llm_assets.recipes import Recipe\n\n\ndef mine():\n    return Recipe(name={name!r}, crawls={{}})\n"
        )
        os.utime(path, (1_700_000_000, 1_700_000_000))
        code = f"from llm_assets.recipes import load_recipe; print(load_recipe({str(path) + ':mine'!r}).name)"
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
        loaded = subprocess.run(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        assert loaded.stdout.strip() == name


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("nothing", "no recipe 'nothing': use one of laptop, gpu, node"),
        ("missing.py:f", r"missing\.py: no such recipe file"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("llm_assets.recipes:nothing", "has no attribute 'nothing'"),
        ("llm_assets.recipes:describe_nothing", "has no attribute"),
        ("llm_assets.recipes.presets:dict", "has no attribute 'dict'"),
        ("builtins:dict", "returned dict, not Recipe"),
    ],
)
def test_the_error_names_a_recipe_that_cannot_be_found(reference, problem):
    with pytest.raises(RecipeError, match=problem):
        load_recipe(reference)


def test_recipes_are_immutable_and_copies_are_validated():
    with pytest.raises(ValidationError):
        laptop().name = "other"
    with pytest.raises(ValidationError):
        laptop().replace(name="not a name")
    assert laptop().replace(name="other").crawls == laptop().crawls


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"crawls": {"a/b": SampleWeb()}}, "crawl name 'a/b'"),
        ({"crawls": {"a": SampleWeb(since="b")}}, "crawl 'a' continues 'b', which is no crawl"),
        ({"crawls": {"a": SampleWeb(since="b"), "b": SampleWeb(since="a")}}, "in a circle: a → b → a"),
        ({"crawls": {}, "tokenizer": {"crawls": ("x",)}}, "tokenizer.crawls names 'x'"),
        ({"crawls": {}, "recrawls": (RECRAWL, RECRAWL)}, "two schedules have one prefix"),
        ({"crawls": {}, "recrawls": ({**RECRAWL.model_dump(), "prefix": "a/b"},)}, "recrawls.0.prefix"),
        (
            {"crawls": {}, "recrawls": ({**RECRAWL.model_dump(), "source": SampleWeb(since="gone").model_dump()},)},
            "since='gone': leave it out; each crawl continues the latest built one",
        ),
        ({"crawls": {"a": {"kind": "warc_files"}}}, "path"),
        ({"crawls": {"a": {"kind": "ftp"}}}, "'ftp' found using 'kind' does not match"),
        ({"crawls": {}, "extraction": {"max_bytes": 3}}, "extraction.max_bytes"),
    ],
)
def test_an_impossible_recipe_is_an_error_with_a_reason(fields, problem):
    with pytest.raises(ValidationError, match=problem):
        Recipe(name="t", **fields)


def test_the_registry_keeps_the_source_of_a_crawl(tmp_path):
    registry = CrawlRegistry(tmp_path)
    assert registry.add("mine", WarcFiles(path="/x"))
    assert not registry.add("mine", WarcFiles(path="/x"))
    with pytest.raises(SourceError, match="registered with another source"):
        registry.add("mine", WarcFiles(path="/y"))
    effective = registry.effective(laptop())
    assert effective.corpus() == ["sample"] and effective.sources().keys() == {"mine", "sample"}
    assert registry.effective(laptop().replace(registered_crawls="all")).corpus() == ["mine", "sample"]
    assert registry.effective(laptop().replace(registered_crawls=("mi",))).corpus() == ["mine", "sample"]
    assert registry.effective(laptop().replace(registered_crawls=("other",))).corpus() == ["sample"]
    assert registry.effective(laptop().replace(crawls={"mine": SampleWeb()})).crawls == {"mine": SampleWeb()}


def test_the_error_names_a_damaged_registration(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SourceError, match=r"broken\.json: not JSON"):
        CrawlRegistry(tmp_path).sources()
    (tmp_path / "broken.json").write_text('{"kind": "crawl", "seeds": []}')
    with pytest.raises(SourceError, match=r"broken\.json: crawl.seeds: Tuple should have at least 1 item"):
        CrawlRegistry(tmp_path).sources()


def test_gpt2_recipes_have_the_published_shapes():
    small, large = (load_recipe(name).model.shape(50_272) for name in ("gpt2-124m", "gpt2-1.5b"))
    assert (small.layers, small.width, small.heads, small.context, small.hidden) == (12, 768, 12, 1024, 3072)
    assert (large.layers, large.width, large.heads, large.context, large.hidden) == (48, 1600, 25, 1024, 6400)
    # GPT-2 has 50,257 embeddings; with 16 special tokens, in a multiple of 64, there are 47 more.
    assert small.parameters - 47 * 768 == 124_439_808 and large.parameters - 47 * 1600 == 1_557_611_200


def test_the_training_budget_follows_from_the_depth():
    gpu = load_recipe("gpu")
    shape = gpu.model.shape(gpu.tokenizer.vocabulary)
    steps, rows = gpu.pretraining.budget(shape)
    assert rows * shape.context == 1 << 19
    assert abs(steps * rows * shape.context / shape.parameters - 20) < 0.1
    assert gpu.pretraining.replace(tokens=1_000_000, batch_tokens=4096).budget(shape) == (244, 2)
    assert gpu.pretraining.rates(shape) == (2e-3, 2e-3)
    assert load_recipe("node").model.shape(65_536).parameters > 4e8


@pytest.mark.parametrize(
    ("group", "fields", "problem"),
    [
        ("tokenizer", {"vocabulary": 271}, "greater than or equal to 272"),
        ("tokenizer", {"encoding": {"name": "p50k"}}, "'gpt2', 'cl100k_base' or 'o200k_base'"),
        ("token_shards", {"validation_share": 0.0}, "greater than 0"),
        ("pretraining", {"learning_rate": 2.0}, "less than 1"),
        ("pretraining", {"crawls": ("nope",)}, "pretraining.crawls names 'nope'"),
        ("tokenizer", {"crawls": ("nope",)}, "tokenizer.crawls names 'nope'"),
        ("base_evaluation", {"prompts": ("",)}, "a prompt is empty"),
        ("model", {"depth": 0}, "greater than or equal to 1"),
    ],
)
def test_the_error_names_a_wrong_value(group, fields, problem):
    with pytest.raises(ValueError, match=problem):
        laptop().replace(**{group: {**getattr(laptop(), group).model_dump(), **fields}})


def test_a_schedule_owns_only_the_crawls_that_it_registered():
    recrawl = RECRAWL.replace(prefix="sample")
    assert recrawl.owns("sample-2026-11-21")
    assert not any(
        recrawl.owns(name) for name in ("sample", "sample-big", "sample-2026-11-21-again", "samples-2026-11-21")
    )


def test_two_schedules_with_one_name_are_an_error():
    with pytest.raises(ValidationError, match="two schedules"):
        Recipe(name="t", crawls={}, recrawls=(RECRAWL.replace(prefix="a-b"), RECRAWL.replace(prefix="a.b")))


def test_the_tokenizer_stays_the_same_when_crawls_are_added():
    named = Recipe(name="t", crawls={"b": SampleWeb()}, registered_crawls="all", recrawls=(RECRAWL,))
    later = named.with_registered({"c": SampleWeb(), "a-2026-11-21": SampleWeb()})
    assert (later.tokenizer_crawls(), later.corpus()) == (["b"], ["a-2026-11-21", "b", "c"])
    unnamed = Recipe(name="t", crawls={}, registered_crawls="all", recrawls=(RECRAWL,))
    scheduled = {"a-2026-11-14": SampleWeb(), "a-2026-11-21": SampleWeb()}
    assert unnamed.with_registered(scheduled).tokenizer_crawls() == ["a-2026-11-14"]
    assert unnamed.with_registered({**scheduled, "c": SampleWeb()}).tokenizer_crawls() == ["c"]


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        (
            "laptop().replace(pretraining=laptop().pretraining.replace(learning_rat=3))",
            "pretraining.learning_rat: extra input is not permitted; did you mean learning_rate?",
        ),
        (
            "laptop().replace(pretraining=recipes.Pretraining(learning_rate=3))",
            "pretraining.learning_rate: Input should be",
        ),
        (
            "laptop().replace(knowledge_boundary=laptop().knowledge_boundary"
            ".replace(endpoint=recipes.Endpoint(model='', url='')))",
            "r.py:f: Endpoint.model: String should have at least 1 character",  # two fields are of that type
        ),
        (
            "laptop().replace(pretraning=1)",
            "r.py:f: pretraning: extra input is not permitted; did you mean pretraining?",
        ),
        (
            "laptop().replace(crawls={'a': recipes.SampleWeb(dya=2)})",
            "SampleWeb.dya: extra input is not permitted; did you mean",
        ),
        (
            "laptop().replace(quality=recipes.Quality(thresholds={'x': 1}))",
            "quality.thresholds: no rule 'x'; available:",
        ),
        ("laptop().replace(model=laptop().model.replace(heads=3))", "model: heads 3 do not divide the width 128"),
        ("laptop().replace(model=recipes.Model(heads=4, kv_heads=3))", "model.heads 4 is no multiple of kv_heads 3"),
        ("laptop().replace(name=1 / 0)", "r.py:f: ZeroDivisionError: division by zero ("),
        ("nothing", "r.py:f: NameError: name 'nothing' is not defined ("),
    ],
)
def test_the_error_gives_the_path_of_the_field_within_the_recipe(tmp_path, recipe, problem):
    source = f"from llm_assets import recipes\nfrom llm_assets.recipes import laptop\ndef f():\n    return {recipe}\n"
    (tmp_path / "r.py").write_text(source)
    with pytest.raises(RecipeError) as error:
        load_recipe(f"{tmp_path}/r.py:f")
    assert problem in str(error.value) and "\n" not in str(error.value)


def test_every_preset_has_a_valid_model_shape():
    for name, preset in RECIPES.items():
        assert preset().model.shape(65_536).parameters > 0, name


def recipe_types(annotation):
    """The recipe types in an annotation, and in the fields of these."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for info in annotation.model_fields.values():
            yield from recipe_types(info.annotation)
    for argument in get_args(annotation):
        yield from recipe_types(argument)


def test_every_field_has_a_description():
    """Groups of a recipe apart, whose docstrings describe them in the reference."""
    missing = {
        f"{model.__name__}.{name}"
        for model in set(recipe_types(Recipe))
        for name, info in model.model_fields.items()
        if not info.description and not (model is Recipe and is_group(info))
    }
    assert not missing
