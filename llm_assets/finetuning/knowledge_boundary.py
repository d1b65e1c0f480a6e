"""`knowledge_boundary`: what the base model knows and what it does not, found by asking it.

The questions come with the crawl (those of the sample web do), or an endpoint writes them about articles of the corpus.
Each topic is asked several times in several wordings; the share of right answers makes it known, unsure or unknown. The
artifact also has names of fictitious entities, which are made of pieces of real names and occur on no page.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice

import polars as pl

from llm_assets.artifacts.stage import Retry, Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table, write_table
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.dialogue.splits import held_out_split_of, split_of
from llm_assets.evaluation.endpoint import ChatEndpoint
from llm_assets.json_requests import EndpointUnavailable
from llm_assets.recipes import KnowledgeBoundary
from llm_assets.tools import SearchIndex
from llm_assets.tools.search import TRAINING_SEARCH, index_path

from .interrogation import classify, grade_answers, sampled_answers, topic_prompts
from .names import recombine
from .schemas import FictitiousEntities, Interrogations, QuestionRejects, Topics
from .topics import REJECT_SCHEMA, crawl_topics, endpoint_topics


def fictitious_names(topics: pl.DataFrame, index: SearchIndex, settings: KnowledgeBoundary) -> pl.DataFrame:
    """Names (kind, name, split) that the corpus does not contain. Names of two splits share no made-up word."""
    all_names = topics["entity"].unique().sort().to_list()
    corpus_words = {word for name in all_names for word in name.split()}
    rows: list[dict[str, str]] = []
    for (kind,), group in topics.group_by("kind", maintain_order=True):
        names = group["entity"].unique().sort().to_list()
        rng = random.Random(f"nowhere-{settings.seed}-{kind}")
        # Where every name of a kind has three words or more, such as titles, recombined words may be real words.
        words_taken = corpus_words if any(name.count(" ") < 2 for name in names) else ()
        candidates = recombine(names, rng, set(all_names), words_taken, all_names)
        new_names: list[str] = []
        for name in islice(candidates, 2 * settings.fictitious_names):
            made_up = [word for word in name.split() if word not in corpus_words]
            if not index.search(f"{name}", 1) and not any(index.search(word, 1) for word in made_up):
                new_names.append(name)
            if len(new_names) == settings.fictitious_names:
                break
        rows += split_names(str(kind), new_names, corpus_words)
    return pl.DataFrame(rows, schema={"kind": pl.String, "name": pl.String, "split": pl.String})


def split_names(kind: str, names: Sequence[str], corpus_words: Collection[str]) -> list[dict[str, str]]:
    """Rows of FictitiousEntities.

    A name's keys are its made-up words, or the name itself if it is made of known words only. Names whose words belong
    to several splits are left out.
    """
    rows = []
    for name in names:
        made_up = [word for word in name.split() if word not in corpus_words]
        splits = {split_of(key) for key in made_up or [name]}
        if len(splits) == 1:
            rows.append({"kind": kind, "name": name, "split": splits.pop()})
    return rows


def find_topics(step: Step, settings: KnowledgeBoundary, endpoint: ChatEndpoint | None) -> pl.DataFrame:
    """The topics to ask for. A task of its own, so that a resumed build keeps what an endpoint wrote."""
    if step.finished_task("questions") is None:
        with step.task("questions") as task:
            if endpoint:
                topics, rejects = endpoint_topics(step, settings, endpoint)
            else:
                topics, rejects = crawl_topics(step.inputs, settings), pl.DataFrame(schema=REJECT_SCHEMA)
            write_table(topics, task.add_scratch("questions.parquet"))
            if len(rejects):
                task.table("question_rejects", QuestionRejects).frame(rejects)
    return read_table(step.staging / "questions.parquet")


def with_pages(topics: pl.DataFrame, index: SearchIndex) -> pl.DataFrame:
    """Topics with the URL of a page that states each, and the split of their entities."""
    urls = []
    for row in topics.iter_rows(named=True):
        url = row["url"]
        if not url:
            passages = index.search(f"{row['entity']} {row['answer']}", 1)
            url = passages[0].url if passages else ""
        urls.append(url)
    # Facts on no page that the base model was trained on are asked for with the search tool only.
    splits = [
        held_out_split_of(entity) if reach == "held_out" else split_of(entity)
        for entity, reach in topics.select("entity", "reach").iter_rows()
    ]
    return topics.with_columns(pl.Series("url", urls, pl.String), pl.Series("split", splits, pl.String))


def build_knowledge_boundary(step: Step, settings: KnowledgeBoundary) -> None:
    """Two tasks: the topics, and what the base model answers about them."""
    endpoint = ChatEndpoint(settings.endpoint) if settings.endpoint else None
    topics = find_topics(step, settings, endpoint)
    prompts = topic_prompts(topics, settings)
    graded = grade_answers(topics, prompts, sampled_answers(step, settings, prompts), endpoint)
    index = SearchIndex(index_path(step.input(TRAINING_SEARCH)))
    with step.task("boundary") as task:
        numbered = topics.with_row_index("topic").with_columns(pl.col("topic").cast(pl.Int64))
        judged = numbered.join(classify(graded, settings), on="topic", how="left", maintain_order="left")
        boundary = with_pages(judged, index)
        names = fictitious_names(boundary, index, settings)
        task.table("topics", Topics).frame(boundary)
        task.table("interrogations", Interrogations).frame(graded)
        task.table("fictitious_entities", FictitiousEntities).frame(names)
        task.stats.update(
            topics=len(boundary),
            answers=len(graded),
            fictitious_names=len(names),
            verdicts=dict(sorted(Counter(boundary["verdict"]).items())),
        )
        if boundary["reach"].str.len_chars().max():
            known = boundary.group_by("reach").agg((pl.col("verdict") == "known").mean()).sort("reach")
            task.stats["known_share"] = {reach: round(share, 4) for reach, share in known.iter_rows()}


def show_boundary(boundary: Artifact, shown: int = 4) -> dict[str, str]:
    """The number of topics with each verdict, and some topics of each, in Markdown."""
    topics = read_table(boundary.table("topics"))
    stats = boundary.record.stats
    lines = ["| verdict | topics |", "|---|--:|"]
    lines += [f"| {verdict} | {count:,} |" for verdict, count in stats["verdicts"].items()]
    lines += ["", f"{stats['fictitious_names']:,} names of fictitious entities", ""]
    lines += ["| question | answer | right | verdict |", "|---|---|--:|---|"]
    for (verdict,), group in topics.group_by("verdict", maintain_order=True):
        for row in group.head(shown).iter_rows(named=True):
            question = json.loads(row["questions"])[0]
            lines.append(f"| {question} | {row['answer']} | {100 * row['right']:.0f} % | {verdict} |")
    return {"summary": "\n".join(lines)}


KNOWLEDGE_BOUNDARY = Stage(
    name="knowledge_boundary",
    group="finetuning",
    description="What the base model knows and what it does not: questions about the corpus, its sampled answers, and "
    "names of fictitious entities.",
    kinds=("pytorch", "parquet"),
    build=build_knowledge_boundary,
    config=lambda recipe, crawl: recipe.knowledge_boundary,
    code_version="5",
    inputs=("base_checkpoint", TRAINING_SEARCH, "clean_corpus", TRAINING_PAGES, "raw_warc"),
    optional_inputs=("clean_corpus", TRAINING_PAGES, "raw_warc"),
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"topics": Topics, "interrogations": Interrogations, "fictitious_entities": FictitiousEntities},
    optional_tables={"question_rejects": QuestionRejects},
    main_table="topics",
    show=show_boundary,
    libraries=("torch", "numpy", "polars"),
    pool="gpu",
    retry=Retry(on=(EndpointUnavailable,)),
)
