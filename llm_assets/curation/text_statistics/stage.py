"""`text_statistics`: every number that a quality rule tests, as a column, computed once; and C4's edited text.

The verdict (`quality_filtered_text`) is an expression over these columns, so another threshold recomputes none of them.
Sources of the definitions: Gopher, arXiv:2112.11446, section A1.1 and table A1; C4, arXiv:1910.10683, section 2.2;
FineWeb, arXiv:2406.17557, section 3.4. Where a paper leaves something open (what is a word, which line is blank), the
pipelines that made the published data decide.

Each family of rules has a module with its columns, the definitions it reads and its compiled code. All families read
one token buffer (`page_tokens`). To add a statistic, add a field to its family's model and fill it in that module.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandera.polars as pa
import polars as pl

from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import batches, polars_schema
from llm_assets.compiled import compiled
from llm_assets.recipes import TextStatistics

from ..characters import encode, kinds_table
from ..jieba_words import NO_WORDS, chinese_words
from ..quality_classifier import QUALITY_CLASSIFIER, load_classifier
from ..text_buffers import texts_from, utf8_buffers
from ..word_splitting import JIEBA, WORD_RULES
from .c4 import C4, C4Rules, measure_c4, new_edit_buffers
from .fineweb import FineWeb, FineWebRules, measure_fineweb
from .gopher_quality import GopherQuality, GopherQualityRules, measure_gopher_quality
from .gopher_repetition import GopherRepetition, measure_gopher_repetition, new_ngram_buffers
from .page_tokens import new_buffers, read_page
from .repeats import MAX_COUNTED, new_table

# The families of statistics, in the order of their columns.
FAMILIES = (GopherQuality, GopherRepetition, C4, FineWeb)
STATISTICS = tuple(column for family in FAMILIES for column in polars_schema(family))
# Where the columns of each family end.
_QUALITY_END, _REPETITION_END, _C4_END, _FINEWEB_END = np.cumsum([len(polars_schema(f)) for f in FAMILIES]).tolist()


class _PageKey(pa.DataFrameModel):
    """Which page a row belongs to."""

    doc_id: str = pa.Field(str_matches=r"^[0-9a-f]{24}$")
    warc_offset: pl.Int64 = pa.Field(ge=0)


# pandera collects the columns of the last base first.
class TextStatistic(FineWeb, C4, GopherRepetition, GopherQuality, _PageKey):
    """What the quality rules test: one row per page of `language_filtered_text`, in its order.

    `edited_text` is null where C4's edit changes nothing; `quality_score` where the recipe has no classifier.
    """

    quality_score: float = pa.Field(nullable=True, ge=0, le=1)
    edited_text: str = pa.Field(nullable=True)


def compute_statistics(texts: pl.Series, definition: TextStatistics) -> tuple[np.ndarray, pl.Series]:
    """Statistics (float64, (n, columns), in the order of STATISTICS) and edited texts of `n` texts."""
    data, offsets = utf8_buffers(texts)
    longest = int(np.diff(offsets).max(initial=0)) + 2
    statistics = np.zeros((len(texts), len(STATISTICS)))
    edited, edited_offsets = np.zeros(max(len(data), 1), np.uint8), np.zeros(len(texts) + 1, np.int64)
    word_rules = WORD_RULES[definition.word_splitting]
    _measure_pages(
        data,
        offsets,
        kinds_table(),
        word_rules,
        chinese_words(texts) if word_rules == JIEBA else NO_WORDS,
        GopherQualityRules.of(definition),
        C4Rules.of(definition, word_rules),
        FineWebRules.of(definition, word_rules),
        longest,
        statistics,
        edited,
        edited_offsets,
    )
    return statistics, texts_from(edited[: edited_offsets[-1]], edited_offsets)


# A kernel takes its arrays one by one: numba compiles it for their types.
@compiled
def _measure_pages(  # type: ignore[no-untyped-def]
    data,
    offsets,
    table,
    word_rules,
    given,
    quality_rules,
    c4_rules,
    fineweb_rules,
    longest,
    statistics,
    edited,
    edited_offsets,
):
    """Fill `statistics`, and `edited` with the edited texts' UTF-8 between `edited_offsets`."""
    buffers = new_buffers(longest)
    edit_buffers = new_edit_buffers(longest, buffers.pending)
    counted = min(longest, MAX_COUNTED)
    ngrams, seen = new_ngram_buffers(counted), new_table(counted)
    written = 0
    for number in range(len(offsets) - 1):
        row = statistics[number]
        page = read_page(data, offsets, number, table, word_rules, given, buffers)
        measure_gopher_quality(page, quality_rules, row[:_QUALITY_END])
        measure_gopher_repetition(page, ngrams, buffers.spans, seen, row[_QUALITY_END:_REPETITION_END])
        edited_page = measure_c4(page, c4_rules, edit_buffers, row[_REPETITION_END:_C4_END])
        # Last, as it overwrites the page's hashes and words.
        measure_fineweb(edited_page, fineweb_rules, buffers, seen, row[_C4_END:_FINEWEB_END])
        written = encode(edited_page.text, edited_page.characters, edited, written)
        edited_offsets[number + 1] = written


def statistics_task(staging: Path, name: str, texts: Path, definition: TextStatistics, classifier: Path | None) -> None:
    """Worker: the statistics of one WARC file's pages, in file order."""
    scorer = load_classifier(classifier) if classifier else None
    with Task(staging, name) as task:
        table = task.table("statistics", TextStatistic)
        pages = 0
        for frame in batches(texts, ["doc_id", "warc_offset", "text"]):
            statistics, edited = compute_statistics(frame["text"], definition)
            score = scorer.score(frame["text"]) if scorer else pl.Series([None] * len(frame), dtype=pl.Float64)
            # Most pages lose no line: null means "as extracted".
            changed = pl.select(pl.when(edited != frame["text"]).then(edited)).to_series()
            columns = {
                "doc_id": frame["doc_id"],
                "warc_offset": frame["warc_offset"],
                **{column: statistics[:, position] for position, column in enumerate(STATISTICS)},
                "quality_score": score,
                "edited_text": changed,
            }
            table.frame(pl.DataFrame(columns))
            pages += len(frame)
        task.stats["pages"] = pages


def build_text_statistics(step: Step, config: TextStatistics) -> None:
    """One task per WARC file, over the engine's workers."""
    compute_statistics(pl.Series(["compiled once, here, and not by every worker"]), config)
    models = step.input("quality_classifier").table("weights")
    texts = step.task_files("language_filtered_text", "text")
    tasks = {name: (path, config, models[0] if models else None) for name, path in texts.items()}
    step.run_tasks(statistics_task, tasks, "WARC files")


TEXT_STATISTICS = Stage(
    name="text_statistics",
    group="curation",
    description="Every number that a quality rule tests, computed once, and the text as C4 edits it.",
    kinds=("numba", "parquet"),
    build=build_text_statistics,
    code_version="1",
    config=lambda recipe, _: recipe.text_statistics,
    per_crawl=True,
    inputs=("language_filtered_text", QUALITY_CLASSIFIER.name),
    tables={"statistics": TextStatistic},
    main_table="statistics",
    libraries=("numba", "polars", "rjieba"),
)
