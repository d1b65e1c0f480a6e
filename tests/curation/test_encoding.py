"""Encodings: which declaration wins, that decoding never raises, and that output is bounded."""

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webencodings.labels import LABELS

from llm_assets.curation import web_encodings
from llm_assets.curation.encoding import BodyError, Decoded, declared_charset, decode_body, decode_characters
from llm_assets.warc import dechunk

GERMAN = "<p>Über den Flüssen läge früher dichter Nebel, hörte man die Gäste sagen.</p>" * 5
RUSSIAN = "<p>Утром над рекой ещё стоял туман, и улицы были почти пусты.</p>" * 5
JAPANESE = "<p>朝になっても川には霧が残り、通りにはほとんど人がいませんでした。</p>" * 5
KOREAN = "<p>아침에도 강에는 안개가 남아 있었고 거리에는 사람이 거의 없었다.</p>" * 5


@pytest.mark.parametrize(
    ("text", "stored", "header", "meta", "encoding"),
    [
        (GERMAN, "utf-8", None, None, "utf-8"),
        (GERMAN, "utf-8", "iso-8859-1", None, "utf-8"),  # valid UTF-8 wins over a label
        (GERMAN, "utf-8-sig", "windows-1251", None, "utf-8"),
        (GERMAN, "iso-8859-1", "ISO-8859-1", None, "windows-1252"),
        (GERMAN, "windows-1252", None, "windows-1252", "windows-1252"),
        (GERMAN, "iso-8859-1", None, None, "windows-1252"),
        (RUSSIAN, "windows-1251", "windows-1251", "utf-8", "windows-1251"),
        (RUSSIAN, "windows-1251", None, "windows-1251", "windows-1251"),
        (RUSSIAN, "windows-1251", None, None, "windows-1251"),
        (RUSSIAN, "koi8-r", "koi8-r", None, "koi8-r"),
        (JAPANESE, "shift_jis", "shift_jis", None, "shift_jis"),
        (JAPANESE, "shift_jis", None, None, "shift_jis"),
        (JAPANESE, "euc_jp", "x-nonsense", "euc-jp", "euc-jp"),
        (JAPANESE, "iso2022_jp", "iso-2022-jp", None, "iso-2022-jp"),
        (KOREAN, "euc_kr", "euc-kr", None, "euc-kr"),
        (GERMAN, "utf-16", None, None, "utf-16le"),
        (GERMAN, "utf-16-be", None, None, "utf-16be"),
        (GERMAN, "utf-16-le", "utf-8", None, "utf-16le"),
    ],
)
def test_the_right_declaration_wins(text, stored, header, meta, encoding):
    page = f'<meta charset="{meta}">{text}' if meta else text
    decoded = decode_characters(page.encode(stored), header)
    assert decoded.text == page
    assert decoded.encoding.replace("_", "-") == encoding.replace("_", "-")


def test_a_slightly_damaged_utf8_page_is_still_utf8():
    body = ("ü" * 200).encode() + b"\xff" + ("ä" * 200).encode()
    decoded = decode_characters(body, "utf-8")
    assert decoded.encoding == "utf-8"
    assert decoded.text == "ü" * 200 + "\ufffd" + "ä" * 200


@pytest.mark.parametrize(
    ("page", "charset"),
    [
        (b'<meta charset="koi8-r">', "koi8-r"),
        (b"<META HTTP-EQUIV=Content-Type CONTENT='text/html; charset=euc-kr'>", "euc-kr"),
        (b'<?xml version="1.0" encoding="big5"?>', "big5"),
        (b"<p>charset=none</p>", None),
        (b" " * 5000 + b'<meta charset="x">', None),
    ],
)
def test_declared_charsets_are_found(page, charset):
    assert declared_charset(page) == charset


@given(st.binary(max_size=500), st.none() | st.text(max_size=20))
def test_any_bytes_can_be_decoded(body, charset):
    assert isinstance(decode_characters(body, charset).text, str)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6))
def test_chunks_are_joined(chunks):
    body = b"".join(f"{len(c):x};ext=1\r\n".encode() + c + b"\r\n" for c in chunks) + b"0\r\n\r\n"
    assert dechunk(body) == b"".join(chunks)


HTML = b"<html><body>" + b"<p>text</p>" * 50
RAW = zlib.compressobj(wbits=-15)
DEFLATED = RAW.compress(HTML) + RAW.flush()


@pytest.mark.parametrize(
    ("payload", "headers"),
    [
        (HTML, {}),
        (gzip.compress(HTML), {"content-encoding": "gzip"}),
        (zlib.compress(HTML), {"content-encoding": "deflate"}),
        (DEFLATED, {"content-encoding": "Deflate"}),
        (HTML, {"content-encoding": "gzip"}),
        (HTML, {"content-encoding": "br"}),
        (HTML, {"content-encoding": "unheard-of"}),
        (HTML, {"transfer-encoding": "chunked"}),
        (f"{len(HTML):x}\r\n".encode() + HTML + b"\r\n0\r\n\r\n", {"transfer-encoding": "chunked"}),
        (gzip.compress(HTML[:100]) + gzip.compress(HTML[100:]), {"content-encoding": "x-gzip"}),
        (gzip.compress(gzip.compress(HTML)), {"content-encoding": "gzip"}),
        (gzip.compress(HTML), {}),
    ],
    ids=[
        "plain",
        "gzip",
        "deflate",
        "raw deflate",
        "not gzip",
        "not br",
        "unknown, not coded",
        "not chunked",
        "chunked",
        "two gzip members",
        "gzip twice",
        "gzip, unsaid",
    ],
)
def test_codings_are_undone_if_the_body_is_in_them(payload, headers):
    assert decode_body(payload, headers, 1 << 20) == HTML


def test_a_truncated_gzip_body_gives_its_beginning():
    noise = random.Random(1).randbytes(20_000)
    assert noise.startswith(decode_body(gzip.compress(noise)[:9_000], {"content-encoding": "gzip"}, 1 << 20))


@pytest.mark.parametrize(
    ("payload", "headers", "rule"),
    [
        (gzip.compress(b"0" * 50_000_000), {"content-encoding": "gzip"}, "too_large"),
        (gzip.compress(gzip.compress(b"0" * 30_000_000)), {"content-encoding": "gzip, gzip"}, "too_large"),
        (b"\x1f\x8b\x08garbage", {"content-encoding": "gzip"}, "content_encoding"),
        (b"\x00\x01\x02", {"content-encoding": "unheard-of"}, "content_encoding"),
        (b"x" * 2_000_000, {}, "too_large"),
    ],
    ids=["gzip bomb", "gzip in gzip", "broken gzip", "unknown coding", "plain but large"],
)
def test_bombs_and_garbage_are_rejected_with_a_rule(payload, headers, rule):
    with pytest.raises(BodyError) as error:
        decode_body(payload, headers, 1 << 20)
    assert error.value.rule == rule


@pytest.mark.parametrize(
    ("label", "codec", "text", "name"),
    [
        ("shift_jis", "cp932", "①髙橋", "shift_jis"),
        ("x-sjis", "cp932", "㈱﨑", "shift_jis"),
        ("euc-kr", "cp949", "뷁 똠방각하", "euc-kr"),
        ("ks_c_5601-1987", "cp949", "찦차 펲시", "euc-kr"),
        ("big5", "big5hkscs", "喺香港嘅", "big5"),
        ("gb2312", "gb18030", "㐀朱镕基", "gbk"),
        ("gbk", "gb18030", "\U00020000€", "gbk"),
        ("tis-620", "cp874", "“ไทย”", "windows-874"),
        ("iso-8859-11", "cp874", "ไทย…", "windows-874"),
        ("us-ascii", "cp1252", "“ä”", "windows-1252"),
        ("iso-8859-9", "cp1254", "ışğ“”", "windows-1254"),
        ("x-mac-cyrillic", "mac-cyrillic", "Ґава", "x-mac-cyrillic"),
        ("koi8-ru", "koi8-u", "їжак", "koi8-u"),
        ("cp866", "cp866", "Утро", "ibm866"),
        ("x-user-defined", "cp1252", "ä", "windows-1252"),  # in a meta element (HTML standard, 13.2.3.2)
        ("utf-16", "utf-8", "ä", "utf-8"),  # likewise
    ],
)
def test_labels_mean_what_they_mean_in_the_whatwg_standard(label, codec, text, name):
    """https://encoding.spec.whatwg.org/#names-and-labels: a browser shows these characters."""
    page = f"<meta charset={label}><p>{text}</p>"
    assert decode_characters(page.encode(codec)) == Decoded(page, name)


@pytest.mark.parametrize(
    ("body", "name", "text"),
    [
        (b"\xad\xa1\xfc\xe2\xa1\xc1\x8f\xb0\xa1", "euc-jp", "①髙～丂"),  # NEC row 13, IBM, punctuation, JIS X 0212
        (b"\x1b$B-!F|K\\\x1b(B a \x1b(I1\x1b(B", "iso-2022-jp", "①日本 a ｱ"),
        (b"a\x1b$)C\x0e!!", "replacement", "\ufffd"),
        (b"\xa4\xae", "koi8-u", "єў"),  # RFC 2319 has box drawing at 0xAE
        (b"\x81\x93", "windows-1252", "\x81“"),
        (b"\xaa\x81", "windows-1253", "\ufffd\x81"),
        (b"\x80\xd6\xd0", "gbk", "€中"),
        (b"\x81<b>", "shift_jis", "\ufffd<b>"),  # an ASCII byte after a lead byte is not swallowed
        (b"\xfc\xfc\x93\xfa", "shift_jis", "\ufffd日"),
        (b"\xb0\xff\xb0\xa1", "euc-kr", "\ufffd가"),
    ],
)
def test_bytes_are_decoded_as_by_the_standards_decoders(body, name, text):
    assert web_encodings.decode(body, name) == text


UNDECLARED = {
    "cp932": "①まず髙橋さんに電話をかけて、明日の予定を確認しました。②次に駅で㈱山田の﨑田さんに会いました。",
    "cp949": "똠방각하라는 말은 옛날 소설에 나오는 말이다. 뷁이라고 외친 사람은 찦차를 탔다.",
    "big5hkscs": "喺香港嘅街市，啲人朝早就去買餸，佢哋話呢度嘅魚好新鮮。我哋喺度食嘢，真係好舒服。",
    "gb18030": "朱镕基于一九九八年担任总理，他说：㐀是一个很少用的字。今天早上我们去公园散步，看见许多老人在打太极拳。",
    "cp874": "“ภาษาไทย” เป็นภาษาที่มีระดับเสียงของคำแน่นอนหรือวรรณยุกต์เช่นเดียวกับภาษาจีน และออกเสียงแยกคำต่อคำ…",
    "koi8-u": "Сьогодні вранці ми пішли до парку, де їжак і ґава гралися під деревами. Це було дуже цікаво.",
    "cp1254": "Bu sabah parka gittik ve çok insan gördük. Çocuklar gölün kıyısında oynuyordu, yaşlılar da “tavla”.",
}


@pytest.mark.parametrize("codec", UNDECLARED)
def test_undeclared_pages_are_decoded_with_the_characters_that_the_web_adds(codec):
    page = f"<p>{UNDECLARED[codec]}</p>"
    assert decode_characters(page.encode(codec)).text == page


@given(st.binary(max_size=200), st.sampled_from(sorted(set(LABELS.values()))))
def test_any_bytes_can_be_decoded_in_any_encoding(body, name):
    assert isinstance(web_encodings.decode(body, name), str)
