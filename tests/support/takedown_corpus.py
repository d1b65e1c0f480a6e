"""A crawl with some pages to take down, and what of their text is left in a data folder afterwards."""

import hashlib
import random

import polars as pl
from click.testing import CliRunner

from llm_assets.artifacts import ArtifactError
from llm_assets.cli import cli
from llm_assets.warc import read_captures
from tests.support.small_recipe import recipe_file, warc_sources
from tests.support.warcs import page, story, write

RULE = "gone.example/art"
COUNT = 5  # pages under the rule
RUN = 60  # characters of text that identify a page


def gone_story(number):
    """A page that every rule keeps, with people that no other page knows."""
    rng = random.Random(number)
    names = ["".join(rng.choice("bdfgklmnprstv") + rng.choice("aeiou") for _ in range(4)).title() for _ in range(4)]
    sentence = (
        f"<p>In the year when {names[0]} left for {names[1]}, the people of {names[2]} asked {names[3]} to stay.</p>"
    )
    return story(100 + number).replace(b"</article>", sentence.encode() + b"</article>")


def write_crawl(folder):
    """WARC files of two sites; one has pages under the rule, and pages whose URL only begins like the rule."""
    write(
        folder / "a.warc.gz",
        [
            *(page(f"http://{RULE}/{number}", gone_story(number)) for number in range(COUNT)),
            page("http://gone.example/article", story(90)),
            page("http://gone.example/artful/1", story(91)),
            *(page(f"http://kept.example/{number}", story(number)) for number in range(8)),
        ],
    )
    write(folder / "b.warc.gz", [page(f"http://kept.example/b{number}", story(50 + number)) for number in range(3)])


def write_project(folder, copy_files=True):
    """The crawl in `folder/warc`, and `folder/recipe.py` that reads it as `files`; the recipe's reference."""
    write_crawl(folder / "warc")
    recipe_file(folder / "recipe.py", warc_sources(folder / "warc", "files", copy_files=copy_files))
    return f"{folder}/recipe.py:mine"


def is_taken_down(url):
    return url.startswith(f"http://{RULE}/")


def unique_texts(store):
    """Runs of 60 characters of the extracted texts under the rule that are in no record of another page."""
    pages = pl.concat([pl.read_parquet(path) for path in store.rglob("extracted_text/*/*/text/*.parquet")])
    covered = pl.col("url").str.starts_with(f"http://{RULE}/")
    other_texts = "\n".join(pages.filter(~covered)["text"])
    for path in store.rglob("*.warc.gz"):
        offsets = {capture.offset for capture in read_captures(path) if not is_taken_down(capture.url)}
        payloads = [capture.payload for capture in read_captures(path, offsets) if capture.payload]
        other_texts += "\n".join(payload.decode("utf-8", "replace") for payload in payloads)
    lines = [line for text in pages.filter(covered)["text"] for line in text.splitlines()]
    runs = {line[start : start + RUN] for line in lines for start in range(0, len(line) - RUN, 20)}
    unique_runs = sorted(run for run in runs if run not in other_texts)
    assert len(unique_runs) > 4 * COUNT
    return unique_runs


def digests(folder):
    """The digest of every file below a folder, by its relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def artifact_folders(data, asset):
    """The folders of all artifacts of an asset."""
    return sorted(path.parent for path in (data / "artifacts" / asset).glob("*/*/artifact.json"))


def page_urls(data, asset):
    """The URLs in all artifacts of an asset."""
    tables = (data / "artifacts" / asset).rglob("text/*.parquet")
    return {url for path in tables for url in pl.read_parquet(path)["url"]}


def takedown(*words):
    """Exit code and output of `llm-assets takedown` in this process, where it cannot start a run."""
    done = CliRunner().invoke(cli, ["takedown", *words])
    assert done.exception is None or isinstance(done.exception, (SystemExit, ArtifactError)), done.exception
    return done.exit_code, done.output + (str(done.exception) if done.exit_code else "")
