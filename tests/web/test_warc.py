"""Reading archives: damage loses no other record, no record is counted twice, and there is never an exception."""

import gzip
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_assets.warc import WarcError, is_archive_name, parse_http, read_capture_at, read_captures, sha1_digest
from tests.support.warcs import DATE, members, page, raw_record, write

PAGES = [page(f"http://host.example/{i}", f"<p>page number {i}</p>".encode() * (i + 1)) for i in range(8)]


@pytest.mark.parametrize("compressed", [True, False])
def test_whole_files_give_every_record(tmp_path, compressed):
    path = write(tmp_path / "a.warc", PAGES, compressed)
    captures = list(read_captures(path))
    assert [capture.url for capture in captures] == [p[0] for p in PAGES]
    assert [capture.digest for capture in captures] == [sha1_digest(p[1]) for p in PAGES]
    assert [capture.payload_bytes for capture in captures] == [len(p[1]) for p in PAGES]
    assert {(capture.status, capture.date, capture.record_type) for capture in captures} == {(200, DATE, "response")}
    assert sum(capture.length for capture in captures) == path.stat().st_size


def test_wanted_records_have_their_payload(tmp_path):
    path = write(tmp_path / "a.warc.gz", PAGES)
    offsets = [capture.offset for capture in read_captures(path)]
    assert [(capture.offset, capture.payload) for capture in read_captures(path, {offsets[2], offsets[5]})] == [
        (offsets[i], PAGES[i][1]) for i in (2, 5)
    ]
    assert [capture.payload for capture in read_captures(path, {offsets[5]}, max_payload=10)] == [None]
    assert read_capture_at(path, offsets[3]).payload == PAGES[3][1]


@settings(max_examples=200)
@given(cut=st.integers(min_value=1, max_value=10_000), compressed=st.booleans())
def test_a_file_cut_anywhere_gives_the_records_before_the_cut(tmp_path_factory, cut, compressed):
    parts = members(PAGES, compressed)
    data = b"".join(parts)
    cut = cut % len(data)
    path = tmp_path_factory.mktemp("cut") / "a.warc"
    path.write_bytes(data[:cut])
    captures = list(read_captures(path))
    ends = [sum(map(len, parts[: i + 1])) for i in range(len(parts))]
    whole = sum(end <= cut for end in ends)
    assert [capture.url for capture in captures if capture.record_type != "corrupt"][:whole] == [
        p[0] for p in PAGES[:whole]
    ]
    if compressed:
        # A record that lacks only the gzip checksum (8 bytes) and the closing line breaks is read as whole.
        readable = sum(end - 20 <= cut for end in ends)
        assert len([capture for capture in captures if capture.record_type != "corrupt"]) in (whole, readable)
        # The rest of an incomplete record is one corrupt stretch.
        assert len(captures) == whole + (cut not in (0, *ends))
    assert len({capture.offset for capture in captures}) == len(captures)


@given(
    where=st.integers(min_value=0, max_value=7),
    start=st.integers(min_value=0, max_value=300),
    noise=st.binary(min_size=1, max_size=40),
)
def test_damage_in_one_member_costs_that_member_at_most(tmp_path_factory, where, start, noise):
    parts = members(PAGES)
    start = start % len(parts[where])
    damaged = parts[where][:start] + noise + parts[where][start + len(noise) :]
    path = tmp_path_factory.mktemp("damage") / "a.warc.gz"
    path.write_bytes(b"".join([*parts[:where], damaged, *parts[where + 1 :]]))
    captures = list(read_captures(path))
    good = [capture.url for capture in captures if capture.record_type != "corrupt"]
    others = [p[0] for i, p in enumerate(PAGES) if i != where]
    assert [u for u in good if u != PAGES[where][0]] == others
    if PAGES[where][0] not in good:
        assert sum(capture.record_type == "corrupt" for capture in captures) == 1
    assert len({capture.offset for capture in captures}) == len(captures)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_an_exception(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "a.warc"
    path.write_bytes(data)
    assert all(capture.record_type == "corrupt" for capture in read_captures(path))


@pytest.mark.parametrize("change", [-30, 30, 100_000])
def test_a_wrong_length_is_one_corrupt_stretch(tmp_path, change):
    parts = members(PAGES, gzip=False)
    length = int(parts[3].split(b"Content-Length: ")[1].split(b"\r\n")[0])
    parts[3] = parts[3].replace(f"Content-Length: {length}".encode(), f"Content-Length: {length + change}".encode(), 1)
    (tmp_path / "a.warc").write_bytes(b"".join(parts))
    captures = list(read_captures(tmp_path / "a.warc"))
    assert [capture.url for capture in captures if capture.record_type != "corrupt" and capture.url != PAGES[3][0]] == [
        p[0] for i, p in enumerate(PAGES) if i != 3
    ]
    assert sum(capture.record_type == "corrupt" for capture in captures) == 1


@pytest.mark.parametrize("change", [8, 30, 600, 10**6, 10**40])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_record_longer_than_the_file_or_its_member_takes_no_other_with_it(tmp_path, change, compressed):
    """Its length is wrong for certain, so that it is not whole, and all others are also read by their offsets."""
    parts = members(PAGES, gzip=False)
    length = int(parts[3].split(b"Content-Length: ")[1].split(b"\r\n")[0])
    parts[3] = parts[3].replace(f"Length: {length}".encode(), f"Length: {length + change}".encode(), 1)
    path = tmp_path / "a.warc"
    path.write_bytes(b"".join(map(gzip.compress, parts) if compressed else parts))
    captures = list(read_captures(path))
    whole = {capture.offset: capture.url for capture in captures if capture.record_type != "corrupt"}
    assert [url for url in whole.values() if url != PAGES[3][0]] == [p[0] for i, p in enumerate(PAGES) if i != 3]
    assert sum(capture.record_type == "corrupt" for capture in captures) == 1
    assert (PAGES[3][0] in whole.values()) == (not compressed and change < 1_000)  # a plain file may hold anything
    assert {capture.offset: capture.url for capture in read_captures(path, set(whole)) if capture.url} == whole


def test_a_request_that_is_longer_than_the_file_is_a_corrupt_stretch(tmp_path):
    """It would take the records after it with it, and report none of them."""
    parts = members(PAGES, gzip=False)
    parts[3] = (
        parts[3].replace(b"WARC-Type: response", b"WARC-Type: request", 1).replace(b"Length: ", b"Length: 9999", 1)
    )
    (tmp_path / "a.warc").write_bytes(b"".join(parts))
    captures = list(read_captures(tmp_path / "a.warc"))
    assert [capture.url for capture in captures if capture.record_type != "corrupt"] == [
        p[0] for i, p in enumerate(PAGES) if i != 3
    ]
    assert [capture.record_type for capture in captures].count("corrupt") == 1


@pytest.mark.parametrize("padding", [b"\n", b"\r\n\r\n", b"\0" * 9 + b"\n"])
def test_line_breaks_between_members_and_at_the_end_are_no_damage(tmp_path, padding):
    """Files are joined with line breaks as they are with zeros; neither holds a record."""
    (tmp_path / "a.warc.gz").write_bytes(b"".join(member + padding for member in members(PAGES)))
    assert [capture.url for capture in read_captures(tmp_path / "a.warc.gz")] == [p[0] for p in PAGES]


def test_a_record_within_one_whose_header_is_damaged_is_found_by_its_offset_too(tmp_path):
    """Reading continues at the next header, as the length of a damaged record may be as wrong as the rest."""
    inner = raw_record("http://a.example/inner")
    outer = raw_record("http://a.example/outer", b"HTTP/1.1 200 OK\r\n\r\n" + inner).replace(
        b"WARC-Type", b"WARC-Typo", 1
    )
    path = tmp_path / "a.warc"
    path.write_bytes(outer)
    (offset,) = (capture.offset for capture in read_captures(path) if capture.url)
    assert [capture.url for capture in read_captures(path, {offset}) if capture.url] == ["http://a.example/inner"]


@pytest.mark.parametrize("size", [0, 10**6])
def test_the_rest_of_a_file_of_one_member_that_is_cut_is_one_row_with_an_offset_of_its_own(tmp_path, size):
    data = gzip.compress(
        b"".join(members([PAGES[0], page("http://host.example/b", bytes(size)), PAGES[1]], gzip=False))
    )
    for cut in range(len(data) // 3, len(data), 7):
        (tmp_path / "a.warc.gz").write_bytes(data[:cut])
        captures = list(read_captures(tmp_path / "a.warc.gz"))
        assert len({capture.offset for capture in captures}) == len(captures)


def arc_record(url, body, length=None):
    line = f"{url} 1.2.3.4 20050101000000 text/html {len(body) if length is None else length}\n"
    return line.encode() + body + b"\n"


def test_the_records_of_an_arc_file_before_an_impossible_length_are_read(tmp_path):
    version = b"1 0 test\nURL IP-address Archive-date Content-type Archive-length\n"
    first = b"filedesc://a.arc 0.0.0.0 20050101000000 text/plain %d\n" % len(version) + version + b"\n"
    odd = arc_record("http://a.example/", b"HTTP/1.0 \xb2\xb2\xb2 OK\r\n\r\n<p>one</p>")  # superscripts are no digits
    bad = arc_record("http://b.example/", b"HTTP/1.0 200 OK\r\n\r\n<p>two</p>", "9" * 40)
    (tmp_path / "a.arc").write_bytes(first + odd + bad)
    captures = list(read_captures(tmp_path / "a.arc"))
    assert [(capture.record_type, capture.url) for capture in captures] == [
        ("response", "http://a.example/"),
        ("corrupt", ""),
    ]


def test_a_head_of_many_folded_lines_is_read_in_linear_time():
    """350,000 lines took 15 seconds when each was joined to those before it."""
    began = time.process_time()
    _, headers, _ = parse_http(b"HTTP/1.1 200 OK\r\nA: b\n" + b" c\n" * 350_000)
    assert len(headers["a"]) == 700_001 and time.process_time() - began < 3


def test_one_gzip_member_over_all_records_has_usable_offsets(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(b"".join(members(PAGES, gzip=False))))
    captures = list(read_captures(path))
    assert [capture.url for capture in captures] == [p[0] for p in PAGES]
    wanted = captures[4].offset
    assert [capture.payload for capture in read_captures(path, {wanted})] == [PAGES[4][1]]


def test_a_truncated_file_of_one_member_ends_with_a_corrupt_stretch(tmp_path):
    data = gzip.compress(b"".join(members(PAGES, gzip=False)))
    (tmp_path / "a.warc.gz").write_bytes(data[: len(data) * 2 // 3])
    captures = list(read_captures(tmp_path / "a.warc.gz"))
    assert captures[-1].record_type == "corrupt"
    assert len([capture for capture in captures if capture.record_type == "response"]) >= 1


def test_resources_are_captures_and_http_headers_are_lower_case(tmp_path):
    (tmp_path / "a.warc.gz").write_bytes(
        b"".join(
            members([("http://host.example/r", b"<p>x</p>", "", [("Content-Type", "text/html")])], kind="resource")
            + members([page("http://host.example/", headers=[("CONTENT-Type", "text/html"), ("ETag", '"x"')])])
        )
    )
    resource, response = read_captures(tmp_path / "a.warc.gz")
    assert (resource.record_type, resource.status, resource.content_type) == ("resource", None, "text/html")
    assert response.http == {"content-type": "text/html", "etag": '"x"'}


def test_an_empty_file_has_no_captures_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "a.warc.gz").touch()
    assert list(read_captures(tmp_path / "a.warc.gz")) == []
    with pytest.raises(WarcError, match=r"nothing\.warc\.gz: No such file"):
        list(read_captures(tmp_path / "nothing.warc.gz"))


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("a.warc", True),
        ("A.WARC.GZ", True),
        ("a.arc.gz", True),
        ("a.warc.wet.gz", False),
        ("a.txt", False),
        ("a.gz", False),
    ],
)
def test_archives_are_recognised_by_name(name, archive):
    assert is_archive_name(name) is archive


# Captures and corrupt stretches; the counts agree with warcio (see the README of the data).
SAMPLES = {
    "aut-example.warc.gz": (299, 0),
    "aut-example.arc.gz": (299, 0),
    "aut-example.txt.warc.gz": (2, 0),
    "aut-issue-514.warc": (4, 0),
    "resiliparse-warcfile.warc.gz": (16, 0),
    "resiliparse-clueweb-quirk.warc.gz": (29, 0),
    "warcio-example.warc": (2, 0),
    "warcio-example.warc.gz": (2, 0),
    "warcio-example-bad-non-chunked.warc.gz": (2, 0),
    # Its response is two bytes shorter than Content-Length says. Nothing after it is lost; its digest shows the damage.
    "warcio-example-trunc.warc": (1, 0),
    "warcio-example-space-in-url.arc": (1, 0),
    "warcio-example-iana.org-chunked.warc": (1, 0),
    "warcio-post-test.warc.gz": (3, 0),
    "whirlwind.warc.gz": (1, 0),
    "warcio-example-wget-bad-target-uri.warc.gz": (3, 0),
    "warcio-example-digest.warc": (0, 0),
}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_sample_files_of_other_projects_are_read(shared_data, name):
    captures = list(read_captures(shared_data / "web" / "samples" / name))
    corrupt = sum(capture.record_type == "corrupt" for capture in captures)
    assert (len(captures) - corrupt, corrupt) == SAMPLES[name]


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("aut-example.arc.gz", "text/html"),
        ("resiliparse-clueweb-quirk.warc.gz", "text/html"),
        ("aut-example.warc.gz", "text/html"),
    ],
)
def test_sample_files_have_payloads_and_headers(shared_data, name, mime):
    """ARC payloads, and HTTP heads whose lines end in a bare LF."""
    path = shared_data / "web" / "samples" / name
    pages = [
        capture
        for capture in read_captures(path)
        if capture.status == 200 and (capture.http or {}).get("content-type", "").startswith(mime)
    ]
    assert len(pages) >= 29
    for capture in read_captures(path, {capture.offset for capture in pages}):
        if capture.record_type != "corrupt":
            assert len(capture.payload) == capture.payload_bytes
    assert sum(capture.payload_bytes for capture in pages) > 500_000


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nA: 1\r\nA: 2\r\n\r\nbody\n\n", (200, {"a": "1"}, 31)),
        (b"HTTP/1.0 404\nContent-Type: text/html\n\nbody\r\n\r\n", (404, {"content-type": "text/html"}, 38)),
        (b"HTTP/2 200\r\nX: a\r\n b\r\nBad line\r\n c\r\n\r\n", (200, {"x": "a b"}, 38)),
        (b"HTTP/1.1 204 No Content\r\n", (204, {}, 25)),
        (b"<html>HTTP/1.1 200", (None, None, 0)),
        (b"HTTP/1.1 200 OK\r\nX: \xe9\r\n\r\n", (200, {"x": "\u00e9"}, 25)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX: a\r\n\r\nbody", (200, {"x": "a"}, 50)),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", (103, {"link": "x"}, 37)),
        (b"\r\nHTTP/1.1 200 OK\r\nX: a\r\n\r\nbody", (200, {"x": "a"}, 27)),
        (b"http 200 OK\nX: a\r\n\nbody", (200, {"x": "a"}, 19)),
    ],
    ids=[
        *("first of two", "bare LF", "folded", "no end", "no head", "latin-1"),
        *("interim response", "interim response only", "empty line before it", "no version"),
    ],
)
def test_the_head_of_a_response(block, expected):
    assert parse_http(block) == expected


@given(st.binary(max_size=200))
def test_any_bytes_have_a_head_or_none_at_all(block):
    status, headers, length = parse_http(block)
    assert 0 <= length <= len(block)
    assert (status is None) == (headers is None)
