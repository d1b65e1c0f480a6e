"""Which files a source of WARC files names: names as they are, patterns only where nothing has that name."""

from pathlib import Path

import pytest

from llm_assets.recipes import WarcFiles
from llm_assets.web.errors import SourceError
from llm_assets.web.warc_files import list_files


def names(path):
    return sorted(list_files(WarcFiles(path=str(path))))


@pytest.fixture(params=["plain", "a [b]/url=zzz", "*", "50%? #1 {x}"])
def folder(tmp_path, request) -> Path:
    """A folder of any name with two archives, one of whose names is a pattern for the other."""
    (tmp_path / request.param).mkdir(parents=True)
    for name in ("crawl[1].warc.gz", "crawl1.warc.gz", "notes.txt"):
        (tmp_path / request.param / name).touch()
    return tmp_path / request.param


def test_a_file_that_exists_is_no_pattern(folder):
    assert names(folder / "crawl[1].warc.gz") == ["crawl[1].warc.gz"]
    assert names(folder) == ["crawl1.warc.gz", "crawl[1].warc.gz"]


def test_the_folders_of_a_pattern_are_no_patterns_if_they_exist(folder):
    # A shell would have the user quote them; a recipe's path has no quotes.
    assert names(folder / "*.warc.gz") == ["crawl1.warc.gz", "crawl[1].warc.gz"]
    assert names(folder / "crawl[12].*") == ["crawl1.warc.gz"]
    assert names(folder.parent / "**" / "crawl1.warc.gz") == ["crawl1.warc.gz"]
    with pytest.raises(SourceError, match="no file matches"):
        names(folder / "*.arc")


def test_hidden_files_of_a_folder_are_no_archives(folder):
    # macOS writes such a file beside each file that it copies to a foreign disk (AppleDouble, RFC 1740, appendix B).
    (folder / "._crawl1.warc.gz").touch()
    assert names(folder) == ["crawl1.warc.gz", "crawl[1].warc.gz"]


def test_files_of_any_names_in_a_folder_are_all_listed(tmp_path):
    for name in ("a/b.warc.gz", "a~b.warc.gz", "c.warc.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path) == ["a~0b.warc.gz", "a~1b.warc.gz", "c.warc.gz"]
    (tmp_path / "a~b.warc.gz").unlink()
    assert names(tmp_path) == ["a~b.warc.gz", "c.warc.gz"]
