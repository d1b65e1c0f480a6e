"""`practice_problems`: problems with checkable answers, to train on and to evaluate with.

The splits share no question, no wording and nothing that problems are made of.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Stage, Step
from llm_assets.artifacts.external import files_version
from llm_assets.artifacts.progress import Progress
from llm_assets.artifacts.tables import read_table, scan_table
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.dialogue.splits import HELD_OUT, SPLITS, TRAIN, Split, strictest
from llm_assets.dialogue.wordings import asks_replaceably
from llm_assets.evaluation.problem_sets import family_names, family_versions
from llm_assets.evaluation.problems import Chain, Family, Material, Problem, ProblemError, WordProblem, find_family
from llm_assets.evaluation.quantities import numbers
from llm_assets.evaluation.words import corpus_words
from llm_assets.finetuning.schemas import WORDING_COLUMNS
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.reinforcement import PracticeProblems
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.settings import load_settings

from .schemas import ProblemRejects, Problems

TRIES = 200  # draws for one problem of the wanted split
# A wording in which another word names what the entity is ("the town of Holt") does not take a noun phrase instead of
# the name, and neither does a sentence to complete.


class PracticeProblemsConfig(Frozen):
    """Which problems are made, and the pages whose words and facts they are made from."""

    problems: PracticeProblems
    pages: TrainingPages


def chains(topics: Sequence[Mapping[str, Any]]) -> list[Chain]:
    """Pairs of facts in which the answer of the first is the entity of the second.

    topics: rows of the table `topics` of `knowledge_boundary`.
    """
    by_entity: dict[str, list[Mapping[str, Any]]] = {}
    answers: dict[str, dict[str, None]] = {}
    for topic in topics:
        by_entity.setdefault(topic["entity"], []).append(topic)
        answers.setdefault(topic["relation"], {})[topic["answer"]] = None
    linked = []
    for first in topics:
        for second in by_entity.get(first["answer"], []):
            wordings = {split: _replaceable_wordings(second, column) for split, column in WORDING_COLUMNS.items()}
            if wordings[TRAIN] and first["entity"] != second["entity"]:
                distractors = tuple(answer for answer in answers[second["relation"]] if answer != second["answer"])
                linked.append(
                    Chain(
                        entity=first["entity"],
                        relation=first["relation"],
                        middle=first["answer"],
                        second=wordings,
                        answer=second["answer"],
                        distractors=distractors,
                        known=first["verdict"] == "known" and second["verdict"] == "known",
                        split=strictest(topic["split"] for topic in (first, second)),
                    )
                )
    return linked


def _replaceable_wordings(topic: Mapping[str, Any], column: str) -> tuple[str, ...]:
    """The questions of a column that stay natural if a noun phrase takes the place of the topic's entity."""
    return tuple(text for text in json.loads(topic[column]) if asks_replaceably(text, topic["entity"]))


def read_word_problems(path: Path) -> tuple[list[WordProblem], list[dict[str, Any]]]:
    """The word problems of a file, and the rows that are not valid, with their lines and reasons."""
    problems, rejects = [], []
    for row in read_conversations(path):
        if row.problem:
            rejects.append({"line": row.line, "reason": row.problem})
            continue
        question, solution = row.messages[0].content, row.messages[-1].content
        steps, mark, answer = solution.rpartition("####")
        if not mark or len(numbers(answer)) != 1:
            rejects.append({"line": row.line, "reason": "no number after ####"})
        else:
            step_count = sum(1 for line in steps.splitlines() if line.strip())
            problems.append(WordProblem(question, str(numbers(answer)[0]), step_count))
    return problems, rejects


def draw(family: Family, level: int, material: Material, rng: random.Random, seen: set[str]) -> Problem | None:
    """A problem of the material's split that is not among the `seen` questions, to which it is added.

    None if none is found.
    """
    for _ in range(TRIES):
        problem = family.make(rng, level, material)
        if problem is None:
            return None
        if problem.question not in seen and problem.its_split == material.split:
            seen.add(problem.question)
            return problem
    return None


def read_material(step: Step, config: PracticeProblemsConfig, word_problems: Sequence[WordProblem]) -> Material:
    """Words and facts of the training pages, and the word problems."""
    topics = read_table(step.input("knowledge_boundary").table("topics"))
    pages = CorpusPages(step.inputs, TRAINING_PAGES, config.pages)
    facts = trainable(topics, config.pages).to_dicts()
    return Material(corpus_words(pages.texts()), chains(facts), word_problems)


def trainable(topics: pl.DataFrame, pages: TrainingPages) -> pl.DataFrame:
    """Topics without those that only search-only pages state.

    Topics of the sample web say so themselves; for others the page that states the fact decides.
    """
    host = pl.col("url").str.extract(r"^[a-z]+://([^/:]+)").fill_null("")
    return topics.filter(pl.col("reach") != "held_out").with_columns(host=host).filter(pages.is_kept()).drop("host")


def usable_families(
    settings: PracticeProblems, material: Material
) -> tuple[dict[str, Family], dict[str, tuple[int, ...]]]:
    """The families that the material suffices for, and the levels of each that are trained on.

    Raises ProblemError if there is no such family, or for a level that a family does not have.
    """
    families = {name: find_family(name) for name in family_names(settings)}
    usable = {name: family for name, family in families.items() if not family.needs or getattr(material, family.needs)}
    if not usable:
        raise ProblemError(f"practice_problems: the corpus has no material for any of {', '.join(families)}")
    levels = {name: settings.levels.get(name) or tuple(range(len(family.levels))) for name, family in usable.items()}
    for name, family_levels in levels.items():
        highest = len(usable[name].levels) - 1
        if not set(family_levels) <= set(range(highest + 1)):
            configured = ", ".join(map(str, family_levels))
            raise ProblemError(f"practice_problems.levels: family {name} has levels 0 to {highest}, not {configured}")
    return usable, levels


@dataclass
class ProblemSet:
    """Problems of the usable families, drawn one by one.

    materials: by split, what its problems are made from. A family that draws an answer first then has all answers
    equally often in each split. rows: rows of the table Problems.
    """

    families: Mapping[str, Family]
    materials: Mapping[Split, Material]
    rows: list[dict[str, Any]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def add(self, split: Split, name: str, level: int, rng: random.Random) -> bool:
        """Draw a problem and add it; False if none was found."""
        family = self.families[name]
        problem = draw(family, level, self.materials[split], rng, self.seen)
        if problem is None:
            return False
        self.rows.append(
            {
                "problem": len(self.rows),
                "split": split,
                "family": name,
                "level": level,
                "question": problem.question,
                "answer": problem.answer,
                "distractors": json.dumps(list(problem.distractors)),
                "key": problem.key,
                "tools": ",".join(family.tools),
            }
        )
        return True


def make_problems(
    progress: Progress, settings: PracticeProblems, material: Material
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the table Problems, and the statistics that are recorded. Raises ProblemError."""
    usable, levels = usable_families(settings, material)
    problems = ProblemSet(usable, {split: material.restricted(split) for split in SPLITS})
    progress.start(settings.count, "problems")
    for name, family in usable.items():
        for split, level in product(HELD_OUT, range(len(family.levels))):
            rng = random.Random(f"{split}-{settings.seed}-{name}-{level}")
            for _ in range(settings.held_out):
                problems.add(split, name, level, rng)
    rng = random.Random(f"practice-{settings.seed}")
    weights = [settings.families.get(name, 1.0) for name in usable]
    shortfall: Counter[str] = Counter()
    for number in range(settings.count):
        name = rng.choices(list(usable), weights)[0]
        level = rng.choice(levels[name])
        if not problems.add(TRAIN, name, level, rng):
            shortfall[name] += 1
        progress.advance(number)
    counts = Counter((row["split"], row["family"]) for row in problems.rows)
    stats = {
        **{split: sum(row["split"] == split for row in problems.rows) for split in SPLITS},
        "families": {name: {split: counts[split, name] for split in SPLITS} for name in usable},
        "levels": {name: _numbered(family.levels) for name, family in usable.items()},
        "left_out": {name: 1 for name in sorted(set(family_names(settings)) - set(usable))},
        "shortfall": dict(sorted(shortfall.items())),
    }
    if not stats["train"]:
        raise ProblemError("practice_problems: there is no problem to train on; raise count, or add families")
    return problems.rows, stats


def _numbered(texts: Sequence[str]) -> dict[str, str]:
    return {str(number): text for number, text in enumerate(texts)}


def build_practice_problems(step: Step, config: PracticeProblemsConfig) -> None:
    """One task: the problems, and the rejected rows of the file of word problems."""
    file = config.problems.word_problems
    word_problems, rejects = read_word_problems(Path(file.path).expanduser()) if file else ([], [])
    material = read_material(step, config, word_problems)
    rows, stats = make_problems(step.progress, config.problems, material)
    with step.task("problems") as task:
        task.table("problems", Problems).frame(pl.DataFrame(rows))
        if rejects:
            task.table("rejects", ProblemRejects).frame(pl.DataFrame(rejects))
        task.stats.update(stats, rejects=len(rejects))


def splits_share_nothing(artifact: Artifact, inputs: Inputs, config: PracticeProblemsConfig) -> CheckOutcome:
    """Whether no question and no key is in two splits. Two hops may pass through an entity of the training split."""
    frame = read_table(artifact.table("problems"))
    shared = {
        column: frame.group_by(column, maintain_order=True).agg(pl.col("split").n_unique()).filter(pl.col("split") > 1)
        for column in ("key", "question")
    }
    counts = {split: frame.filter(pl.col("split") == split).height for split in SPLITS}
    numbers = {**counts, **{f"shared_{column}s": len(rows) for column, rows in shared.items()}}
    of_splits = f"{counts['train']:,} problems to train on, {counts['development']:,} of development and "
    passed = not numbers["shared_keys"] and not numbers["shared_questions"]
    sharing = "nothing" if passed else f"{len(shared['key']):,} keys and {len(shared['question']):,} questions"
    summary = f"{of_splits}{counts['test']:,} of the test share {sharing}"
    failures = [row for column, rows in shared.items() for row in rows.select(column).head(10).to_dicts()]
    return CheckOutcome(passed, summary, failures, numbers)


def show(artifact: Artifact, shown: int = 2) -> dict[str, str]:
    """The number of problems by family, and problems of each level, in Markdown."""
    families = artifact.record.stats["families"].items()
    lines = ["| family | to train on | development | test |", "|---|--:|--:|--:|"]
    for name, counts in families:
        lines.append(f"| {name} | {' | '.join(f'{counts[split]:,}' for split in SPLITS)} |")
    frame = scan_table(artifact.table("problems"))
    for row in frame.group_by("family", "level", maintain_order=True).head(shown).collect().iter_rows(named=True):
        lines.append(f"\n**{row['family']} {row['level']}** {row['question']} → {row['answer']}")
    return {"summary": "\n".join(lines)}


def _external_inputs(config: PracticeProblemsConfig) -> Mapping[str, str]:
    file = config.problems.word_problems
    files = {"word_problems": Path(file.path).expanduser()} if file else {}
    versions = files_version(files, load_settings().digest_cache, ProblemError, "practice_problems.word_problems")
    return {**versions, **family_versions(family_names(config.problems))}


PRACTICE_PROBLEMS = Stage(
    name="practice_problems",
    group="reinforcement",
    description="Problems with checkable answers, to train on, for development and for the test: arithmetic, letter "
    "counting, spelling, two hops over facts of the corpus, and word problems of a file.",
    kinds=("parquet",),
    build=build_practice_problems,
    config=lambda recipe, crawl: PracticeProblemsConfig(
        problems=recipe.practice_problems, pages=recipe.training_pages()
    ),
    code_version="9",
    inputs=("knowledge_boundary", "clean_corpus", TRAINING_PAGES),
    optional_inputs=("clean_corpus", TRAINING_PAGES),
    external_inputs=_external_inputs,
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"problems": Problems},
    optional_tables={"rejects": ProblemRejects},
    main_table="problems",
    checks=(
        Check(
            "no_shared_problems",
            "No problem, and nothing that problems are made of, is in two splits.",
            splits_share_nothing,
            blocking=True,
        ),
    ),
    show=show,
    libraries=("polars", "pyarrow"),
)
