"""Records of archives are overwritten in place; any reader still reads everything else as before."""

import gzip
import random

import polars as pl
import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from hypothesis import given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from llm_assets.artifacts.tables import polars_schema
from llm_assets.curation.url_filter import judge
from llm_assets.recipes import UrlFilter
from llm_assets.sql import query
from llm_assets.warc import read_capture_at, read_captures
from llm_assets.web.blanking import blank_records
from llm_assets.web.blocklists import BadLine, parse_opt_out
from llm_assets.web.schemas import BlocklistDomains, BlocklistWords, Captures, OptOut
from llm_assets.web.urls import host_of
from tests.support.warcs import members, page

GONE = "http://gone.example/"
NOISE = random.Random(1)


def body(word, size):
    """HTML that contains a word, and does not compress well."""
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
    """The records of PAGES, each after its request."""
    records = [record for entry in PAGES for record in (request(entry[0]), *members([entry], gzip=gzip_members))]
    return [record if gzip_members else inflated(record) for record in records]


def inflated(data):
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


LAYOUTS = {
    "a gzip member per record": lambda: b"".join(with_requests(True)),
    "uncompressed": lambda: b"".join(with_requests(False)),
    "one gzip member over all records": lambda: gzip.compress(b"".join(with_requests(False))),
    "cut short": lambda: b"".join(with_requests(True))[:-40],
}


def kept_captures(path):
    """(URL, offset, digest) of the pages that are not covered."""
    return [
        (capture.url, capture.offset, capture.digest)
        for capture in read_captures(path)
        if capture.url.startswith("http://kept.example/") and capture.record_type == "response"
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_covered_records_are_overwritten_and_all_others_keep_their_place(tmp_path, layout):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(LAYOUTS[layout]())
    before, size = kept_captures(path), path.stat().st_size
    assert len(before) == 3
    assert blank_records(path, covers) == 6
    assert kept_captures(path) == before
    assert not [capture for capture in read_captures(path) if covers(capture.url)]
    data = path.read_bytes()
    assert b"SECRET" not in inflated(data) and GONE.encode() not in inflated(data)
    if layout != "one gzip member over all records":
        assert len(data) == size
        for url, offset, _ in before:
            assert read_capture_at(path, offset).url == url
        # Other readers find every record whole.
        with path.open("rb") as stream:
            assert sum(record.rec_type == "response" for record in ArchiveIterator(stream)) == 3
        with path.open("rb") as stream:
            assert len(list(FastIterator(stream, parse_http=False))) == len(with_requests(True))
    assert blank_records(path, covers) == 0
    assert path.read_bytes() == data


@pytest.mark.parametrize("damage", [30, 300])
def test_a_damaged_record_is_overwritten_too(tmp_path, damage):
    records = members([PAGES[0], page(f"{GONE}1", body(b"SECRET", 1000)), PAGES[2]])
    records[1] = records[1][: len(records[1]) - damage] + bytes(damage)  # its gzip member does not end well
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(records))
    assert blank_records(path, covers) == 1
    assert [url for url, _, _ in kept_captures(path)] == ["http://kept.example/1", "http://kept.example/2"]
    assert b"SECRET" not in gzip.decompress(path.read_bytes())


def test_of_a_damaged_member_over_all_records_the_readable_part_is_kept(tmp_path):
    data = gzip.compress(b"".join(with_requests(False)))
    path = tmp_path / "a.warc.gz"
    path.write_bytes(data[: len(data) * 2 // 3])
    before = kept_captures(path)
    assert len(before) == 2 and blank_records(path, covers) == 4
    assert kept_captures(path) == before
    assert b"SECRET" not in gzip.decompress(path.read_bytes())


@pytest.mark.parametrize("compressed", [True, False])
def test_records_of_arc_files_are_overwritten(tmp_path, compressed):
    def arc_record(url, text):
        content = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + text
        return b"%s 1.2.3.4 20261005060000 text/html %d\n%s\n" % (url, len(content), content)

    version = b"1 0 X\nURL IP-address Archive-date Content-type Archive-length\n"
    head = b"filedesc://a.arc 0.0.0.0 20261005060000 text/plain %d\n%s\n" % (len(version), version)
    records = [
        head,
        arc_record(b"http://gone.example/x", body(b"SECRET", 400)),
        arc_record(b"http://kept.example/y", body(b"kept", 50)),
    ]
    path = tmp_path / ("a.arc.gz" if compressed else "a.arc")
    path.write_bytes(b"".join(gzip.compress(record) if compressed else record for record in records))
    before, size = kept_captures(path), path.stat().st_size
    assert len(before) == 1 and blank_records(path, covers) == 1
    assert kept_captures(path) == before and path.stat().st_size == size
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
def test_a_prefix_ends_where_a_component_of_the_url_ends(rule, url, covered, opted_out):
    (parsed,) = parse_opt_out(rule)
    assert parsed.covers(url) is covered
    assert opted_out(rule, url) is covered


@pytest.mark.parametrize("line", ["site.example?id=3", "site.example#top", "me@site.example", "two words", "/path"])
def test_other_lines_than_domains_and_prefixes_are_refused(line):
    with pytest.raises(BadLine):
        parse_opt_out(line)


@pytest.fixture
def opted_out(tmp_path):
    """A function from a rule and a URL to whether the URL filter's SQL statement rejects the URL."""

    def write(name, model, rows):
        pl.DataFrame(rows, schema=polars_schema(model), orient="row").write_parquet(tmp_path / name)
        return tmp_path / name

    domains, words = write("domains", BlocklistDomains, []), write("words", BlocklistWords, [])

    def is_opted_out(rule, url):
        row = {
            "url": url,
            "host": host_of(url),
            "record_type": "response",
            "status": 200,
            "mime": "text/html",
            "warc_offset": 0,
        }
        captures = write("captures", Captures, [row])
        opt_out = write("opt_out", OptOut, parse_opt_out(rule))
        (verdict,) = judge(captures, [domains], [words], [opt_out], UrlFilter())["rule"]
        return verdict == "opt_out"

    return is_opted_out


URL_PIECES = st.text("ab/?&=.", max_size=4)


@given(URL_PIECES, URL_PIECES, URL_PIECES)
def test_python_and_sql_agree_on_random_rules(rule_end, path, path_end):
    """The expression of sql/filter_urls.sql, on random prefixes and URLs."""
    rules = parse_opt_out(f"s.example/a{rule_end}")
    if not rules:
        return
    url = f"http://s.example/a{path}{path_end}"
    bare_url = url.removeprefix("http://")
    text = """SELECT starts_with($url, $rule) AND (right($rule, 1) IN ('/', '?', '#', '&', '=')
        OR substr($url, len($rule) + 1, 1) IN ('', '/', '?', '#', '&')) AS covered"""
    assert query(text, url=bare_url, rule=rules[0].rule)["covered"][0] is rules[0].covers(url)
