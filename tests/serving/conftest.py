"""The environment of tests whose module has a server of its own store."""

import pytest


@pytest.fixture
def data_folder(environment, server, monkeypatch):
    """The folder of the server's votes, which are an input of its artifacts."""
    monkeypatch.setenv("LLM_ASSETS_DATA", str(server.service.settings.data))
