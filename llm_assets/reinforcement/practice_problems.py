"""`practice_problems`: problems with checkable answers, to train on and to evaluate with.

The two splits share no question and nothing that problems are made of.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Stage, Step
from llm_assets.artifacts.external import external_digests, external_version, files_version
from llm_assets.artifacts.progress import Progress
from llm_assets.artifacts.source import PROJECT, module_file, modules_used_by
from llm_assets.artifacts.tables import read_table, scan_table
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.dialogue.splits import stable_share
from llm_assets.evaluation.quantities import numbers
from llm_assets.evaluation.words import corpus_words
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.reinforcement import PracticeProblems
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.settings import load_settings

from .problems import Chain, Family, Material, Problem, ProblemError, WordProblem, find_family
from .schemas import ProblemRejects, Problems

SPLITS = ("train", "held_out")
HELD_OUT_SHARE = 0.2  # share of keys, by hash, whose problems are held out
TRIES = 200  # draws for one problem of the wanted split
# The random stream of held-out word problems is named after the family's former name, so that they stay the same.
STREAM_NAMES = {"word_problems": "stories"}


class PracticeProblemsConfig(Frozen):
    """Which problems are made, and the pages whose words and facts they are made from."""

    problems: PracticeProblems
    pages: TrainingPages


def family_names(problems: PracticeProblems) -> tuple[str, ...]:
    """The names of the families that the recipe asks for."""
    of_files = ["word_problems"] if problems.word_problems else []
    return tuple(dict.fromkeys([*problems.families, *of_files]))


def family_files(names: Iterable[str]) -> dict[str, Path]:
    """Source files of the user's own families, by module.

    They are those of the modules that declare the families, and of the modules that these import from the same package.
    Raises ProblemError.
    """
    files: dict[str, Path] = {}
    for name in names:
        if ":" not in name:
            continue
        family, declaring_module = find_family(name), name.partition(":")[0]
        if module_file(declaring_module) is None:
            raise ProblemError(
                f"practice_problems: family {name!r}: {declaring_module} has no source file to identify its version by"
            )
        function_modules = {
            function.__module__ for function in (family.make, family.checker) if not isinstance(function, str)
        }
        not_the_users = {PROJECT, *sys.stdlib_module_names}
        own_modules = {module for module in function_modules if module.partition(".")[0] not in not_the_users}
        for own_module in (declaring_module, *own_modules):
            for module in modules_used_by(own_module):
                if (path := module_file(module)) is not None:
                    files[module] = path
    return files


def family_versions(names: Iterable[str]) -> dict[str, str]:
    """External inputs of stages that run the families: the version of those that the user wrote, if there are any."""
    files = family_files(names)
    return {"families": external_version(external_digests(files, load_settings().digest_cache))} if files else {}


def chains(topics: Sequence[Mapping[str, Any]]) -> list[Chain]:
    """Pairs of facts in which the answer of the first is the entity of the second."""
    by_entity: dict[str, list[Mapping[str, Any]]] = {}
    answers: dict[str, dict[str, None]] = {}
    for topic in topics:
        by_entity.setdefault(topic["entity"], []).append(topic)
        answers.setdefault(topic["relation"], {})[topic["answer"]] = None
    linked = []
    for first in topics:
        for second in by_entity.get(first["answer"], []):
            wordings = tuple(text for text in json.loads(second["questions"]) if second["entity"] in text)
            if wordings and first["entity"] != second["entity"]:
                distractors = tuple(answer for answer in answers[second["relation"]] if answer != second["answer"])
                linked.append(
                    Chain(
                        entity=first["entity"],
                        first=tuple(json.loads(first["questions"])),
                        middle=first["answer"],
                        second=wordings,
                        answer=second["answer"],
                        distractors=distractors,
                        known=first["verdict"] == "known" and second["verdict"] == "known",
                    )
                )
    return linked


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


def is_held_out(key: str) -> bool:
    """Whether problems of a key are held out. This holds for all families: a word is held out of each or of none."""
    return stable_share("problem", key) < HELD_OUT_SHARE


def draw(
    family: Family, level: int, material: Material, rng: random.Random, held_out: bool, seen: set[str]
) -> Problem | None:
    """A problem of one split that is not among the `seen` questions, to which it is added; None if none is found."""
    for _ in range(TRIES):
        problem = family.make(rng, level, material)
        if problem is None:
            return None
        if problem.question not in seen and is_held_out(problem.key) == held_out:
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
    """Problems of the usable families, drawn one by one. rows: rows of the table Problems."""

    families: Mapping[str, Family]
    material: Material
    rows: list[dict[str, Any]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def add(self, split: str, name: str, level: int, rng: random.Random) -> bool:
        """Draw a problem and add it; False if none was found."""
        family = self.families[name]
        problem = draw(family, level, self.material, rng, split == "held_out", self.seen)
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
    problems = ProblemSet(usable, material)
    progress.start(settings.count, "problems")
    for name, family in usable.items():
        for level in range(len(family.levels)):
            rng = random.Random(f"held out-{settings.seed}-{STREAM_NAMES.get(name, name)}-{level}")
            for _ in range(settings.held_out):
                problems.add("held_out", name, level, rng)
    rng = random.Random(f"practice-{settings.seed}")
    weights = [settings.families.get(name, 1.0) for name in usable]
    shortfall: Counter[str] = Counter()
    for number in range(settings.count):
        name = rng.choices(list(usable), weights)[0]
        level = rng.choice(levels[name])
        if not problems.add("train", name, level, rng):
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
    """Whether the two splits share no question and no key."""
    frame = read_table(artifact.table("problems"))
    train, held_out = (frame.filter(pl.col("split") == split) for split in SPLITS)
    shared_keys = train.select("key").unique().join(held_out.select("key").unique(), on="key")
    shared_questions = sorted(set(train["question"]) & set(held_out["question"]))
    numbers = {
        "train": len(train),
        "held_out": len(held_out),
        "shared_keys": len(shared_keys),
        "shared_questions": len(shared_questions),
    }
    passed = not len(shared_keys) and not shared_questions
    summary = f"{len(train):,} problems to train on and {len(held_out):,} held-out problems share nothing"
    if not passed:
        summary = (
            f"{len(train):,} problems to train on and {len(held_out):,} held-out problems share "
            f"{len(shared_keys):,} keys and {len(shared_questions):,} questions"
        )
    failures = [*shared_keys.to_dicts()[:10], *({"question": question} for question in shared_questions[:10])]
    return CheckOutcome(passed, summary, failures, numbers)


def show(artifact: Artifact, shown: int = 2) -> dict[str, str]:
    """The number of problems by family, and problems of each level, in Markdown."""
    families = artifact.record.stats["families"].items()
    lines = ["| family | to train on | held out |", "|---|--:|--:|"]
    lines += [f"| {name} | {counts['train']:,} | {counts['held_out']:,} |" for name, counts in families]
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
    description="Problems with checkable answers, to train on and held out: arithmetic, letter counting, spelling, two "
    "hops over facts of the corpus, and word problems of a file.",
    kinds=("parquet",),
    build=build_practice_problems,
    config=lambda recipe, crawl: PracticeProblemsConfig(
        problems=recipe.practice_problems, pages=recipe.training_pages()
    ),
    code_version="5",
    inputs=("knowledge_boundary", "clean_corpus", TRAINING_PAGES),
    external_inputs=_external_inputs,
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"problems": Problems},
    optional_tables={"rejects": ProblemRejects},
    main_table="problems",
    checks=(
        Check(
            "no_shared_problems",
            "No problem, and nothing that problems are made of, is in both splits.",
            splits_share_nothing,
            blocking=True,
        ),
    ),
    show=show,
    libraries=("polars", "pyarrow"),
)
