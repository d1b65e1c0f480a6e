"""Data, Pipeline and Tour in a browser, against a server of a small crawl that is built up to its corpus."""

import pytest

from llm_assets.serving.explorer import arena_routes, rank_routes
from tests.support.browser import (
    button,
    check_wide_screen,
    open_page,
    overflow,
    serious_faults,
)
from tests.support.explored_store import HOSTILE, SHORT, explored_server, narrow_server

REFUSED = ["Content Security Policy", "sandboxed"]  # what the browser says about hostile pages
REPORT = '<style>p { color: rgb(1, 2, 3) }</style><p>All is well</p><script>parent.document.title = "taken"</script>'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with explored_server(tmp_path_factory.mktemp("explored")) as running:
        artifact = running.service.checkpoints.workspace.resolver().artifact("corpus_report", None)
        artifact.view("report.html").write_text(REPORT)
        yield running


# Data


def test_the_funnel_leads_to_the_pages_that_a_rule_rejected(view):
    with view("data") as page:
        stages = page.get_by_role("region", name="Pages by stage")
        stages.wait_for()
        assert stages.locator("tbody tr").first.inner_text().split()[:3] == ["raw_warc", "9", "0"]
        page.get_by_role("link", name="exact_duplicate").click()
        page.locator(".cards li").wait_for()
        assert page.get_by_label("Rule").input_value() == "exact_duplicate"
        assert "rejected in deduplicated_text by exact_duplicate" in page.locator(".cards li").inner_text()


def test_documents_are_found_by_their_words(view):
    with view("data?part=documents") as page:
        page.get_by_text("9 documents; 1 to 9 are shown.").last.wait_for()
        page.get_by_label("Text", exact=True).fill('"to be of use"')
        page.keyboard.press("Enter")
        page.get_by_text("1 documents; 1 to 1 are shown.").last.wait_for()
        assert "text=" in page.url
        page.locator(".cards a").click()
        page.locator(".state.rejected").wait_for()
        assert "language_filtered_text" in page.locator(".state").inner_text()
        assert "0.65" in page.locator(".state").inner_text() and SHORT in page.locator(".facts").inner_text()
        page.go_back()
        page.get_by_text("1 documents; 1 to 1 are shown.").last.wait_for()


def test_a_hostile_page_is_drawn_beside_its_text_and_does_nothing(view):
    with view("data?part=documents&url=hostile", expected_errors=REFUSED) as page:
        page.locator(".cards a").click()
        frame = page.frame_locator("iframe")
        frame.get_by_text("Write to ann").wait_for()
        assert page.locator("iframe").get_attribute("sandbox") == ""
        assert page.title() == "Data · llm-assets" and HOSTILE in page.locator(".facts").inner_text()
        removed = page.locator(".removed")
        assert "Home" in removed.first.inner_text() and "when the text was extracted" in removed.first.inner_text()
        assert page.locator(".reader mark").first.inner_text() == "<EMAIL>"
        assert "1 × email" in page.locator(".facts").inner_text()
        button(page, "Source").click()
        page.get_by_text("taken over").wait_for()
        button(page, "clean_corpus").click()
        assert page.locator(".removed").count() == 0 and page.locator(".reader mark").count() == 1


def test_duplicates_lead_to_each_other(view):
    with view("data?part=documents&rule=exact_duplicate") as page:
        page.locator(".cards a").click()
        rows = page.get_by_role("region", name="Duplicates").locator("tbody tr")
        rows.first.wait_for()
        assert rows.count() == 2 and "kept" in rows.first.inner_text()
        assert not serious_faults(page)
        rows.first.locator("a").click()
        page.locator(".state.kept").wait_for()


def test_other_thresholds_are_tried_without_building_anything(view):
    with view("data?part=thresholds") as page:
        page.get_by_label("Threshold of max_words").focus()
        page.keyboard.press("Home")
        result = page.locator("aside")
        result.get_by_text("8 pages are kept now, 0 would be.").wait_for()
        assert result.locator(".flips a").count() == 8
        assert "→" in page.locator(".sliders .changed output").inner_text()
        page.get_by_label("Switch off max_words").check()
        result.get_by_text("8 pages are kept now, 8 would be.").wait_for()
        button(page, "Reset all").click()
        result.get_by_text("Move a threshold.").wait_for()


def test_sql_reads_tables_and_says_what_is_wrong(view):
    with view("data?part=sql", expected_errors=["400"]) as page:
        statement = page.get_by_label("SELECT statement")
        statement.focus()
        page.keyboard.press("Control+Enter")
        result = page.get_by_role("region", name="Result")
        result.wait_for()
        assert result.locator("tbody tr").first.inner_text().split() == ["host.example", "5"]
        statement.fill("DROP TABLE clean_corpus")
        button(page, "Run").click()
        page.get_by_role("alert").get_by_text("SELECT").wait_for()
        assert page.evaluate("document.activeElement.textContent") == "Run"
        page.get_by_text("deduplicated_text_clusters").click()
        button(page, "SELECT from deduplicated_text_clusters").click()
        assert statement.input_value() == "SELECT * FROM deduplicated_text_clusters LIMIT 20"


# Pipeline


def test_assets_are_listed_with_their_state_and_links(view):
    with view("pipeline") as page:
        corpus = page.locator("#asset-clean_corpus")
        corpus.locator("summary").click()
        assert "✓ built" in corpus.inner_text() and "cached" in corpus.inner_text()
        link = corpus.get_by_role("link", name="Open in Dagster")
        assert link.get_attribute("href") == "http://dagster.test:3000/assets/clean_corpus"
        assert page.get_by_role("link", name="MLflow").get_attribute("href") == "http://mlflow.test:5000"
        other = page.locator("#asset-tokenizer").inner_text()
        assert "+ not built" in other and "never built" in other
        assert page.locator(".graph .node").count() == page.locator(".asset").count()
        assert page.locator('.edge[data-from="deduplicated_text"][data-to="clean_corpus"]').count() == 1
        page.locator('.node[data-asset="clean_corpus"]').click()
        assert page.evaluate("document.activeElement.id") == "asset-clean_corpus"


def test_reports_are_drawn_without_rights(view):
    with view("pipeline", expected_errors=REFUSED) as page:
        page.get_by_role("link", name="corpus_report: report.html").first.click()
        page.frame_locator("iframe").get_by_text("All is well").wait_for()
        color = page.frame_locator("iframe").locator("p").evaluate("node => getComputedStyle(node).color")
        assert color == "rgb(1, 2, 3)" and page.locator("iframe").get_attribute("sandbox") == ""
        assert page.title() == "Pipeline · llm-assets"
        page.get_by_role("link", name="Close").click()
        page.locator("iframe").wait_for(state="detached")


# Trace and Rank


def test_an_index_that_is_not_built_says_how_to_build_it(view):
    with view("trace", expected_errors=["400", "409"]) as page:
        button(page, "Trace").click()
        page.get_by_role("alert").get_by_text("the answer is empty").wait_for()
        page.get_by_label("Answer").fill("Ann lives here.")
        button(page, "Trace").click()
        panel = page.get_by_role("region", name="Index to build")
        panel.get_by_text("llm-assets run --select '*trace_index'", exact=True).wait_for()
        assert not page.get_by_role("alert").inner_text()
        assert page.evaluate("document.activeElement.textContent") == "The index is not built yet"
        with page.expect_response("**/api/trace"):
            button(panel, "Trace again").click()
        assert not serious_faults(page)


def test_an_older_request_does_not_replace_a_newer_trace(view):
    newer = {"answer": "Bob lives here.", "tokens": 4, "spans": [], "tool_runs": [], "stale": "", "seconds": 0.1}
    missing = {"error": {"code": "not_built", "message": "trace_index is not built; run: llm-assets run"}}
    held = []
    with view("trace", expected_errors=["409"]) as page:
        page.route("**/api/trace", lambda route: route.fulfill(json=newer) if held else held.append(route))
        page.get_by_label("Answer").fill("Ann lives here.")
        with page.expect_request("**/api/trace"):
            button(page, "Trace").click()
        button(page, "Trace").click()
        page.locator(".traced").get_by_text("Bob lives here.").wait_for()
        with page.expect_response(lambda response: response.status == 409) as older:
            held[0].fulfill(status=409, json=missing)
        older.value.finished()
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 100))")
        assert page.locator(".traced").is_visible()
        assert page.get_by_role("region", name="Index to build").count() == 0


def test_where_there_are_no_pairs_nobody_has_ranked_them_all(view):
    with view("rank") as page:
        page.route("**/api/rank/next", lambda route: route.fulfill(json={"pair": None, "left": 0, "ranked": 0}))
        page.get_by_label("Your name").fill("ann")
        page.keyboard.press("Enter")
        page.get_by_text("There are no pairs to rank.").last.wait_for()
        assert page.get_by_text("0 ranked").count() == 0


def test_a_server_of_short_answers_one_at_a_time_is_used_as_any_other(browser, server, monkeypatch):
    answers = iter((["Ann."], ["Bob."], ["Cid."], ["Dora."]))  # of random weights may be empty
    for routes in (arena_routes, rank_routes):
        monkeypatch.setattr(routes, "texts_of", lambda body: next(answers))
    with narrow_server(server) as narrow, open_page(browser, f"{narrow.url}/#chat") as page:
        page.get_by_label("Message").fill("Who?")
        page.keyboard.press("Enter")
        button(page, "Regenerate").wait_for()
        page.get_by_role("link", name="Compare").click()
        page.get_by_label("Your name").fill("ann")
        page.get_by_label("Question", exact=True).fill("Who?")
        button(page, "Ask two models").click()
        page.locator(".votes").get_by_text("Bob.").wait_for()
        button(page, "Ask all").click()
        button(page, "Ask all").wait_for()
        assert not page.locator(".failed").count()
        page.get_by_role("link", name="Rank").click()
        page.locator("select[name=source]").select_option("fresh")
        page.get_by_label("Question").fill("Who?")
        button(page, "Answer twice").click()
        page.locator(".votes").get_by_text("Dora.").wait_for()


# Tour


def test_the_tour_is_taken_step_by_step(view):
    with view("tour") as page:
        page.get_by_role("heading", name="1. A page as the crawler received it").wait_for()
        button(page, "Take this step").click()
        page.locator(".lines").wait_for()
        assert "<article>" in page.locator(".lines").inner_text()
        assert page.evaluate("document.activeElement.textContent") == "Next"
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="2. The text that is left").wait_for()
        button(page, "Take this step").click()
        page.get_by_text("The corpus of this crawl has 7 pages").wait_for()
        button(page, "Next").click()
        page.get_by_text("Left out: tokenizer is not built").wait_for()
        assert button(page, "Take this step").count() == 0
        assert page.locator(".steps .taken").count() == 2
        page.locator(".steps button").first.click()
        assert "<article>" in page.locator(".lines").inner_text()
        assert not serious_faults(page)


# Data and Pipeline

SHOWN = {  # what is waited for, by address
    "data": ".wide",
    "data?part=documents": ".cards li",
    "data?part=thresholds": ".sliders li",
    "data?part=sql": "details",
    "pipeline": ".asset",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_views_have_no_serious_accessibility_fault_and_fit_all_screens(view, scheme):
    options = {"color_scheme": scheme, "expected_errors": REFUSED}
    with view("data", viewport={"width": 320, "height": 640}, **options) as page:

        def check(address, shown):
            page.locator(shown).first.wait_for()
            assert not serious_faults(page), address
            assert overflow(page) <= 0, address
            check_wide_screen(page)

        table = {"name": "long_" * 14, "asset": "a", "columns": {"c": "BIGINT"}, "rows": 1, "artifacts": []}
        table["stale"] = [f"a is stale, and shown as it was last built (would build: {'inputs' * 20})"]
        page.route("**/api/data/tables", lambda route: route.fulfill(json={"tables": [table]}))
        for address, shown in SHOWN.items():
            page.evaluate(f"location.hash = '#{address}'")
            check(address, shown)
        page.evaluate("location.hash = '#data?part=documents&url=hostile'")
        page.get_by_text("1 documents").last.wait_for()
        page.locator(".cards a").click()
        check("document", "iframe")
        assert page.locator(".facts dd").first.bounding_box()["width"] > 200
