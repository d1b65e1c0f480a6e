"""The environment, and the browser, of tests whose module has a server of its own."""

import pytest

from tests.support.browser import chromium, view_opener


@pytest.fixture
def data_folder(environment, server, monkeypatch):
    """The folder of the server's votes, which are an input of its artifacts."""
    monkeypatch.setenv("LLM_ASSETS_DATA", str(server.service.settings.data))


@pytest.fixture(scope="module")
def browser(server):
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def view(browser, server):
    """Opens a view of the module's server."""
    return view_opener(browser, server)
