"""Pages over time: every state, clocks, moves and returns, each with WARC files written for it."""

import polars as pl
import pytest

from llm_assets.corpus_pages import PAGE_VERSIONS, CorpusPages
from llm_assets.curation import page_versions
from llm_assets.curation.page_versions import in_order
from llm_assets.recipes import Blocklists, Deduplication, Recipe, SampleWeb, WarcFiles
from llm_assets.sample_web.score import CHANGES, score_versions
from llm_assets.sql import query, statement
from tests.support.corpus import build_corpus, corpus_workspace
from tests.support.warcs import members, page, story

URL = "http://host.example/page"
OTHER = page("http://host.example/other", story(90))


def gone(url=URL, status="404 Not Found"):
    return page(url, b"<p>not here</p>", status)


def moved(url=URL, to="http://host.example/new", status="301 Moved Permanently"):
    return page(url, b"", status, [("Content-Type", "text/html"), ("Location", to)])


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    """The store of all tests that give none: most of them begin with the same crawl."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def versions(tmp_path, shared_store):
    """A function from crawls (lists of records, oldest first) to the versions of URL, and of all pages."""

    def build(*crawls, store=shared_store, **fields):
        sources = {}
        for number, records in enumerate(crawls):
            day = f"2026-10-{number + 1:02d}T06:00:00Z"
            dates = [record[4] if len(record) > 4 else day for record in records]
            for place, (record, date) in enumerate(zip(records, dates, strict=True)):
                kind = record[5] if len(record) > 5 else "response"
                path = tmp_path / f"c{number}" / f"{place}.warc.gz"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(b"".join(members([record[:4]], kind=kind, date=date)))
            sources[f"c{number}"] = WarcFiles(path=str(tmp_path / f"c{number}"))
        workspace = corpus_workspace(Recipe(name="t", crawls=sources, **fields), store)
        artifacts = build_corpus(workspace)
        report = workspace.resolver().resolve("corpus_report", None)
        table = pl.concat([pl.read_parquet(path) for path in artifacts["page_versions"].table("versions")])
        current = CorpusPages(report.inputs, PAGE_VERSIONS)
        return table, pl.concat(current.batches(["url", "crawl", "text"]))

    return build


def states(table, url=URL):
    rows = table.filter(pl.col("url") == url).sort("version")
    return list(rows.select("crawl", "state", "ended_by").iter_rows())


def test_versions_are_written_as_they_are_read(versions, monkeypatch, tmp_path):
    """The same table, row by row, if a frame holds two rows; crawls without versions have an empty one."""
    pages = [page(f"http://host.example/{number}", story(number)) for number in range(7)]
    crawls = ([*pages[:5], page(URL, story(20))], [*pages, page(URL, story(21))], pages[:2])
    table, current = versions(*crawls)
    monkeypatch.setattr(page_versions, "INDEX_ROWS", 2)
    again, current_again = versions(*crawls, store=tmp_path / "store")
    assert again.equals(table) and current_again.equals(current) and len(table) == 9
    assert table.group_by("crawl").len().sort("crawl").rows() == [("c0", 6), ("c1", 3)]


def test_lost_pages_and_pages_that_are_read_twice_are_counted(tmp_path):
    """Of three pages of the corpus, one is a version, one has another capture that is read, and one is lost."""
    place = {"crawl": "c", "warc_file": "w"}
    corpus = [{**place, "url": f"http://h/{n}", "warc_offset": n} for n in range(3)]
    versions = [
        {**place, "url": url, "warc_offset": offset, "state": "current", "in_corpus": True}
        for url, offset in [("http://h/0", 0), ("http://h/1", 10), ("http://h/9", 20), ("http://h/9", 21)]
    ]
    files = {}
    for name, rows in (("corpus", corpus), ("versions", versions)):
        pl.DataFrame(rows).write_parquet(tmp_path / f"{name}.parquet")
        files[name] = [tmp_path / f"{name}.parquet"]
    problems = query(statement("unread_pages"), **files).sort("problem")
    assert problems.rows() == [("lost", 1, ["http://h/2"]), ("read twice", 2, ["http://h/9"])]


def test_a_changed_page_supersedes_its_earlier_version(versions):
    table, pages = versions([page(URL, story(1)), OTHER], [page(URL, story(2)), OTHER])
    assert states(table) == [("c0", "superseded", "c1"), ("c1", "current", None)]
    assert sorted(pages.select("url", "crawl").iter_rows()) == [(OTHER[0], "c0"), (URL, "c1")]


def test_an_unchanged_text_is_one_version_whatever_is_around_it(versions):
    around = story(1).replace(b"<body>", b"<body><nav><a href='/today'>Today</a></nav>")
    table, pages = versions([page(URL, story(1))], [page(URL, around)])
    assert states(table) == [("c0", "current", None)]
    assert table.select("captures", "first_seen", "last_seen", "last_crawl").row(0) == (
        2,
        "2026-10-01T06:00:00Z",
        "2026-10-02T06:00:00Z",
        "c1",
    )
    assert len(pages) == 1


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone", "451 Unavailable For Legal Reasons"])
def test_a_page_that_is_no_longer_served_has_vanished(versions, status):
    table, pages = versions([page(URL, story(1)), OTHER], [gone(status=status), OTHER])
    assert states(table) == [("c0", "vanished", "c1")]
    assert pages["url"].to_list() == [OTHER[0]]


@pytest.mark.parametrize(
    "status", ["500 Internal Server Error", "403 Forbidden", "302 Found", "503 Service Unavailable"]
)
def test_a_temporary_answer_leaves_the_page_current(versions, status):
    table, pages = versions([page(URL, story(1))], [gone(status=status)])
    assert states(table) == [("c0", "current", None)] and len(pages) == 1


def test_a_page_that_was_not_requested_stays_current(versions):
    table, _ = versions([page(URL, story(1)), OTHER], [OTHER])
    assert states(table) == [("c0", "current", None)]


def test_a_page_that_moves_is_current_at_its_new_address(versions):
    new = "http://host.example/new"
    table, pages = versions([page(URL, story(1)), OTHER], [moved(to=new), page(new, story(1))])
    assert states(table) == [("c0", "moved", "c1")] and states(table, new) == [("c1", "current", None)]
    assert table.filter(pl.col("url") == URL)["moved_to"].to_list() == [new]
    assert sorted(pages["url"]) == [new, OTHER[0]]


def test_a_page_that_alternates_between_two_texts_has_two_versions(versions):
    table, pages = versions([page(URL, story(1))], [page(URL, story(2))], [page(URL, story(1))])
    assert states(table) == [("c0", "current", None), ("c1", "superseded", "c2")]
    assert pages["crawl"].to_list() == ["c0"]


def test_a_page_that_returns_after_it_vanished_is_current_again(versions):
    table, pages = versions([page(URL, story(1))], [gone()], [page(URL, story(1))])
    assert states(table) == [("c0", "current", None)] and len(pages) == 1


def test_a_page_that_returns_with_another_text_is_current_with_that(versions):
    table, _ = versions([page(URL, story(1))], [gone()], [page(URL, story(2))])
    assert states(table) == [("c0", "vanished", "c1"), ("c2", "current", None)]


def test_a_site_that_answers_200_with_not_found_loses_the_page(versions):
    """The new text is the current one. The quality rules reject it for lack of content, and the old one is not kept."""
    missing = b"<html><body><p>Sorry, this page was not found.</p></body></html>"
    table, pages = versions([page(URL, story(1)), OTHER], [page(URL, missing)])
    assert states(table) == [("c0", "superseded", "c1"), ("c1", "current", None)]
    assert table.filter(pl.col("state") == "current").sort("url")["in_corpus"].to_list() == [True, False]
    assert pages["url"].to_list() == [OTHER[0]]


def test_an_opted_out_page_is_taken_down_in_every_crawl(versions, tmp_path):
    (tmp_path / "opt_out.txt").write_text("host.example/page\n")
    table, pages = versions(
        [page(URL, story(1)), OTHER],
        [page(URL, story(2))],
        blocklists=Blocklists(opt_out=str(tmp_path / "opt_out.txt")),
    )
    assert states(table) == [("c0", "taken_down", "c1"), ("c1", "taken_down", None)]
    assert pages["url"].to_list() == [OTHER[0]]


def test_two_captures_in_one_crawl_are_ordered_by_their_time(versions):
    early, late = "2026-10-01T06:00:00Z", "2026-10-01T07:00:00Z"
    table, pages = versions([(*page(URL, story(2)), late), (*page(URL, story(1)), early)])
    assert [row[1] for row in states(table)] == ["superseded", "current"]
    assert len(pages) == 1 and pages["text"][0] != ""


EARLY, LATE = "2026-10-01T06:00:00Z", "2026-10-01T07:00:00Z"
LONGER = story(1).replace(b"</article>", b"<p>One more sentence, which makes a near duplicate of this.</p></article>")


@pytest.mark.parametrize("times", [(EARLY, LATE), (LATE, EARLY)])
def test_of_duplicate_captures_of_one_url_the_current_one_is_kept(versions, times):
    """Deduplication keeps one of them: the latest, whatever the order of the files."""
    texts = {EARLY: story(1), LATE: LONGER}
    table, pages = versions([(*page(URL, texts[time]), time) for time in times])
    assert [row[1] for row in states(table)] == ["superseded", "current"]
    assert pages["url"].to_list() == [URL] and "One more sentence" in pages["text"][0]


@pytest.mark.parametrize("times", [(EARLY, LATE), (LATE, EARLY)])
def test_a_page_that_one_crawl_captures_twice_has_one_version(versions, times):
    table, pages = versions([(*page(URL, story(1)), time) for time in times])
    assert [row[1] for row in states(table)] == ["current"] and table["captures"].to_list() == [2]
    assert len(pages) == 1


def test_a_copy_is_kept_when_the_page_that_replaced_it_vanishes(versions):
    copy = "http://host.example/a-longer-address-of-the-same-text"
    first = [page(URL, story(1)), page(copy, story(1)), OTHER]
    _, pages = versions(first, [gone(), page(copy, story(1)), OTHER])
    assert sorted(pages["url"]) == [copy, OTHER[0]]


@pytest.mark.parametrize("answer", [moved(), gone()])
def test_a_page_at_a_new_address_is_no_duplicate_of_the_one_that_left(versions, answer):
    new = "http://host.example/new"
    scope = Deduplication(scope="corpus")
    _, pages = versions([page(URL, story(1)), OTHER], [answer, page(new, story(1))], deduplication=scope)
    assert sorted(pages["url"]) == [new, OTHER[0]]


def test_a_revisit_of_a_payload_that_no_crawl_holds_changes_nothing(versions):
    revisit = (*page(URL, b"", "304 Not Modified"), "2026-10-02T06:00:00Z", "revisit")
    table, pages = versions([page(URL, story(1))], [revisit])
    assert states(table) == [("c0", "current", None)] and pages["url"].to_list() == [URL]


def test_a_capture_without_a_readable_date_comes_first(versions):
    table, pages = versions([(*page(URL, story(1)), "99 October"), (*page(URL, story(2)), EARLY)])
    assert [row[1] for row in states(table)] == ["superseded", "current"] and len(pages) == 1


def test_the_versions_are_the_same_whatever_the_order_of_the_crawls_names(versions):
    first, _ = versions([page(URL, story(1))], [page(URL, story(2))])
    again, _ = versions([page(URL, story(1))], [page(URL, story(2))])
    assert first.equals(again)


@pytest.mark.slow
def test_a_crawl_comes_after_the_one_that_it_continues_whatever_its_clock_says(tmp_path):
    recipe = Recipe(
        name="t",
        # The web of day 2, crawled first; then that of day 1, whose clock is a week behind.
        crawls={"a": SampleWeb(scale=0.02, day=2), "b": SampleWeb(scale=0.02, day=1, since="a")},
    )
    workspace = corpus_workspace(recipe, tmp_path / "store")
    artifacts = build_corpus(workspace)
    raw = {crawl: artifacts[f"raw_warc/{crawl}"] for crawl in ("a", "b")}
    newest = pl.concat([pl.read_parquet(path) for path in raw["a"].table("captures")])["fetched_at"].max()
    assert in_order({"b": raw["b"], "a": raw["a"]}) == {"a": "", "b": newest}
    table = pl.concat([pl.read_parquet(path) for path in artifacts["page_versions"].table("versions")])
    changed = table.filter(pl.col("version") == 2)
    assert len(changed) and changed["crawl"].unique().to_list() == ["b"] and set(changed["state"]) == {"current"}


def test_duplicates_over_crawls_never_drop_a_page_for_its_own_earlier_version(versions):
    """With scope `corpus`, a slightly changed page is a near duplicate of its earlier version, which is superseded."""
    changed = story(1).replace(
        b"</article>", b"<p>One more sentence that stands only in the second crawl.</p></article>"
    )
    table, pages = versions(
        [page(URL, story(1)), OTHER], [page(URL, changed)], deduplication=Deduplication(scope="corpus")
    )
    assert states(table) == [("c0", "superseded", "c1"), ("c1", "current", None)]
    assert sorted(pages["url"]) == [OTHER[0], URL]


@pytest.mark.slow
def test_two_days_of_the_sample_web_agree_with_their_ground_truth(tmp_path):
    recipe = Recipe(name="t", crawls={"a": SampleWeb(scale=0.3), "b": SampleWeb(scale=0.3, day=2, since="a")})
    artifacts = build_corpus(corpus_workspace(recipe, tmp_path / "store"))
    scores = score_versions(artifacts["raw_warc/a"], artifacts["raw_warc/b"], artifacts["page_versions"])
    measures = [f"{change}_{measure}" for change in CHANGES for measure in ("precision", "recall")]
    assert {measure: scores[measure] for measure in measures} == dict.fromkeys(measures, 1.0)
    assert all(scores[change] >= 5 for change in CHANGES), scores
