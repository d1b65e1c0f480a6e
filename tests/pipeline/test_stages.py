"""The stages on whole crawls: the sample web against its truth, real crawls, broken ones; the equation on all."""

import gzip
import json
import random
import sqlite3
import subprocess
import sys

import polars as pl
import pytest

from llm_assets.artifacts import materialize
from llm_assets.artifacts.checks import check_schemas
from llm_assets.artifacts.explain import explain
from llm_assets.artifacts.inputs import Inputs
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.curation.ledger import KEPT, imbalance
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.model.encoding import Encoding
from llm_assets.recipes import (
    Deduplication,
    Extraction,
    Language,
    PersonalData,
    Quality,
    QualityClassifier,
    Recipe,
    Recrawl,
    Report,
    SampleWeb,
    UrlFilter,
    WarcFiles,
)
from llm_assets.tools import SearchIndex, SearchTool
from llm_assets.tools.search import INDEX
from llm_assets.training.documents import shard_documents, write_kept
from llm_assets.training.shards import SPLITS, TokenStream
from llm_assets.warc import read_captures
from llm_assets.web.errors import SourceError
from tests.support.building import build, check
from tests.support.commands import environment_for
from tests.support.small_recipe import CORPUS, SMALL, SMALL_SOURCE
from tests.support.warcs import members, page, story, write

TEXT = (
    b"<html><body><p>" + b"A sentence about the harbour, long enough to be kept by anyone. " * 3 + b"</p></body></html>"
)


def run(recipe, crawl="c", workers=2, stages=CORPUS):
    """Materialise the stages for one crawl; the artifacts by name, checked."""
    artifacts = {one.record.asset: one for one in build(recipe, stages, (crawl,), workers).values()}
    lost = imbalance(artifacts["raw_warc"], artifacts[KEPT[0]], artifacts["reject_ledger"])
    assert lost.is_empty(), lost
    stats = artifacts["reject_ledger"].record.stats
    assert stats["kept"] + stats["rejected"] == stats["captures"] == artifacts["raw_warc"].record.rows["captures"]
    for stage in stages:
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
    scores = dict(pl.read_parquet(artifacts["corpus_report"].table("scores")).select("measure", "value").iter_rows())
    assert scores["crawl: pages"] >= 1_500 and scores["crawl: crawl_recall"] == 1.0
    assert scores["crawl: crawled_against_truth"] == 0
    assert scores["URLs: urls"] >= 1_500 and scores["URLs: url_verdicts_right"] == 1.0
    assert scores["text: encodings_right"] >= 0.995 and scores["text: text_f1"] >= 0.985
    assert scores["language: language_precision"] == 1.0 and scores["language: language_recall"] >= 0.97
    assert scores["quality: poor_rejected"] == 1.0 and scores["quality: written_kept"] >= 0.96
    assert scores["duplicates: pairs"] >= 100 and scores["personal data: planted_items"] >= 70
    assert scores["duplicates: duplicate_recall"] == scores["duplicates: duplicate_precision"] == 1.0
    for measure in ("recall", "precision"):
        assert scores[f"personal data: personal_data_{measure}"] == 1.0
    failures = pl.concat([pl.read_parquet(p) for p in raw.table("crawl_failures")])
    assert dict(failures.group_by("reason").len().iter_rows()) == {"robots": 20, "too_large": 1}


@pytest.mark.parametrize(("crawl", "captures"), [("2026-10", 6_899), ("2026-11", 2_045)])
def test_real_crawls(shared_data, crawl, captures):
    artifacts = run(files(shared_data / "web" / crawl))
    assert artifacts["raw_warc"].record.rows["captures"] == captures
    assert artifacts["raw_warc"].record.stats["digest_mismatches"] == 0
    assert artifacts["extracted_text"].record.rows["text"] > 0.6 * captures
    assert artifacts["clean_corpus"].record.rows["text"] > 0.09 * captures


def test_samples_of_other_projects(shared_data):
    artifacts = run(files(f"{shared_data}/web/samples/*"))
    stats = artifacts["raw_warc"].record.stats
    assert stats["captures"] > 650 and stats["corrupt"] == 1
    found = rejects(artifacts).filter(pl.col("rule") == "corrupt_record")
    assert found["warc_file"].to_list() == ["warcio-example-trunc.warc"]


def test_one_worker_and_four_give_the_same_bytes(tmp_path, monkeypatch):
    for i in range(5):
        pages = [page(f"http://host{i}.example/{j}", story(10 * i + j % 5)) for j in range(7)]
        write(tmp_path / "warc" / f"{i}.warc.gz", [*pages, page(f"http://host{i}.example/short", TEXT)])
    built = {}
    for workers in (1, 4):
        monkeypatch.setenv("LLM_ASSETS_STORE", str(tmp_path / f"store-{workers}"))
        built[workers] = run(files(tmp_path / "warc"), workers=workers)
    one, four = built[1], built[4]
    assert not any(artifact.path == four[name].path for name, artifact in one.items())
    for name in one:
        assert one[name].record.files.keys() == four[name].record.files.keys()
        assert one[name].data_version == four[name].data_version
    assert one["reject_ledger"].record.stats["rejects"] == {
        "deduplicated_text": {"exact_duplicate": 10},
        "quality_filtered_text": {"top_3_gram": 5},
    }


AFTER_CORPUS = {"reject_ledger", "page_versions", "training_pages", "corpus_report"}
AFTER_QUALITY = {"text_signatures", "deduplicated_text", "clean_corpus", *AFTER_CORPUS}
AFTER_TEXT = {"language_filtered_text", "text_statistics", "quality_filtered_text", *AFTER_QUALITY}


def test_changing_a_field_rebuilds_what_reads_it(tmp_path):
    address = b"<p>Please write to the harbour office at harbour@mail.example for more.</p></article>"
    pages = [
        page("http://host.example/", story(0)),
        page("http://host.example/sexy", story(1)),
        page("http://host.example/2", story(2).replace(b"</article>", address)),
        page("http://host.example/3", story(0)),
    ]
    write(tmp_path / "warc" / "a.warc.gz", pages)
    base = run(files(tmp_path / "warc"))

    def rebuilt(**fields):
        changed = run(files(tmp_path / "warc", **fields))
        return {n for n in base if base[n].record.identity != changed[n].record.identity}

    assert rebuilt(url_filter=UrlFilter(soft_word_limit=9)) == {"filtered_urls"}  # same bytes: nothing behind it
    assert rebuilt(url_filter=UrlFilter(soft_word_limit=1)) == {"filtered_urls", "extracted_text", *AFTER_TEXT}
    assert rebuilt(extraction=Extraction(min_characters=5)) == {"extracted_text"}
    # The report shows which languages are targets.
    assert rebuilt(language=Language(targets=("en", "de"))) == {"language_filtered_text", "corpus_report"}
    assert rebuilt(language=Language(threshold=0.6)) == {"language_filtered_text"}
    # A threshold computes the verdict anew, not the statistics. The report shows where a rule comes from, and the
    # threshold of what was rejected.
    assert rebuilt(quality=Quality(thresholds={"min_words": 60})) == {"quality_filtered_text"}
    assert rebuilt(quality=Quality(thresholds={"min_words": None})) == {"quality_filtered_text", "corpus_report"}
    assert rebuilt(quality=Quality(thresholds={"min_words": 5_000})) == {"quality_filtered_text", *AFTER_QUALITY}
    assert rebuilt(personal_data=PersonalData(phone_region="DE")) == {"clean_corpus", "corpus_report"}
    assert rebuilt(deduplication=Deduplication(memory=1 << 20)) == set()
    assert rebuilt(deduplication=Deduplication(seed=2)) == {"text_signatures", "deduplicated_text"}
    assert rebuilt(report=Report(samples=1)) == {"corpus_report"}


def test_a_second_crawl_touches_its_own_partition_and_reads_the_index_of_the_first(tmp_path):
    write(tmp_path / "one" / "a.warc.gz", [page(f"http://host.example/{i}", story(i)) for i in range(4)])
    write(tmp_path / "two" / "a.warc.gz", [page(f"http://other.example/long/{i}", story(i)) for i in (2, 3, 4)])
    one, two = WarcFiles(path=str(tmp_path / "one")), WarcFiles(path=str(tmp_path / "two"))
    recipe = Recipe(name="t", crawls={"c-1": one}, deduplication=Deduplication(scope="corpus"))
    first = run(recipe, "c-1")
    both = recipe.replace(crawls={"c-1": one, "c-2": two})
    ws = open_workspace(both)
    for stage in CORPUS:
        if stage.per_crawl:
            assert materialize(stage, "c-1", ws).cached, stage.name
    second = run(both, "c-2")
    told = {row["url"]: row["value"] for row in rejects(second).to_dicts()}
    assert told == {f"http://other.example/long/{i}": f"same text as http://host.example/{i}" for i in (2, 3)}
    assert second["clean_corpus"].record.rows["text"] == 1 and first["clean_corpus"].record.rows["text"] == 4
    assert second["corpus_report"].record.stats["pages"] == 5
    alone = both.replace(deduplication=Deduplication())  # every crawl for itself
    run(alone.replace(crawls={"c-1": one}), "c-1")
    within = run(alone, "c-2")
    assert within["clean_corpus"].record.rows["text"] == 3


def test_a_learned_score_is_a_column_and_a_rule(tmp_path):
    labelled = [{"text": f"harbour river town {i}", "label": 1} for i in range(20)]
    labelled += [{"text": f"cheap pills offer {i}", "label": 0} for i in range(20)]
    (tmp_path / "labelled.jsonl").write_text("\n".join(map(json.dumps, labelled)))
    write(tmp_path / "warc" / "a.warc.gz", [page(f"http://host.example/{i}", story(i)) for i in range(3)])
    classifier = QualityClassifier(examples=str(tmp_path / "labelled.jsonl"), buckets=1 << 12)
    scored = run(files(tmp_path / "warc", quality_classifier=classifier))
    scores = pl.read_parquet(scored["clean_corpus"].table("text"))["quality_score"]
    assert scores.null_count() == 0 and len(scores) == 3
    too_high = Quality(min_quality_score=min(1.0, scores.max() + 0.0001))
    strict = run(files(tmp_path / "warc", quality_classifier=classifier, quality=too_high))
    assert {row["rule"] for row in rejects(strict).to_dicts()} == {"quality_score"} and len(rejects(strict)) == 3


def test_pages_dense_with_personal_data_are_dropped_and_nothing_tells_it(tmp_path):
    contacts = [
        "Write to nobody1@secretmail.example.",
        "The office of the mayor answers at +1 212 736 5001.",
        "Old letters went to nobody2@secretmail.example instead.",
        "In the evening somebody may pick up +1 212 736 5002.",
    ]
    directory = story(0).replace(b"</article>", f"<p>{' '.join(contacts)}</p></article>".encode())
    address = b"<p>Only one address, someone@secretmail.example, stands on this page.</p></article>"
    single = story(1).replace(b"<title>Story", b"<title>Story by author@secretmail.example")
    single = single.replace(b"</article>", address)
    pages = [page("http://host.example/directory", directory), page("http://host.example/single", single)]
    write(tmp_path / "warc" / "a.warc.gz", pages)
    artifacts = run(files(tmp_path / "warc", personal_data=PersonalData(max_density=1.0, min_matches=4)))
    (row,) = rejects(artifacts).to_dicts()
    assert (row["stage"], row["rule"], row["threshold"]) == ("clean_corpus", "personal_data_density", "1")
    assert row["url"] == "http://host.example/directory" and float(row["value"]) > 1
    kept = pl.read_parquet(artifacts["clean_corpus"].table("text"))
    assert "Story by <EMAIL>" in kept["title"][0]
    assert kept["email"].to_list() == [1] and "Only one address, <EMAIL>, stands" in kept["text"][0]
    assert artifacts["clean_corpus"].record.stats["personal_data"]["email"] == 1
    written = [
        path
        for name in ("clean_corpus", "reject_ledger", "corpus_report")
        for path in artifacts[name].path.rglob("*")
        if path.is_file()
    ]
    assert artifacts["corpus_report"].view("report.html") in written
    for path in written:
        table = path.suffix == ".parquet"
        content = pl.read_parquet(path).write_json().encode() if table else path.read_bytes()
        assert b"secretmail" not in content and b"736 50" not in content, path


KILLED = """
import sys
from llm_assets.artifacts import materialize
from llm_assets.compute import LocalEngine
from llm_assets.graph import GRAPH, open_workspace
from llm_assets import recipes
from llm_assets.recipes import Recipe, WarcFiles
if __name__ == "__main__":
    ws = open_workspace(Recipe(name="t", crawls={"c": WarcFiles(path=sys.argv[1])}, SETTINGS))
    ws.engine = LocalEngine(2)
    for stage in GRAPH:
        tell = [lambda event: print(event.kind, stage.name, flush=True)]
        outcome = materialize(stage, "c" if stage.per_crawl else None, ws, tell)
        print("done", stage.name, outcome.artifact.data_version, flush=True)
""".replace("SETTINGS", SMALL_SOURCE)


KILLED_IN = (
    *("text_statistics", "quality_filtered_text", "text_signatures", "deduplicated_text", "clean_corpus"),
    *("corpus_report", "tokenizer", "token_shards", "base_checkpoint", "base_evaluation"),
)


def test_a_kill_in_every_new_stage_changes_nothing(tmp_path, monkeypatch):
    for i in range(4):
        pages = [page(f"http://host{i}.example/{j}", story(10 * i + j % 4)) for j in range(6)]
        write(tmp_path / "warc" / f"{i}.warc.gz", pages)
    (tmp_path / "killed.py").write_text(KILLED)
    words = [sys.executable, "killed.py", "warc"]
    place = {"cwd": tmp_path, "env": environment_for(tmp_path / "data"), "text": True}
    for stage in KILLED_IN:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, **place)
        assert any(line.split()[:2] == ["started", stage] for line in process.stdout)
        process.kill()
        process.wait()
        process.stdout.close()
    done = subprocess.run(words, capture_output=True, check=True, **place)
    ended = {line.split()[1]: line.split()[2] for line in done.stdout.splitlines() if line.startswith("done")}
    monkeypatch.setenv("LLM_ASSETS_STORE", str(tmp_path / "unbroken"))
    unbroken = run(files(tmp_path / "warc", **SMALL), stages=list(GRAPH))
    assert ended.keys() == unbroken.keys()
    for name, artifact in unbroken.items():
        # The scorecard tells how long everything took.
        assert ended[name] == artifact.data_version or name == "scorecard", name


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
    artifacts = run(files(tmp_path / "warc"))
    assert "http://host.example/good" in pl.read_parquet(artifacts["clean_corpus"].table("text"))["url"].to_list()
    assert artifacts["reject_ledger"].record.stats["captures"] == len(pages)


def test_nothing_left_after_a_filter_is_told(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page(f"http://host.example/{i}", story(i)) for i in range(3)])
    recipe = files(tmp_path / "warc", quality=Quality(thresholds={"min_words": 99_999}))
    run(recipe)
    outcome = check(recipe, "corpus_report", "corpus_not_empty")
    assert not outcome.passed and outcome.numbers == {"pages": 0}
    assert outcome.failures == [{"stage": "quality_filtered_text", "rule": "min_words", "pages": 3}]


def test_hostile_and_broken_pages_are_rejects_and_the_rest_goes_on(tmp_path):
    html = [("Content-Type", "text/html")]
    good = [page(f"http://host.example/good{i}", story(i)) for i in range(3)]
    bad = [
        page("http://host.example/empty", b""),
        page(
            "http://host.example/bomb", gzip.compress(b"0" * 40_000_000), headers=[*html, ("Content-Encoding", "gzip")]
        ),
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
    assert found == {
        "empty": "empty_body",
        "bomb": "too_large",
        "broken-gzip": "content_encoding",
        "tags": "too_many_tags",
        "attributes": "too_many_attributes",
        "large": "too_large",
        "picture": "not_html",
        "silent": "no_text",
        "gone": "status",
    }
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
    pages = [page("http://host.example/en", story(0)), page("http://host.example/de", german)]
    write(tmp_path / "warc" / "a.warc.gz", pages)
    (row,) = rejects(run(files(tmp_path / "warc"))).to_dicts()
    assert (row["stage"], row["rule"], row["threshold"]) == ("language_filtered_text", "language", "0.65")
    assert row["url"] == "http://host.example/de"
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
    names = [name for name in artifacts["raw_warc"].record.files if name.startswith("warc/")]
    assert sorted(names) == ["warc/empty.warc.gz", "warc/one~a.warc.gz", "warc/two~a.warc.gz"]
    assert artifacts["extracted_text"].record.rows["text"] == 2


def test_a_missing_path_a_folder_without_archives_and_an_unknown_crawl_are_named(tmp_path):
    with pytest.raises(SourceError, match=r"fictitious: no such file or folder"):
        run(files(tmp_path / "fictitious"))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    with pytest.raises(SourceError, match=r"texts: no WARC or ARC file in this folder"):
        run(files(tmp_path / "texts"))
    with pytest.raises(SourceError, match="no crawl 'other'; there are c; register one with"):
        run(files(tmp_path / "texts"), crawl="other")


def test_a_folder_out_of_reach_leaves_its_crawl_in_the_corpus_as_it_was(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/", TEXT)])
    first = run(files(tmp_path / "warc"))
    (tmp_path / "warc").rename(tmp_path / "elsewhere")
    workspace = open_workspace(files(tmp_path / "warc"))
    assert workspace.resolver().artifact("corpus_report", None).record == first["corpus_report"].record
    told = {one.key: one.text() for one in explain(workspace)}
    assert told["raw_warc/c"].startswith("cached") and "as it was last built: " in told["raw_warc/c"]
    with pytest.raises(SourceError, match="warc: no such file or folder"):
        materialize(GRAPH["raw_warc"], "c", workspace)


def test_a_folder_that_was_never_there_is_a_crawl_that_is_not_built(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/", TEXT)])
    run(files(tmp_path / "warc"))
    both = files(tmp_path / "warc").replace(
        crawls={"c": WarcFiles(path=str(tmp_path / "warc")), "lost": WarcFiles(path=str(tmp_path / "fictitious"))}
    )
    outcome = materialize(GRAPH["page_versions"], None, open_workspace(both))
    assert (outcome.crawls, outcome.unbuilt_crawls) == (["c"], ["lost"])
    assert (
        "fictitious: no such file or folder"
        in {one.key: one.text() for one in explain(open_workspace(both))}["raw_warc/lost"]
    )


def test_moved_files_are_found_again(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/", TEXT)])
    first = run(files(tmp_path / "warc"))
    (tmp_path / "warc").rename(tmp_path / "moved")
    second = run(files(tmp_path / "moved"))
    assert first["raw_warc"].record.identity == second["raw_warc"].record.identity
    assert second["raw_warc"].file("warc/a.warc.gz") == tmp_path / "moved" / "a.warc.gz"
    assert json.loads((second["raw_warc"].path / "locations.json").read_text())


def test_a_sentence_can_be_followed_back_to_its_page(tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page(f"http://host.example/{i}", TEXT + str(i).encode()) for i in range(4)])
    artifacts = run(files(tmp_path / "warc"))
    row = pl.read_parquet(artifacts["extracted_text"].table("text")).row(2, named=True)
    capture = next(iter(read_captures(artifacts["raw_warc"].file(f"warc/{row['warc_file']}"), {row["warc_offset"]})))
    assert capture.url == row["url"] and capture.payload == TEXT + b"2"


def test_revisits_point_to_their_original(shared_data):
    artifacts = run(files(shared_data / "web" / "samples" / "warcio-example.warc.gz"))
    revisits = pl.read_parquet(artifacts["raw_warc"].table("revisits"))
    assert len(revisits) == 1
    found = rejects(artifacts).filter(pl.col("rule") == "revisit")
    assert found["value"].to_list() == ["http://example.com/ 2017-03-06T04:02:06Z"]


def test_search_and_training_read_exactly_the_current_pages_of_two_days():
    days = {"a": SampleWeb(scale=0.1), "b": SampleWeb(scale=0.1, day=2, since="a")}
    small = {name: SMALL[name] for name in ("tokenizer", "token_shards")}
    recipe = Recipe(name="t", crawls=days, search_only_hosts=("quietarchive.example",), **small)
    further = ("search_index", "training_search_index", "tokenizer", "token_shards")
    artifacts = build(recipe, [*CORPUS, *(GRAPH[name] for name in further)], tuple(days))
    truth = pl.concat([pl.read_parquet(path) for path in artifacts["raw_warc/b"].table("truth_pages")])
    there = set(truth.filter(pl.col("in_crawl") & (pl.col("status") == 200))["url"])
    versions = pl.concat([pl.read_parquet(path) for path in artifacts["page_versions"].table("versions")])
    current = versions.filter((pl.col("state") == "current") & pl.col("in_corpus"))
    assert set(current["url"]) <= there and current["url"].is_unique().all()
    assert current["crawl"].unique().sort().to_list() == ["a", "b"]
    for name in ("search_index", "training_search_index"):
        with sqlite3.connect(artifacts[name].file(INDEX)) as index:
            assert {url for (url,) in index.execute("SELECT DISTINCT url FROM passages")} == set(current["url"])
    # What is trained on is the same, but for the pages that only search may know; each document is its page's text.
    inputs = Inputs(artifacts)
    documents = shard_documents(inputs)
    kept = documents.filter("current")
    assert set(kept["url"]) == {url for url in current["url"] if "//quietarchive.example/" not in url}
    assert len(kept) < len(documents) and kept["url"].is_unique().all()
    pages = CorpusPages(inputs, TRAINING_PAGES, recipe.training_pages()).scan(["url", "text"]).collect()
    texts = dict(pages.iter_rows())
    folder = write_kept(documents, artifacts["tokenizer"].path.parent / "kept")
    folders = [artifacts[f"token_shards/{crawl}"].path for crawl in days]
    encoding = Encoding.load(artifacts["tokenizer"].path)
    for split in SPLITS:
        stream = TokenStream(folders, split, folder)
        urls = kept.filter(pl.col("split") == split)["url"].to_list()
        assert stream.documents == len(urls)
        for number, url in enumerate(urls):
            assert encoding.decode(stream.document(number)[1:].tolist()) == texts[url]


def test_facts_of_the_second_day_are_found_by_search_and_not_by_what_models_trained_with():
    from benchmarks.search_after_recrawl import found_by, later_facts  # torch

    days = {"day": SampleWeb(scale=0.3), "day-2026-10-12": SampleWeb(scale=0.3, day=2, since="day")}
    weekly = Recrawl(prefix="day", cron="0 0 * * 1", source=SampleWeb(day=2))
    recipe = Recipe(name="t", crawls=days, recrawls=(weekly,))
    further = [GRAPH["search_index"], GRAPH["training_search_index"]]
    artifacts = build(recipe, [*CORPUS, *further], tuple(days))
    asked = [pl.read_parquet(artifacts[f"raw_warc/{day}"].table("truth_questions")) for day in days]
    facts = later_facts(*asked)
    assert {fact["kind"] for fact in facts} == {"new", "changed"}
    today, then = (found_by(SearchTool(SearchIndex(artifacts[stage.name].file(INDEX)), 3), facts) for stage in further)
    new = sum(fact["kind"] == "new" for fact in facts)
    assert new == 48 and today["new"] >= 0.9 * new and then["new"] == 0
    assert today["changed"] > then["changed"]
