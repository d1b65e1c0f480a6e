"""`knowledge_boundary`: what the base model knows and does not, found by asking it.

Questions are the crawl's own (the sample web comes with them), or an endpoint's on articles of the corpus. Each is
asked several times in several wordings; the share of right answers makes a topic known, unsure or unknown. Beside them
are names of fictitious entities: made of pieces of real names, and found on no page.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import islice
from typing import Any

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Retry, Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.compute.launch import run_job
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.splits import stable_share
from llm_assets.evaluation.grading import grade
from llm_assets.recipes import KnowledgeBoundary
from llm_assets.tools import SearchIndex
from llm_assets.tools.search import INDEX, TRAINING_SEARCH

from .endpoint import JUDGE_PROMPT, QUESTIONS_PROMPT, ChatEndpoint, EndpointUnavailable, parse_questions, parse_verdict
from .jobs import FewShotPrompt, InterrogationJob
from .names import recombine
from .questions import read_questions, to_topics
from .schemas import FictitiousEntities, Interrogations, QuestionRejects, Topics

MODULE = "llm_assets.finetuning.knowledge_boundary_process"
KEPT_NAMES = 0.2  # share of the names of fictitious entities that only evaluation uses, at most KEPT_MOST of a kind
KEPT_MOST = 200


def own_questions(inputs: Inputs, settings: KnowledgeBoundary) -> pl.DataFrame:
    """Topics of the crawls' own questions: all of them, or as many as are asked, drawn by seed; one row a topic."""
    crawls = inputs.by_crawl("raw_warc").values()
    frame = read_questions(path for crawl in crawls for path in crawl.table("truth_questions"))
    reach = {
        (row["entity"], row["relation"]): row["reach"]
        for row in frame.select("entity", "relation", "reach").unique().to_dicts()
    }
    rows = [
        {
            "entity": topic.entity,
            "kind": topic.kind,
            "relation": topic.relation,
            "reach": reach[topic.entity, topic.relation],
            "answer": topic.answer,
            "sentence": topic.sentence,
            "questions": json.dumps(topic.questions),
            "kept_questions": json.dumps(kept),
            "url": "",
        }
        for topic, kept in to_topics(frame)
    ]
    count = min(settings.topics, len(rows))
    drawn = sorted(random.Random(f"topics-{settings.seed}").sample(range(len(rows)), count))
    return pl.DataFrame([rows[place] for place in drawn], schema=_BARE)


_ENTITY = ("entity", "kind", "relation", "answer", "sentence")
_BARE = {
    name: pl.String
    for name in ("entity", "kind", "relation", "reach", "answer", "sentence", "questions", "kept_questions", "url")
}
_REJECTS = {"url": pl.String, "reason": pl.String}


def drawn_articles(inputs: Inputs, settings: KnowledgeBoundary) -> pl.DataFrame:
    """Pages of the corpus, drawn by hash."""
    pages = CorpusPages(inputs, TRAINING_PAGES).scan(["doc_id", "url", "text"])
    ids = pages.select("doc_id").collect()["doc_id"].to_list()
    chosen = sorted(ids, key=lambda one: (stable_share(str(settings.seed), one), one))[: settings.articles]
    return pages.filter(pl.col("doc_id").is_in(chosen)).collect().sort("doc_id")


def written_questions(
    step: Step, settings: KnowledgeBoundary, endpoint: ChatEndpoint
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Topics that an endpoint finds in articles of the corpus, and what it wrote that is left out.

    The last wording of a topic that has several is kept for evaluation.
    """
    articles = drawn_articles(step.inputs, settings)
    shown = [text[: settings.article_characters] for text in articles["text"]]
    step.progress.start(len(shown), "articles")
    asked = [QUESTIONS_PROMPT.format(count=settings.questions_per_article, article=text) for text in shown]
    answers = endpoint.ask_all(asked, lambda done: step.progress.advance(done))
    rows, rejects = [], []
    for url, text, answer in zip(articles["url"], shown, answers, strict=True):
        found, problems = parse_questions(answer, text)
        rejects += [{"url": url, "reason": problem} for problem in problems]
        for one in found:
            wordings = one["questions"]
            kept = wordings[-1:] if len(wordings) > 1 else []
            asked_for = {
                "reach": "",
                "questions": json.dumps(wordings[: len(wordings) - len(kept)]),
                "kept_questions": json.dumps(kept),
                "url": url,
            }
            rows.append({**{name: one[name] for name in _ENTITY}, **asked_for})
    topics = pl.DataFrame(rows, schema=_BARE).unique(
        ["entity", "relation", "answer"], keep="first", maintain_order=True
    )
    return topics.head(settings.topics), pl.DataFrame(rejects, schema=_REJECTS)


def prompts(topics: pl.DataFrame, settings: KnowledgeBoundary) -> list[dict[str, Any]]:
    """For each topic so many of its wordings, each after examples of other topics, as pages have them."""
    rows = topics.to_dicts()
    out = []
    for number, row in enumerate(rows):
        rng = random.Random(f"examples-{settings.seed}-{number}")
        wordings = json.loads(row["questions"])
        others = [
            rows[place]
            for place in rng.sample(range(len(rows)), min(len(rows), settings.examples + 4))
            if rows[place]["entity"] != row["entity"]
        ]
        for question in wordings[: settings.wordings]:
            examples = [
                f"Question: {json.loads(other['questions'])[0]}\nAnswer: {other['sentence']}"
                for other in others[: settings.examples]
            ]
            out.append(
                {"topic": number, "asked": question, "question": f"Question: {question}\nAnswer:", "examples": examples}
            )
    return out


def make_names(topics: pl.DataFrame, index: SearchIndex, settings: KnowledgeBoundary) -> pl.DataFrame:
    """Names by kind that the corpus does not have. Those kept apart share no made-up word with the others."""
    rows = []
    everything = topics["entity"].unique().sort().to_list()
    for (kind,), group in topics.group_by("kind", maintain_order=True):
        names = group["entity"].unique().sort().to_list()
        words = {word for name in everything for word in name.split()}
        made: list[str] = []
        for name in islice(
            recombine(
                names,
                random.Random(f"nowhere-{settings.seed}-{kind}"),
                set(everything),
                words if any(name.count(" ") < 2 for name in names) else (),
                everything,
            ),
            2 * settings.fictitious,
        ):
            fresh = [word for word in name.split() if word not in words]
            if not index.search(f"{name}", 1) and not any(index.search(word, 1) for word in fresh):
                made.append(name)
            if len(made) == settings.fictitious:
                break
        kept = made[: min(round(KEPT_NAMES * len(made)), KEPT_MOST)]
        apart = {word for name in kept for word in name.split() if word not in words}
        rows += [{"kind": kind, "name": name, "kept_apart": True} for name in kept]
        rows += [
            {"kind": kind, "name": name, "kept_apart": False}
            for name in made[len(kept) :]
            if not apart & set(name.split())
        ]
    return pl.DataFrame(rows, schema={"kind": pl.String, "name": pl.String, "kept_apart": pl.Boolean})


def find_topics(step: Step, settings: KnowledgeBoundary, endpoint: ChatEndpoint | None) -> pl.DataFrame:
    """The topics to ask for; a part of its own, so that what an endpoint wrote is kept."""
    if step.finished("questions") is None:
        with step.task("questions") as task:
            if endpoint:
                topics, rejects = written_questions(step, settings, endpoint)
            else:
                topics, rejects = own_questions(step.inputs, settings), pl.DataFrame(schema=_REJECTS)
            topics.write_parquet(task.add_scratch("questions.parquet"))
            if len(rejects):
                task.table("question_rejects", QuestionRejects).frame(rejects)
    return pl.read_parquet(step.staging / "questions.parquet")


def sampled_answers(step: Step, settings: KnowledgeBoundary, asked: list[dict[str, Any]]) -> list[list[str]]:
    """The base model's answers to each prompt, sampled in a process of its own."""
    if not asked:
        return []
    folder = step.staging / "interrogation"
    if not (folder / "answers.json").exists():

        def hear(event: dict[str, Any]) -> None:
            if event["done"] == 0:
                step.progress.start(event["of"], "questions")
            step.progress.advance(event["done"])

        job = InterrogationJob(
            checkpoint=str(step.input("base_checkpoint").path),
            device=settings.device,
            samples=settings.samples,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            seed=settings.seed,
            prompts=tuple(FewShotPrompt(one["question"], tuple(one["examples"])) for one in asked),
        )
        run_job(MODULE, job, folder, hear, launcher=step.launcher)
    return list(json.loads((folder / "answers.json").read_text()))


def with_pages(topics: pl.DataFrame, index: SearchIndex, settings: KnowledgeBoundary) -> pl.DataFrame:
    """Topics with a page that tells of each, and whether they are kept apart for evaluation."""
    urls = [
        row["url"] or next((passage.url for passage in index.search(f"{row['entity']} {row['answer']}", 1)), "")
        for row in topics.iter_rows(named=True)
    ]
    # What stands on no page of the base model's training is asked for with the search tool and not otherwise.
    kept = [
        reach == "held_out" or stable_share("kept", str(settings.seed), entity) < settings.kept_share
        for entity, reach in topics.select("entity", "reach").iter_rows()
    ]
    return topics.with_columns(pl.Series("url", urls, pl.String), pl.Series("kept_apart", kept, pl.Boolean))


def build_knowledge_boundary(step: Step, settings: KnowledgeBoundary) -> None:
    """Two parts: the topics, and what the base model answers about them."""
    endpoint = ChatEndpoint(settings.endpoint) if settings.endpoint else None
    topics = find_topics(step, settings, endpoint)
    asked = prompts(topics, settings)
    graded = grade_answers(topics, asked, sampled_answers(step, settings, asked), endpoint)
    index = SearchIndex(step.input(TRAINING_SEARCH).file(INDEX))
    with step.task("boundary") as task:
        verdicts = classify(graded, settings)
        numbered = topics.with_row_index("topic").with_columns(pl.col("topic").cast(pl.Int64))
        found = with_pages(numbered.join(verdicts, on="topic", how="left", maintain_order="left"), index, settings)
        names = make_names(found, index, settings)
        task.table("topics", Topics).frame(found)
        task.table("interrogations", Interrogations).frame(graded)
        task.table("fictitious", FictitiousEntities).frame(names)
        counts = dict(sorted(Counter(found["verdict"]).items()))
        task.stats.update(topics=len(found), asked=len(graded), fictitious=len(names), verdicts=counts)
        if found["reach"].str.len_chars().max():
            known = found.group_by("reach").agg((pl.col("verdict") == "known").mean()).sort("reach")
            task.stats["known_share"] = {reach: round(share, 4) for reach, share in known.iter_rows()}


def grade_answers(
    topics: pl.DataFrame, asked: list[dict[str, Any]], answers: list[list[str]], endpoint: ChatEndpoint | None
) -> pl.DataFrame:
    """One row a sampled answer.

    It is right if it holds the topic's answer and no other answer to questions of the relation; an endpoint judges
    those that do not hold the answer word for word.
    """
    distractors: dict[str, list[str]] = {}
    for relation, answer in topics.select("relation", "answer").unique(maintain_order=True).iter_rows():
        distractors.setdefault(relation, []).append(answer)
    rows = []
    for one, samples in zip(asked, answers, strict=True):
        topic = topics.row(one["topic"], named=True)
        for number, answer in enumerate(samples):
            # An endpoint's relations are too loose for other values to speak against an answer.
            found = grade(answer, topic["answer"], () if endpoint else distractors[topic["relation"]])
            rows.append(
                {
                    "topic": one["topic"],
                    "question": one["asked"],
                    "sample": number,
                    "answer": answer,
                    "grade": found,
                    "judge": "text",
                }
            )
    if endpoint:
        open_ones = [row for row in rows if row["grade"] == "wrong" and row["answer"]]
        judged = endpoint.ask_all(
            [
                JUDGE_PROMPT.format(
                    question=row["question"],
                    reference=topics.row(row["topic"], named=True)["answer"],
                    answer=row["answer"],
                )
                for row in open_ones
            ]
        )
        for row, verdict in zip(open_ones, judged, strict=True):
            row.update(grade=parse_verdict(verdict), judge="endpoint")
    return pl.DataFrame(
        rows,
        schema={
            "topic": pl.Int64,
            "question": pl.String,
            "sample": pl.Int64,
            "answer": pl.String,
            "grade": pl.String,
            "judge": pl.String,
        },
    )


def classify(graded: pl.DataFrame, settings: KnowledgeBoundary) -> pl.DataFrame:
    """For each topic: how often it was asked, the share of right answers, and the verdict."""
    share = graded.group_by("topic", maintain_order=True).agg(
        asked=pl.len().cast(pl.Int64), right=(pl.col("grade") == "right").mean()
    )
    verdict = (
        pl.when(pl.col("right") >= settings.known)
        .then(pl.lit("known"))
        .when(pl.col("right") <= settings.unknown)
        .then(pl.lit("unknown"))
        .otherwise(pl.lit("unsure"))
    )
    return share.with_columns(verdict=verdict)


def show_boundary(boundary: Artifact, shown: int = 4) -> dict[str, str]:
    """Verdicts in numbers, and topics of each, in Markdown."""
    topics = pl.concat([pl.read_parquet(path) for path in boundary.table("topics")])
    stats = boundary.record.stats
    lines = ["| verdict | topics |", "|---|--:|"]
    lines += [f"| {verdict} | {count:,} |" for verdict, count in stats["verdicts"].items()]
    lines += ["", f"{stats['fictitious']:,} names of fictitious entities", ""]
    lines += ["| asked | answer | right | verdict |", "|---|---|--:|---|"]
    for (verdict,), group in topics.group_by("verdict", maintain_order=True):
        for row in group.head(shown).iter_rows(named=True):
            question = json.loads(row["questions"])[0]
            lines.append(f"| {question} | {row['answer']} | {100 * row['right']:.0f} % | {verdict} |")
    return {"summary": "\n".join(lines)}


KNOWLEDGE_BOUNDARY = Stage(
    name="knowledge_boundary",
    group="finetuning",
    description="What the base model knows and does not: questions on the corpus, its sampled answers, and names of "
    "fictitious entities.",
    kinds=("pytorch", "parquet"),
    build=build_knowledge_boundary,
    config=lambda recipe, crawl: recipe.knowledge_boundary,
    code_version="1",
    inputs=("base_checkpoint", TRAINING_SEARCH, "clean_corpus", TRAINING_PAGES, "raw_warc"),
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"topics": Topics, "interrogations": Interrogations, "fictitious": FictitiousEntities},
    optional_tables={"question_rejects": QuestionRejects},
    main_table="topics",
    show=show_boundary,
    libraries=("torch", "numpy", "polars"),
    pool="gpu",
    retry=Retry(on=(EndpointUnavailable,)),
)
