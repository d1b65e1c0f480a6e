"""`human_rankings`: which of two answers people like better. At laptop scale a simulated labeller stands in for them, marked as such."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Stage, Step
from llm_assets.artifacts.external import files_version
from llm_assets.dialogue.splits import stable_share
from llm_assets.recipes.preference import HumanRankings, SimulatedLabeller
from llm_assets.settings import load_settings

from .labelling_rule import prefer, rule_score
from .response_pairs import PreferenceError, pair_digest
from .schemas import RankingRejects, Rankings

PREFERRED = ("first", "second", "tie")
SIMULATED = "simulated"  # source and first labeller of what no person ranked
LEAST_AGREEMENT = 0.6  # of labellers on the same pairs; InstructGPT's agreed in 73 % (arXiv:2203.02155, section 3.4)


def read_rankings(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Lines of a file of rankings by number: the ranking, or why it is none. Raises PreferenceError where there is no such file."""
    if not path.is_file():
        raise PreferenceError(f"rankings {path.absolute()}: no such file")
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                yield number, f"not JSON: {error}"
                continue
            yield number, row if not (problem := _problem(row)) else problem


def _problem(row: Any) -> str:
    if not isinstance(row, dict):
        return f"a {type(row).__name__}, not an object"
    for name in ("question", "first", "second", "labeller"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            return f"{name} is missing or empty"
    if row.get("preferred") not in PREFERRED:
        return f"preferred is {row.get('preferred')!r}; it must be {', '.join(PREFERRED)}"
    if row["first"] == row["second"]:
        return "both answers are the same"
    return ""


def simulate(pairs: Sequence[Mapping[str, Any]], settings: SimulatedLabeller) -> Iterator[dict[str, Any]]:
    """Rankings of some pairs by the written rule of taste, a few of them by two labellers."""

    def liked(pair: Mapping[str, Any], answer: str) -> float:
        return rule_score(pair["question"], pair["subject"], answer, pair["subject_exists"])

    for pair in pairs:
        if stable_share("ranked", str(settings.seed), pair["pair"]) >= settings.share:
            continue
        difference = liked(pair, pair["first"]) - liked(pair, pair["second"])
        for labeller in (f"{SIMULATED}-1", f"{SIMULATED}-2")[
            : 1 + (stable_share("ranked again", str(settings.seed), pair["pair"]) < settings.again)
        ]:
            said = prefer(
                difference, settings.noise, settings.tie, random.Random(f"{settings.seed}-{labeller}-{pair['pair']}")
            )
            yield {
                **{name: pair[name] for name in ("pair", "question", "subject", "first", "second")},
                "preferred": said,
                "labeller": labeller,
                "simulated": True,
                "source": SIMULATED,
            }


def build_human_rankings(step: Step, settings: HumanRankings) -> None:
    """One part."""
    pairs = pl.concat([pl.read_parquet(path) for path in step.input("response_pairs").table("pairs")]).to_dicts()
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    rejects: list[dict[str, Any]] = []
    replaced = 0
    for file in settings.files:
        for line, row in read_rankings(Path(file.path).expanduser()):
            if isinstance(row, str):
                rejects.append({"file": file.name, "line": line, "reason": row})
                continue
            key = (pair_digest(row["question"], row["first"], row["second"]), row["labeller"])
            replaced += key in rows  # whoever ranks a pair again has changed their mind
            rows[key] = {
                "pair": key[0],
                "question": row["question"],
                "subject": str(row.get("subject", "")),
                "first": row["first"],
                "second": row["second"],
                "preferred": row["preferred"],
                "labeller": row["labeller"],
                "simulated": False,
                "source": file.name,
            }
    if settings.simulated is not None:
        rows.update({(row["pair"], row["labeller"]): row for row in simulate(pairs, settings.simulated)})
    if not rows:
        raise PreferenceError(
            "human_rankings: nobody has ranked anything; rank pairs with: llm-assets rank, and name its file in "
            "human_rankings.files (or set human_rankings.simulated)"
        )
    ranked = [
        {**row, "split": split_of(row["question"], settings.held_out, settings.gold)} for _, row in sorted(rows.items())
    ]
    with step.task("rankings") as task:
        task.table("rankings", Rankings).frame(pl.DataFrame(ranked))
        if rejects:
            task.table("rejects", RankingRejects).frame(pl.DataFrame(rejects))
        found = agreement(ranked)
        task.stats.update(
            rankings=len(ranked),
            pairs=len({row["pair"] for row in ranked}),
            of_pairs=len(pairs),
            by_people=sum(not row["simulated"] for row in ranked),
            simulated=sum(row["simulated"] for row in ranked),
            labellers=len({row["labeller"] for row in ranked}),
            preferred=dict(sorted(Counter(row["preferred"] for row in ranked).items())),
            splits=dict(sorted(Counter(row["split"] for row in ranked).items())),
            replaced=replaced,
            rejects=len(rejects),
            agreement=found,
        )


def split_of(question: str, held_out: float, gold: float) -> str:
    """The side on which all pairs of a question stand."""
    share = stable_share("rankings", question)
    return "held_out" if share < held_out else "gold" if share < held_out + gold else "train"


def agreement(rankings: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of pairs that several labellers ranked: how many times two said the same (`share`), what chance would give (`chance`, each labeller
    saying what all say as often), and Cohen's kappa, (share - chance) / (1 - chance). `compared`: pairs of labellers on a pair; 0 has no more.
    """
    said: dict[str, list[str]] = {}
    for row in rankings:
        said.setdefault(row["pair"], []).append(row["preferred"])
    compared = [couple for of_pair in said.values() for couple in combinations(of_pair, 2)]
    if not compared:
        return {"compared": 0}
    each = Counter(word for couple in compared for word in couple)
    chance = sum((count / (2 * len(compared))) ** 2 for count in each.values())
    share = sum(one == other for one, other in compared) / len(compared)
    return {
        "compared": len(compared),
        "share": round(share, 4),
        "chance": round(chance, 4),
        "kappa": round((share - chance) / (1 - chance), 4) if chance < 1 else 1.0,
    }


def labellers_agree(artifact: Artifact, inputs: Inputs, settings: HumanRankings) -> CheckOutcome:
    """Whether labellers said the same of the same pairs often enough."""
    stats = artifact.record.stats
    found, numbers = stats["agreement"], {name: stats[name] for name in ("rankings", "by_people", "simulated")}
    who = "labellers" if stats["by_people"] else "simulated labellers"
    if not found["compared"]:
        return CheckOutcome(True, f"no pair was ranked by two {who}", numbers={**numbers, "compared": 0})
    shares = f"{100 * found['share']:.1f} % of {found['compared']:,} pairs"
    return CheckOutcome(
        found["share"] >= LEAST_AGREEMENT,
        f"two {who} said the same of {shares} (chance {100 * found['chance']:.1f} %, kappa {found['kappa']:.2f})",
        numbers={**numbers, **found},
    )


def show(artifact: Artifact, shown: int = 5) -> dict[str, str | int]:
    """Who ranked, and a few rankings, in Markdown; how many rankings are simulated."""
    stats = artifact.record.stats
    frame = pl.concat([pl.scan_parquet(path) for path in artifact.table("rankings")]).head(shown).collect()
    who = f"{stats['by_people']:,} rankings by people, **{stats['simulated']:,} simulated** by a written rule of taste"
    rows = [
        f"**{row['question']}** ({row['labeller']}: {row['preferred']})\n\n1. {row['first']}\n2. {row['second']}"
        for row in frame.iter_rows(named=True)
    ]
    return {"summary": "\n\n".join([f"{who}, of {stats['of_pairs']:,} pairs.", *rows]), "simulated": stats["simulated"]}


def _external_inputs(settings: HumanRankings) -> Mapping[str, str]:
    paths = {file.name: Path(file.path).expanduser() for file in settings.files}
    return files_version(paths, load_settings().digest_cache, PreferenceError, "human_rankings.files")


HUMAN_RANKINGS = Stage(
    name="human_rankings",
    group="preference",
    description="Which of two answers people like better; of a simulated labeller where the recipe has one, marked as "
    "such.",
    kinds=("parquet",),
    build=build_human_rankings,
    config=lambda recipe, crawl: recipe.human_rankings,
    code_version="1",
    inputs=("response_pairs",),
    external_inputs=_external_inputs,
    tables={"rankings": Rankings},
    optional_tables={"rejects": RankingRejects},
    main_table="rankings",
    checks=(
        Check(
            "agreement_of_labellers",
            "Labellers say the same of the same pairs often enough to be learnt from.",
            labellers_agree,
        ),
    ),
    show=show,
    libraries=("polars",),
)
