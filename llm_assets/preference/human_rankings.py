"""`human_rankings`: which of two answers people prefer.

At laptop scale a simulated labeller stands in for people; its rankings are marked as simulated.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Check, CheckOutcome, Inputs, Stage, Step
from llm_assets.artifacts.external import files_version
from llm_assets.artifacts.tables import read_table, scan_table
from llm_assets.dialogue.rejected_rows import rejects_outcome
from llm_assets.dialogue.splits import TRAIN, split_of, stable_share
from llm_assets.recipes.preference import HumanRankings, RankingFile, SimulatedLabeller
from llm_assets.settings import load_settings

from .journals import FOLDERS, Journal, is_journal, journals, journals_of_versions, rating_rows, unread_votes, vote_rows
from .labelling_rule import prefer, rule_score
from .open_prompts import PreferenceError
from .preference_files import read_rankings
from .response_pairs import pair_digest
from .schemas import ArenaRatings, RankingRejects, Rankings, Votes

SIMULATED = "simulated"  # source, and beginning of the labeller's name, of simulated rankings
# Minimum agreement of labellers on the same pairs; InstructGPT's agreed on 73 % (arXiv:2203.02155, section 3.4).
MIN_AGREEMENT = 0.6

RankingKey = tuple[str, str]  # pair, labeller


def simulate(pairs: Sequence[Mapping[str, Any]], settings: SimulatedLabeller) -> Iterator[dict[str, Any]]:
    """Rankings of a share of the pairs by the labelling rule; two simulated labellers rank some of the pairs."""

    def score(pair: Mapping[str, Any], answer: str) -> float:
        return rule_score(pair["question"], pair["subject"], answer, pair["subject_exists"])

    seed = str(settings.seed)
    for pair in pairs:
        if stable_share("ranked", seed, pair["pair"]) >= settings.share:
            continue
        difference = score(pair, pair["first"]) - score(pair, pair["second"])
        labellers = 2 if stable_share("ranked again", seed, pair["pair"]) < settings.again else 1
        for number in range(1, labellers + 1):
            labeller = f"{SIMULATED}-{number}"
            rng = random.Random(f"{settings.seed}-{labeller}-{pair['pair']}")
            yield {
                **{name: pair[name] for name in ("pair", "question", "subject", "first", "second")},
                "preferred": prefer(difference, settings.noise, settings.tie, rng),
                "labeller": labeller,
                "simulated": True,
                "source": SIMULATED,
            }


def rankings_of_files(
    files: Sequence[RankingFile], journals: Sequence[Journal] = ()
) -> tuple[dict[RankingKey, dict[str, Any]], list[dict[str, Any]], int]:
    """Rankings of files and of votes, the rejected rows, and how many another one of the same labeller replaced.

    A labeller who ranks a pair again has changed their mind: the later ranking counts. In a file that is the one in the
    later line; of two files, the one with the later time, or if either has none, that of the later file.
    """
    rankings: dict[RankingKey, dict[str, Any]] = {}
    times: dict[RankingKey, datetime | None] = {}
    rejects: list[dict[str, Any]] = []
    replaced = 0
    sources: list[tuple[str, Path, int | None]] = [(file.name, Path(file.path).expanduser(), None) for file in files]
    sources += [(journal.name, journal.path, journal.size) for journal in journals]
    for name, path, size in sources:
        for line, row in read_rankings(path, name, size, any_columns=is_journal(name)):
            if isinstance(row, str):
                rejects.append({"file": name, "line": line, "reason": row})
                continue
            key = (pair_digest(row["question"], row["first"], row["second"]), row["labeller"])
            time = _time_of(row)
            if key in rankings:
                replaced += 1
                before, is_elsewhere = times[key], rankings[key]["source"] != name
                if is_elsewhere and time is not None and before is not None and time < before:
                    continue
            times[key] = time
            rankings[key] = {
                "pair": key[0],
                "question": row["question"],
                "subject": str(row.get("subject") or ""),
                "first": row["first"],
                "second": row["second"],
                "preferred": row["preferred"],
                "labeller": row["labeller"],
                "simulated": False,
                "source": name,
            }
    return rankings, rejects, replaced


def _time_of(row: Mapping[str, Any]) -> datetime | None:
    """When a vote was given, as `ranking_row` writes it; None if the row does not say."""
    try:
        time = datetime.fromisoformat(str(row.get("at")))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def build_human_rankings(step: Step, settings: HumanRankings) -> None:
    """One task: the rankings of files, votes and the simulated labeller. Raises PreferenceError if there are none."""
    responses = step.inputs.get("response_pairs")
    pairs = [] if responses is None else read_table(responses.table("pairs")).to_dicts()
    voted = journals_of_versions(load_settings().data, step.identity.inputs)
    by_key, rejects, replaced = rankings_of_files(settings.files, voted)
    if settings.simulated is not None:
        simulated = {(row["pair"], row["labeller"]): row for row in simulate(pairs, settings.simulated)}
        by_key = {**simulated, **by_key}  # a person may have the name of a simulated labeller
    if not by_key:
        first = f" (all {len(rejects)} rows are rejected, such as {_place(rejects[0])})" if rejects else ""
        raise PreferenceError(
            f"human_rankings: there are no rankings{first}; rank pairs on the page or with: llm-assets rank (or name "
            "human_rankings.files, or set human_rankings.simulated)"
        )
    splits = {}
    if responses is not None:
        splits = dict(read_table(responses.table("prompts")).select("question", "split").iter_rows())
    rankings = [
        {**row, "split": ranking_split(row["question"], row["subject"], splits, settings.gold)}
        for _, row in sorted(by_key.items())
    ]
    with step.task("rankings") as task:
        task.table("rankings", Rankings).frame(pl.DataFrame(rankings))
        if rejects:
            task.table("rejects", RankingRejects).frame(pl.DataFrame(rejects))
        if votes := list(vote_rows(voted)):
            task.table("votes", Votes).frame(pl.DataFrame(votes))
        if ratings := rating_rows(voted):
            task.table("arena_ratings", ArenaRatings).frame(pl.DataFrame(ratings))
        task.stats.update(
            rankings=len(rankings),
            pairs=len({row["pair"] for row in rankings}),
            available_pairs=len(pairs),
            by_people=sum(not row["simulated"] for row in rankings),
            simulated=sum(row["simulated"] for row in rankings),
            labellers=len({row["labeller"] for row in rankings}),
            preferred=dict(sorted(Counter(row["preferred"] for row in rankings).items())),
            splits=dict(sorted(Counter(row["split"] for row in rankings).items())),
            replaced=replaced,
            rejects=len(rejects),
            agreement=agreement(rankings),
        )


def _place(reject: Mapping[str, Any]) -> str:
    return f"row {reject['line']} of {reject['file']}: {reject['reason']}"


def ranking_split(question: str, subject: str, splits: Mapping[str, str], gold: float) -> str:
    """The split of all rankings of a subject: ``train``, ``development``, ``test``, or ``gold`` (a part of `train`).

    splits: those of prompts, by question. A question that is no prompt, from an earlier round of ranking, belongs to
    the split of its subject. One without a subject stands for itself. gold: share of the training subjects.
    """
    split = splits.get(question) or split_of(subject or question)
    return "gold" if split == TRAIN and stable_share("gold", subject or question) < gold else split


def agreement(rankings: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How often two labellers of the same pair agree.

    compared: number of comparisons of two labellers on a pair; if it is 0, there are no other numbers. share: share of
    comparisons that agree. chance: the share expected if every labeller drew from the overall distribution of
    preferences. kappa: Cohen's kappa, (share - chance) / (1 - chance). untied: number of comparisons in which neither
    labeller calls it a tie. untied_share: share of these that agree.
    """
    by_pair: dict[str, list[str]] = {}
    for row in rankings:
        by_pair.setdefault(row["pair"], []).append(row["preferred"])
    comparisons = [comparison for preferred in by_pair.values() for comparison in combinations(preferred, 2)]
    if not comparisons:
        return {"compared": 0}
    counts = Counter(preferred for comparison in comparisons for preferred in comparison)
    chance = sum((count / (2 * len(comparisons))) ** 2 for count in counts.values())
    share = sum(first == second for first, second in comparisons) / len(comparisons)
    untied = [comparison for comparison in comparisons if "tie" not in comparison]
    return {
        "untied": len(untied),
        "untied_share": round(sum(first == second for first, second in untied) / max(len(untied), 1), 4),
        "compared": len(comparisons),
        "share": round(share, 4),
        "chance": round(chance, 4),
        "kappa": round((share - chance) / (1 - chance), 4) if chance < 1 else 1.0,
    }


def labellers_agree(artifact: Artifact, inputs: Inputs, settings: HumanRankings) -> CheckOutcome:
    """Whether labellers agree on the same pairs often enough."""
    stats = artifact.record.stats
    agreed, numbers = stats["agreement"], {name: stats[name] for name in ("rankings", "by_people", "simulated")}
    labellers = "labellers" if stats["by_people"] else "simulated labellers"
    if not agreed["compared"]:
        return CheckOutcome(True, f"no pair was ranked by two {labellers}", numbers={**numbers, "compared": 0})
    share = f"{100 * agreed['share']:.1f} % of {agreed['compared']:,} pairs"
    return CheckOutcome(
        agreed["share"] >= MIN_AGREEMENT,
        f"two {labellers} agree on {share} (chance {100 * agreed['chance']:.1f} %, kappa {agreed['kappa']:.2f})",
        numbers={**numbers, **agreed},
    )


def rows_of_files(artifact: Artifact, inputs: Inputs, settings: HumanRankings) -> CheckOutcome:
    """How many rankings each file and labeller gave, and which rows are none."""
    counts = scan_table(artifact.table("rankings")).group_by("source").len().sort("source").collect()
    by_source = dict(counts.iter_rows())
    names = [file.name for file in settings.files]
    names += [name for name in artifact.record.fields["inputs"] if is_journal(name)]
    rankings = {name: by_source.get(name, 0) for name in names}
    return rejects_outcome(rankings, artifact.table("rejects"), "rankings")


def show(artifact: Artifact, shown: int = 5) -> dict[str, str | int]:
    """Who ranked, and a few rankings, in Markdown; and the number of simulated rankings."""
    stats = artifact.record.stats
    frame = scan_table(artifact.table("rankings")).head(shown).collect()
    counts = f"{stats['by_people']:,} rankings by people, **{stats['simulated']:,} simulated** by a labelling rule"
    texts = [
        f"**{row['question']}** ({row['labeller']}: {row['preferred']})\n\n1. {row['first']}\n2. {row['second']}"
        for row in frame.iter_rows(named=True)
    ]
    summary = "\n\n".join([f"{counts}, of {stats['available_pairs']:,} pairs of answers of the policy.", *texts])
    return {"summary": summary, "simulated": stats["simulated"]}


def _external_inputs(settings: HumanRankings) -> Mapping[str, str]:
    votes = counted_journals(settings, load_settings().data)
    return {**_files_version(settings), **{journal.name: journal.version for journal in votes}}


def _files_version(settings: HumanRankings) -> dict[str, str]:
    paths = {file.name: Path(file.path).expanduser() for file in settings.files}
    return files_version(paths, load_settings().digest_cache, PreferenceError, "human_rankings.files")


def counted_journals(settings: HumanRankings, data: Path) -> list[Journal]:
    """The journals of a data folder whose votes count. Those that the recipe names count as its files."""
    if settings.votes is False:
        return []
    return journals(data, [Path(file.path).expanduser() for file in settings.files])


def is_counted(file: Path, settings: HumanRankings, data: Path) -> bool:
    """Whether the rankings of a file count, once it has some: the recipe names it, or it is in a folder of votes."""
    named = {Path(item.path).expanduser().resolve() for item in settings.files}
    folders = [] if settings.votes is False else [(data / folder).resolve() for folder in FOLDERS.values()]
    return file.resolve() in named or file.parent.resolve() in folders


def waiting_votes(settings: HumanRankings, data: Path, artifact: Artifact | None) -> int:
    """The number of votes in a data folder that the recipe counts and that an artifact was built without.

    Those in journals (see `unread_votes`); of the journals that the recipe names as files, and that have changed since,
    the rankings that differ: the version of such a file does not say where it ended.
    """
    inputs = artifact.record.fields["inputs"] if artifact is not None else {}
    changed = {Path(file.path).expanduser().resolve() for file in settings.files}
    with contextlib.suppress(PreferenceError):  # a file is missing
        if _files_version(settings) == {"files": inputs.get("files")}:
            changed = set()
    rankings, _, _ = rankings_of_files((), [item for item in journals(data) if item.path.resolve() in changed])
    known: set[tuple[str, ...]] = set()
    if rankings and artifact is not None:
        known.update(scan_table(artifact.table("rankings")).select("pair", "labeller", "preferred").collect().rows())
    waiting = sum((*key, row["preferred"]) not in known for key, row in rankings.items())
    return waiting + unread_votes(counted_journals(settings, data), inputs)


def without_rankings(recipe: Any) -> str | None:
    """Why a recipe is built without rankings, and so without preference tuning; None if it names some."""
    settings = recipe.human_rankings
    if settings.files or settings.simulated is not None or settings.votes:
        return None
    return "the recipe names no rankings (human_rankings.files, .simulated, or .votes=True for those of the page)"


HUMAN_RANKINGS = Stage(
    name="human_rankings",
    group="preference",
    description="Which of two answers people prefer, by the votes of the page and of `llm-assets rank`, and by files. "
    "Rankings by a simulated labeller, if the recipe has one, are marked as such.",
    kinds=("parquet",),
    build=build_human_rankings,
    config=lambda recipe, crawl: recipe.human_rankings,
    code_version="6",
    inputs=("response_pairs",),
    optional_inputs=("response_pairs",),
    left_out=without_rankings,
    external_inputs=_external_inputs,
    grows=is_journal,
    tables={"rankings": Rankings},
    optional_tables={"rejects": RankingRejects, "votes": Votes, "arena_ratings": ArenaRatings},
    main_table="rankings",
    checks=(
        Check(
            "agreement_of_labellers",
            "Labellers agree on the same pairs often enough to learn from their rankings.",
            labellers_agree,
        ),
        Check("rows_of_files", "Every row of the ranking files is a ranking.", rows_of_files),
    ),
    show=show,
    libraries=("polars",),
)
