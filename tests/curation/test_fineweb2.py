"""FineWeb-2's rules for German, Spanish and Chinese: the published values, and a golden document per rule."""

import polars as pl
import pytest

from llm_assets.curation.quality import verdict
from llm_assets.curation.text_statistics.stage import STATISTICS, compute_statistics
from llm_assets.recipes import RECIPES, QualityClassifier, laptop

GERMAN = (
    "Die Mühle am Fluss wurde nach dem Brand von der Zunft wieder aufgebaut, und die Stadt bezahlte dafür. "
    "Im Winter lag dichter Nebel über den Dächern, während in den Werkstätten noch lange gearbeitet wurde. "
    "Wer heute durch die Gassen geht, findet kaum noch Spuren des alten Handwerks; nur das Mühlrad erinnert daran. "
    "Ein Verein kümmert sich mit großem Einsatz um das Gebäude und zeigt es an Sonntagen allen Besuchern."
)
SPANISH = (
    "El molino del río fue reconstruido por el gremio después del incendio y la ciudad pagó los gastos. "
    "En invierno la niebla cubría los tejados, mientras en los talleres se trabajaba hasta muy tarde. "
    "Quien pasea hoy por las calles apenas encuentra huellas de aquel oficio; solo la rueda lo recuerda. "
    "Una asociación cuida con esmero el edificio y lo enseña cada domingo a cualquier visitante curioso."
)
CHINESE = (
    "火灾之后，河边的磨坊由行会重新修建，城市支付了全部费用。冬天浓雾笼罩着屋顶，而工匠们在作坊里一直工作到深夜。"
    "今天走在小巷里的人几乎找不到旧手艺的痕迹，只有水车还让人想起过去。有一个协会精心照料这座建筑，每个星期天向游客开放。"
)
STOP_WORDS = laptop().in_language("de").text_statistics.stop_words
GOOD = {"de": GERMAN, "es": SPANISH, "zh": CHINESE}


def rule_of(language, text):
    """The first rule of the language's set that a text breaks."""
    recipe = laptop().in_language(language)
    numbers, _ = compute_statistics(pl.Series([text]), recipe.text_statistics)
    frame = pl.DataFrame(dict(zip(STATISTICS, numbers.T, strict=True)))
    return frame.select(verdict(recipe.quality.effective())).item()


@pytest.mark.parametrize("language", GOOD)
def test_running_text_is_kept(language):
    assert rule_of(language, GOOD[language]) is None


def test_english_rules_would_reject_these_texts():
    """What a language's own words and stop words are needed for."""
    english = laptop()
    for language, text in GOOD.items():
        numbers, _ = compute_statistics(pl.Series([text]), english.text_statistics)
        frame = pl.DataFrame(dict(zip(STATISTICS, numbers.T, strict=True)))
        assert frame.select(verdict(english.quality.effective())).item() is not None, language


@pytest.mark.parametrize(
    ("language", "text", "rule"),
    [
        ("de", "\n".join([GERMAN, "Zur Startseite.", "Zur Startseite.", "Zur Startseite."]), "duplicate_lines"),
        ("de", " ".join(["Rote Rüben"] * 40), "top_2_gram"),
        ("zh", CHINESE + "欢迎光临本店！" * 30, "top_2_gram"),
        ("de", GERMAN + " " + GERMAN, "duplicate_5_grams"),
        ("es", SPANISH + "\n" + SPANISH[:200], "duplicate_5_grams"),
        ("es", SPANISH.replace(".", "").replace(" ", "\n", 5), "terminal_lines"),  # less than 18.2 % of lines end so
        ("zh", CHINESE.replace("。", ""), "terminal_lines"),  # 。 ends a line
        ("de", GERMAN.replace(" ", "\n", 20), "newline_ratio"),
        ("de", " ".join(GERMAN.split()[:45]) + ".", "min_words"),
        ("es", " ".join(f"{SPANISH[i : i + 24].replace(' ', '')}" for i in range(0, 390, 6)) + ".", "max_word_length"),
        ("de", GERMAN + " " + " ".join(f"{i} {i + 7}," for i in range(100, 140)), "alpha_words"),
        ("de", " ".join(word for word in GERMAN.split() if word.lower() not in STOP_WORDS), "stop_words"),
    ],
)
def test_each_rule_has_its_golden_document(language, text, rule):
    assert rule_of(language, text) == rule


def test_values_are_those_that_fineweb_2_published():
    """configs/deu_Latn.yml, spa_Latn.yml and cmn_Hani.yml of huggingface/fineweb-2 at d0defb24."""
    values = {
        language: {rule.name: rule.threshold for rule in laptop().in_language(language).quality.effective()}
        for language in GOOD
    }
    assert values["de"]["max_word_length"] == 15 and values["de"]["alpha_words"] == 0.774
    assert "terminal_lines" not in values["de"] and "min_word_length" not in values["de"]  # published as 0: off
    assert values["es"]["terminal_lines"] == 0.182 and values["es"]["duplicate_10_grams"] == 0.099
    assert values["zh"]["max_word_length"] == 5 and values["zh"]["top_2_gram"] == 0.256
    for rules in values.values():
        assert rules["edited_duplicate_line_characters"] == 0.1 and rules["stop_words"] == 2
        assert not {"short_lines", "sentences", "curly_bracket", "duplicate_paragraphs"} & rules.keys()


@pytest.mark.parametrize(
    ("language", "target", "threshold"),
    [("de", "de", 0.65), ("deu_Latn", "deu_Latn", 0.821), ("zh", "zh", 0.65), ("cmn_Hani", "cmn_Hani", 0.692)],
)
def test_the_label_decides_on_the_threshold(language, target, threshold):
    """FineWeb-2's thresholds are of GlotLID's probabilities; lid.176's are compared with FineWeb's."""
    recipe = laptop().in_language(language)
    assert recipe.language.targets == (target,) and recipe.language.threshold == threshold


def test_a_language_without_published_rules_is_an_error_that_names_the_others():
    with pytest.raises(ValueError, match=r"'fr'; available: de or deu_Latn \(German\), es or spa_Latn"):
        laptop().in_language("fr")


def test_english_rules_can_be_chosen_again():
    there_and_back = laptop().in_language("de").with_quality_rules("fineweb-2024")
    assert there_and_back.text_statistics == laptop().text_statistics


@pytest.mark.parametrize("name", ["german", "spanish", "chinese"])
def test_presets_read_registered_crawls(name):
    recipe = RECIPES[name]()
    assert recipe.registered_crawls == "all" and recipe.quality.rules.startswith("fineweb-2-")
    assert recipe.quality_classifier == QualityClassifier()
