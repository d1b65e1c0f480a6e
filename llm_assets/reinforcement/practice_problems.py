"""`practice_problems`: problems with checkable answers, to practise on and to be measured by, with nothing in common."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.outside import files_version
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.dialogue.splits import stable_share
from llm_assets.evaluation.words import corpus_words
from llm_assets.recipes import Recipe
from llm_assets.recipes.crawls import crawls_of
from llm_assets.settings import load_settings

from .checking import numbers
from .problems import Chain, Family, Material, Problem, ProblemError, find_family
from .schemas import ProblemRejects, Problems

HELD_OUT_SHARE = 0.2  # of keys, by hash, whose problems are held out
TRIES = 200  # for one problem on the wanted side of the split


def families_of(recipe: Recipe) -> dict[str, Family]:
    """The recipe's families by the name that it gives them. Raises ProblemError."""
    wanted = list(recipe.practice_problems.families) + (["stories"] if recipe.practice_problems.stories else [])
    return {name: find_family(name) for name in dict.fromkeys(wanted)}


def chains(topics: Sequence[Mapping[str, Any]]) -> list[Chain]:
    """Pairs of facts of which the first's answer is what the second is about."""
    by_entity: dict[str, list[Mapping[str, Any]]] = {}
    rivals: dict[str, dict[str, None]] = {}
    for topic in topics:
        by_entity.setdefault(topic["entity"], []).append(topic)
        rivals.setdefault(topic["relation"], {})[topic["answer"]] = None
    found = []
    for first in topics:
        for second in by_entity.get(first["answer"], []):
            asked = tuple(question for question in json.loads(second["questions"]) if second["entity"] in question)
            if asked and first["entity"] != second["entity"]:
                known = first["verdict"] == "known" and second["verdict"] == "known"
                found.append(Chain(first["entity"], tuple(json.loads(first["questions"])), first["answer"], asked, second["answer"], tuple(one for one in rivals[second["relation"]] if one != second["answer"]), known))
    return found


def read_stories(path: Path) -> tuple[list[tuple[str, str, int]], list[dict[str, Any]]]:
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
            found.append((question, str(numbers(answer)[0]), len([line for line in worked.splitlines() if line.strip()])))
    return found, rejects


def is_held_out(key: str) -> bool:
    """On which side of the split problems of a key stand, of whatever family: the letters of a word are held out of all or of none."""
    return stable_share("problem", key) < HELD_OUT_SHARE


def draw(family: Family, level: int, material: Material, rng: random.Random, held_out: bool, seen: set[str]) -> Problem | None:
    """A problem of one side that was not seen before; None where none is found."""
    for _ in range(TRIES):
        problem = family.make(rng, level, material)
        if problem is None:
            return None
        if problem.question not in seen and is_held_out(problem.key) == held_out:
            seen.add(problem.question)
            return problem
    return None


def build_practice_problems(step: Step, recipe: Recipe) -> None:
    """One part."""
    settings = recipe.practice_problems
    families = families_of(recipe)
    topics = pl.concat([pl.read_parquet(path) for path in step.input("knowledge_boundary").table("topics")]).to_dicts()
    files = [path for crawl in crawls_of(recipe) for path in sorted(step.inputs[f"clean_corpus/{crawl}"].table("text"))]
    words = corpus_words(files)
    stories, rejects = read_stories(Path(settings.stories.path).expanduser()) if settings.stories else ([], [])
    material = Material(words, chains(topics), stories)
    usable = {name: family for name, family in families.items() if not family.needs or getattr(material, family.needs)}
    if not usable:
        raise ProblemError(f"practice_problems: none of {', '.join(families)} has anything to be made of in this corpus")
    weights = [settings.families.get(name, 1.0) for name in usable]
    levels = {name: settings.levels.get(name) or tuple(range(len(family.levels))) for name, family in usable.items()}
    for name, wanted in levels.items():
        if not set(wanted) <= set(range(len(usable[name].levels))):
            raise ProblemError(f"practice_problems.levels: family {name} has levels 0 to {len(usable[name].levels) - 1}, not {', '.join(map(str, wanted))}")
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()

    def take(split: str, name: str, level: int, problem: Problem) -> None:
        rows.append({"problem": len(rows), "split": split, "family": name, "level": level, "question": problem.question, "answer": problem.answer, "rivals": json.dumps(list(problem.rivals)), "key": problem.key, "tools": ",".join(usable[name].tools)})

    step.progress.start(settings.count, "problems")
    for name, family in usable.items():
        for level in range(len(family.levels)):
            rng = random.Random(f"held out-{settings.seed}-{name}-{level}")
            for _ in range(settings.held_out):
                if (problem := draw(family, level, material, rng, True, seen)) is not None:
                    take("held_out", name, level, problem)
    rng = random.Random(f"practice-{settings.seed}")
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
    if not any(row["split"] == "train" for row in rows):
        raise ProblemError("practice_problems: no problem is left to practise on; raise count, or add families")
    with step.part("problems") as part:
        part.table("problems", Problems).frame(pl.DataFrame(rows))
        if rejects:
            part.table("rejects", ProblemRejects).frame(pl.DataFrame(rejects))
        counts = Counter((row["split"], row["family"]) for row in rows)
        part.stats.update(
            train=sum(row["split"] == "train" for row in rows), held_out=sum(row["split"] == "held_out" for row in rows), families={name: {split: counts[split, name] for split in ("train", "held_out")} for name in usable},
            left_out={name: 1 for name in sorted(set(families) - set(usable))}, short=dict(sorted(short.items())), rejects=len(rejects),
        )  # fmt: skip


def splits_share_nothing(artifact: Artifact) -> CheckOutcome:
    """Whether no question and no key stands on both sides."""
    frame = pl.concat([pl.read_parquet(path) for path in artifact.table("problems")])
    train, held_out = (frame.filter(pl.col("split") == split) for split in ("train", "held_out"))
    keys = train.select("key").unique().join(held_out.select("key").unique(), on="key")
    questions = set(train["question"]) & set(held_out["question"])
    return CheckOutcome(not len(keys) and not questions, f"{len(train):,} problems to practise on and {len(held_out):,} held out share nothing", [*keys.to_dicts()[:10], *({"question": one} for one in sorted(questions)[:10])])


def preview(artifact: Artifact, shown: int = 2) -> str:
    """Numbers by family and problems of each level, in Markdown."""
    stats = artifact.record.stats
    lines = ["| family | to practise on | held out |", "|---|--:|--:|", *(f"| {name} | {counts['train']:,} | {counts['held_out']:,} |" for name, counts in stats["families"].items())]
    frame = pl.concat([pl.scan_parquet(path) for path in artifact.table("problems")])
    for row in frame.group_by("family", "level", maintain_order=True).head(shown).collect().iter_rows(named=True):
        lines.append(f"\n**{row['family']} {row['level']}** {row['question']} → {row['answer']}")
    return "\n".join(lines)


def _outside(recipe: Recipe, crawl: str | None) -> Mapping[str, str]:
    import inspect

    paths = {"stories": Path(recipe.practice_problems.stories.path).expanduser()} if recipe.practice_problems.stories else {}
    for name, family in families_of(recipe).items():
        if ":" in name and (source := inspect.getsourcefile(family.make)):
            paths[name] = Path(source)
    return files_version(paths, load_settings().digest_cache, ProblemError, "practice_problems")


PRACTICE_PROBLEMS = Stage(
    name="practice_problems",
    build=build_practice_problems,
    code_version="2",
    rooms=(
        "llm_assets.reinforcement.practice_problems",
        "llm_assets.reinforcement.problems",
        "llm_assets.reinforcement.checking",
        "llm_assets.dialogue.conversation_files",
        "llm_assets.dialogue.splits",
        "llm_assets.dialogue.wordings",
        "llm_assets.evaluation.grading",
        "llm_assets.evaluation.words",
    ),
    inputs=("knowledge_boundary", "clean_corpus"),
    literals=lambda recipe, _: {"practice_problems": recipe.practice_problems, "crawls": crawls_of(recipe)},
    outside=_outside,
    crawls=crawls_of,
    tables={"problems": Problems},
    optional_tables={"rejects": ProblemRejects},
    libraries=("polars", "pyarrow"),
)
