"""The page that the tour shows is the one that the corpus was built from."""

from types import SimpleNamespace

import pytest

from llm_assets.recipes import Recipe, WarcFiles
from llm_assets.tour.pages import html_of
from llm_assets.tour.visit import NothingToShow
from llm_assets.warc import read_captures
from tests.support.warcs import page, write

URL = "http://a.example/"


@pytest.mark.parametrize(
    ("url", "file", "is_there"),
    [(URL, "0.warc.gz", True), ("http://old.example/", "0.warc.gz", False), (URL, "1", False)],
)
def test_another_page_at_its_place_is_not_shown(tmp_path, url, file, is_there):
    """As after a new crawl, from which the corpus is not built yet."""
    path = tmp_path / "0.warc.gz"
    write(path, [page(URL, b"<p>Hello</p>")])
    (capture,) = read_captures(path)
    visit = SimpleNamespace(
        page={"url": url, "warc_file": file, "warc_offset": capture.offset},
        artifact=lambda asset: SimpleNamespace(
            record=SimpleNamespace(partition="mine", files={"warc/0.warc.gz": None}), file=lambda name: path
        ),
        workspace=SimpleNamespace(recipe=Recipe(name="mine", crawls={"mine": WarcFiles(path=str(tmp_path))})),
    )
    if is_there:
        assert "Hello" in html_of(visit)[0]
    else:
        with pytest.raises(NothingToShow, match="no longer holds"):
            html_of(visit)
