"""Targets are labels of the language model: one that it does not have is an error that names near ones."""

import fasttext
import polars as pl
import pytest

from llm_assets.curation.fasttext_file import read_labels
from llm_assets.curation.language import (
    LANGUAGE_FILTERED_TEXT,
    LanguageModelError,
    check_language,
    identify,
    model_path,
    open_model,
)
from llm_assets.curation.language_labels import near_labels
from llm_assets.graph import open_workspace
from llm_assets.recipes import Language, Recipe, WarcFiles
from llm_assets.recipes.language_tags import language_of
from tests.support.building import build
from tests.support.fasttext_models import write_model
from tests.support.small_recipe import CORPUS
from tests.support.warcs import page, story, write

GLOTLID = {
    "eng_Latn": ["the", "and", "harbour", "was"],
    "deu_Latn": ["der", "und", "hafen", "war"],
    "cmn_Hani": ["的", "港口"],
}


@pytest.fixture
def glotlid(tmp_path):
    """A model with labels as GlotLID's: ISO 639-3 and ISO 15924."""
    return write_model(tmp_path / "glotlid.bin", GLOTLID)


@pytest.mark.parametrize(
    ("target", "near"),
    [
        ("eng", "en"),  # ISO 639-3 of ISO 639-1
        ("eng_Latn", "en"),
        ("nb", "no, da, nn"),  # Norwegian Bokmål is what lid.176 calls Norwegian
        ("zh-cn", "zh"),
        ("cmn_Hani", "zh"),
        ("ger", "de"),  # ISO 639-2/B
        ("iw", "he"),  # withdrawn code
        ("EN", "en"),
    ],
)
def test_the_error_names_the_target_and_near_labels(target, near):
    with pytest.raises(LanguageModelError, match=rf"lid\.176\.ftz has no label '{target}'; near labels: {near}"):
        check_language(Language(targets=("en", target)))


@pytest.mark.parametrize(
    ("target", "near"), [("en", "eng_Latn"), ("zh", "cmn_Hani"), ("de", "deu_Latn"), ("eng_Cyrl", "eng_Latn")]
)
def test_the_error_names_labels_with_a_script(glotlid, target, near):
    with pytest.raises(LanguageModelError, match=rf"glotlid\.bin has no label '{target}'; near labels: {near}"):
        check_language(Language(targets=(target,), model=str(glotlid)))


def test_the_error_lists_labels_where_none_is_near(glotlid):
    with pytest.raises(LanguageModelError, match="its 3 labels are cmn_Hani, deu_Latn, eng_Latn"):
        check_language(Language(targets=("ja",), model=str(glotlid)))


def test_labels_that_are_no_language_tags_are_found_by_their_spelling():
    assert near_labels("englsh", ["english", "german"]) == ["english"]


@pytest.mark.parametrize("target", ["deu_Latn", "__label__deu_Latn"])
def test_a_model_with_other_labels_is_used_by_its_path(glotlid, target):
    rules = Language(targets=(target,), model=str(glotlid))
    texts = pl.Series(["der hafen war still und leer", "the harbour was quiet and empty", "港口 的"])
    languages = identify(open_model(rules), texts, rules)
    assert languages["language"].to_list() == ["deu_Latn"] * 3
    assert languages["language_1"].to_list() == ["deu_Latn", "eng_Latn", "cmn_Hani"]
    library = fasttext.load_model(str(glotlid))
    for text, score in zip(texts, languages["score_1"], strict=True):
        assert library.predict(text)[1][0] == pytest.approx(score, abs=1e-4)


def test_labels_are_read_without_the_rest_of_the_file(tmp_path, glotlid):
    assert read_labels(glotlid) == list(GLOTLID)
    path = model_path(Language())
    assert read_labels(path) == list(open_model(Language()).labels)
    (tmp_path / "cut.bin").write_bytes(glotlid.read_bytes()[:-40])
    assert read_labels(tmp_path / "cut.bin") == list(GLOTLID)


def test_a_crawl_is_not_read_for_a_target_that_the_model_lacks(tmp_path):
    """Before, every page scored 0.0 and was rejected, so the corpus was empty without an error."""
    write(tmp_path / "warc" / "a.warc.gz", [page("http://a.example/", story(1))])
    recipe = Recipe(name="t", crawls={"c": WarcFiles(path=str(tmp_path / "warc"))}, language=Language(targets=("eng",)))
    with pytest.raises(LanguageModelError, match="no label 'eng'; near labels: en"):
        build(recipe, CORPUS)
    assert not list(open_workspace().store.artifacts(LANGUAGE_FILTERED_TEXT.name, "c"))


@pytest.mark.parametrize(
    ("label", "code"), [("en", "en"), ("eng_Latn", "en"), ("en-GB", "en"), ("cmn_Hani", "zh"), ("x!", "x!")]
)
def test_a_label_names_a_language(label, code):
    assert language_of(label) == code
