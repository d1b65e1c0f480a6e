"""Language: whole pages, targets, thresholds, odd texts, models that are not there."""

import pytest

from llm_assets.curation.language import LanguageModelError, identify, judge, load_model, model_path
from llm_assets.recipes import Language, laptop

TEXTS = {
    "en": "The harbour was quiet that morning, and nobody had thought of the letter that came.",
    "de": "Am Morgen lag noch Nebel über dem Fluss, und die Straßen waren fast leer.",
    "fr": "Le matin, la brume couvrait encore la rivière et les rues étaient presque vides.",
    "ru": "Утром над рекой ещё стоял туман, и улицы были почти пусты.",
    "ja": "朝になっても川には霧が残り、通りにはほとんど人がいませんでした。",
}


@pytest.fixture(scope="module")
def model():
    return load_model(model_path(Language()))


@pytest.mark.parametrize("language", TEXTS)
def test_plain_texts(model, language):
    top = identify(model, TEXTS[language])
    assert top[0][0] == language and top[0][1] > 0.65
    assert [score for _, score in top] == sorted((score for _, score in top), reverse=True)


def test_the_whole_page_counts_and_line_breaks_do_not(model):
    page = "\n".join([TEXTS["de"]] * 12 + [TEXTS["en"]])
    assert identify(model, page)[0][0] == "de"
    assert identify(model, page) == identify(model, page.replace("\n", " "))


@pytest.mark.parametrize("text", ["", "   ", "!!! ... ???", "\x00\x00", "\u200b\u202e\u2066", "1 2 3", "x" * 1_000_000, "\r\n\r\n", "word " * 200_000])
def test_odd_texts_have_some_answer(model, text):
    top = identify(model, text)
    assert all(0 <= score <= 1 for _, score in top)


@pytest.mark.parametrize(
    ("top", "targets", "verdict"),
    [
        ([("en", 0.9), ("de", 0.05)], ("en",), ("en", 0.9)),
        ([("de", 0.9), ("en", 0.05)], ("en",), ("en", 0.05)),
        ([("de", 0.9), ("en", 0.05)], ("en", "de"), ("de", 0.9)),
        ([("ja", 0.9)], ("en",), ("en", 0.0)),
        ([], ("en",), ("en", 0.0)),
    ],
)
def test_the_best_target_counts(top, targets, verdict):
    assert judge(top, Language(targets=targets)) == verdict


def test_a_model_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(LanguageModelError, match=r"nowhere\.ftz: no such file"):
        model_path(Language(model=str(tmp_path / "nowhere.ftz")))
    (tmp_path / "broken.ftz").write_bytes(b"no model")
    with pytest.raises(LanguageModelError, match=r"broken\.ftz.*wrong file format"):
        load_model(model_path(Language(model=str(tmp_path / "broken.ftz"))))


@pytest.mark.parametrize("fields", [{"threshold": 0}, {"threshold": 1.01}, {"targets": ()}, {"targets": ("english",)}])
def test_impossible_settings_are_errors(fields):
    with pytest.raises(ValueError, match=r"threshold|targets"):
        laptop().but(language=fields)
