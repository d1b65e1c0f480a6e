"""Main content of a parsed page."""

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree


def main_content(tree: HTMLTree, title: str = "") -> str:
    return extract_plain_text(tree, main_content=True, alt_texts=False, list_bullets=False)
