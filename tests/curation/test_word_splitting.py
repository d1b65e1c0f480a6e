"""Words of German, Spanish and Chinese, as datatrove splits them: the golden words are spaCy 3.8's and jieba 0.42's."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.curation.jieba_words import chinese_words, split_chinese
from tests.support.text_measures import measure
from tests.support.words_of import words_of


@pytest.mark.parametrize(
    ("rules", "text", "words"),
    [
        # German: ordinals and abbreviations keep their full stop, compounds their hyphen
        ("spacy-de", "Am 3. Mai kamen z.B. Dr. Müller an.", "Am|3.|Mai|kamen|z.B.|Dr.|Müller|an|."),
        ("spacy-de", "die E-Mail-Adresse info/kontakt", "die|E-Mail-Adresse|info|/|kontakt"),
        (
            "spacy-de",
            "„Ja“, sagte er: 10-20 km, 50% und 1.000 Euro!",
            "„|Ja|“|,|sagte|er|:|10|-|20|km|,|50|%|und|1.000|Euro|!",
        ),
        ("spacy-de", "Ost-West?Ende. Er ging.Dann", "Ost-West|?|Ende|.|Er|ging|.|Dann"),
        ("spacy-de", "kam 'ne Frau--fast geht's", "kam|'ne|Frau|--|fast|geht's"),
        # Spanish: opening marks are words, hyphens and long dashes within a word are not
        ("spacy-es", "¿Qué tal? El Sr. García vive en EE.UU.", "¿|Qué|tal|?|El|Sr.|García|vive|en|EE.UU."),
        ("spacy-es", "franco-alemana, 50% y 1.000 €.", "franco-alemana|,|50%|y|1.000|€|."),
        ("spacy-es", "«Sí», dijo ella—luego calló. Fin.Otra", "«|Sí|»|,|dijo|ella—luego|calló|.|Fin|.|Otra"),
        ("spacy-es", "frase: etc. 3*4 y/o a.C.", "frase|:|etc.|3|*|4|y|/|o|a.C."),
        # Chinese: words of the dictionary, and Latin words apart at their marks
        ("jieba", "我爱北京天安门。", "我|爱|北京|天安门|。"),
        (
            "jieba",
            "他来到了网易杭研大厦,用C++和v8.11.2写代码。",
            "他|来到|了|网易|杭研|大厦|,|用|C++|和|v8.11|.|2|写|代码|。",
        ),
        ("jieba", "E-PVM算法 进行\n评分(50%)", "E|-|PVM|算法|进行|评分|(|50%|)"),
    ],
)
def test_words_are_those_of_the_published_splitter(rules, text, words):
    assert words_of(text, rules) == words.split("|")


def test_english_keeps_its_own_rules():
    assert words_of("It's the e-mail of May 3.", "spacy") == "It|'s|the|e|-|mail|of|May|3|.".split("|")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_chinese_words_cover_the_text(text):
    words = split_chinese(text)
    assert "".join(words) == text
    given_words = chinese_words(pl.Series(["前", text]))
    first, last = given_words.offsets[1:]
    spans = zip(given_words.starts[first:last], given_words.ends[first:last], strict=True)
    assert [text[start:end] for start, end in spans] == [word for word in words if not word.isspace()]


@pytest.mark.parametrize("rules", ["spacy-de", "spacy-es"])
@given(text=st.text(alphabet=st.sampled_from("aÄ1 .,:;-–—'’\"„“«»()[]/<>=%€°…\n"), max_size=40))
def test_words_cover_every_character_but_white_space(rules, text):
    assert "".join(words_of(text, rules)) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "definition", "column", "value"),
    [
        ("我爱北京天安门。", {"word_splitting": "jieba"}, "words", 5),
        ("我爱北京。你呢？他走了", {"word_splitting": "jieba", "edit_lines": False}, "sentences", 3),
        ("中国·北京的人", {"word_splitting": "jieba", "stop_words": ("的", "·", "了")}, "stop_words", 2),  # no letter
        ("E-Mail am 3. Mai", {"word_splitting": "spacy-de"}, "words", 4),
        ("Zwei Wörter.\nUse cookies [1] now", {"edit_lines": False}, "removed_lines", 0),
        ("Zwei Wörter.\nUse cookies [1] now", {"edit_lines": False}, "edited_characters", 32),
        ("Ein { und lorem ipsum", {"edit_lines": False}, "curly_bracket", 1),
    ],
)
def test_statistics_are_counted_by_the_languages_rules(text, definition, column, value):
    assert measure(text, **definition)[column] == value
