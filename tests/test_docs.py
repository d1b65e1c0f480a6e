"""What the docs name is there."""

import re
from pathlib import Path

import pytest

from llm_assets.artifacts.store import NO_PARTITION
from llm_assets.graph import GRAPH
from llm_assets.settings import PROJECT

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_folders_of_artifacts_are_named_as_the_store_names_them(page: Path):
    folder = re.compile(rf"\b({'|'.join(GRAPH.stages)})/([^/\s`\"']+)/[^\s`\"']")
    for asset, partition in folder.findall(page.read_text()):
        assert (partition == NO_PARTITION) == (not GRAPH[asset].per_crawl), f"{asset}/{partition}"
