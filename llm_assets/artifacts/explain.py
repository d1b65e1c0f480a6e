"""Why would this rebuild? Field by field, through the whole graph, before anything is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .identity import differences
from .materialize import Workspace
from .stage import Key, drifted_modules


@dataclass(frozen=True)
class Explanation:
    """The state of one artifact under the present recipe.

    state: ``cached`` (in the store), ``build`` (its own fields differ, or it was never built), or ``depends`` (an
    input would rebuild; it rebuilds only if that input's bytes change).
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
    unreachable: str = ""

    def text(self) -> str:
        if self.state == "cached":
            drift = f"; code drifted since: {', '.join(self.drifted)}" if self.drifted else ""
            without = f"; without {', '.join(self.unbuilt_crawls)}, not built" if self.unbuilt_crawls else ""
            kept = f"; as it was last built: {self.unreachable}" if self.unreachable else ""
            return f"cached {self.identity}{without}{kept}{drift}"
        if self.unreachable:
            return f"cannot be built: {self.unreachable}"
        reasons = [f"{path}: {_shown(old)} → {_shown(new)}" for path, old, new in self.differences]
        if self.never_built:
            reasons.insert(0, "never built")
        if self.waits_for:
            reasons.append(
                f"rebuilds if the bytes of {', '.join(self.waits_for)} change"
                if self.state == "depends"
                else f"after {', '.join(self.waits_for)}"
            )
        return f"{'would build' if self.state == 'build' else 'open'}: {'; '.join(reasons)}"


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
        resolution = resolver.resolve(name, partition)
        unreachable = str(resolution.unreachable or "")
        if resolution.artifact is not None and resolution.identity is not None:
            drifted = drifted_modules(resolution.stage, resolution.artifact)
            short = resolution.identity.short
            out.append(
                Explanation(
                    resolution.key,
                    "cached",
                    short,
                    drifted=drifted,
                    unbuilt_crawls=resolution.unbuilt_crawls,
                    unreachable=unreachable,
                )
            )
            continue
        latest = workspace.store.latest(name, partition)
        if latest is None:
            waits_for = resolution.missing
            out.append(
                Explanation(
                    resolution.key, "build", None, waits_for=waits_for, never_built=True, unreachable=unreachable
                )
            )
            continue
        unknown = {f"inputs.{key}" for key in resolution.missing}
        changed = [
            d
            for d in differences(latest.record.fields, resolution.partial.fields())
            if d[0] not in unknown and not (d[0] == "inputs" and resolution.missing)
        ]
        state = "build" if changed or not resolution.missing else "depends"
        out.append(
            Explanation(
                resolution.key,
                state,
                resolution.identity.short if resolution.identity else None,
                changed,
                resolution.missing,
                unreachable=unreachable,
            )
        )
    return out
