"""Headless Chromium, with pages that fail a test if they report an error or load anything from elsewhere."""

import contextlib
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def chromium():
    """A browser of Playwright. Skips the test if there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra test)")
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH: apt-get install chromium")
    with playwright.sync_playwright() as started:
        # Tests may run as root, for whom Chromium has no sandbox.
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def open_page(browser, url, expected_errors=(), ready="html[data-ready]", **options):
    """A page of a server, once it is ready. expected_errors: parts of console messages that the test causes.

    ready: selects the element that is then there.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(60_000)  # on a busy machine a few tokens take seconds
    page, errors, requested = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: requested.append(request))
    page.goto(url)
    page.locator(ready).wait_for()
    yield page
    context.close()
    unexpected = [error for error in errors if not any(part in error for part in expected_errors)]
    assert not unexpected, unexpected
    base = url.partition("#")[0]
    others = [request for request in requested if not request.url.startswith((base, "blob:", "data:"))]
    # What the policy of a page refuses is never sent.
    assert not [request.url for request in others if request.failure != "csp"]


def view_opener(browser, server):
    """A function that opens a view of a server's page, by name."""

    @contextlib.contextmanager
    def open_view(name, **options):
        with open_page(browser, f"{server.url}/#{name}", **options) as page:
            yield page

    return open_view


def button(page, name):
    """The button of a page with exactly this name."""
    return page.get_by_role("button", name=name, exact=True)


def overflow(page):
    """By how many pixels a page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def check_wide_screen(page):
    """A view keeps lines that can be read and stands in the middle of a wide screen, with its side column beside it."""
    before = page.viewport_size
    page.set_viewport_size({"width": 2560, "height": 1440})
    assert overflow(page) <= 0
    main = page.locator("main").bounding_box()
    assert 800 < main["width"] < 1300, main
    assert main["x"] + main["width"] / 2 == pytest.approx(2560 / 2, abs=20), main  # there may be a scroll bar
    for aside in page.locator("main aside").all():
        side, beside = aside.bounding_box(), aside.locator("xpath=preceding-sibling::*[1]").bounding_box()
        assert beside["x"] + beside["width"] <= side["x"] and side["x"] + side["width"] <= main["x"] + main["width"]
        assert side["width"] < beside["width"]
    page.set_viewport_size(before)


def expect_in_sight(locator):
    """Wait until all of an element is in the window, and cut off by no list that scrolls."""
    from playwright.sync_api import expect

    expect(locator).to_be_in_viewport(ratio=1)


def serious_faults(page):
    """What axe-core finds that is serious or critical, as a text per rule with the elements concerned.

    Also landmarks that share a name, which axe-core calls moderate: screen readers list them by name.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed (extra test)")
    violations = axe.Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {[node['html'] for node in violation['nodes'][:3]]}"
        for violation in violations
        if violation["impact"] in ("serious", "critical") or violation["id"] == "landmark-unique"
    ]
