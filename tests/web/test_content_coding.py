"""Content codings: a body that decodes is decoded, and only text that does not is taken as it is."""

import gzip
import random
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.warc import ContentCodingError, TooLarge, decode_coding, decode_transfer
from llm_assets.warc.compression import zstd

LIMIT = 1 << 20
HTML = b"<html><body>" + b"<p>text</p>" * 50


def flushed_brotli(page: bytes, end: bytes) -> bytes:
    """A stream as servers send it that flush a page's beginning; it begins with 0x0B."""
    compressor = brotli.Compressor(quality=5)
    return compressor.process(page) + compressor.flush() + compressor.process(end) + compressor.finish()


def test_brotli_streams_of_any_first_block_are_decoded():
    """0x0B is white space to Python's lstrip(), and the next byte is "<" for one length of the block in 512."""
    end = b"</body></html>"
    words = b" ".join(random.Random(1).choices([b"harbour", b"boat", b"tide", b"net"], k=400))
    for length in range(100, 1_300):
        page = (b"<html><body><p>" + words)[:length]
        coded = flushed_brotli(page, end)
        assert decode_coding(coded, "br", LIMIT) == page + end, coded[:4]


def raw_deflate(body):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "x-deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("coding", ENCODERS)
@given(body=st.binary(max_size=300))
def test_what_is_coded_is_decoded(coding, body):
    assert decode_coding(ENCODERS[coding](body), coding, LIMIT) == body


@pytest.mark.parametrize("coding", [*ENCODERS, "compress", "dcb", "identity"])
@pytest.mark.parametrize(
    "body",
    [
        HTML,
        b"\xef\xbb\xbf" + HTML,
        b"\n\t <!DOCTYPE html>",
        b"plain words",
        "<p>Füße €</p>".encode("cp1252"),
        "<p>wide</p>".encode("utf-16"),
    ],
)
def test_text_that_is_not_coded_is_taken_as_it_is(coding, body):
    assert decode_coding(body, coding, LIMIT) == body


@pytest.mark.parametrize("coding", ["deflate", "br", "zstd", "compress", "dcz"])
def test_binary_data_that_does_not_decode_is_an_error(coding):
    with pytest.raises(ContentCodingError, match=coding):
        decode_coding(b"\xff<\x00\x01\x02" + bytes(range(256)), coding, LIMIT)


@pytest.mark.parametrize("coding", ENCODERS)
def test_a_body_larger_than_the_limit_is_refused(coding):
    with pytest.raises(TooLarge):
        decode_coding(ENCODERS[coding](bytes(3_000_000)), coding, LIMIT)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_of_a_truncated_body_what_came_is_kept(coding):
    noise = random.Random(1).randbytes(400_000)
    coded = ENCODERS[coding](noise)
    decoded = decode_coding(coded[: len(coded) // 2], coding, LIMIT)
    assert decoded and noise.startswith(decoded)


def test_several_zstd_frames_are_one_body():
    assert decode_coding(zstd.compress(HTML[:100]) + zstd.compress(HTML[100:]), "zstd", LIMIT) == HTML


@pytest.mark.parametrize("encode", [brotli.compress, zstd.compress, zlib.compress])
def test_a_body_in_another_coding_than_gzip_is_not_taken_for_text(encode):
    """A server that says gzip and sends brotli: the compressed bytes are no page."""
    body = b" ".join(b"word%d" % number for number in range(400))
    with pytest.raises(ContentCodingError, match="no gzip stream, and no text"):
        decode_coding(encode(body), "gzip", LIMIT)


def test_a_text_with_stray_controls_may_be_stored_decoded_under_gzip():
    body = HTML + b"\x08 and \x0b" + HTML * 3
    assert decode_coding(body, "gzip", LIMIT) == body


def chunked(body, line_end=b"\r\n", size=b"%x"):
    pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
    return b"".join(size % len(piece) + line_end + piece + line_end for piece in pieces) + b"0" + 2 * line_end


@pytest.mark.parametrize(
    ("header", "encode"),
    [
        ("chunked", chunked),
        ("Chunked", lambda body: chunked(body, b"\n")),
        ("chunked", lambda body: chunked(body, size=b"0000000000%x")),
        ("chunked", lambda body: chunked(body, size=b"%x  ")),
        ("chunked", lambda body: chunked(body, size=b"%x;name=" + b"v" * 200)),
        ("gzip, chunked", lambda body: chunked(gzip.compress(body))),
        ("gzip", gzip.compress),
        ("identity", bytes),
        ("", bytes),
    ],
)
def test_the_codings_of_the_transfer_are_undone(header, encode):
    """RFC 9112, sections 6.1 and 7.1; lines may end in a bare LF (section 2.2)."""
    assert decode_transfer(encode(HTML), header, LIMIT) == HTML
