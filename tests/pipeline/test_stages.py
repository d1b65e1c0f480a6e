"""The stages on whole crawls: the sample web against its truth, real crawls, broken ones; the equation on all."""

import gzip
import json
import random

import polars as pl
import pytest

from llm_assets.artifacts import materialize
from llm_assets.artifacts.checks import check_schemas
from llm_assets.compute import LocalEngine
from llm_assets.curation.ledger import KEPT, imbalance
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import Extraction, Language, Recipe, SampleWeb, UrlFilter, WarcFiles
from llm_assets.web.errors import SourceError
from llm_assets.web.sample_web.score import score_crawl, score_language, score_text, score_urls
from tests.web.warcs import members, page, write

TEXT = b"<html><body><p>" + b"A sentence about the harbour, long enough to be kept by anyone. " * 3 + b"</p></body></html>"


def run(recipe, crawl="c", workers=2, store=None):
    """Materialise everything for one crawl; the artifacts by name, checked."""
    ws = open_workspace(recipe)
    ws.engine = LocalEngine(workers)
    if store is not None:
        ws.store.root = store
    artifacts = {stage.name: materialize(stage, crawl if stage.per_crawl else None, ws).artifact for stage in GRAPH}
    lost = imbalance(artifacts["raw_warc"], artifacts[KEPT[0]], artifacts["reject_ledger"])
    assert lost.is_empty(), lost
    stats = artifacts["reject_ledger"].record.stats
    assert stats["kept"] + stats["rejected"] == stats["captures"] == artifacts["raw_warc"].record.rows["captures"]
    for stage in GRAPH:
        outcome = check_schemas(stage, artifacts[stage.name])
        assert outcome.passed, outcome.summary
    return artifacts


def files(path, **fields):
    return Recipe(name="t", crawls={"c": WarcFiles(path=str(path))}, **fields)


def rejects(artifacts):
    return pl.concat([pl.read_parquet(p) for p in artifacts["reject_ledger"].table("rejects")])


def test_the_sample_web_against_its_truth():
    artifacts = run(Recipe(name="t", crawls={"c": SampleWeb()}))
    raw = artifacts["raw_warc"]
    crawl, urls, text = score_crawl(raw), score_urls(raw, artifacts["filtered_urls"]), score_text(raw, artifacts["extracted_text"])
    assert crawl["pages"] >= 1_500 and crawl["crawl_recall"] == 1.0 and crawl["crawled_against_truth"] == 0
    assert urls["urls"] >= 1_500 and urls["url_verdicts_right"] == 1.0
    assert text["encodings_right"] >= 0.995, text
    assert text["text_f1"] >= 0.985, text
    language = score_language(raw, artifacts["extracted_text"], artifacts["language_filtered_text"])
    assert language["language_precision"] == 1.0 and language["language_recall"] >= 0.97, language
    failures = pl.concat([pl.read_parquet(p) for p in raw.table("crawl_failures")])
    assert dict(failures.group_by("reason").len().iter_rows()) == {"robots": 20, "too_large": 1}


@pytest.mark.parametrize(("crawl", "captures"), [("2026-10", 6_899), ("2026-11", 2_045)])
def test_real_crawls(shared_data, crawl, captures):
    artifacts = run(files(shared_data / "web" / crawl))
    assert artifacts["raw_warc"].record.rows["captures"] == captures
    assert artifacts["raw_warc"].record.stats["digest_mismatches"] == 0
    assert artifacts["extracted_text"].record.rows["text"] > 0.6 * captures


def test_samples_of_other_projects(shared_data):
    artifacts = run(files(f"{shared_data}/web/samples/*"))
    stats = artifacts["raw_warc"].record.stats
    assert stats["captures"] > 650 and stats["corrupt"] == 1
    found = rejects(artifacts).filter(pl.col("rule") == "corrupt_record")
    assert found["warc_file"].to_list() == ["warcio-example-trunc.warc"]


def test_one_worker_and_four_give_the_same_bytes(tmp_path):
    for i in range(5):
        write(tmp_path / "warc" / f"{i}.warc.gz", [page(f"http://host{i}.example/{j}", TEXT + b"x" * (i * j)) for j in range(6)])
    one, four = run(files(tmp_path / "warc"), workers=1, store=tmp_path / "one"), run(files(tmp_path / "warc"), workers=4, store=tmp_path / "four")
    for name in one:
        assert one[name].record.files.keys() == four[name].record.files.keys()
        assert one[name].data_version == four[name].data_version


def test_changing_a_literal_rebuilds_what_reads_it(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/", TEXT), page("http://host.example/sexy", TEXT)])
    base = run(files(tmp_path / "warc"))
    filtered = run(files(tmp_path / "warc", url_filter=UrlFilter(soft_word_limit=9)))
    assert {n for n in base if base[n].record.identity != filtered[n].record.identity} == {"filtered_urls"}  # same bytes: nothing behind it
    strict = run(files(tmp_path / "warc", url_filter=UrlFilter(soft_word_limit=1)))
    assert {n for n in base if base[n].record.identity != strict[n].record.identity} == {"filtered_urls", "extracted_text", "language_filtered_text", "reject_ledger"}
    bounded = run(files(tmp_path / "warc", extraction=Extraction(min_characters=5)))
    assert {n for n in base if base[n].record.identity != bounded[n].record.identity} == {"extracted_text"}


def test_hostile_and_broken_pages_are_rejects_and_the_rest_goes_on(tmp_path):
    html = [("Content-Type", "text/html")]
    good = [page(f"http://host.example/good{i}", TEXT) for i in range(3)]
    bad = [
        page("http://host.example/empty", b""),
        page("http://host.example/bomb", gzip.compress(b"0" * 40_000_000), headers=[*html, ("Content-Encoding", "gzip")]),
        page("http://host.example/broken-gzip", b"\x1f\x8b\x08nonsense", headers=[*html, ("Content-Encoding", "gzip")]),
        page("http://host.example/tags", b"<p>" * 400_000),
        page("http://host.example/attributes", b"<p " + b" ".join(b"a%d=1" % i for i in range(9_000)) + b">x"),
        page("http://host.example/large", b"x" * 9_000_000),
        page("http://host.example/picture", b"\x89PNG\r\n\x1a\n" + bytes(5_000), headers=[]),
        page("http://host.example/silent", b"<script>1</script>"),
        page("http://host.example/gone", b"gone", status="410 Gone"),
    ]
    write(tmp_path / "warc" / "a.warc.gz", [*good[:1], *bad, *good[1:]])
    artifacts = run(files(tmp_path / "warc"))
    found = {row["url"].rsplit("/", 1)[1]: row["rule"] for row in rejects(artifacts).to_dicts()}
    assert found == {"empty": "empty_body", "bomb": "too_large", "broken-gzip": "content_encoding", "tags": "too_many_tags", "attributes": "too_many_attributes", "large": "too_large", "picture": "not_html", "silent": "no_text", "gone": "status"}
    assert artifacts["extracted_text"].record.rows["text"] == 3


def test_damaged_files_are_counted_in_the_equation(tmp_path):
    rng = random.Random(5)
    pages = [page(f"http://host.example/{i}", TEXT + str(i).encode()) for i in range(30)]
    parts = members(pages)
    (tmp_path / "warc").mkdir()
    for k in range(6):
        data = bytearray(b"".join(parts))
        for _ in range(k):
            at = rng.randrange(len(data))
            data[at : at + 8] = rng.randbytes(8)
        (tmp_path / "warc" / f"{k}.warc.gz").write_bytes(bytes(data[: rng.randrange(len(data) // 2, len(data))]))
    artifacts = run(files(tmp_path / "warc"))
    assert artifacts["raw_warc"].record.stats["corrupt"] >= 5
    assert artifacts["extracted_text"].record.rows["text"] >= 60


def test_pages_in_other_languages_are_rejects_with_their_score(tmp_path):
    german = "<p>Am Morgen lag noch Nebel über dem Fluss, und die Straßen waren fast leer.</p>".encode() * 3
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/en", TEXT), page("http://host.example/de", german)])
    (row,) = rejects(run(files(tmp_path / "warc"))).to_dicts()
    assert (row["url"], row["stage"], row["rule"], row["threshold"]) == ("http://host.example/de", "language_filtered_text", "language", "0.65")
    assert row["value"].startswith("en 0.0") and ", de 0.9" in row["value"]
    kept = run(files(tmp_path / "warc", language=Language(targets=("en", "de"))))["language_filtered_text"]
    assert pl.read_parquet(kept.table("text"))["language"].to_list() == ["en", "de"]


def test_captures_of_the_same_page_are_counted_each(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/", TEXT)] * 3)
    assert run(files(tmp_path / "warc"))["extracted_text"].record.rows["text"] == 3


def test_an_empty_file_and_files_of_one_name_in_two_folders(tmp_path):
    write(tmp_path / "warc" / "one" / "a.warc.gz", [page("http://host.example/1", TEXT)])
    write(tmp_path / "warc" / "two" / "a.warc.gz", [page("http://host.example/2", TEXT)])
    (tmp_path / "warc" / "empty.warc.gz").touch()
    artifacts = run(files(tmp_path / "warc"))
    assert sorted(n for n in artifacts["raw_warc"].record.files if n.startswith("warc/")) == ["warc/empty.warc.gz", "warc/one~a.warc.gz", "warc/two~a.warc.gz"]
    assert artifacts["extracted_text"].record.rows["text"] == 2


def test_a_missing_path_a_folder_without_archives_and_an_unknown_crawl_are_named(tmp_path):
    with pytest.raises(SourceError, match=r"nowhere: no such file or folder"):
        run(files(tmp_path / "nowhere"))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    with pytest.raises(SourceError, match=r"texts: no WARC or ARC file in this folder"):
        run(files(tmp_path / "texts"))
    with pytest.raises(SourceError, match="no crawl 'other': the recipe 't' has c"):
        run(files(tmp_path / "texts"), crawl="other")


def test_moved_files_are_found_again(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/", TEXT)])
    first = run(files(tmp_path / "warc"))
    (tmp_path / "warc").rename(tmp_path / "moved")
    second = run(files(tmp_path / "moved"))
    assert first["raw_warc"].record.identity == second["raw_warc"].record.identity
    assert second["raw_warc"].file("warc/a.warc.gz") == tmp_path / "moved" / "a.warc.gz"
    assert json.loads((second["raw_warc"].path / "locations.json").read_text())


def test_a_sentence_can_be_followed_back_to_its_page(tmp_path):
    from llm_assets.web.warc import read_captures

    write(tmp_path / "warc" / "a.warc.gz", [page(f"http://host.example/{i}", TEXT + str(i).encode()) for i in range(4)])
    artifacts = run(files(tmp_path / "warc"))
    row = pl.read_parquet(artifacts["extracted_text"].table("text")).row(2, named=True)
    capture = next(iter(read_captures(artifacts["raw_warc"].file(f"warc/{row['warc_file']}"), {row["warc_offset"]})))
    assert capture.url == row["url"] and capture.payload == TEXT + b"2"


def test_revisits_point_to_their_original(shared_data):
    recipe = Recipe(name="t", crawls={"c": WarcFiles(path=str(shared_data / "web" / "samples" / "warcio-example.warc.gz"))})
    artifacts = run(recipe)
    revisits = pl.read_parquet(artifacts["raw_warc"].table("revisits"))
    assert len(revisits) == 1
    found = rejects(artifacts).filter(pl.col("rule") == "revisit")
    assert found["value"].to_list() == ["http://example.com/ 2017-03-06T04:02:06Z"]
