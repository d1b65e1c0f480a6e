"""Why would this rebuild? Field by field, through the whole graph, before anything is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .checks import CheckOutcome
from .errors import ArtifactError
from .identity import artifact_key, differences
from .materialize import Workspace
from .stage import Key, drifted_modules


@dataclass(frozen=True)
class Explanation:
    """The state of one artifact under the present recipe.

    state: ``cached`` (in the store), ``build`` (its own fields differ, or it was never built), ``depends`` (an
    input would rebuild; it rebuilds only if that input's bytes change), or ``unknown`` (`problem` says why).
    differences: (field, before, now) against the version last used.
    """

    key: str
    state: str
    identity: str | None
    differences: list[tuple[str, Any, Any]] = field(default_factory=list)
    waits_for: list[str] = field(default_factory=list)
    drifted: list[str] = field(default_factory=list)
    never_built: bool = False
    unbuilt_crawls: list[str] = field(default_factory=list)
    problem: str = ""

    def text(self) -> str:
        if self.state == "cached":
            drift = f"; code drifted since: {', '.join(self.drifted)}" if self.drifted else ""
            without = f"; without {', '.join(self.unbuilt_crawls)}, not built" if self.unbuilt_crawls else ""
            kept = f"; as it was last built: {self.problem}" if self.problem else ""
            return f"cached {self.identity}{without}{kept}{drift}"
        if self.state == "unknown":
            return f"unknown: {self.problem}"
        reasons = [f"{path}: {_shown(old)} → {_shown(new)}" for path, old, new in self.differences]
        if self.never_built:
            reasons.insert(0, "never built")
        if self.waits_for:
            reasons.append(
                f"only if the bytes of {', '.join(self.waits_for)} change"
                if self.state == "depends"
                else f"after {', '.join(self.waits_for)}"
            )
        if self.unbuilt_crawls:
            reasons.append(f"without {', '.join(self.unbuilt_crawls)}, not built")
        return f"{'would build' if self.state == 'build' else 'may build'}: {'; '.join(reasons)}"


def _shown(value: Any) -> str:
    if value is None:
        return "(absent)"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def explain(workspace: Workspace, keys: list[Key] | None = None) -> list[Explanation]:
    """Explain the given artifacts (default: all that the recipe spans), upstream first."""
    resolver = workspace.resolver()
    out = []
    for name, partition in keys if keys is not None else workspace.graph.keys(workspace.recipe):
        try:
            resolution = resolver.resolve(name, partition)
        except (ArtifactError, OSError) as error:
            # A folder of WARC files that is gone must not hide what is known of the rest.
            out.append(Explanation(artifact_key(name, partition), "unknown", None, problem=str(error)))
            continue
        if resolution.artifact is not None and resolution.identity is not None:
            drifted = drifted_modules(resolution.stage, resolution.artifact)
            short = resolution.identity.short_id
            out.append(
                Explanation(
                    resolution.key,
                    "cached",
                    short,
                    drifted=drifted,
                    unbuilt_crawls=resolution.unbuilt_crawls,
                    problem=str(resolution.unreachable or ""),
                )
            )
            continue
        if resolution.unreachable is not None:
            problem = str(resolution.unreachable)
            out.append(Explanation(resolution.key, "unknown", None, problem=problem))
            continue
        latest = workspace.store.latest(name, partition)
        if latest is None:
            out.append(Explanation(resolution.key, "build", None, waits_for=resolution.missing, never_built=True))
            continue
        unknown = {f"inputs.{key}" for key in resolution.missing}
        changed = [
            difference
            for difference in differences(latest.record.fields, resolution.partial.fields())
            if difference[0] not in unknown
        ]
        state = "build" if changed or not resolution.missing else "depends"
        out.append(
            Explanation(
                resolution.key,
                state,
                resolution.identity.short_id if resolution.identity else None,
                changed,
                resolution.missing,
                unbuilt_crawls=resolution.unbuilt_crawls,
            )
        )
    return out


def state_of_asset(explanations: list[Explanation]) -> CheckOutcome:
    """What there is to say of one asset, over its crawls; it passes where all is in the store and nothing drifted."""
    cached = [one for one in explanations if one.state == "cached"]
    told = [one for one in explanations if one.state != "cached" or one.drifted or one.unbuilt_crawls]
    numbers = {
        "cached": len(cached),
        "would_build": sum(one.state == "build" for one in explanations),
        "may_build": sum(one.state == "depends" for one in explanations),
        "drifted": sum(bool(one.drifted) for one in explanations),
    }
    passed = len(cached) == len(explanations) and not any(one.drifted for one in explanations)
    return CheckOutcome(
        passed,
        "; ".join(f"{one.key}: {one.text()}" for one in told) or f"{len(cached)} of {len(cached)} in the store",
        [{"artifact": one.key, "state": one.text()} for one in told[:20]],
        {name: float(count) for name, count in numbers.items()},
    )
