"""Settings of curation on a whole crawl: languages, a learned quality score, personal data, and rules that drop all."""

import json

import polars as pl

from llm_assets.recipes import Language, PersonalData, Quality, QualityClassifier
from tests.support.building import check
from tests.support.crawl_builds import build_crawl, rejects, warc_crawl
from tests.support.warcs import page, story, write


def test_pages_in_other_languages_are_rejected_with_their_scores(tmp_path):
    german = "<p>Am Morgen lag noch Nebel über dem Fluss, und die Straßen waren fast leer.</p>".encode() * 3
    pages = [page("http://host.example/en", story(0)), page("http://host.example/de", german)]
    write(tmp_path / "warc" / "a.warc.gz", pages)
    (row,) = rejects(build_crawl(warc_crawl(tmp_path / "warc"))).to_dicts()
    assert (row["stage"], row["rule"], row["threshold"]) == ("language_filtered_text", "language", "0.65")
    assert row["url"] == "http://host.example/de"
    assert row["value"].startswith("en 0.0") and ", de 0.9" in row["value"]
    both = build_crawl(warc_crawl(tmp_path / "warc", language=Language(targets=("en", "de"))))
    assert pl.read_parquet(both["language_filtered_text"].table("text"))["language"].to_list() == ["en", "de"]


def test_a_learned_quality_score_is_a_column_and_a_rule(tmp_path):
    examples = [{"text": f"harbour river town {i}", "label": 1} for i in range(20)]
    examples += [{"text": f"cheap pills offer {i}", "label": 0} for i in range(20)]
    (tmp_path / "labelled.jsonl").write_text("\n".join(map(json.dumps, examples)))
    write(tmp_path / "warc" / "a.warc.gz", [page(f"http://host.example/{i}", story(i)) for i in range(3)])
    classifier = QualityClassifier(examples=str(tmp_path / "labelled.jsonl"), buckets=1 << 12)
    scored = build_crawl(warc_crawl(tmp_path / "warc", quality_classifier=classifier))
    scores = pl.read_parquet(scored["clean_corpus"].table("text"))["quality_score"]
    assert scores.null_count() == 0 and len(scores) == 3
    too_high = Quality(min_quality_score=min(1.0, scores.max() + 0.0001))
    strict = build_crawl(warc_crawl(tmp_path / "warc", quality_classifier=classifier, quality=too_high))
    assert {row["rule"] for row in rejects(strict).to_dicts()} == {"quality_score"} and len(rejects(strict)) == 3


CONTACTS = [
    "Write to nobody1@secretmail.example.",
    "The office of the mayor answers at +1 212 736 5001.",
    "Old letters went to nobody2@secretmail.example instead.",
    "In the evening somebody may pick up +1 212 736 5002.",
]


def test_pages_dense_with_personal_data_are_dropped_and_no_file_holds_it(tmp_path):
    directory = story(0).replace(b"</article>", f"<p>{' '.join(CONTACTS)}</p></article>".encode())
    address = b"<p>Only one address, someone@secretmail.example, stands on this page.</p></article>"
    single = story(1).replace(b"<title>Story", b"<title>Story by author@secretmail.example")
    single = single.replace(b"</article>", address)
    pages = [page("http://host.example/directory", directory), page("http://host.example/single", single)]
    write(tmp_path / "warc" / "a.warc.gz", pages)
    settings = PersonalData(max_density=1.0, min_matches=4)
    artifacts = build_crawl(warc_crawl(tmp_path / "warc", personal_data=settings))
    (row,) = rejects(artifacts).to_dicts()
    assert (row["stage"], row["rule"], row["threshold"]) == ("clean_corpus", "personal_data_density", "1")
    assert row["url"] == "http://host.example/directory" and float(row["value"]) > 1
    kept_pages = pl.read_parquet(artifacts["clean_corpus"].table("text"))
    assert "Story by <EMAIL>" in kept_pages["title"][0]
    assert kept_pages["email"].to_list() == [1] and "Only one address, <EMAIL>, stands" in kept_pages["text"][0]
    assert artifacts["clean_corpus"].record.stats["personal_data"]["email"] == 1
    files = [
        path
        for name in ("clean_corpus", "reject_ledger", "corpus_report")
        for path in artifacts[name].path.rglob("*")
        if path.is_file()
    ]
    assert artifacts["corpus_report"].view("report.html") in files
    for path in files:
        is_table = path.suffix == ".parquet"
        content = pl.read_parquet(path).write_json().encode() if is_table else path.read_bytes()
        assert b"secretmail" not in content and b"736 50" not in content, path


def test_an_empty_corpus_names_the_rule_that_dropped_every_page(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page(f"http://host.example/{i}", story(i)) for i in range(3)])
    recipe = warc_crawl(tmp_path / "warc", quality=Quality(thresholds={"min_words": 99_999}))
    build_crawl(recipe)
    outcome = check(recipe, "corpus_report", "corpus_not_empty")
    assert not outcome.passed and outcome.numbers == {"pages": 0}
    assert outcome.failures == [{"stage": "quality_filtered_text", "rule": "min_words", "pages": 3}]
