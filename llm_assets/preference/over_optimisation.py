"""The monitor: a policy is tuned to a model of what people prefer, and stopped where what they prefer really no longer follows (Goodhart's
law; Gao et al., "Scaling laws for reward model overoptimization", arXiv:2210.10760).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def over_optimised(evaluations: Sequence[Mapping[str, Any]], patience: int, margin: float) -> str:
    """Why to stop, or nothing. evaluations: proxy and gold, in order, each in deviations at the start.

    Gold peaked where the last `patience` evaluations all lie more than `margin` below its best; it is over-optimisation, and not a policy
    that falls apart, where the proxy is above what it was at that peak in all of them.
    """
    best = max(evaluations, key=lambda evaluation: evaluation["gold"])  # the first of equals
    since = evaluations[-patience:]
    if len(evaluations) <= patience or best in since:
        return ""
    if all(evaluation["gold"] < best["gold"] - margin and evaluation["proxy"] > best["proxy"] for evaluation in since):
        last = evaluations[-1]
        return f"over-optimised: the gold signal peaked at step {best['step']} ({best['gold']:.3f}) and fell to {last['gold']:.3f}, while the reward model's rose from {best['proxy']:.3f} to {last['proxy']:.3f}"
    return ""


def adversarial(proxy: Sequence[float], gold: Sequence[float], most: int) -> list[int]:
    """Numbers of at most so many answers that the reward model puts above its mean and the gold signal below its own, the widest apart first."""
    if not proxy:
        return []
    mean_proxy, mean_gold = sum(proxy) / len(proxy), sum(gold) / len(gold)
    apart = [
        (loved - liked, number)
        for number, (loved, liked) in enumerate(zip(proxy, gold, strict=True))
        if loved > mean_proxy and liked < mean_gold
    ]
    return [number for _, number in sorted(apart, key=lambda one: (-one[0], one[1]))[:most]]
