"""A graph of three stages over a folder of text files, to test the store without the web.

letters (per crawl, one task per file) → words (per crawl) → total (over all crawls). `slow` is a number of seconds per
line, so that a test can kill a task. The recipe is a frozen model, as the real one is.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import pandera.polars as pa
import polars as pl
from pydantic import BaseModel, ConfigDict

from llm_assets.artifacts import (
    EXECUTION_ONLY,
    Check,
    CheckOutcome,
    Graph,
    RemoteStore,
    Stage,
    Store,
    Task,
    View,
    Workspace,
)
from llm_assets.artifacts.external import external_digests, external_version
from llm_assets.compute import LocalEngine


class Letters(pa.DataFrameModel):
    name: str
    letters: pl.Int64 = pa.Field(ge=0)
    doc_id: str


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LettersConfig(Frozen):
    folder: Annotated[str, EXECUTION_ONLY]
    upper: bool
    slow: Annotated[float, EXECUTION_ONLY]


class WordsConfig(Frozen):
    factor: int


class TotalConfig(Frozen):
    offset: int


class ToyRecipe(Frozen):
    name: str = "toy"
    folder: Annotated[str, EXECUTION_ONLY]
    upper: bool = False
    leave_out: tuple[str, ...] = ()
    factor: int = 1
    offset: int = 0
    slow: Annotated[float, EXECUTION_ONLY] = 0.0
    crawls: dict[str, str] = {"a": "a"}

    def corpus(self) -> list[str]:
        return sorted(self.crawls)


def letters_task(staging: Path, name: str, path: Path, upper: bool, slow: float) -> None:
    with Task(staging, name) as task:
        table = task.table("letters", Letters)
        text = path.read_text()
        for line in text.splitlines():
            table.append({"name": line.upper() if upper else line, "letters": len(line), "doc_id": f"{name}-{line}"})
            time.sleep(slow)
        task.stats["pages"] = len(text.splitlines())
    log = os.environ.get("TOY_LOG")
    if log:
        with open(log, "a") as stream:
            stream.write(f"letters {name}\n")


def build_letters(step, config: LettersConfig) -> None:
    files = sorted(Path(config.folder).glob("*.txt"))
    step.run_tasks(letters_task, {path.stem: (path, config.upper, config.slow) for path in files})


def build_words(step, config: WordsConfig) -> None:
    frame = pl.read_parquet(step.input("letters").table("letters")).with_columns(pl.col("letters") * config.factor)
    # This table has no names, so a mere change of case upstream leaves its bytes unchanged.
    with step.task("words") as task:
        task.table("letters", Letters).frame(frame.with_columns(name=pl.lit("")).sort("doc_id"))
        task.stats["pages"] = len(frame)


def build_total(step, config: TotalConfig) -> None:
    counts = [pl.read_parquet(words.table("letters"))["letters"].sum() for words in step.inputs.values()]
    with step.task("total") as task:
        row = {"name": "total", "letters": sum(counts) + config.offset, "doc_id": "total"}
        task.table("letters", Letters).append(row)


def total_of(artifact) -> int:
    return int(pl.read_parquet(artifact.table("letters"))["letters"].item())


def draw_total(artifact, inputs, config: TotalConfig) -> str:
    return f"{total_of(artifact)} letters of {', '.join(inputs)}"


def is_positive(artifact, inputs, config: TotalConfig) -> CheckOutcome:
    log = os.environ.get("TOY_CHECKS")
    if log:
        with open(log, "a") as stream:
            stream.write("examined\n")
    total = total_of(artifact)
    return CheckOutcome(total > 0, f"{total} letters", numbers={"letters": total, "crawls": len(inputs)})


def files_of(config: LettersConfig) -> dict[str, str]:
    return {
        "files": external_version(external_digests({path.name: path for path in Path(config.folder).glob("*.txt")}))
    }


LETTERS = Stage(
    name="letters",
    group="toy",
    description="A row per line.",
    build=build_letters,
    code_version="1",
    config=lambda recipe, crawl: LettersConfig(folder=f"{recipe.folder}/{crawl}", upper=recipe.upper, slow=recipe.slow),
    per_crawl=True,
    external_inputs=files_of,
    tables={"letters": Letters},
    main_table="letters",
)
WORDS = Stage(
    name="words",
    group="toy",
    description="The same rows without names, with letters multiplied by a factor.",
    build=build_words,
    code_version="1",
    config=lambda recipe, _: WordsConfig(factor=recipe.factor),
    per_crawl=True,
    inputs=("letters",),
    tables={"letters": Letters},
    main_table="letters",
)
TOTAL = Stage(
    name="total",
    group="toy",
    description="The number of letters of all crawls.",
    build=build_total,
    code_version="1",
    config=lambda recipe, _: TotalConfig(offset=recipe.offset),
    inputs=("words",),
    tables={"letters": Letters},
    checks=(Check("is_positive", "There are letters.", is_positive, blocking=True),),
    views=(View("total.txt", draw_total),),
)
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


def machine(url: str, cache: Path, recipe: ToyRecipe) -> Workspace:
    """The workspace of a machine whose store is at a URL."""
    return Workspace(recipe, RemoteStore(url, cache), GRAPH, LocalEngine(1))
