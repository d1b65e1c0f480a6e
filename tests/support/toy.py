"""A three-stage graph over a folder of text files, to test the store without the web.

letters (per crawl, a part a file) → words (per crawl) → total (over all crawls). `slow` makes a part take its time,
so that a test can kill it; the recipe is a frozen model as the real one is.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import pandera.polars as pa
import polars as pl
from pydantic import BaseModel, ConfigDict

from llm_assets.artifacts import EXECUTION_ONLY, Graph, Part, Stage, Store, Workspace
from llm_assets.artifacts.outside import outside_digests, outside_version
from llm_assets.compute import LocalEngine


class Letters(pa.DataFrameModel):
    name: str
    letters: pl.Int64 = pa.Field(ge=0)
    doc_id: str


class ToyRecipe(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = "toy"
    folder: Annotated[str, EXECUTION_ONLY]
    upper: bool = False
    factor: int = 1
    offset: int = 0
    slow: Annotated[float, EXECUTION_ONLY] = 0.0
    crawls: dict[str, str] = {"a": "a"}

    def corpus(self) -> list[str]:
        return sorted(self.crawls)


def letters_part(staging: Path, name: str, path: Path, upper: bool, slow: float) -> None:
    with Part(staging, name) as part:
        table = part.table("letters", Letters)
        text = path.read_text()
        for line in text.splitlines():
            table.append({"name": line.upper() if upper else line, "letters": len(line), "doc_id": f"{name}-{line}"})
            time.sleep(slow)
        part.stats["pages"] = len(text.splitlines())
    log = os.environ.get("TOY_LOG")
    if log:
        with open(log, "a") as stream:
            stream.write(f"letters {name}\n")


def build_letters(step, recipe) -> None:
    files = sorted(Path(recipe.folder, step.partition).glob("*.txt"))
    step.run_parts(letters_part, {path.stem: (path, recipe.upper, recipe.slow) for path in files})


def build_words(step, recipe) -> None:
    frame = pl.read_parquet(step.input("letters").table("letters")).with_columns(pl.col("letters") * recipe.factor)
    # Names do not reach this table: an upstream change of case alone leaves the same bytes here.
    with step.part("words") as part:
        part.table("letters", Letters).frame(frame.with_columns(name=pl.lit("")).sort("doc_id"))
        part.stats["pages"] = len(frame)


def build_total(step, recipe) -> None:
    total = sum(pl.read_parquet(a.table("letters"))["letters"].sum() for a in step.inputs.values()) + recipe.offset
    with step.part("total") as part:
        part.table("letters", Letters).append({"name": "total", "letters": total, "doc_id": "total"})


LETTERS = Stage("letters", build_letters, "1", ("tests.support.toy",), per_crawl=True, literals=lambda r, _: {"upper": r.upper}, outside=lambda r, p: {"files": outside_version(outside_digests({f.name: f for f in Path(r.folder, p).glob("*.txt")}))}, tables={"letters": Letters})  # fmt: skip
WORDS = Stage("words", build_words, "1", ("tests.support.toy",), per_crawl=True, inputs=("letters",), literals=lambda r, _: {"factor": r.factor}, tables={"letters": Letters})
TOTAL = Stage("total", build_total, "1", ("tests.support.toy",), inputs=("words",), literals=lambda r, _: {"offset": r.offset}, tables={"letters": Letters})
GRAPH = Graph([LETTERS, WORDS, TOTAL])


def make_folder(root: Path, crawl: str = "a", files: int = 4, lines: int = 5) -> Path:
    """Text files with distinct lines."""
    folder = root / crawl
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(files):
        (folder / f"file{i}.txt").write_text("\n".join(f"line{i}{'x' * j}" for j in range(lines)))
    return root


def workspace(store: Path, recipe: ToyRecipe, workers: int = 1) -> Workspace:
    return Workspace(recipe, Store(store), GRAPH, LocalEngine(workers))
