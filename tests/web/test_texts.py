"""Files of texts as a crawl: every row is kept or rejected once, and is found again by its file and number."""

import json
from datetime import UTC, date, datetime

import polars as pl
import pytest
from click.testing import CliRunner

from llm_assets.artifacts.lineage import trace_document
from llm_assets.cli.corpus import corpus
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import Blocklists, Extraction, Recipe, Texts
from llm_assets.row_files import FileRow
from llm_assets.web.blocklists import parse_opt_out
from llm_assets.web.errors import EmptyCrawl, SourceError
from llm_assets.web.source_check import check_source
from llm_assets.web.taken_down import covered_pages
from llm_assets.web.text_files import capture_of, host_of_file
from llm_assets.web.warc_files import list_files
from tests.support.building import build, check
from tests.support.crawl_builds import build_crawl, rejects
from tests.support.small_recipe import CORPUS, SMALL
from tests.support.texts import document, rows, write_texts

TABLES = {"raw_warc": "captures", "extracted_text": "text", "clean_corpus": "text", "reject_ledger": "rejects"}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / "data"))


def recipe_of(path, blocklists=None, extraction=None, **columns) -> Recipe:
    return Recipe(
        name="t",
        crawls={"c": Texts(path=str(path), **columns)},
        blocklists=blocklists or Blocklists(),
        extraction=extraction or Extraction(),
    )


def table(artifacts, asset) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in artifacts[asset].table(TABLES[asset])])


def test_texts_in_every_format_become_a_clean_corpus(tmp_path):
    for number, name in enumerate(("a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "deep/d.parquet")):
        write_texts(tmp_path / "in" / name, rows(5, 5 * number))
    artifacts = build_crawl(recipe_of(tmp_path / "in"))
    corpus = table(artifacts, "clean_corpus")
    assert sorted(corpus["text"]) == sorted(document(number) for number in range(20))
    assert set(corpus["warc_file"]) == {"a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "deep~d.parquet"}
    assert set(corpus["host"]) == {"host0.example", "host1.example", "host2.example"}
    assert corpus["fetched_at"].min() == "2026-10-05T06:00:00Z"
    assert check(recipe_of(tmp_path / "in"), "reject_ledger", "balance", "c").passed


def test_every_row_is_kept_or_rejected_with_its_reason(tmp_path):
    good = {"text": document(1)}
    lines = [
        good,
        "{not json",
        "[1, 2]",
        {"text": ""},
        {"text": " \n "},
        {"text": 3},
        {"text": None},
        {"other": "no text"},
        "",
        {"text": "long " * 1000},
        {"text": document(2), "url": "http://blocked.example/x"},
        {"text": "Ein kurzer deutscher Text, der keine Seite ist."},
    ]
    write_texts(tmp_path / "in.jsonl", lines)
    (tmp_path / "opt_out.txt").write_text("blocked.example\n")
    bounds = Extraction(max_bytes=4096)
    assert len(document(1).encode()) < bounds.max_bytes and len(document(2).encode()) < bounds.max_bytes
    artifacts = build_crawl(recipe_of(tmp_path / "in.jsonl", Blocklists(opt_out=str(tmp_path / "opt_out.txt")), bounds))
    assert table(artifacts, "clean_corpus")["warc_offset"].to_list() == [1]
    verdicts = {row["warc_offset"]: row for row in rejects(artifacts).iter_rows(named=True)}
    assert {number: row["rule"] for number, row in verdicts.items()} == {
        2: "corrupt_record",
        3: "corrupt_record",
        4: "no_text",
        5: "no_text",
        6: "not_text",
        7: "not_text",
        8: "not_text",
        10: "too_large",
        11: "opt_out",
        12: "language",
    }
    assert verdicts[2]["value"].startswith("not JSON") and "must be an object, not list" in verdicts[3]["value"]
    assert verdicts[6]["value"] == "int" and verdicts[7]["value"] == verdicts[8]["value"] == "missing"


def test_a_text_without_a_url_gets_one_of_its_file_and_row(tmp_path):
    write_texts(tmp_path / "docs.jsonl", [{"text": document(1)}, {"text": document(2), "id": "b/2"}])
    artifacts = build_crawl(recipe_of(tmp_path / "docs.jsonl"))
    assert table(artifacts, "raw_warc")["url"].to_list() == ["text://docs.jsonl/1", "text://docs.jsonl/b%2F2"]


def test_a_document_is_traced_to_its_file_and_row(tmp_path):
    write_texts(tmp_path / "docs.jsonl", ["", {"text": document(1)}])
    artifacts = build_crawl(recipe_of(tmp_path / "docs.jsonl"))
    sightings = trace_document(list(artifacts.values()), "text://docs.jsonl/2")
    places = {
        (sighting.row["warc_file"], sighting.row["warc_offset"])
        for sighting in sightings
        if "warc_file" in sighting.row
    }
    assert places == {("docs.jsonl", 2)}
    keys = {sighting.key for sighting in sightings}
    assert {"raw_warc/c", "extracted_text/c", "clean_corpus/c"} <= keys
    located = artifacts["raw_warc"].locations()
    assert located == {"warc/docs.jsonl": str(tmp_path / "docs.jsonl")}


def test_the_opt_out_list_covers_made_urls(tmp_path):
    write_texts(tmp_path / "docs.jsonl", [{"text": document(number)} for number in range(12)])
    (tmp_path / "opt_out.txt").write_text("text://docs.jsonl/1\n")
    artifacts = build_crawl(recipe_of(tmp_path / "docs.jsonl", Blocklists(opt_out=str(tmp_path / "opt_out.txt"))))
    assert rejects(artifacts).select("warc_offset", "rule").rows() == [(1, "opt_out")]


def test_the_words_of_a_file_name_reject_no_text(tmp_path):
    write_texts(tmp_path / "porn casino poker.jsonl", [{"text": document(1)}])
    artifacts = build_crawl(recipe_of(tmp_path / "porn casino poker.jsonl"))
    assert len(table(artifacts, "clean_corpus")) == 1


def test_columns_may_have_other_names(tmp_path):
    write_texts(
        tmp_path / "a.parquet", [{"content": document(1), "source": "http://x.example/1", "when": date(2026, 1, 2)}]
    )
    names = {"text_column": "content", "url_column": "source", "date_column": "when"}
    corpus = table(build_crawl(recipe_of(tmp_path / "a.parquet", **names)), "clean_corpus")
    assert corpus.select("url", "fetched_at").rows() == [("http://x.example/1", "2026-01-02T00:00:00Z")]


def test_the_artifacts_are_the_same_with_any_number_of_workers(tmp_path, monkeypatch):
    for name in ("a.jsonl.gz", "b.parquet"):
        write_texts(tmp_path / "in" / name, rows(6, ord(name[0])))
    versions = []
    for workers in (1, 3):
        monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / f"data{workers}"))
        artifacts = build_crawl(recipe_of(tmp_path / "in"), workers=workers)
        versions.append({name: artifact.data_version for name, artifact in artifacts.items()})
    assert versions[0] == versions[1]


def test_a_changed_file_is_a_new_version_of_the_crawl(tmp_path):
    path = write_texts(tmp_path / "docs.jsonl", rows(2))
    recipe = recipe_of(path)
    workspace = open_workspace(recipe)
    before = workspace.resolver().resolve("raw_warc", "c").identity
    write_texts(path, rows(3))
    after = workspace.resolver().resolve("raw_warc", "c").identity
    assert before.digest != after.digest and set(before.inputs) == {"texts"}


BAD = {
    "no such file": (None, "no such file or folder"),
    "notes.txt": ("hello", "the name ends with neither .jsonl"),
    "empty.jsonl": ("", "has no row"),
    "broken.jsonl": ("{", "no row can be read; row 1: not JSON"),
    "broken.parquet": ("PAR1", "broken.parquet"),
    "wrong.jsonl": (
        json.dumps({"body": "x", "name": "y"}),
        "no column 'text'; the columns are body, name; name the one",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_gives_no_text_is_refused_before_it_is_registered(tmp_path, name):
    content, message = BAD[name]
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=message) as error:
        check_source(Texts(path=str(tmp_path / name)))
    assert name in str(error.value)


def test_one_bad_file_of_several_is_a_warning(tmp_path):
    write_texts(tmp_path / "a.jsonl", rows(1))
    write_texts(tmp_path / "b.jsonl", [{"body": "x"}])
    [warning] = check_source(Texts(path=str(tmp_path)))
    assert "b.jsonl: no column 'text'" in warning


@pytest.mark.parametrize("name", ["wrong.jsonl", "wrong.parquet"])
def test_a_file_without_the_text_column_ends_the_build_with_its_name_and_the_column(tmp_path, name):
    write_texts(tmp_path / name, [{"body": "x"}])
    with pytest.raises(SourceError, match=rf"{name}: no column 'text'; the columns are body"):
        build_crawl(recipe_of(tmp_path / name), workers=1)


def test_a_crawl_without_a_readable_row_is_empty(tmp_path):
    write_texts(tmp_path / "a.jsonl", ["{"])
    with pytest.raises(EmptyCrawl, match="no row in 1 files of texts, 1 rows that cannot be read"):
        build_crawl(recipe_of(tmp_path / "a.jsonl"), workers=1)


def test_a_folder_is_searched_for_files_of_rows(tmp_path):
    for name in ("a.jsonl", "b.txt", ".hidden.jsonl", "deep/c.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(list_files(Texts(path=str(tmp_path)))) == ["a.jsonl", "deep~c.parquet"]
    with pytest.raises(SourceError, match=r"no file of texts in this folder \(looked for \*\.jsonl, .*; it holds 1"):
        (tmp_path / "only").mkdir()
        (tmp_path / "only" / "b.txt").touch()
        list_files(Texts(path=str(tmp_path / "only")))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05Z"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        ("2026-01-02", "2026-01-02T00:00:00Z"),
        ("2026-01-02 03:04:05", "2026-01-02T03:04:05"),
        ("2013-05-18T05:48:54Z", "2013-05-18T05:48:54Z"),
        ("yesterday", "yesterday"),
        (1234, ""),
        (None, ""),
    ],
)
def test_dates_have_the_form_of_a_capture(value, expected):
    assert capture_of(FileRow(1, {"text": "x", "date": value}), "h", Texts(path="x")).date == expected


def test_no_two_files_have_the_same_host():
    names = ["a b.jsonl", "a-b.jsonl", "A-B.jsonl", "日本.jsonl", "中国.jsonl", "..jsonl"]
    hosts = [host_of_file(name) for name in names]
    assert len(set(hosts)) == len(names) and hosts[1] == "a-b.jsonl"


def test_a_takedown_finds_the_row_and_names_the_file(tmp_path):
    path = write_texts(tmp_path / "docs.jsonl", [{"text": document(1)}, {"text": document(2)}])
    raw = build_crawl(recipe_of(path), stages=CORPUS)["raw_warc"]
    [rule] = parse_opt_out("text://docs.jsonl/2")
    pages = covered_pages(raw, rule)
    assert pages.urls == {"text://docs.jsonl/2"} and pages.with_text == pages.others_with_text == 1
    assert pages.external_files == (str(path),) and pages.warc_files == ()


def test_corpus_why_names_the_row(tmp_path):
    path = write_texts(tmp_path / "docs.jsonl", ["", {"text": document(1), "date": "2026-10-05"}, {"text": 3}])
    build_crawl(recipe_of(path))
    file = tmp_path / "mine.py"
    file.write_text(
        "from llm_assets.recipes import Recipe, Texts\n\n\n"
        f"def mine():\n    return Recipe(name='t', crawls={{'c': Texts(path={str(path)!r})}})\n"
    )
    for row, expected in ((2, "row 2 of docs.jsonl, dated 2026-10-05T00:00:00Z"), (3, "rule not_text: int against")):
        done = CliRunner().invoke(corpus, ["why", f"text://docs.jsonl/{row}", "--recipe", f"{file}:mine"])
        assert done.exit_code == 0 and expected in done.output, done.output


def test_texts_become_token_shards(tmp_path):
    write_texts(tmp_path / "in" / "a.parquet", rows(12))
    recipe = recipe_of(tmp_path / "in").replace(**{name: SMALL[name] for name in ("tokenizer", "token_shards")})
    artifacts = build(recipe, [*CORPUS, *(GRAPH[name] for name in ("training_pages", "tokenizer", "token_shards"))])
    stats = artifacts["token_shards/c"].record.stats
    assert stats["train_documents"] + stats["validation_documents"] == 12 and stats["train_tokens"] > 1000
    assert artifacts["training_pages"].record.rows["pages"] == 12
