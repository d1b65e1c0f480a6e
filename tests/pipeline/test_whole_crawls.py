"""Whole crawls up to the corpus: the sample web against its truth, real crawls, and broken and hostile ones."""

import gzip
import random

import polars as pl
import pytest

from llm_assets.recipes import Recipe, SampleWeb
from llm_assets.warc import read_captures
from tests.support.crawl_builds import TEXT, build_crawl, rejects, warc_crawl
from tests.support.warcs import members, page, story, write


def test_the_sample_web_is_curated_as_its_truth_says():
    artifacts = build_crawl(Recipe(name="t", crawls={"c": SampleWeb()}))
    measures = pl.read_parquet(artifacts["corpus_report"].table("scores"))
    scores = dict(measures.select("measure", "value").iter_rows())
    assert scores["crawl: pages"] >= 1_500 and scores["crawl: crawl_recall"] == 1.0
    assert scores["crawl: unexpected_pages"] == 0
    assert scores["URLs: urls"] >= 1_500 and scores["URLs: url_verdict_accuracy"] == 1.0
    assert scores["text: decoding_accuracy"] >= 0.995 and scores["text: text_f1"] >= 0.985
    assert scores["language: language_precision"] == 1.0 and scores["language: language_recall"] >= 0.97
    assert scores["quality: poor_rejected"] == 1.0 and scores["quality: written_kept"] >= 0.96
    assert scores["duplicates: pairs"] >= 100 and scores["personal data: planted_items"] >= 70
    assert scores["duplicates: duplicate_recall"] == scores["duplicates: duplicate_precision"] == 1.0
    for measure in ("recall", "precision"):
        assert scores[f"personal data: personal_data_{measure}"] == 1.0
    failures = pl.concat([pl.read_parquet(path) for path in artifacts["raw_warc"].table("crawl_failures")])
    assert dict(failures.group_by("reason").len().iter_rows()) == {"robots": 20, "too_large": 1}


@pytest.mark.parametrize(("crawl", "captures"), [("2026-10", 6_899), ("2026-11", 2_045)])
def test_real_crawls(shared_data, crawl, captures):
    artifacts = build_crawl(warc_crawl(shared_data / "web" / crawl))
    assert artifacts["raw_warc"].record.rows["captures"] == captures
    assert artifacts["raw_warc"].record.stats["digest_mismatches"] == 0
    assert artifacts["extracted_text"].record.rows["text"] > 0.6 * captures
    assert artifacts["clean_corpus"].record.rows["text"] > 0.09 * captures


def test_sample_files_of_other_projects(shared_data):
    artifacts = build_crawl(warc_crawl(f"{shared_data}/web/samples/*"))
    stats = artifacts["raw_warc"].record.stats
    # A body of warcio-example-trunc.warc is two bytes short. Its record is a capture, and the digest shows the damage.
    assert stats["captures"] == 668 and stats["corrupt"] == 0
    captures = pl.concat([pl.read_parquet(path) for path in artifacts["raw_warc"].table("captures")])
    short = captures.row(by_predicate=pl.col("warc_file") == "warcio-example-trunc.warc", named=True)
    assert short["payload_digest"] != short["declared_digest"]


def test_a_revisit_is_rejected_with_its_original(shared_data):
    artifacts = build_crawl(warc_crawl(shared_data / "web" / "samples" / "warcio-example.warc.gz"))
    assert len(pl.read_parquet(artifacts["raw_warc"].table("revisits"))) == 1
    revisits = rejects(artifacts).filter(pl.col("rule") == "revisit")
    assert revisits["value"].to_list() == ["http://example.com/ 2017-03-06T04:02:06Z"]


ODD_PAGES = {
    "lines": "a<br>" * 200_000,
    "one_line": "<p>" + "The harbour and the sea. " * 280_000,
    "punctuation": "<p>" + "!?.,;: " * 3_000,
    "scripts": "<p>Привет мир 你好世界 hello the world. " * 60,
    "invisible": "<p>" + "\u200b\u200d\ufeff\u202ethe\u202c " * 500,
    "nul": "<p>the\x00 harbour \x00\x00and the sea" * 90,
    "tokens": "<p>" + "<|endoftext|> &lt;|endoftext|&gt; " * 50,
    "word": "<p>" + "x" * 3_000_000,
}


def test_odd_pages_are_accounted_for(tmp_path):
    pages = [page(f"http://host.example/{name}", body.encode()) for name, body in ODD_PAGES.items()]
    pages += [
        page("http://host.example/invalid", b"<p>\xff\xfe\xc3(\xe2\x82 the harbour and the sea" * 200),
        page("http://host.example/good", story(3)),
    ]
    write(tmp_path / "warc" / "a.warc.gz", pages)
    artifacts = build_crawl(warc_crawl(tmp_path / "warc"))
    assert "http://host.example/good" in pl.read_parquet(artifacts["clean_corpus"].table("text"))["url"].to_list()
    assert artifacts["reject_ledger"].record.stats["captures"] == len(pages)


HTML = ("Content-Type", "text/html")
GZIPPED = [HTML, ("Content-Encoding", "gzip")]
# By the last part of the URL, the rule that rejects a page, and what follows the URL in a record.
HOSTILE_PAGES = {
    "empty": ("empty_body", {"body": b""}),
    "bomb": ("too_large", {"body": gzip.compress(b"0" * 40_000_000), "headers": GZIPPED}),
    "broken-gzip": ("content_encoding", {"body": b"\x1f\x8b\x08nonsense", "headers": GZIPPED}),
    "tags": ("too_many_tags", {"body": b"<p>" * 400_000}),
    "attributes": ("too_many_attributes", {"body": b"<p " + b" ".join(b"a%d=1" % i for i in range(9_000)) + b">x"}),
    "large": ("too_large", {"body": b"x" * 9_000_000}),
    "picture": ("not_html", {"body": b"\x89PNG\r\n\x1a\n" + bytes(5_000), "headers": []}),
    "silent": ("no_text", {"body": b"<script>1</script>"}),
    "gone": ("status", {"body": b"gone", "status": "410 Gone"}),
}


def test_hostile_and_broken_pages_are_rejected_and_the_others_kept(tmp_path):
    good = [page(f"http://host.example/good{i}", story(i)) for i in range(3)]
    bad = [page(f"http://host.example/{name}", **record) for name, (_, record) in HOSTILE_PAGES.items()]
    write(tmp_path / "warc" / "a.warc.gz", [*good[:1], *bad, *good[1:]])
    artifacts = build_crawl(warc_crawl(tmp_path / "warc"))
    rules = {row["url"].rsplit("/", 1)[1]: row["rule"] for row in rejects(artifacts).to_dicts()}
    assert rules == {name: rule for name, (rule, _) in HOSTILE_PAGES.items()}
    assert artifacts["extracted_text"].record.rows["text"] == 3


def test_every_record_of_damaged_files_is_accounted_for(tmp_path):
    rng = random.Random(5)
    pages = [page(f"http://host.example/{i}", TEXT + str(i).encode()) for i in range(30)]
    records = b"".join(members(pages))
    (tmp_path / "warc").mkdir()
    for damages in range(6):
        data = bytearray(records)
        for _ in range(damages):
            at = rng.randrange(len(data))
            data[at : at + 8] = rng.randbytes(8)
        cut = rng.randrange(len(data) // 2, len(data))
        (tmp_path / "warc" / f"{damages}.warc.gz").write_bytes(bytes(data[:cut]))
    artifacts = build_crawl(warc_crawl(tmp_path / "warc"))
    assert artifacts["raw_warc"].record.stats["corrupt"] >= 5
    assert artifacts["extracted_text"].record.rows["text"] >= 60


def test_captures_of_the_same_page_are_counted_separately(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/", TEXT)] * 3)
    assert build_crawl(warc_crawl(tmp_path / "warc"))["extracted_text"].record.rows["text"] == 3


def test_an_empty_file_and_two_files_with_the_same_name(tmp_path):
    write(tmp_path / "warc" / "one" / "a.warc.gz", [page("http://host.example/1", TEXT)])
    write(tmp_path / "warc" / "two" / "a.warc.gz", [page("http://host.example/2", TEXT)])
    (tmp_path / "warc" / "empty.warc.gz").touch()
    artifacts = build_crawl(warc_crawl(tmp_path / "warc"))
    names = [name for name in artifacts["raw_warc"].record.files if name.startswith("warc/")]
    assert sorted(names) == ["warc/empty.warc.gz", "warc/one~a.warc.gz", "warc/two~a.warc.gz"]
    assert artifacts["extracted_text"].record.rows["text"] == 2


def test_a_text_can_be_followed_back_to_its_capture(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page(f"http://host.example/{i}", TEXT + str(i).encode()) for i in range(4)])
    artifacts = build_crawl(warc_crawl(tmp_path / "warc"))
    row = pl.read_parquet(artifacts["extracted_text"].table("text")).row(2, named=True)
    warc_file = artifacts["raw_warc"].file(f"warc/{row['warc_file']}")
    capture = next(iter(read_captures(warc_file, {row["warc_offset"]})))
    assert capture.url == row["url"] and capture.payload == TEXT + b"2"
