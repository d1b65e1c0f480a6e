"""Records of archives overwritten where they lie: everything else of the file reads as before, by any reader."""

import gzip
import random

import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from hypothesis import given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from llm_assets.warc import read_capture_at, read_captures
from llm_assets.web.blocklists import BadLine, parse_opt_out
from llm_assets.web.taken_down import blank_records
from tests.support.warcs import members, page

GONE = "http://gone.example/"
NOISE = random.Random(1)


def body(word, size):
    """Text that does not compress to nothing."""
    return b"<p>" + word + b" " + NOISE.randbytes(size // 2).hex().encode() + b"</p>"


PAGES = [
    page("http://kept.example/1", body(b"kept", 200)),
    page(f"{GONE}1", body(b"SECRET", 100)),
    page("http://kept.example/2", body(b"kept", 90_000)),
    page(f"{GONE}large", body(b"SECRET", 3_000_000)),
    page("http://kept.example/3", body(b"kept", 10)),
    page(f"{GONE}empty", b""),
]


def covers(url):
    return url.startswith(GONE)


def request(url):
    path = b"SECRET" if covers(url) else b"open"
    (record,) = members(
        [(url, b"GET /%s HTTP/1.1\r\n\r\n" % path, "", [("Content-Type", "application/http")])], kind="request"
    )
    return record


def with_requests(gzip_members):
    records = [record for one in PAGES for record in (request(one[0]), *members([one], gzip=gzip_members))]
    return [record if gzip_members else plain(record) for record in records]


def plain(record):
    return gzip.decompress(record) if record.startswith(b"\x1f\x8b") else record


LAYOUTS = {
    "a member a record": lambda: b"".join(with_requests(True)),
    "uncompressed": lambda: b"".join(with_requests(False)),
    "one member over all": lambda: gzip.compress(b"".join(with_requests(False))),
    "cut short": lambda: b"".join(with_requests(True))[:-40],
}


def kept(path):
    return [
        (one.url, one.offset, one.digest)
        for one in read_captures(path)
        if one.url.startswith("http://kept.example/") and one.record_type == "response"
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_records_of_a_site_go_and_all_others_stay_where_they_are(tmp_path, layout):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(LAYOUTS[layout]())
    before, size = kept(path), path.stat().st_size
    assert len(before) == 3
    assert blank_records(path, covers) == 6
    assert kept(path) == before
    assert not [one for one in read_captures(path) if covers(one.url)]
    data = path.read_bytes()
    inside = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    assert b"SECRET" not in inside and GONE.encode() not in inside
    if layout != "one member over all":
        assert len(data) == size
        for url, offset, _ in before:
            assert read_capture_at(path, offset).url == url
        # Readers that know nothing of this: every record is whole.
        with path.open("rb") as stream:
            assert sum(record.rec_type == "response" for record in ArchiveIterator(stream)) == 3
        with path.open("rb") as stream:
            assert len(list(FastIterator(stream, parse_http=False))) == len(with_requests(True))
    assert blank_records(path, covers) == 0
    assert path.read_bytes() == data


@pytest.mark.parametrize("damage", [30, 300])
def test_a_record_that_is_damaged_goes_too(tmp_path, damage):
    records = members([PAGES[0], page(f"{GONE}1", body(b"SECRET", 1000)), PAGES[2]])
    records[1] = records[1][: len(records[1]) - damage] + bytes(damage)  # its gzip member does not end well
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(records))
    assert blank_records(path, covers) == 1
    assert [url for url, _, _ in kept(path)] == ["http://kept.example/1", "http://kept.example/2"]
    assert b"SECRET" not in gzip.decompress(path.read_bytes())


def test_of_one_damaged_member_over_all_records_what_can_be_read_stays(tmp_path):
    data = gzip.compress(b"".join(with_requests(False)))
    path = tmp_path / "a.warc.gz"
    path.write_bytes(data[: len(data) * 2 // 3])
    before = kept(path)
    assert len(before) == 2 and blank_records(path, covers) == 4
    assert kept(path) == before
    assert b"SECRET" not in gzip.decompress(path.read_bytes())


@pytest.mark.parametrize("compressed", [True, False])
def test_arc_files(tmp_path, compressed):
    def record(url, text):
        content = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + text
        return b"%s 1.2.3.4 20261005060000 text/html %d\n%s\n" % (url, len(content), content)

    version = b"1 0 X\nURL IP-address Archive-date Content-type Archive-length\n"
    head = b"filedesc://a.arc 0.0.0.0 20261005060000 text/plain %d\n%s\n" % (len(version), version)
    parts = [
        head,
        record(b"http://gone.example/x", body(b"SECRET", 400)),
        record(b"http://kept.example/y", body(b"kept", 50)),
    ]
    path = tmp_path / ("a.arc.gz" if compressed else "a.arc")
    path.write_bytes(b"".join(gzip.compress(part) if compressed else part for part in parts))
    before, size = kept(path), path.stat().st_size
    assert len(before) == 1 and blank_records(path, covers) == 1
    assert kept(path) == before and path.stat().st_size == size
    data = path.read_bytes()
    assert b"SECRET" not in (gzip.decompress(data) if compressed else data)


@pytest.mark.parametrize(
    ("rule", "url", "covered"),
    [
        ("site.example", "http://site.example/", True),
        ("site.example", "https://www.Site.example./x?y", True),
        ("site.example", "http://website.example/", False),
        ("site.example/art", "http://site.example/art", True),
        ("https://site.example/art", "http://site.example/art/1", True),
        ("site.example/art", "http://site.example:8080/art?page=2", True),
        ("site.example/art", "http://site.example/article", False),
        ("site.example/art", "http://site.example/art.html", False),
        ("site.example/art", "http://www.site.example/art", False),
        ("site.example/art/", "http://site.example/art/1", True),
        ("site.example/art/", "http://site.example/art", False),
        ("site.example/p?id=1", "http://site.example/p?id=1&x=2", True),
        ("site.example/p?id=1", "http://site.example/p?id=12", False),
        ("site.example/p?id=", "http://site.example/p?id=12", True),
    ],
)
def test_a_prefix_ends_where_a_part_of_the_url_ends(rule, url, covered, opted_out):
    (parsed,) = parse_opt_out(rule)
    assert parsed.covers(url) is covered
    assert opted_out(rule, url) is covered


@pytest.mark.parametrize("line", ["site.example?id=3", "site.example#top", "me@site.example", "two words", "/path"])
def test_what_is_neither_a_domain_nor_a_prefix(line):
    with pytest.raises(BadLine):
        parse_opt_out(line)


@pytest.fixture
def opted_out(tmp_path):
    """Whether the statement that filters a crawl's URLs rejects one under a rule of the opt-out list."""
    from pathlib import Path

    import polars as pl

    from llm_assets.artifacts.tables import polars_schema
    from llm_assets.curation.url_filter import judge
    from llm_assets.recipes import UrlFilter
    from llm_assets.web.schemas import BlocklistDomains, BlocklistWords, Captures, OptOut
    from llm_assets.web.urls import host_of

    def write(name, model, rows):
        pl.DataFrame(rows, schema=polars_schema(model), orient="row").write_parquet(tmp_path / name)
        return Path(tmp_path / name)

    lists = write("domains", BlocklistDomains, []), write("words", BlocklistWords, [])

    def ask(rule, url):
        row = {
            "url": url,
            "host": host_of(url),
            "record_type": "response",
            "status": 200,
            "mime": "text/html",
            "warc_offset": 0,
        }
        captures = write("captures", Captures, [row])
        (verdict,) = judge(
            captures, [lists[0]], [lists[1]], [write("opt_out", OptOut, parse_opt_out(rule))], UrlFilter()
        )["rule"]
        return verdict == "opt_out"

    return ask


PART = st.text("ab/?&=.", max_size=4)


@given(PART, PART, PART)
def test_python_and_sql_agree(rest, path, more):
    """The expression of sql/filter_urls.sql, on random prefixes and URLs."""
    from llm_assets.sql import query

    if not (rules := parse_opt_out(f"s.example/a{rest}")):
        return
    url = f"http://s.example/a{path}{more}"
    place = url.removeprefix("http://")
    text = """SELECT starts_with($place, $rule) AND (right($rule, 1) IN ('/', '?', '#', '&', '=')
        OR substr($place, len($rule) + 1, 1) IN ('', '/', '?', '#', '&')) AS covered"""
    assert query(text, place=place, rule=rules[0].rule)["covered"][0] is rules[0].covers(url)
