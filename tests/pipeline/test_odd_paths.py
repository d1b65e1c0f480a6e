"""A crawl is the same crawl wherever its files lie and whatever they are called."""

import pytest

from llm_assets.artifacts.tables import read_table
from tests.support.crawl_builds import build_crawl, warc_crawl
from tests.support.isolation import isolate
from tests.support.warcs import page, story, write

# ``crawl[1]`` as a pattern is ``crawl1``. The files must neither be confused nor be missing.
NAMES = ("crawl[1].warc.gz", "crawl1.warc.gz", "50%? #1 {x}*.warc.gz")


def write_archives(folder):
    for number, name in enumerate(NAMES):
        pages = [page(f"http://host{number}.example/{i}", story(100 * number + i)) for i in range(3)]
        write(folder / name, [*pages, page(f"http://host{number}.example/gone", status="404 Not Found")])


def contents(artifacts):
    """Identity and the digest of every file of each artifact, by asset."""
    return {
        asset: (artifact.record.short_id, {name: entry.sha256 for name, entry in artifact.record.files.items()})
        for asset, artifact in artifacts.items()
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The archives, built with the data in a folder of a plain name."""
    folder = tmp_path_factory.mktemp("plain")
    write_archives(folder / "archives")
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, folder / "data")
        return build_crawl(warc_crawl(folder / "archives"))


@pytest.mark.parametrize("folder", ["a [b]/url=zzz/50%? #1 {x}", "crawl=old/rule=x/*", "it's/[!a]"])
def test_the_folder_of_the_data_changes_no_row_and_no_identity(tmp_path, monkeypatch, plain, folder):
    write_archives(tmp_path / "archives")
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / folder))
    odd = build_crawl(warc_crawl(tmp_path / "archives"))
    assert contents(odd) == contents(plain)
    urls = read_table(odd["extracted_text"].table("text"))["url"].to_list()
    assert sorted(urls) == sorted(f"http://host{number}.example/{i}" for number in range(3) for i in range(3))


def test_archives_lie_in_a_folder_of_any_name(tmp_path):
    write_archives(tmp_path / "a [b]" / "url=zzz")
    artifacts = build_crawl(warc_crawl(tmp_path / "a [b]" / "url=zzz"))
    assert artifacts["raw_warc"].record.rows["captures"] == 4 * len(NAMES)
