"""Personal data: what is found, what only looks like it, and that none of it is left."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.curation.personal_data import KINDS, find, scrub
from llm_assets.recipes import PersonalData, laptop

RULES = PersonalData()

EXAMPLES = [
    ("email", "Write to jane.doe@example.org today.", "jane.doe@example.org"),
    ("email", "mailto:o'neil+news@mail.co.uk, please", "o'neil+news@mail.co.uk"),
    ("email", "<a_b-c@sub.domain.museum>", "a_b-c@sub.domain.museum"),
    ("email", "(at bücher or info@xn--bcher-kva.de)", "info@xn--bcher-kva.de"),
    ("email", "UPPER@EXAMPLE.COM.", "UPPER@EXAMPLE.COM"),
    # Domains and local parts in other scripts: RFC 5890, RFC 6531.
    ("email", "(x@bücher.example, bücher)", "x@bücher.example"),
    ("email", "an info@müller-bau.de schreiben", "info@müller-bau.de"),
    ("email", "von jürgen.roth@firma.example an alle", "jürgen.roth@firma.example"),
    ("email", "联系 用户@例子.公司。谢谢", "用户@例子.公司"),
    ("email", "联系：用户@例子。公司", "用户@例子。公司"),
    ("email", "почта: иван.петров@пример.рф, тел.", "иван.петров@пример.рф"),
    ("email", "लिखें अजय@डाटा.भारत पर", "अजय@डाटा.भारत"),
    ("email", "메일 info@한국.kr 로", "info@한국.kr"),
    # Text glued to an address, after its domain or, in scripts without spaces, before its local part.
    ("email", "Write to ann@example.org.Then go on", "ann@example.org"),
    ("email", "Write to ann@example.org.It helps", "ann@example.org"),
    ("email", "ann@example.orgPhone: 1", "ann@example.org"),
    ("email", "an ann@example.org-based list", "ann@example.org"),
    ("email", "请联系ann@example.org或者来", "ann@example.org"),
    ("email", "ann@example.orgへどうぞ", "ann@example.org"),
    ("email", "see...ann@example.org...", "ann@example.org"),
    # Syntax that is not valid or not usual, but occurs.
    ("email", "a..b.@docomo.ne.jp is old", "a..b.@docomo.ne.jp"),
    ("email", 'to "Ann Lee"@example.org only', '"Ann Lee"@example.org'),
    # Characters that stand for nothing or for plain ones.
    ("email", "to te\u00adst@ex\u00adample.org now", "te\u00adst@ex\u00adample.org"),
    ("email", "to an\u200bn@example\u2060.org now", "an\u200bn@example\u2060.org"),
    ("email", "to ａｎｎ＠ｅｘａｍｐｌｅ．ｏｒｇ now", "ａｎｎ＠ｅｘａｍｐｌｅ．ｏｒｇ"),
    ("email", "mailto:ann%40example.org now", "ann%40example.org"),
    ("ip_address", "from 93.184.216.34 at night", "93.184.216.34"),
    ("ip_address", "http://93.184.216.34/index", "93.184.216.34"),
    ("ip_address", "host 2606:2800:220:1:248:1893:25c8:1946 up", "2606:2800:220:1:248:1893:25c8:1946"),
    ("ip_address", "[2001:4860:4860::8888]:53", "2001:4860:4860::8888"),
    ("ssn", "number 536-90-4399.", "536-90-4399"),
    ("ssn", "SSN: 536 90 4399, male", "536 90 4399"),
    ("credit_card", "card 4111 1111 1111 1111 expires", "4111 1111 1111 1111"),
    ("credit_card", "card 5500-0055-5555-5559.", "5500-0055-5555-5559"),
    ("credit_card", "amex 3714 496353 98431;", "3714 496353 98431"),
    ("credit_card", "no=4012888888881881", "4012888888881881"),
    ("credit_card", "card 4111.1111.1111.1111 expires", "4111.1111.1111.1111"),
    ("phone", "call +1 212 736 5000 now", "+1 212 736 5000"),
    ("phone", "call (212) 736-5000 now", "(212) 736-5000"),
    ("phone", "call 212-736-5000.", "212-736-5000"),
    ("phone", "call 212.736.5000,", "212.736.5000"),
    ("phone", "Tel. +49 (0)30 227 32152", "+49 (0)30 227 32152"),
    ("phone", "ring +44 20 7219 3000!", "+44 20 7219 3000"),
    ("phone", "from abroad 0049 30 22732152.", "0049 30 22732152"),
    # Typographic hyphens and spaces, and digits of other scripts.
    ("phone", "call +1 202\u2011456\u20111111 now", "+1 202\u2011456\u20111111"),
    ("phone", "call (202)\u00a0456-1414 now", "(202)\u00a0456-1414"),
    ("phone", "call us\u2014202\u2011456\u20111414\u2014now", "202\u2011456\u20111414"),
    ("phone", "電話（＋８１）３ー３２１０ー７０００まで", "＋８１）３ー３２１０ー７０００"),
    ("phone", "هاتف +٤٤ ٢٠ ٧٢١٩ ٣٠٠٠ الآن", "+٤٤ ٢٠ ٧٢١٩ ٣٠٠٠"),
    ("phone", "call \u202a+1 202\u00ad456\u00ad1111\u202c now", "+1 202\u00ad456\u00ad1111"),
    ("credit_card", "card 4111\u20111111\u20111111\u20111111.", "4111\u20111111\u20111111\u20111111"),
    ("credit_card", "card 41111111\u00ad11111111.", "41111111\u00ad11111111"),
    ("ssn", "number 219\u201309\u20139998.", "219\u201309\u20139998"),
    ("ip_address", "from ９３．１８４．２１６．３４ at night", "９３．１８４．２１６．３４"),
    (
        "iban",
        "to DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000 now",
        "DE89 3704 0044 0532 0130 00".replace(" ", "\u00a0"),
    ),
    ("iban", "account DE89370400440532013000.", "DE89370400440532013000"),
    ("iban", "to DE89-3704-0044-0532-0130-00 now", "DE89-3704-0044-0532-0130-00"),
    ("iban", "to GB29 NWBK 6016 1331 9268 19 and no other", "GB29 NWBK 6016 1331 9268 19"),
    ("iban", "FR14 2004 1010 0505 0001 3M02 606", "FR14 2004 1010 0505 0001 3M02 606"),
]

TRAPS = {
    "version": "Version 1.2.3.4 and v4.0.30319.42000, release 10.0.19041.1, firmware: 8.8.4.4",
    "browser": "Chrome/95.0.4638.69 Safari/537.36 and Mozilla/5.0",
    "section": "1.2.3.4 Results of the survey\n3.3.2.4. __slots__",
    "section_word": "see section 4.3.2.1 and chapter 2.2.2.2",
    "section_word_elsewhere": "siehe Abschnitt 6.1.2.3, Kap. 4.3.2.1 und Tabelle 8.8.4.4; véase el apartado 4.3.2.1; "
    "voir le chapitre 4.3.2.1 et la version 8.8.4.4; 参见第 6.1.2.3 节、章节 4.3.2.1、版本：8.8.4.4",
    "oid": "1.3.6.1.4.1.311.21.20",
    "private_address": "192.168.0.1, 10.0.0.1, 127.0.0.1, 172.16.5.4, 169.254.1.1, 0.0.0.0, 255.255.255.255, "
    "fe80::1, ::1, 2001:db8::1",
    "octets": "999.184.216.34 and 93.184.216.340",
    "times": "at 12:34:56 and 2015-09-03 14:21:15.128 mathcommand[1591:483805]",
    "mac_address": "00:07:80:C3:A1:4C",
    "cpp": "std::vector<int>, dead::beef, a::b, 2000: a year",
    "dates": "2019-10-24, 24.10.2019, 10/24/2019, 2019-10-24 12:30, 20191024, 03-04-2016 05-06-2017",
    "years": "1998-2004 1999 2000 2001 2002 and 1990–1995",
    "fibonacci": "1 1 2 3 5 8 13 21 34 55 89 144 233 377 610 987 1597 2584",
    "isbn": "ISBN 978-0-306-40615-7, ISBN 0-306-40615-2, ISBN: 9780306406157, 978 3 16 148410 0",
    "issn": "ISSN 0378-5955",
    "doi": "doi:10.1000/182.4567.89 and arXiv:1702.07800 (2017)",
    "part_number": "part no 212-736-5000 and SKU 536-90-4399",
    "timestamp": "1603411200 1603411200123 at 1467290443.319",
    "luhn_fails": "4111 1111 1111 1112 and 5500-0055-5555-5550",
    "no_issuer": "9111 1111 1111 1116 and 1234567890123452",
    "zeros": "0000 0000 0000 0000 and 0000000000000",
    "ssn_impossible": "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567, 123-45-0000",
    "longer_numbers": "1536-90-43991 536-90-4399-2 x536-90-4399",
    "iban_fails": "DE89370400440532013001 and XX12345678901234567890",
    "hash": "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709 and 550e8400-e29b-41d4-a716-446655440000",
    "decorator": "@property @media (max-width: 600px) foo@bar a@b @user",
    "picture": "image@2x.png and logo@3x.webp",
    "package": "react@18.2.0 installs circleci/gh-action@v1 and user@localhost",
    "code": "x[0:10], (123) 456 - 7890 = 1, a = 212 * 736 - 5000; 0x7fffffff",
    "money": "1,234,567.89 and $12,345,678 and 3.141592653589793",
    "coordinates": "40.748817, -73.985428 and 51.5007 0.1246",
    "table": "212 736 500 1 2 3 4 5 6 7\n100 200 300 400 500",
    "score": "won 21-19 15-21 22-20 and 3-2 (25-20, 23-25)",
    "short_phone": "call 911 or 555-1234 or 0800",
    "ranges": "1990–1995, pp. 219–230, 1914–18 — 1939–45, ¶¶ 100–200, $1,000–2,000, 10:00–12:30, 20–30 ‰",
    "typographic_dates": "2019‑10‑24, 24–10–2019, 03–04–2016 – 05–06–2017, 2019\u00a010\u00a024, ２０１９－１０－２４",
    "typographic_isbn": "ISBN\u00a0978‑0‑306‑40615‑7, ISBN 978–3–16–148410–0, ISSN 0378–5955",
    "typographic_versions": "Version\u00a01.2.3.4, v4.0.30319.42000 – release\u00a010.0.19041.1",
    "typographic_coordinates": "40.748817,\u00a0−73.985428 and 51.5007\u00a00.1246; 48° 51′ 29″ N",
    "typographic_numbers": "1\u202f234\u202f567\u202f890 and 12\u00a0345\u00a0678 and 3.14159\u00ad26535",
    "mentions": "@用户 回复@张三：好 @münchen.de heute a@b.c％40",
    "handles": "name@домен and foo@bar。baz and ann@exa mple.org",
}


@pytest.mark.parametrize(("kind", "text", "match"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_personal_data_is_found(kind, text, match):
    assert [(m.kind, text[m.start : m.end]) for m in find(text)] == [(kind, match)]


HYPHENS = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u00ad\ufe63\uff0d"
SPACES = "\u00a0\u202f\u2007\u2008\u2009\u200a\u200b\u3000\u2002\u205f"


@pytest.mark.parametrize(
    ("kind", "text", "match"), [row for row in EXAMPLES if row[0] != "email" and row[1].isascii()], ids=str
)
def test_a_number_is_found_whatever_its_hyphens_and_spaces_are(kind, text, match):
    """Typographic forms count as plain separators, one by one and all at once, wherever the plain number is found."""
    start = text.index(match)
    for plain, forms in (("-", HYPHENS), (" ", SPACES)):
        for form in forms if plain in match else "":
            changed = match.replace(plain, form)
            assert [(m.kind, m.start, m.end) for m in find(text.replace(match, changed))] == [
                (kind, start, start + len(changed))
            ], ascii(changed)
            assert scrubbed(text.replace(match, changed))[0] == text.replace(match, f"<{kind.upper()}>")
    digits = str.maketrans("0123456789", "０１２３４５６７８９")
    if not set("abcdef:") & set(match.lower()):  # Unicode has no other hexadecimal digits
        assert scrubbed(text.replace(match, match.translate(digits)))[0] == text.replace(match, f"<{kind.upper()}>")


@given(st.sampled_from([row for row in EXAMPLES if row[0] != "email" and row[1].isascii()]), st.data())
def test_separators_of_any_mixture_hide_no_number(example, data):
    """Each separator is replaced by a form of its own, unless the number needs equal ones."""
    kind, text, match = example
    forms = {"-": "-" + HYPHENS.replace("\u00ad", ""), " ": " " + SPACES.replace("\u200b", "")}
    changed = "".join(data.draw(st.sampled_from(forms[c])) if c in forms else c for c in match)
    assert scrubbed(text.replace(match, changed))[0] == text.replace(match, f"<{kind.upper()}>")


@pytest.mark.parametrize("trap", TRAPS)
def test_what_only_looks_like_personal_data_is_left(trap):
    assert [(m.kind, TRAPS[trap][m.start : m.end]) for m in find(TRAPS[trap])] == []
    text, counts = scrubbed(TRAPS[trap])
    assert text == TRAPS[trap] and not any(counts.values())


def scrubbed(text, kinds=KINDS):
    texts, counts = scrub(pl.Series([text]), kinds, RULES.placeholders, RULES.phone_region)
    return texts[0], counts.row(0, named=True)


@pytest.mark.parametrize(("kind", "text", "match"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_personal_data_is_replaced_by_its_type(kind, text, match):
    padded = f"{'Some words before it. ' * 30}\n{text}\n{'And after it, too. ' * 30}"
    replaced, counts = scrubbed(padded)
    assert replaced == padded.replace(match, f"<{kind.upper()}>")
    assert counts == {**dict.fromkeys(KINDS, 0), kind: 1}
    assert scrubbed(replaced) == (replaced, dict.fromkeys(KINDS, 0))


@given(
    st.permutations(KINDS),
    st.lists(
        st.sampled_from([text for _, text, _ in EXAMPLES] + list(TRAPS.values()) + ["é漢 ", "\n", "x" * 700]),
        max_size=12,
    ),
)
def test_neither_the_order_of_kinds_nor_the_windows_change_the_result(kinds, pieces):
    """Searching the windows finds what searching the whole text finds, and scrubbing again finds nothing."""
    text = "\n".join(pieces)
    replaced, _ = scrubbed(text, kinds)
    pieces_of_text, end = [], 0
    for match in find(text):
        pieces_of_text += [text[end : match.start], RULES.placeholders[match.kind]]
        end = match.end
    assert replaced == "".join([*pieces_of_text, text[end:]])
    assert scrubbed(replaced) == (replaced, dict.fromkeys(KINDS, 0))


@given(
    st.text(
        alphabet=st.one_of(st.sampled_from("0123456789.-:@+() /aZDE\n"), st.characters(codec="utf-8")), max_size=200
    )
)
def test_any_text_can_be_scrubbed_and_is_then_clean(text):
    replaced, _ = scrubbed(text)
    assert not any(scrubbed(replaced)[1].values())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@" * 100_000,
        "1" * 1_000_000,
        "1." * 100_000,
        "1-2 " * 100_000,
        "a@b." * 50_000,
        "x" * 1_000_000 + "@example.org",
        "+" * 50_000,
        ":" * 50_000,
        "1 " * 200_000,
    ],
    ids=range(10),
)
def test_hostile_texts_take_bounded_work(text):
    scrubbed(text)


def test_pages_do_not_depend_on_their_batch():
    texts = pl.Series([text for _, text, _ in EXAMPLES] + list(TRAPS.values()))
    before = texts.clone()
    together, counts = scrub(texts, KINDS, RULES.placeholders, "US")
    assert texts.equals(before)  # the given column is unchanged
    for i, text in enumerate(texts):
        assert (together[i], counts.row(i, named=True)) == scrubbed(text)


def test_kinds_can_be_switched_off():
    assert scrubbed("a@example.org 93.184.216.34", ("email",))[0] == "<EMAIL> 93.184.216.34"


def test_the_region_decides_how_national_numbers_are_read():
    def phones(text, region):
        return [text[m.start : m.end] for m in find(text, ("phone",), region)]

    assert phones("ring 030 227 32152 now", "DE") == ["030 227 32152"]
    assert phones("ring 030 227 32152 now", "US") == []
    assert phones("ring (030) 22732152 now", "DE") == ["(030) 22732152"]
    assert phones("ring (030) 22732152 now", "US") == []


@pytest.mark.parametrize(
    "fields",
    [
        {"types": ("name",)},
        {"placeholders": {"email": "a@b"}},
        {"placeholders": {}},
        {"phone_region": "usa"},
        {"max_density": 0},
    ],
)
def test_impossible_settings_are_errors(fields):
    with pytest.raises(ValueError, match=r"types|placeholder|phone_region|max_density"):
        laptop().replace(personal_data=fields)
