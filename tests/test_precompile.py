"""Precompilation compiles everything that later runs need: other texts need no other code."""

import importlib
import pkgutil

import polars as pl
import pytest
from numba.core.registry import CPUDispatcher

from llm_assets import curation
from llm_assets.curation import extraction, language, language_model, personal_data, signatures
from llm_assets.curation.text_statistics import stage as text_statistics
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.precompile import precompile
from llm_assets.recipes import Deduplication, Language, PersonalData, TextStatistics
from tests.support.tiny_models import ENCODING, SHAPES, random_model


def entry_points():
    """The compiled functions that Python calls, by name: those that no other compiled function calls.

    numba loads the others from its cache as part of these, and inlined ones are part of their callers.
    """
    functions = set()
    modules = pkgutil.walk_packages(curation.__path__, f"{curation.__name__}.")
    for name in (*(module.name for module in modules), "llm_assets.model.cpu_decoding"):
        values = vars(importlib.import_module(name)).values()
        functions |= {value for value in values if isinstance(value, CPUDispatcher)}
    called = {
        function.py_func.__globals__.get(name)
        for function in functions
        for name in function.py_func.__code__.co_names
        if isinstance(function.py_func.__globals__.get(name), CPUDispatcher)
    }
    return {f"{function.py_func.__module__}.{function.py_func.__name__}": function for function in functions - called}


@pytest.fixture(scope="module")
def compiled():
    precompile()
    return entry_points()


def test_every_entry_point_is_compiled(compiled):
    assert len(compiled) >= 10
    assert [name for name, function in compiled.items() if not function.signatures] == []


def test_nothing_is_compiled_again_after_precompile(compiled):
    before = {name: list(function.signatures) for name, function in compiled.items()}
    texts = pl.Series([f"Page {number} — naïve, 日本語; call 555-0100.\n- a list\n" * number for number in range(4)])
    rules = PersonalData()
    extraction.extract(
        "<html><body><pre>x</pre><p>é</p><table><tr><td>1</td><td>2</td></tr></table></body></html>".encode()
    )
    model = language_model.load_language_model(language.model_path(Language()))
    language.identify(model, texts, Language())
    text_statistics.compute_statistics(texts, TextStatistics())
    signatures.sign(texts, signatures.Signatures.of(Deduplication()))
    personal_data.scrub(texts, rules.types, rules.placeholders, rules.phone_region)
    engine = Engine(random_model(SHAPES["grouped and tied"]), ENCODING, is_final=True)
    engine.complete([[5] * 40, [7, 8]], Sampling(max_tokens=20, stop=tuple(range(0, 500, 9))), samples=8)
    engine.complete([[5], [7]], Sampling(max_tokens=2))
    assert {name: list(function.signatures) for name, function in compiled.items()} == before
