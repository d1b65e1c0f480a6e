"""A text in capitals is asked in small letters. Unicode says which letters have small forms, and which these are."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.curation.language import identify, open_model
from llm_assets.curation.letter_case import in_small_letters, with_small_letters
from llm_assets.recipes import Language

TEXTS = {
    "en": "the mill on the river was rebuilt by the guild after the fire and the town paid for it",
    "de": "die mühle am fluss wurde von der zunft nach dem großen brand wieder aufgebaut",
    "fr": "le moulin sur la rivière a été reconstruit par la guilde après l'incendie et la ville a payé",
    "es": "el molino del río fue reconstruido por el gremio después del incendio y la ciudad lo pagó",
    "ru": "мельница на реке была восстановлена гильдией после пожара, и город заплатил за это",
    "el": "ο μύλος στο ποτάμι ξαναχτίστηκε από τη συντεχνία μετά τη φωτιά και η πόλη τον πλήρωσε",
    "tr": "nehirdeki değirmen yangından sonra lonca tarafından yeniden yapıldı ve şehir bunun parasını ödedi",
}
SMALL_CAPITALS = dict(zip("abcdefghijklmnoprstuvwyz", "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", strict=True))


def full_width(text):
    return "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c != " " else c for c in text)


FORMS = {
    "capitals": str.upper,
    "full-width capitals": lambda text: full_width(text.upper()),
    "full-width": lambda text: full_width(text),
    "small capitals": lambda text: "".join(SMALL_CAPITALS.get(c, c) for c in text),
    "bold": lambda text: "".join(chr(0x1D41A + ord(c) - ord("a")) if "a" <= c <= "z" else c for c in text),
}


@pytest.fixture(scope="module")
def model():
    return open_model(Language())


def language(model, text):
    return identify(model, pl.Series([text]), Language()).row(0, named=True)["language_1"]


@pytest.mark.parametrize("code", TEXTS)
def test_a_text_in_capitals_has_the_language_of_the_same_text_in_small_letters(model, code):
    assert language(model, TEXTS[code]) == code
    assert language(model, TEXTS[code].upper()) == code


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_the_letters_are_read_as_small_letters(model, form):
    written = FORMS[form](TEXTS["en"])
    assert written != TEXTS["en"]
    assert language(model, written) == "en"
    scores = identify(model, pl.Series([written, TEXTS["en"]]), Language())["language_score"]
    assert scores[0] == scores[1] > 0.65


def test_a_few_small_letters_do_not_make_a_text_mixed(model):
    text = TEXTS["en"].upper().replace("MILL", "McMill").replace("FIRE", "iFire")
    assert language(model, text) == "en"


@pytest.mark.parametrize(
    "text",
    [
        TEXTS["en"].title(),  # every word begins with a capital: most letters are small
        "THE MILL ON THE RIVER\n" + TEXTS["en"].capitalize(),  # only the title is in capitals
        "日本放送協会(NHK)は公共放送を担う事業者である。",  # the script has no case
        "NHK、BBC、CNNの番組表です。毎日のニュースをお届けします。",
        "ᎣᏏᏲ ᎤᏂᎵᏐᎮ ᏣᎳᎩ",  # Cherokee: capitals are the usual letters
        "ქართული ენა",  # Georgian Mkhedruli has capitals for headings only
        "1 2 3 !!!",
        "",
    ],
)
def test_other_texts_are_asked_as_they_are(text):
    """The scores of pages of the real web do not change: what the model reads is the same text."""
    assert with_small_letters(pl.Series([text])).to_list() == [text]


@pytest.mark.parametrize(
    ("text", "small"),
    [
        ("İSTANBUL", "istanbul"),  # not i with a combining dot
        ("ΟΔΟΣ", "οδος"),  # final sigma
        ("STRASSE GRÜẞE", "strasse grüße"),
        ("ᲥᲐᲠᲗᲣᲚᲘ", "ქართული"),  # Georgian Mtavruli
        ("ᎣᏏᏲ ABC", "ᎣᏏᏲ abc"),
        ("ǅ", "dž"),  # a letter in title case, of which NFKC makes two
    ],
)
def test_small_letters_are_those_of_unicode(text, small):
    assert in_small_letters(text) == small


@given(st.lists(st.text(max_size=60), max_size=5))
def test_texts_do_not_depend_on_their_batch(texts):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    together = with_small_letters(pl.Series(texts, dtype=pl.String)).to_list()
    assert together == [with_small_letters(pl.Series([text])).item() for text in texts]
