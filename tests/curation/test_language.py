"""Language: whole pages, targets, odd texts, missing and broken models, and agreement with the fastText library."""

import fasttext
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.curation.language import LanguageModelError, identify, model_path
from llm_assets.curation.language_model import LanguageModel, load_language_model
from llm_assets.recipes import Language, laptop

TEXTS = {
    "en": "The harbour was quiet that morning, and nobody had thought of the letter that came.",
    "de": "Am Morgen lag noch Nebel über dem Fluss, und die Straßen waren fast leer.",
    "fr": "Le matin, la brume couvrait encore la rivière et les rues étaient presque vides.",
    "ru": "Утром над рекой ещё стоял туман, и улицы были почти пусты.",
    "ja": "朝になっても川には霧が残り、通りにはほとんど人がいませんでした。",
}
ODD = [
    "",
    "   ",
    "!!! ... ???",
    "\x00\x00",
    "\u200b\u202e\u2066",
    "1 2 3",
    "x" * 1_000_000,
    "\r\n\r\n",
    "word " * 200_000,
    "a\x00b",
    "</s",
    "\U0001f600" * 99,
]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_language_model(model_path(Language()))


@pytest.fixture(scope="module")
def library():
    return fasttext.load_model(str(model_path(Language())))


def top(model, text, **rules):
    """The languages of one text, by column."""
    return identify(model, pl.Series([text]), Language(**rules)).row(0, named=True)


@pytest.mark.parametrize("language", TEXTS)
def test_the_language_of_a_plain_text_is_found(model, language):
    page = top(model, TEXTS[language])
    assert page["language_1"] == language and page["score_1"] > 0.65
    assert page["score_1"] >= page["score_2"] >= page["score_3"]


def test_the_whole_page_counts_and_line_breaks_do_not(model):
    page = "\n".join([TEXTS["de"]] * 12 + [TEXTS["en"]])
    assert top(model, page)["language_1"] == "de"
    assert top(model, page) == top(model, page.replace("\n", " "))


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_texts_have_probabilities_too(model, text):
    page = top(model, text)
    assert all(0 <= page[f"score_{place}"] <= 1 for place in (1, 2, 3))


def assert_agreement(model, library, text):
    """The model's top three labels and probabilities are the library's."""
    labels, scores = library.predict(text.replace("\n", " "), k=3)
    top_labels, ours = model.top(pl.Series([text]), 3)
    assert ours[0][: len(scores)].tolist() == pytest.approx(scores, abs=2e-5)  # the library gives none below 1e-5
    for place, label in enumerate(labels):
        if scores[place] > 1e-4:  # below, probabilities differ by less than rounding errors
            assert model.labels[top_labels[0][place]] == label.removeprefix("__label__")


@pytest.mark.parametrize(
    "text", [*TEXTS.values(), *ODD, "\n".join(TEXTS.values()) * 20], ids=range(len(TEXTS) + len(ODD) + 1)
)
def test_scores_agree_with_the_library(model, library, text):
    assert_agreement(model, library, text)


@given(st.text(max_size=300).filter(lambda text: "</s>" not in text))
def test_scores_agree_with_the_library_on_any_text(model, library, text):
    assert_agreement(model, library, text.encode("utf-8", "replace").decode())


def test_the_librarys_markers_are_treated_as_text(model, library):
    """The library stops at a literal `</s>` and ignores words that look like labels, so a page could hide its text."""
    assert top(model, "</s> " + TEXTS["de"]) == top(model, TEXTS["de"])
    assert library.predict("__label__x")[1] == library.predict("")[1]
    assert top(model, "__label__x") != top(model, "")


def test_pages_do_not_depend_on_their_batch(model):
    texts = pl.Series([*TEXTS.values(), *ODD])
    together = identify(model, texts, Language())
    assert together.equals(pl.concat([identify(model, texts[i : i + 1], Language()) for i in range(len(texts))]))


def test_the_most_probable_target_decides(model):
    assert top(model, TEXTS["de"])["language"] == "en" and top(model, TEXTS["de"])["language_score"] < 0.1
    page = top(model, TEXTS["de"], targets=("en", "de"))
    assert (page["language"], page["language_score"]) == ("de", page["score_1"])
    assert top(model, TEXTS["ja"], targets=("cy",))["language_score"] == 0.0


def test_the_error_for_a_missing_or_broken_model_names_it(tmp_path):
    with pytest.raises(LanguageModelError, match=r"missing\.ftz: no such file"):
        model_path(Language(model=str(tmp_path / "missing.ftz")))
    (tmp_path / "broken.ftz").write_bytes(b"no model")
    with pytest.raises(LanguageModelError, match=r"broken\.ftz.*not a fastText model"):
        load_language_model(model_path(Language(model=str(tmp_path / "broken.ftz"))))


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.9, 0.999])
def test_the_error_for_a_truncated_model_names_it(tmp_path, share):
    whole = model_path(Language()).read_bytes()
    (tmp_path / "cut.ftz").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(LanguageModelError, match=r"cut\.ftz: the file ends too early"):
        load_language_model(tmp_path / "cut.ftz")


@given(st.data())
def test_a_damaged_model_is_refused_or_runs(tmp_path_factory, data):
    damaged = bytearray(model_path(Language()).read_bytes())
    for _ in range(3):
        damaged[data.draw(st.integers(0, 4000))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("models") / "damaged.ftz"
    path.write_bytes(damaged)
    try:
        model = load_language_model(path)
    except LanguageModelError as error:
        assert "damaged.ftz" in str(error)
        return
    assert identify(model, pl.Series(["some text"]), Language()).height == 1


@pytest.mark.parametrize("fields", [{"threshold": 0}, {"threshold": 1.01}, {"targets": ()}, {"targets": ("english",)}])
def test_impossible_settings_are_errors(fields):
    with pytest.raises(ValueError, match=r"threshold|targets"):
        laptop().replace(language=fields)
