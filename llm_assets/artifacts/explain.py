"""Why would this rebuild? Compares every artifact with the recipe, field by field, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .checks import CheckOutcome
from .errors import RESOLUTION_ERRORS
from .identity import ABSENT, artifact_key, differences
from .materialize import Workspace
from .resolver import Resolution, Resolver
from .stage import Key, drifted_modules
from .used_artifacts import UsedArtifacts

SHOWN_CHARACTERS = 60  # of a value in an explanation; longer values are cut


@dataclass(frozen=True)
class Explanation:
    """The state of an artifact under the current recipe.

    state: ``cached`` (in the store), ``build`` (its own fields differ, or it was never built), ``depends`` (an
    input would rebuild; this artifact rebuilds only if that input's bytes change), or ``unknown`` (see `problem`).
    differences: (field, old value, new value) compared with the version that the recipe used last, or else any recipe;
    ABSENT for a field that one of the two does not have. A renamed field is one that was removed and one that was
    added. waits_for: keys of inputs that would be built first. drifted: modules whose source has changed since the
    build.
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
        """One line for a person."""
        if self.state == "cached":
            return self._cached_text()
        if self.state == "unknown":
            return f"unknown: {self.problem}"
        reasons = [_difference_text(*difference) for difference in self.differences]
        if self.never_built:
            reasons.insert(0, "never built")
        if self.waits_for:
            inputs = ", ".join(self.waits_for)
            reasons.append(
                f"only if the bytes of {inputs} change" if self.state == "depends" else f"needs {inputs} first"
            )
        if self.unbuilt_crawls:
            reasons.append(self._left_out())
        return f"{'would build' if self.state == 'build' else 'may build'}: {'; '.join(reasons)}"

    def why_stale(self) -> str:
        """A sentence for those who see the version that was last built in place of this one."""
        return f"{self.key} is stale, and shown as it was last built ({self.text()})"

    def _cached_text(self) -> str:
        parts = [f"cached {self.identity}"]
        if self.unbuilt_crawls:
            parts.append(self._left_out())
        if self.problem:
            parts.append(f"as it was last built: {self.problem}")
        if self.drifted:
            parts.append(f"code changed since the build: {', '.join(self.drifted)}")
        return "; ".join(parts)

    def _left_out(self) -> str:
        return f"without {', '.join(self.unbuilt_crawls)} (not built)"


def _difference_text(path: str, old: Any, new: Any) -> str:
    if old is ABSENT:
        return f"{path} added: {_cut(new)}"
    if new is ABSENT:
        return f"{path} removed: was {_cut(old)}"
    return f"{path}: {_cut(old)} → {_cut(new)}"


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def explain(
    workspace: Workspace,
    keys: list[Key] | None = None,
    resolver: Resolver | None = None,
    used: UsedArtifacts | None = None,
) -> list[Explanation]:
    """Explain the given artifacts (default: all that the recipe spans), upstream first.

    resolver, used: of the workspace, which remember what they have read; None makes new ones.
    """
    resolver, used = resolver or workspace.resolver(), used or UsedArtifacts(workspace)
    explanations = []
    for name, partition in keys if keys is not None else workspace.graph.keys(workspace.recipe):
        try:
            resolution = resolver.resolve(name, partition)
        except RESOLUTION_ERRORS as error:
            # A missing folder of WARC files must not hide the state of the other artifacts.
            explanations.append(Explanation(artifact_key(name, partition), "unknown", None, problem=str(error)))
        else:
            explanations.append(_explain_resolution(used, resolution))
    return explanations


def _explain_resolution(used: UsedArtifacts, resolution: Resolution) -> Explanation:
    if resolution.artifact is not None and resolution.identity is not None:
        return Explanation(
            resolution.key,
            "cached",
            resolution.identity.short_id,
            drifted=drifted_modules(resolution.stage, resolution.artifact),
            unbuilt_crawls=resolution.unbuilt_crawls,
            problem=str(resolution.unreachable or ""),
        )
    if resolution.unreachable is not None:
        return Explanation(resolution.key, "unknown", None, problem=str(resolution.unreachable))
    name, partition = resolution.stage.name, resolution.partition
    latest = used.last(name, partition) or used.workspace.store.latest(name, partition)
    if latest is None:
        return Explanation(resolution.key, "build", None, waits_for=resolution.missing, never_built=True)
    unknown = {f"inputs.{key}" for key in resolution.missing}
    changes = [
        change for change in differences(latest.record.fields, resolution.partial.fields()) if change[0] not in unknown
    ]
    return Explanation(
        resolution.key,
        "build" if changes or not resolution.missing else "depends",
        resolution.identity.short_id if resolution.identity else None,
        changes,
        resolution.missing,
        unbuilt_crawls=resolution.unbuilt_crawls,
    )


def left_out_lines(reasons: Mapping[str, str]) -> list[str]:
    """Stages that a recipe leaves out, as `Graph.left_out` gives them: one line for each reason."""
    stages: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        stages.setdefault(reason, []).append(name)
    return [f"left out: {', '.join(names)}: {reason}" for reason, names in stages.items()]


def state_of_asset(explanations: list[Explanation]) -> CheckOutcome:
    """Summarise an asset over its crawls. It passes if every artifact is in the store and no code has drifted."""
    if not explanations:
        return CheckOutcome(True, "left out under this recipe")
    cached = [item for item in explanations if item.state == "cached"]
    notable = [item for item in explanations if item.state != "cached" or item.drifted or item.unbuilt_crawls]
    numbers = {
        "cached": len(cached),
        "would_build": sum(item.state == "build" for item in explanations),
        "may_build": sum(item.state == "depends" for item in explanations),
        "drifted": sum(bool(item.drifted) for item in explanations),
    }
    passed = len(cached) == len(explanations) and not any(item.drifted for item in explanations)
    return CheckOutcome(
        passed,
        "; ".join(f"{item.key}: {item.text()}" for item in notable) or f"{len(cached)} of {len(cached)} in the store",
        [{"artifact": item.key, "state": item.text()} for item in notable[:20]],
        {name: float(count) for name, count in numbers.items()},
    )
