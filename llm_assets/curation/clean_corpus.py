"""`clean_corpus`: the text that models may see, with personal data replaced."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import batches, polars_schema
from llm_assets.recipes import PersonalData

from .corpus_checks import MEDIAN_LENGTH, NO_PERSONAL_DATA, TARGET_LANGUAGE_SHARE
from .personal_data import KINDS, scrub
from .quality import format_number
from .rejects import DOCUMENT, Tally
from .schemas import CleanCorpus, Rejects

RULE = "personal_data_density"


def scrub_task(staging: Path, name: str, texts: Path, rules: PersonalData) -> None:
    """Worker: scrub the pages of one WARC file, in file order."""
    columns = list(polars_schema(CleanCorpus))
    with Task(staging, name) as task:
        texts_table, rejects = task.table("text", CleanCorpus), task.table("rejects", Rejects)
        tally, counts, replaced = Tally(), {"scrubbed": 0, "text_bytes": 0}, dict.fromkeys(KINDS, 0)
        for frame in batches(texts):
            text, matches = scrub(frame["text"], rules.types, rules.placeholders, rules.phone_region)
            title, _ = scrub(frame["title"], rules.types, rules.placeholders, rules.phone_region)
            pages = pl.concat([frame, matches], how="horizontal").with_columns(
                matches=pl.sum_horizontal(KINDS),
                rule=pl.lit(RULE),
                density=pl.sum_horizontal(KINDS) * 1000 / pl.col("text").str.len_chars().clip(1),
            )
            dense = (pl.col("matches") >= rules.min_matches) & (pl.col("density") > rules.max_density)
            passed, failed = pages.with_columns(text=text, title=title).filter(~dense), pages.filter(dense)
            texts_table.frame(passed.select(columns))
            rejects.frame(
                failed.select(
                    *DOCUMENT,
                    "rule",
                    stage=pl.lit("clean_corpus"),
                    value=pl.col("density").map_elements(format_number, return_dtype=pl.String),
                    threshold=pl.lit(format_number(rules.max_density)),
                )
            )
            tally.add(passed, failed)
            counts["scrubbed"] += int((passed["matches"] > 0).sum())
            counts["text_bytes"] += int(passed["text"].str.len_bytes().sum())
            for kind in KINDS:
                replaced[kind] += int(passed[kind].sum())
        task.stats.update(tally.stats(), **counts, personal_data=replaced)


def build_clean_corpus(step: Step, config: PersonalData) -> None:
    """One task per WARC file, over the engine's workers."""
    warm_up = pl.Series(["compiled once, here, and not by every worker: 0"])
    scrub(warm_up, config.types, config.placeholders, config.phone_region)
    texts = step.task_files("deduplicated_text", "text")
    step.run_tasks(scrub_task, {name: (path, config) for name, path in texts.items()}, "WARC files")


CLEAN_CORPUS = Stage(
    name="clean_corpus",
    group="curation",
    description="The text that models may see, with personal data replaced by typed placeholders.",
    kinds=("parquet",),
    build=build_clean_corpus,
    code_version="4",
    config=lambda recipe, _: recipe.personal_data,
    per_crawl=True,
    inputs=("deduplicated_text",),
    tables={"text": CleanCorpus, "rejects": Rejects},
    main_table="text",
    checks=(NO_PERSONAL_DATA, TARGET_LANGUAGE_SHARE, MEDIAN_LENGTH),
    libraries=("phonenumbers", "python-stdnum", "polars", "regex", "tldextract"),
)
