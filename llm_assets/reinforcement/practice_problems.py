"""`practice_problems`: problems with checkable answers, to practise on and to be measured by, with nothing in common."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Stage, Step
from llm_assets.artifacts.external import external_digests, external_version, files_version
from llm_assets.artifacts.source import PROJECT, module_file, modules_behind
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.dialogue.splits import stable_share
from llm_assets.evaluation.words import corpus_words
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.reinforcement import PracticeProblems
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.settings import load_settings

from .checking import numbers
from .problems import Chain, Family, Material, Problem, ProblemError, find_family
from .schemas import ProblemRejects, Problems

HELD_OUT_SHARE = 0.2  # of keys, by hash, whose problems are held out
TRIES = 200  # for one problem on the wanted side of the split
_STREAMS = {"word_problems": "stories"}  # families whose random stream has another name than they do


class PracticeProblemsConfig(Frozen):
    """Which problems are made, and the pages whose words and facts they may be made of."""

    problems: PracticeProblems
    pages: TrainingPages


def family_names(problems: PracticeProblems) -> tuple[str, ...]:
    """The families that problems are made of, as the recipe names them."""
    return tuple(dict.fromkeys([*problems.families, *(["word_problems"] if problems.word_problems else [])]))


def family_files(names: Iterable[str]) -> dict[str, Path]:
    """Source files of the user's own families, by module: of those that they are declared in, and of those that these
    import from the same package. Raises ProblemError.
    """
    files: dict[str, Path] = {}
    for name in names:
        if ":" not in name:
            continue
        family, declared_in = find_family(name), name.partition(":")[0]
        if module_file(declared_in) is None:
            where = f"practice_problems: family {name!r}"
            raise ProblemError(f"{where}: {declared_in} has no source file to tell its versions by")
        elsewhere = {one.__module__ for one in (family.make, family.checker) if not isinstance(one, str)}
        modules = {one for one in elsewhere if one.partition(".")[0] not in {PROJECT, *sys.stdlib_module_names}}
        for module in {behind for one in (declared_in, *modules) for behind in modules_behind(one)}:
            if (path := module_file(module)) is not None:
                files[module] = path
    return files


def family_versions(names: Iterable[str]) -> dict[str, str]:
    """External inputs of every stage that runs the families: one version of the user's own, nothing without any."""
    files = family_files(names)
    return {"families": external_version(external_digests(files, load_settings().digest_cache))} if files else {}


def chains(topics: Sequence[Mapping[str, Any]]) -> list[Chain]:
    """Pairs of facts of which the first's answer is what the second is about."""
    by_entity: dict[str, list[Mapping[str, Any]]] = {}
    distractors: dict[str, dict[str, None]] = {}
    for topic in topics:
        by_entity.setdefault(topic["entity"], []).append(topic)
        distractors.setdefault(topic["relation"], {})[topic["answer"]] = None
    found = []
    for first in topics:
        for second in by_entity.get(first["answer"], []):
            asked = tuple(question for question in json.loads(second["questions"]) if second["entity"] in question)
            if asked and first["entity"] != second["entity"]:
                known = first["verdict"] == "known" and second["verdict"] == "known"
                found.append(
                    Chain(
                        first["entity"],
                        tuple(json.loads(first["questions"])),
                        first["answer"],
                        asked,
                        second["answer"],
                        tuple(one for one in distractors[second["relation"]] if one != second["answer"]),
                        known,
                    )
                )
    return found


def read_word_problems(path: Path) -> tuple[list[tuple[str, str, int]], list[dict[str, Any]]]:
    """Word problems of a file: question, answer, lines of the solution; and the rows that are none, with the reason."""
    found, rejects = [], []
    for row in read_conversations(path):
        if row.problem:
            rejects.append({"line": row.line, "reason": row.problem})
            continue
        question, solution = row.messages[0].content, row.messages[-1].content
        worked, mark, answer = solution.rpartition("####")
        if not mark or len(numbers(answer)) != 1:
            rejects.append({"line": row.line, "reason": "no number behind ####"})
        else:
            found.append(
                (question, str(numbers(answer)[0]), len([line for line in worked.splitlines() if line.strip()]))
            )
    return found, rejects


def is_held_out(key: str) -> bool:
    """On which side of the split problems of a key stand, of whatever family: the letters of a word are held out of all or of none."""
    return stable_share("problem", key) < HELD_OUT_SHARE


def draw(
    family: Family, level: int, material: Material, rng: random.Random, held_out: bool, seen: set[str]
) -> Problem | None:
    """A problem of one side that was not seen before; None where none is found."""
    for _ in range(TRIES):
        problem = family.make(rng, level, material)
        if problem is None:
            return None
        if problem.question not in seen and is_held_out(problem.key) == held_out:
            seen.add(problem.question)
            return problem
    return None


def read_material(
    step: Step, config: PracticeProblemsConfig, word_problems: Sequence[tuple[str, str, int]]
) -> Material:
    """Words and facts of the pages that models may be trained on, and the word_problems."""
    topics = pl.concat([pl.read_parquet(path) for path in step.input("knowledge_boundary").table("topics")])
    pages = CorpusPages(step.inputs, TRAINING_PAGES, config.pages)
    facts = trainable(topics, config.pages).to_dicts()
    return Material(corpus_words(pages.texts()), chains(facts), word_problems)


def trainable(topics: pl.DataFrame, pages: TrainingPages) -> pl.DataFrame:
    """Facts without those that only search-only pages tell: the sample web says which, of others the page is named."""
    host = pl.col("url").str.extract(r"^[a-z]+://([^/:]+)").fill_null("")
    return topics.filter(pl.col("reach") != "held_out").with_columns(host=host).filter(pages.kept()).drop("host")


def usable_families(
    settings: PracticeProblems, material: Material
) -> tuple[dict[str, Family], dict[str, tuple[int, ...]]]:
    """The families that the material has something for, and the levels of each that are trained on.

    Raises ProblemError.
    """
    families = {name: find_family(name) for name in family_names(settings)}
    usable = {name: family for name, family in families.items() if not family.needs or getattr(material, family.needs)}
    if not usable:
        raise ProblemError(
            f"practice_problems: none of {', '.join(families)} has anything to be made of in this corpus"
        )
    levels = {name: settings.levels.get(name) or tuple(range(len(family.levels))) for name, family in usable.items()}
    for name, wanted in levels.items():
        highest = len(usable[name].levels) - 1
        if not set(wanted) <= set(range(highest + 1)):
            asked = ", ".join(map(str, wanted))
            raise ProblemError(f"practice_problems.levels: family {name} has levels 0 to {highest}, not {asked}")
    return usable, levels


def _numbered(texts: Sequence[str]) -> dict[str, str]:
    return {str(number): text for number, text in enumerate(texts)}


def make_problems(
    step: Step, settings: PracticeProblems, material: Material
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the table Problems, and the numbers that are recorded of them. Raises ProblemError."""
    usable, levels = usable_families(settings, material)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()

    def take(split: str, name: str, level: int, problem: Problem) -> None:
        row = {"problem": len(rows), "split": split, "family": name, "level": level, "question": problem.question}
        distractors, tools = json.dumps(list(problem.distractors)), ",".join(usable[name].tools)
        rows.append({**row, "answer": problem.answer, "distractors": distractors, "key": problem.key, "tools": tools})

    step.progress.start(settings.count, "problems")
    for name, family in usable.items():
        for level in range(len(family.levels)):
            rng = random.Random(f"held out-{settings.seed}-{_STREAMS.get(name, name)}-{level}")
            for _ in range(settings.held_out):
                if (problem := draw(family, level, material, rng, True, seen)) is not None:
                    take("held_out", name, level, problem)
    rng = random.Random(f"practice-{settings.seed}")
    weights = [settings.families.get(name, 1.0) for name in usable]
    short: Counter[str] = Counter()
    for number in range(settings.count):
        name = rng.choices(list(usable), weights)[0]
        level = rng.choice(levels[name])
        problem = draw(usable[name], level, material, rng, False, seen)
        if problem is None:
            short[name] += 1
        else:
            take("train", name, level, problem)
        step.progress.advance(number)
    counts = Counter((row["split"], row["family"]) for row in rows)
    numbers = {
        "train": sum(row["split"] == "train" for row in rows),
        "held_out": sum(row["split"] == "held_out" for row in rows),
        "families": {name: {split: counts[split, name] for split in ("train", "held_out")} for name in usable},
        "levels": {name: _numbered(family.levels) for name, family in usable.items()},
        "left_out": {name: 1 for name in sorted(set(family_names(settings)) - set(usable))},
        "short": dict(sorted(short.items())),
    }
    if not numbers["train"]:
        raise ProblemError("practice_problems: no problem is left to practise on; raise count, or add families")
    return rows, numbers


def build_practice_problems(step: Step, config: PracticeProblemsConfig) -> None:
    """One part."""
    word_problems = config.problems.word_problems
    found, rejects = read_word_problems(Path(word_problems.path).expanduser()) if word_problems else ([], [])
    rows, numbers = make_problems(step, config.problems, read_material(step, config, found))
    with step.task("problems") as task:
        task.table("problems", Problems).frame(pl.DataFrame(rows))
        if rejects:
            task.table("rejects", ProblemRejects).frame(pl.DataFrame(rejects))
        task.stats.update(numbers, rejects=len(rejects))


def splits_share_nothing(artifact: Artifact, inputs: Inputs, config: PracticeProblemsConfig) -> CheckOutcome:
    """Whether no question and no key stands on both sides."""
    frame = pl.concat([pl.read_parquet(path) for path in artifact.table("problems")])
    train, held_out = (frame.filter(pl.col("split") == split) for split in ("train", "held_out"))
    keys = train.select("key").unique().join(held_out.select("key").unique(), on="key")
    questions = set(train["question"]) & set(held_out["question"])
    return CheckOutcome(
        not len(keys) and not questions,
        f"{len(train):,} problems to practise on and {len(held_out):,} held out share nothing",
        [*keys.to_dicts()[:10], *({"question": one} for one in sorted(questions)[:10])],
        {"train": len(train), "held_out": len(held_out), "shared_keys": len(keys), "shared_questions": len(questions)},
    )


def show(artifact: Artifact, shown: int = 2) -> dict[str, str]:
    """Numbers by family and problems of each level, in Markdown."""
    families = artifact.record.stats["families"].items()
    lines = ["| family | to practise on | held out |", "|---|--:|--:|"]
    lines += [f"| {name} | {counts['train']:,} | {counts['held_out']:,} |" for name, counts in families]
    frame = pl.concat([pl.scan_parquet(path) for path in artifact.table("problems")])
    for row in frame.group_by("family", "level", maintain_order=True).head(shown).collect().iter_rows(named=True):
        lines.append(f"\n**{row['family']} {row['level']}** {row['question']} → {row['answer']}")
    return {"summary": "\n".join(lines)}


def _external_inputs(config: PracticeProblemsConfig) -> Mapping[str, str]:
    word_problems = config.problems.word_problems
    files = {"word_problems": Path(word_problems.path).expanduser()} if word_problems else {}
    versions = files_version(files, load_settings().digest_cache, ProblemError, "practice_problems.word_problems")
    return {**versions, **family_versions(family_names(config.problems))}


PRACTICE_PROBLEMS = Stage(
    name="practice_problems",
    group="reinforcement",
    description="Problems with checkable answers: arithmetic, letters, two hops over the corpus's facts, and word "
    "problems of a file; held-out ones apart.",
    kinds=("parquet",),
    build=build_practice_problems,
    config=lambda recipe, crawl: PracticeProblemsConfig(
        problems=recipe.practice_problems, pages=recipe.training_pages()
    ),
    code_version="4",
    inputs=("knowledge_boundary", "clean_corpus", TRAINING_PAGES),
    external_inputs=_external_inputs,
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"problems": Problems},
    optional_tables={"rejects": ProblemRejects},
    main_table="problems",
    checks=(
        Check(
            "no_shared_problems",
            "No problem, and nothing that problems are made of, stands on both sides of the split.",
            splits_share_nothing,
            blocking=True,
        ),
    ),
    show=show,
    libraries=("polars", "pyarrow"),
)
