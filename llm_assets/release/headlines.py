"""The headline figures of a run, each with the baseline that could win for nothing, and the targets that are set.

They are read from the scorecard's table `evaluation`. README and docs quote them from replicas only; see
`replication.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from llm_assets.evaluation.abilities import is_of_file, title_of
from llm_assets.evaluation.figures import ABLATION, MODELS

Key = tuple[str, str, str, str]  # model, suite, group, metric
Figures = Mapping[Key, float]
Value = Callable[[Figures], float | None]
LEVEL = ", level "  # in the names of groups that are a part of a family
FEASIBLE = (0.2, 0.6)  # shares of a family's problems solved before RL at which RL has something to learn from


class Target(NamedTuple):
    """What every run should reach. sense: whether the value should be at least or at most the limit."""

    sense: Literal["≥", "≤"]
    limit: float

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.sense == "≥" else value <= self.limit


class Headline(NamedTuple):
    """A figure. unit: `%` and `points` are shares times 100. baseline: name and value of what could win for nothing."""

    name: str
    value: Value
    unit: Literal["%", "points", "bits", "×"] = "%"
    target: Target | None = None
    baseline: tuple[str, Value] | None = None

    def text(self, value: float | None) -> str:
        """A value with its unit, such as ``93.1 %``."""
        if value is None:
            return "–"
        if self.unit in ("%", "points"):
            return f"{100 * value:{'+' if self.unit == 'points' else ''}.1f} {self.unit}"
        return f"{value:.3f}" if self.unit == "bits" else f"{value:.2f}"


def figures_of(rows: Iterable[Mapping[str, Any]]) -> Figures:
    """The values of a table `evaluation` (schema EvaluationRows), by what they measure."""
    return {(row["model"], row["suite"], row["group"], row["metric"]): row["value"] for row in rows}


def figure(model: str, suite: str, group: str, metric: str) -> Value:
    """The value of a row; None where the run has no such row."""
    return lambda figures: figures.get((model, suite, group, metric))


def _right(model: str, group: str) -> Value:
    return figure(model, "questions", group, "right")


def _ratio_made_up(figures: Figures) -> float | None:
    """Answers made up by the SFT model as a share of the ablation's."""
    made_up, ablation = (figure(model, "questions", "fictitious", "wrong")(figures) for model in ("sft", "ablation"))
    return None if made_up is None or not ablation else made_up / ablation


def _known_refused(model: str) -> Value:
    """Known facts that a model refuses; entities with and without conversations count alike."""

    def share(figures: Figures) -> float | None:
        shares = [figure(model, "questions", group, "refused")(figures) for group in ("known", "known_elsewhere")]
        present = [share for share in shares if share is not None]
        return sum(present) / len(present) if present else None

    return share


def _families(figures: Figures) -> dict[str, tuple[float, float]]:
    """pass@1 before and after RL, by family of problems."""
    after = {
        group: value
        for (model, suite, group, metric), value in figures.items()
        if (model, suite, metric) == ("rl", "problems", "pass@1") and LEVEL not in group
    }
    pairs = {}
    for family, solved in after.items():
        before = figure("sft", "problems", family, "pass@1")(figures)
        if before is not None:
            pairs[family] = (before, solved)
    return pairs


def _largest_gain(figures: Figures) -> float | None:
    """The largest gain through RL among the families that are neither too hard nor too easy before."""
    low, high = FEASIBLE
    return max((after - before for before, after in _families(figures).values() if low <= before <= high), default=None)


def _above_constant(figures: Figures) -> float | None:
    """The smallest lead of a family after RL over the best constant answer to it."""
    leads = []
    for family, (_, after) in _families(figures).items():
        constant = figure("best constant answer", "problems", family, "pass@1")(figures)
        if constant is not None:
            leads.append(after - constant)
    return min(leads, default=None)


def _worst_change(model: str) -> Value:
    """The worst change of an ability since SFT, of the shares that should be high."""
    wanted = (model, "questions", "change from sft")

    def change(figures: Figures) -> float | None:
        changes = [value for (who, suite, _, metric), value in figures.items() if (who, suite, metric) == wanted]
        return min(changes, default=None)

    return change


def _precision_change(figures: Figures) -> float | None:
    before, after = (figure(model, "open_answers", "open prompts", "precision")(figures) for model in ("sft", "rlhf"))
    return None if before is None or after is None else after - before


HEADLINES: tuple[Headline, ...] = (
    Headline(
        "bits per byte of held-out pages, base model",
        figure("base", "text", "validation pages", "bits_per_byte"),
        "bits",
        baseline=("5-gram of the same tokens", figure("5-gram of tokens", "text", "validation pages", "bits_per_byte")),
    ),
    Headline(
        "known facts right, new wordings",
        _right("sft", "known"),
        baseline=("base model after examples", _right("base", "known")),
    ),
    Headline(
        "known facts right, entities without conversations",
        _right("sft", "known_elsewhere"),
        target=Target("≥", 0.7),
        baseline=("most frequent answer", _right("majority by relation", "known_elsewhere")),
    ),
    Headline(
        "answers made up about fictitious entities",
        figure("sft", "questions", "fictitious", "wrong"),
        baseline=("ablation", figure("ablation", "questions", "fictitious", "wrong")),
    ),
    Headline("answers made up, as a share of the ablation's", _ratio_made_up, target=Target("≤", 0.2)),
    Headline("known facts refused", _known_refused("sft"), target=Target("≤", 0.1)),
    Headline("facts of unseen pages right, by search", _right("sft", "search"), target=Target("≥", 0.85)),
    Headline(
        "sums right, with Python",
        _right("sft", "sums_python"),
        target=Target("≥", 0.95),
        baseline=("answered directly, without Python", _right("sft", "sums_at_once")),
    ),
    Headline(
        "letters counted right, with Python",
        _right("sft", "letters_python"),
        target=Target("≥", 0.95),
        baseline=("answered directly, without Python", _right("sft", "letters_at_once")),
    ),
    Headline("largest gain of a feasible family through RL", _largest_gain, "points", Target("≥", 0.15)),
    Headline("smallest lead over a constant answer after RL", _above_constant, "points", Target("≥", 0.0)),
    Headline("worst change of an ability through RL", _worst_change("rl"), "points", Target("≥", -0.08)),
    Headline(
        "rankings ordered as the labeller did, reward model",
        figure("reward model", "preference", "test pairs", "ordered alike"),
        baseline=("longer answer", figure("longer answer", "preference", "test pairs", "ordered alike")),
    ),
    Headline(
        "preferred to SFT's, of untied answers",
        figure("rlhf", "open_answers", "open prompts", "preferred to sft"),
        target=Target("≥", 0.65),
    ),
    Headline(
        "fact precision of open answers, released model",
        figure("rlhf", "open_answers", "open prompts", "precision"),
        baseline=("SFT", figure("sft", "open_answers", "open prompts", "precision")),
    ),
    Headline("change of fact precision through RLHF", _precision_change, "points", Target("≥", 0.0)),
    Headline("worst change of an ability through RLHF", _worst_change("rlhf"), "points", Target("≥", -0.08)),
    Headline(
        "rankings ordered as the labeller did, model after DPO",
        figure("policy", "preference", "test pairs", "ordered alike"),
        baseline=("longer answer", figure("longer answer", "preference", "test pairs", "ordered alike")),
    ),
    Headline("worst change of an ability through DPO", _worst_change("dpo"), "points"),
)


def own_questions(figures: Figures) -> list[Headline]:
    """A headline for each file of the user's own questions: the last model that was asked them, beside the base model.

    Unlike `HEADLINES`, they differ between recipes, and no replicas publish them.
    """
    answered = [(model, group) for model, suite, group, _ in figures if suite == "questions" and is_of_file(group)]
    headlines = []
    for group in dict.fromkeys(group for _, group in answered):
        last = next(model for model in reversed(MODELS) if model != ABLATION and (model, group) in answered)
        headlines.append(
            Headline(f"{title_of(group)}, {last}", _right(last, group), baseline=("base model", _right("base", group)))
        )
    return headlines
