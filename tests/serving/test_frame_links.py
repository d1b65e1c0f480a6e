"""Signed addresses: what a frame may open without the key, and for how long."""

import pytest

from llm_assets.serving import frame_links
from llm_assets.serving.frame_links import is_signed, signed_link

PATH, QUERY = "/api/data/raw", "crawl=c&file=a%20b.warc.gz&offset=0"


def opened(key, link):
    path, _, query = link.partition("?")
    return is_signed(key, path, query)


@pytest.mark.parametrize("key", ["", "secret"])
def test_a_signed_address_is_opened_with_its_key_only(key):
    link = signed_link(key, PATH, QUERY)
    assert link.startswith(f"{PATH}?{QUERY}&") and opened(key, link) and not opened(f"{key}2", link)


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link.replace("offset=0", "offset=7"),
        lambda link: link.replace("/data/raw", "/pipeline/view"),
        lambda link: link.partition("&signed")[0],
        lambda link: link[:-1] + ("0" if link[-1] != "0" else "1"),
        lambda link: link + "&offset=7",
        lambda link: link.replace("&signed=", "&signed=9"),  # later
        lambda link: f"{PATH}?{QUERY}&signed=x.y",
        lambda link: link.replace("&signed=", "&signed=" + "9" * 5000),
        lambda link: f"{PATH}?{QUERY}&signed=²9999999999.ä",
    ],
)
def test_a_changed_address_is_not(change):
    assert not opened("secret", change(signed_link("secret", PATH, QUERY)))


def test_an_address_can_be_opened_for_a_minute_and_only_in_frames(monkeypatch):
    link = signed_link("secret", PATH, QUERY)
    assert not opened("secret", signed_link("secret", "/api/data/sql", QUERY))
    now = frame_links.time.time()
    monkeypatch.setattr(frame_links.time, "time", lambda: now + 50)
    assert opened("secret", link)
    monkeypatch.setattr(frame_links.time, "time", lambda: now + 62)
    assert not opened("secret", link)
