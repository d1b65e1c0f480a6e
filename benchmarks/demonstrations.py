"""The verdicts of all demonstrations that are built, in Markdown: what docs/explanation/demonstrations.md quotes.

llm-assets run --select group:demonstrations
python benchmarks/demonstrations.py
"""

from __future__ import annotations

from collections.abc import Iterator

from llm_assets.artifacts import Workspace
from llm_assets.demonstrations.stages import STAGES
from llm_assets.graph import open_workspace


def summaries(workspace: Workspace) -> Iterator[str]:
    """A section for each demonstration that the recipe has built, with its build time; a line for each other one."""
    for stage in STAGES:
        artifact = workspace.resolver().resolve(stage.name, None).artifact
        if artifact is None:
            yield f"### {stage.name}\n\nnot built\n"
            continue
        assert stage.show is not None
        seconds = artifact.record.timings.get("seconds", 0.0)
        yield f"### {stage.name}\n\n{stage.show(artifact)['summary']}\n\nBuilt in {seconds:,.0f} s.\n"


if __name__ == "__main__":
    print("\n".join(summaries(open_workspace())))
