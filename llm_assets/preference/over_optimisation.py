"""The over-optimisation monitor.

A policy is tuned to a model of what people prefer. The monitor stops it when the gold signal, which stands for what
people really prefer, no longer follows (Goodhart's law; Gao et al., "Scaling laws for reward model overoptimization",
arXiv:2210.10760).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def over_optimised(evaluations: Sequence[Mapping[str, Any]], patience: int, margin: float) -> str:
    """The reason to stop, or an empty string.

    evaluations: step, proxy and gold of each evaluation step, in order, in standard deviations at the start.

    The policy is over-optimised if, in each of the last `patience` evaluation steps, gold is below its best by more
    than `margin` while proxy is above its value at that best step. If proxy falls too, the policy collapses instead.
    """
    best = max(evaluations, key=lambda evaluation: evaluation["gold"])  # the first one if several are equal
    recent = evaluations[-patience:]
    if len(evaluations) <= patience or best in recent:
        return ""
    if all(evaluation["gold"] < best["gold"] - margin and evaluation["proxy"] > best["proxy"] for evaluation in recent):
        last = evaluations[-1]
        return (
            f"over-optimised: the gold signal peaked at step {best['step']} ({best['gold']:.3f}) and fell to "
            f"{last['gold']:.3f}, while the reward model's rose from {best['proxy']:.3f} to {last['proxy']:.3f}"
        )
    return ""


def adversarial(proxy: Sequence[float], gold: Sequence[float], limit: int) -> list[int]:
    """Positions of at most `limit` answers with a proxy score above and a gold score below the mean.

    Those with the largest difference between the two scores come first.
    """
    if not proxy:
        return []
    mean_proxy, mean_gold = sum(proxy) / len(proxy), sum(gold) / len(gold)
    differences = [
        (proxy_score - gold_score, number)
        for number, (proxy_score, gold_score) in enumerate(zip(proxy, gold, strict=True))
        if proxy_score > mean_proxy and gold_score < mean_gold
    ]
    largest_first = sorted(differences, key=lambda difference: (-difference[0], difference[1]))
    return [number for _, number in largest_first[:limit]]
