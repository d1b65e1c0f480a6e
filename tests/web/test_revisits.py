"""Revisits and their originals: digests in every notation, dates, and revisits without a digest."""

import base64
import hashlib

import polars as pl
import pytest

from llm_assets.artifacts import materialize
from llm_assets.recipes import Recipe, WarcFiles
from llm_assets.warc import normal_digest, read_captures, sha1_digest
from llm_assets.web.capture_index import digest_differs
from llm_assets.web.raw_warc import RAW_WARC
from tests.support.corpus import corpus_workspace
from tests.support.warcs import raw_record

URL = "http://a.example/page"
BODY = b"<p>text</p>"
SHA1, SHA256 = hashlib.sha1(BODY).digest(), hashlib.sha256(BODY).digest()
JANUARY_1, JANUARY_15, JANUARY_20 = (f"2026-01-{day}T00:00:00Z" for day in ("01", "15", "20"))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"


def response(date, body=BODY, url=URL, **headers):
    return raw_record(url, HEAD + body, Date=date, **headers)


def revisit(url=URL, **headers):
    headers = {"Date": JANUARY_20, **{name: value for name, value in headers.items() if value is not None}}
    return raw_record(url, b"HTTP/1.1 304 Not Modified\r\n\r\n", Type="revisit", **headers)


def original(tmp_path, *records):
    """The number of the record that the last one, a revisit, is resolved to; None if there is none."""
    path = tmp_path / "a.warc"
    path.write_bytes(b"".join(records))
    workspace = corpus_workspace(Recipe(name="t", crawls={"c": WarcFiles(path=str(path))}))
    artifact = materialize(RAW_WARC, "c", workspace).artifact
    (row,) = pl.read_parquet(artifact.table("revisits")).to_dicts()
    starts = [sum(map(len, records[:number])) for number in range(len(records))]
    return None if row["original_offset"] is None else starts.index(row["original_offset"])


@pytest.mark.parametrize(
    "digest",
    [
        sha1_digest(BODY),
        f"sha1:{SHA1.hex()}",
        f"SHA-1:{SHA1.hex().upper()}",
        sha1_digest(BODY).lower(),
        f"sha1:{base64.b64encode(SHA1).decode()}",
        SHA1.hex(),
        base64.b32encode(SHA1).decode(),
        f"sha256:{SHA256.hex()}",
        f"sha256:{base64.b32encode(SHA256).decode()}",
        None,
        "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ",
        f"sha256:{hashlib.sha256(b'').hexdigest()}",
        "blake3:0123",
    ],
    ids="base32 hex HEX lower base64 bare-hex bare sha256 sha256-base32 none nothing nothing-256 unknown".split(),
)
@pytest.mark.parametrize("declared", [False, True], ids=["undeclared", "declared"])
def test_a_revisit_finds_the_response_of_its_url_and_date_however_its_digest_is_written(tmp_path, digest, declared):
    """The response may or may not state its own digest in the same notation."""
    headers = {"Payload_Digest": digest} if declared and digest else {}
    records = [response(JANUARY_1, b"<p>older</p>"), response(JANUARY_15, **headers)]
    revisit_record = revisit(Payload_Digest=digest, Refers_To_Target_URI=URL, Refers_To_Date=JANUARY_15)
    assert original(tmp_path, *records, revisit_record) == 1


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2026-01-15T00:00:00.000Z", 1),
        ("2026-01-15T00:00:00.123456789Z", 1),
        ("2026-01-15T02:00:00+02:00", 1),
        ("20260115000000", 1),
        ("2026-01-16T00:00:00Z", 1),
        ("2026-01-14T23:59:59Z", 0),
        ("2025-12-31T00:00:00Z", 0),
        ("not a date", 0),
    ],
)
def test_of_two_responses_with_the_digest_the_nearest_before_the_date_counts(tmp_path, date, expected):
    """Where none is before, the nearest after it; where there is no date, the first in file order."""
    records = [response(JANUARY_1), response(JANUARY_15)]
    assert original(tmp_path, *records, revisit(Payload_Digest=sha1_digest(BODY), Refers_To_Date=date)) == expected


def test_a_revisit_with_neither_digest_nor_date_refers_to_the_last_page_before_it(tmp_path):
    records = [response(JANUARY_1), response(JANUARY_15), response("2026-02-01T00:00:00Z")]
    assert original(tmp_path, *records, revisit()) == 1


def test_a_revisit_of_other_content_or_another_date_has_no_original(tmp_path):
    """A digest that can be compared decides; without one, another date may mean another version of the page."""
    assert original(tmp_path, response(JANUARY_1), revisit(Payload_Digest=sha1_digest(b"other"))) is None
    assert original(tmp_path, response(JANUARY_1), revisit(Refers_To_Date=JANUARY_15)) is None
    assert original(tmp_path, response(JANUARY_1, url=f"{URL}/2"), revisit()) is None


def test_the_original_of_another_url_is_found_also_in_angle_brackets(tmp_path):
    """WARC 1.0 showed URIs in angle brackets, and wget wrote them."""
    refers = revisit(f"{URL}?again", Payload_Digest=sha1_digest(BODY), Refers_To_Target_URI=f"<{URL}>")
    assert original(tmp_path, response(JANUARY_1), refers) == 0


@pytest.mark.parametrize("text", ["sha1:short", "sha1:" + "!" * 32, "", "blake3:AbC"])
def test_a_digest_that_cannot_be_read_is_kept(text):
    assert normal_digest(text) == text


@pytest.mark.parametrize("digest", [f"sha256:{SHA256.hex()}", f"md5:{hashlib.md5(BODY).hexdigest()}", SHA1.hex()])
def test_payloads_are_checked_against_digests_of_any_known_algorithm(tmp_path, digest):
    for body, differs in ((BODY, False), (b"<p>changed</p>", True)):
        (tmp_path / "a.warc").write_bytes(response(JANUARY_1, body, Payload_Digest=digest))
        (capture,) = read_captures(tmp_path / "a.warc")
        assert digest_differs(capture) is differs
