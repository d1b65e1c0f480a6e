"""Data, Trace and Pipeline in a browser, against a server of a small store."""

import pytest

from llm_assets.model.chat import encode_text
from tests.support.browser import button, chromium, serious_faults, view_opener
from tests.support.explored_store import HOSTILE, QUESTION, SHORT, explored_server
from tests.support.model_server import script_tokens
from tests.support.scripted_engine import call_tokens
from tests.support.tiny_models import ENCODING, TEXTS

REFUSED = ["Content Security Policy", "sandboxed"]  # what the browser says about hostile pages
REPORT = '<style>p { color: rgb(1, 2, 3) }</style><p>All is well</p><script>parent.document.title = "taken"</script>'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with explored_server(tmp_path_factory.mktemp("explored")) as running:
        artifact = running.service.checkpoints.workspace.resolver().artifact("human_rankings", None)
        artifact.record.views.append("drawn.html")
        (artifact.path / "drawn.html").write_text(REPORT)
        yield running


@pytest.fixture(scope="module")
def view(server):
    with chromium() as browser:
        yield view_opener(browser, server)


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
        rows = page.get_by_role("region", name="Duplicates").last.locator("tbody tr")
        rows.first.wait_for()
        assert rows.count() == 2 and "kept" in rows.first.inner_text()
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


# Trace


def trace(page, answer, results=""):
    """The items of the matches of an answer."""
    page.get_by_label("Answer").fill(answer)
    page.get_by_label("Results of tools").fill(results)
    button(page, "Trace").click()
    page.locator(".traced").get_by_text(answer[:10]).first.wait_for()
    return page.locator(".matches > li")


def test_an_answer_leads_to_the_pages_and_conversations_that_have_its_words(view):
    words = TEXTS[0].split()
    answer = f"🎻 {' '.join(words[:12])} and that is all"
    with view("trace") as page:
        items = trace(page, answer)
        marked = page.locator(".traced [role=button]")
        assert "".join(marked.all_inner_texts()).strip().startswith(words[0])
        assert page.locator(".traced").inner_text() == answer
        marked.first.focus()
        page.keyboard.press("Enter")
        place = int(marked.first.get_attribute("title").split()[1]) - 1
        assert page.evaluate("document.activeElement.id") == f"match-{place}"
        items.first.locator("summary").click()
        conversation = items.first.locator(".messages")
        conversation.get_by_text(QUESTION).wait_for()
        assert conversation.locator("mark").inner_text() in answer
        items.first.get_by_role("link", name="http://host.example/0").click()
        page.locator(".facts").get_by_text("http://host.example/0").wait_for()
        assert "a.warc.gz" in page.locator(".facts").inner_text()


def test_words_from_a_tool_are_told_apart(view):
    answer = f"{TEXTS[3]} The keeper counted exactly ninety gulls."
    with view("trace", expected_errors=["400"]) as page:
        items = trace(page, answer, f"{TEXTS[3][:40]} - the keeper counted exactly ninety gulls")
        assert items.count() and "also in a tool" not in items.first.inner_text()
        from_tool = "".join(page.locator(".traced .from-tool").all_inner_texts())
        assert "keeper counted exactly ninety gulls" in from_tool and TEXTS[3][-20:] not in from_tool
        assert "exactly" in "".join(page.locator(".traced .from-tool:not(.learned)").all_inner_texts())
        shares = page.locator(".legend li")
        assert shares.count() == 4 and not shares.nth(2).inner_text().startswith("0 %")
        page.get_by_label("Answer").fill("  ")
        button(page, "Trace").click()
        page.get_by_role("alert").get_by_text("the answer is empty").wait_for()


def test_an_answer_is_handed_over_by_the_chat(view, monkeypatch):
    script_tokens(monkeypatch, [*call_tokens("python", "2+3"), *encode_text(ENCODING, TEXTS[3][:60])])
    with view("chat") as page:
        page.get_by_label("Message").fill("Tell me")
        page.keyboard.press("Enter")
        button(page, "Regenerate").wait_for()
        button(page, "Trace").last.click()
        page.locator(".matches > li").first.wait_for()
        assert page.url.endswith("#trace") and page.get_by_label("Answer").input_value() == TEXTS[3][:60]
        assert page.get_by_label("Results of tools").input_value() == "5"


# Pipeline


def test_assets_are_listed_with_their_state_and_links(view):
    with view("pipeline") as page:
        corpus = page.locator("#asset-clean_corpus")
        corpus.locator("summary").click()
        assert "✓ built" in corpus.inner_text() and "cached" in corpus.inner_text()
        link = corpus.get_by_role("link", name="Open in Dagster")
        assert link.get_attribute("href") == "http://dagster.test:3000/assets/clean_corpus"
        other = page.locator("#asset-rlhf_checkpoint").inner_text()
        assert "+ not built" in other and "never built" in other
        assert page.locator(".graph .node").count() == page.locator(".asset").count()
        assert page.locator('.edge[data-from="deduplicated_text"][data-to="clean_corpus"]').count() == 1
        page.locator('.node[data-asset="clean_corpus"]').click()
        assert page.evaluate("document.activeElement.id") == "asset-clean_corpus"


def test_reports_are_drawn_without_rights(view):
    with view("pipeline", expected_errors=REFUSED) as page:
        page.get_by_role("link", name="human_rankings: drawn.html").first.click()
        page.frame_locator("iframe").get_by_text("All is well").wait_for()
        color = page.frame_locator("iframe").locator("p").evaluate("node => getComputedStyle(node).color")
        assert color == "rgb(1, 2, 3)" and page.locator("iframe").get_attribute("sandbox") == ""
        assert page.title() == "Pipeline · llm-assets"
        page.get_by_role("link", name="Close").click()
        page.locator("iframe").wait_for(state="detached")


# All three

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SHOWN = {  # what is waited for, by address
    "data": ".wide",
    "data?part=documents": ".cards li",
    "data?part=thresholds": ".sliders li",
    "data?part=sql": "details",
    "pipeline": ".asset",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_views_have_no_serious_accessibility_fault_and_fit_on_a_phone(view, scheme):
    options = {"color_scheme": scheme, "expected_errors": REFUSED}
    with view("data", viewport={"width": 320, "height": 640}, **options) as page:

        def check(address, shown):
            page.locator(shown).first.wait_for()
            assert not serious_faults(page), address
            assert page.evaluate(OVERFLOW) <= 0, address

        for address, shown in SHOWN.items():
            page.evaluate(f"location.hash = '#{address}'")
            check(address, shown)
        page.evaluate("location.hash = '#data?part=documents&url=hostile'")
        page.get_by_text("1 documents").last.wait_for()
        page.locator(".cards a").click()
        check("document", "iframe")
        page.evaluate("location.hash = '#trace'")
        trace(page, TEXTS[0], TEXTS[0][:50])
        check("trace", ".matches > li")
