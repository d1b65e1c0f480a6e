"""Archives as they are found: joined, padded, block-compressed, with headers in any case, and compressed with zstd."""

import gzip
import struct
import zlib

import pytest

from llm_assets.recipes import WarcFiles
from llm_assets.warc import parse_http, read_capture_at, read_captures, read_spans
from llm_assets.warc.compression import zstd
from llm_assets.web.robots_directives import header_directives
from llm_assets.web.source_check import check_source
from tests.support.warcs import members, page, raw_record

URLS = [f"http://a.example/{number}" for number in range(4)]
RECORDS = [raw_record(url) for url in URLS]
GZIPPED = [gzip.compress(record) for record in RECORDS]
EMPTY = gzip.compress(b"")
# The empty member with which bgzip ends a file (SAM specification, section 4.1.2).
BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def in_blocks(data: bytes, size: int) -> bytes:
    """Compressed as bgzip does it: in members of equal size, whatever begins in them."""
    return b"".join(gzip.compress(data[start : start + size]) for start in range(0, len(data), size)) + BGZIP_END


def read(tmp_path, data):
    """The URLs of the captures, and the problems of the corrupt stretches; asserts that each capture can be read."""
    path = tmp_path / "a.warc"
    path.write_bytes(data)
    captures = list(read_captures(path))
    whole = [capture for capture in captures if capture.record_type != "corrupt"]
    assert len({capture.offset for capture in captures}) == len(captures)
    again = read_captures(path, {capture.offset for capture in whole})
    assert {capture.payload for capture in again if not capture.error} <= {b"<p>text</p>"}
    spans = [span.url for span in read_spans(path) if span.record_type != "corrupt"]
    assert spans == [capture.url for capture in whole]
    return [capture.url for capture in whole], [capture.error for capture in captures if capture.error]


@pytest.mark.parametrize(
    "data",
    [
        GZIPPED[0] + EMPTY + b"".join(GZIPPED[1:]),
        EMPTY + b"".join(GZIPPED),
        b"".join(GZIPPED) + EMPTY,
        GZIPPED[0] + EMPTY * 3 + GZIPPED[1] + BGZIP_END + GZIPPED[2] + GZIPPED[3] + BGZIP_END,
        GZIPPED[0] + gzip.compress(b"\r\n\r\n") + b"".join(GZIPPED[1:]),
        b"".join(GZIPPED) + bytes(512),
        b"".join(GZIPPED[:2]) + bytes(512) + b"".join(GZIPPED[2:]),
        bytes(512) + b"".join(GZIPPED),
        b"".join(RECORDS) + bytes(512),
        b"".join(RECORDS[:2]) + bytes(512) + b"".join(RECORDS[2:]),
        b"".join(RECORDS[:2]) + b"\r\n" * 5 + b"".join(RECORDS[2:]),
        gzip.compress(b"".join(RECORDS)) + EMPTY,
        gzip.compress(b"".join(RECORDS[:2])) + gzip.compress(b"".join(RECORDS[2:])),
        in_blocks(b"".join(RECORDS), 100),
        gzip.compress(RECORDS[0][:150]) + gzip.compress(RECORDS[0][150:]) + b"".join(GZIPPED[1:]),
    ],
    ids=[
        "an empty member in the middle",
        "an empty member first",
        "an empty member last",
        "several, and those of bgzip",
        "a member of line breaks",
        "zeros after the last member",
        "zeros between members",
        "zeros before the first member",
        "zeros after uncompressed records",
        "zeros between uncompressed records",
        "blank lines between uncompressed records",
        "one member over all records, and an empty one",
        "two files of one member each, joined",
        "blocks of bgzip",
        "a record in two members",
    ],
)
def test_filler_between_records_loses_none_and_is_no_damage(tmp_path, data):
    """RFC 1952, section 2.2: a gzip file is any number of members, and nothing says that they hold data."""
    assert read(tmp_path, data) == (URLS, [])


def test_bytes_between_members_are_one_corrupt_stretch_and_the_rest_is_read(tmp_path):
    urls, problems = read(tmp_path, GZIPPED[0] + b"these bytes are no member" + b"".join(GZIPPED[1:]))
    assert urls == URLS and len(problems) == 1


def test_a_late_member_of_several_records_is_recorded_as_damage(tmp_path):
    """Its second record has no offset of its own; the records of other members are read."""
    urls, problems = read(
        tmp_path, GZIPPED[0] + GZIPPED[1] + GZIPPED[0] + gzip.compress(RECORDS[2] + RECORDS[2]) + GZIPPED[3]
    )
    assert urls == [URLS[0], URLS[1], URLS[0], URLS[2], URLS[3]]
    assert problems == ["a compressed member holds several records, unlike the first ones of the file"]


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "record",
    [
        raw_record(URLS[0], rename=str.lower),
        raw_record(URLS[0], rename=str.upper),
        raw_record(URLS[0], rename=str.title),
        raw_record(URLS[0], rename=lambda name: name.replace("Content-Length", "content-length")),
        raw_record(URLS[0], rename=lambda name: name.replace("Content-Length", "Content-length")),
        raw_record(URLS[0], rename=lambda name: name.replace("WARC-Type", "Warc-Type")),
        raw_record(URLS[0], rename=lambda name: f"{name} "),
        raw_record(URLS[0], Type="Response"),
        raw_record(URLS[0], line_end="\n"),
        raw_record(URLS[0]).replace(b"\r\n", b"\n", 3),
    ],
    ids=["lower", "upper", "title", "length", "Length", "type", "space", "value", "bare LF", "some bare LF"],
)
def test_the_names_of_warc_headers_are_compared_without_regard_to_case(tmp_path, record, compress):
    """ISO 28500, section 4: names are case-insensitive. Line ends as tolerant as in HTTP."""
    assert read(tmp_path, compress(record) + compress(RECORDS[1])) == (URLS[:2], [])
    assert read(tmp_path, compress(RECORDS[1]) + compress(record)) == (URLS[1::-1], [])


def test_a_whole_file_of_odd_headers_in_one_member_is_read(tmp_path):
    records = b"".join(raw_record(url, rename=str.lower) for url in URLS)
    assert read(tmp_path, gzip.compress(records)) == (URLS, [])


HEAD = b"Content-Type: text/html"
BODY = b"<p>one</p>\n\n<p>two</p>\r\n\r\n<p>three</p>"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\n" + HEAD + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + HEAD + b"\nServer: x\n\n",
        b"HTTP/1.1 200 " + b"x" * 260 + b"\r\n" + HEAD + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + HEAD + b"\r\n\n",
        b"HTTP/1.1 200 OK\r\n" + HEAD + b"\n\r\n",
        b"HTTP/1.1 200 OK\r\r\n" + HEAD + b"\r\r\n\r\r\n",
        b"HTTP/1.1 200\n" + HEAD + b"\n\n",
    ],
    ids=["LF status line", "LF headers", "long reason", "CRLF LF", "LF CRLF", "CR CR LF", "only LF"],
)
def test_a_head_ends_at_its_first_empty_line_whatever_its_line_ends(tmp_path, head):
    """RFC 9112, section 2.2: a recipient may take a bare LF as the end of a line."""
    assert parse_http(head + BODY) == (200, parse_http(head + BODY)[1], len(head))
    assert parse_http(head + BODY)[1]["content-type"] == "text/html"
    (tmp_path / "a.warc").write_bytes(raw_record(URLS[0], head + BODY))
    (capture,) = read_captures(tmp_path / "a.warc", {0})
    assert capture.payload == BODY


def test_a_body_that_begins_with_a_line_break_keeps_it():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    assert parse_http(head + b"\r\n<p>one</p>")[2] == len(head)


def test_a_head_without_headers_ends_behind_the_status_line():
    assert parse_http(b"HTTP/1.1 200 OK\r\n\r\n<p>a: b</p>") == (200, {}, 19)


def frame(record: bytes, dictionary: zstd.ZstdDict | None = None) -> bytes:
    return zstd.compress(record, zstd_dict=dictionary)


def skippable(content: bytes, number: int = 0xD) -> bytes:
    return struct.pack("<II", 0x184D2A50 + number, len(content)) + content


@pytest.fixture(scope="module")
def dictionary():
    samples = [raw_record(f"http://a.example/{number}", zlib.compress(b"%d" % number)) for number in range(300)]
    return zstd.train_dict(samples, 2_000)


def test_zstd_files_are_read_and_their_offsets_locate_records(tmp_path):
    assert read(tmp_path, b"".join(map(frame, RECORDS))) == (URLS, [])
    path = tmp_path / "a.warc"
    assert [read_capture_at(path, capture.offset).url for capture in read_captures(path)] == URLS


@pytest.mark.parametrize("compressed", [False, True])
def test_zstd_files_with_a_dictionary_are_read_at_any_offset(tmp_path, dictionary, compressed):
    """IIPC, "Zstandard Compression for WARC files": a skippable frame holds the dictionary, which may be compressed."""
    content = dictionary.dict_content
    begin = skippable(frame(content) if compressed else content)
    data = begin + b"".join(frame(record, dictionary) for record in RECORDS)
    assert read(tmp_path, data) == (URLS, [])
    path = tmp_path / "a.warc"
    captures = list(read_captures(path))
    assert captures[0].offset == len(begin)
    assert [read_capture_at(path, capture.offset).url for capture in captures] == URLS
    assert check_source(WarcFiles(path=str(path))) == []


def test_of_a_damaged_zstd_file_the_other_records_are_read(tmp_path, dictionary):
    frames = [frame(record, dictionary) for record in RECORDS]
    frames[1] = frames[1][:6] + b"noise" + frames[1][11:]
    urls, problems = read(tmp_path, skippable(dictionary.dict_content) + b"".join(frames))
    assert [url for url in urls if url != URLS[1]] == [URLS[0], *URLS[2:]] and len(problems) == 1


def test_zstd_files_may_have_empty_and_skippable_frames_and_one_frame_over_all_records(tmp_path):
    assert read(tmp_path, frame(RECORDS[0]) + frame(b"") + frame(RECORDS[1])) == (URLS[:2], [])
    assert read(tmp_path, frame(RECORDS[0]) + skippable(b"note", 0) + frame(RECORDS[1])) == (URLS[:2], [])
    assert read(tmp_path, frame(b"".join(RECORDS))) == (URLS, [])


def test_a_file_cut_in_a_later_record_has_one_corrupt_stretch(tmp_path):
    for parts in (RECORDS, GZIPPED, [frame(record) for record in RECORDS]):
        data = b"".join(parts)
        urls, problems = read(tmp_path, data[: len(data) - len(parts[3]) // 2])
        assert urls == URLS[:3] and len(problems) == 1


def test_several_x_robots_tags_are_lines_of_their_own(tmp_path):
    """In one list, the second one would be a directive for the crawler that the first one names."""
    headers = [("Content-Type", "text/html"), ("X-Robots-Tag", "otherbot: none"), ("X-Robots-Tag", "noai")]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members([page(URLS[0], headers=headers)])))
    (capture,) = read_captures(tmp_path / "a.warc.gz")
    assert header_directives(capture.http["x-robots-tag"], ["llm-assets"]) == {"noai"}
