"""Versions of `human_rankings`: the last one, the votes that it is without, and the build of the next one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading

from llm_assets.artifacts import Artifact, NotBuilt, Workspace
from llm_assets.artifacts.last_built import current_or_last_built
from llm_assets.preference.human_rankings import HUMAN_RANKINGS, waiting_votes
from llm_assets.settings import Settings

from ..errors import ApiError
from .protocol import RankingsBuild, RankingsVersion
from .reading import Reader


class RankingsBuilds:
    """Builds of `human_rankings`, one at a time. Safe to call from several threads.

    Each is a process of its own with the command ``llm-assets run``, so that it is a run of Dagster, which shows what
    is stale downstream. It goes on if the server is stopped.
    """

    def __init__(self, recipe: str | None, settings: Settings):
        """recipe: name under which commands load the server's recipe; None is that of the environment."""
        self.recipe, self.settings = recipe, settings
        self._state = RankingsBuild(state="none", problem="")
        self._lock = threading.Lock()

    @property
    def state(self) -> RankingsBuild:
        """The build that is running, or the last one."""
        with self._lock:
            return self._state

    def start(self) -> None:
        """Start a build, unless one is running."""
        with self._lock:
            if self._state.state == "running":
                return
            self._state = RankingsBuild(state="running", problem="")
        threading.Thread(target=self._build, name="rankings", daemon=True).start()

    def command(self) -> list[str]:
        chosen = [] if self.recipe is None else ["--recipe", self.recipe]
        return [sys.executable, "-m", "llm_assets", "run", "--plain", "--select", HUMAN_RANKINGS.name, *chosen]

    def _build(self) -> None:
        environment = {**os.environ, "LLM_ASSETS_DATA": str(self.settings.data)}
        problem = ""
        try:
            with tempfile.TemporaryFile() as errors:  # a pipe would break with the server, and end the build
                ended = subprocess.run(
                    self.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=environment,
                    check=False,
                    start_new_session=True,  # Ctrl-C stops the server alone
                )
                errors.seek(0)
                text = errors.read().decode(errors="replace")
            if ended.returncode:
                problem = _reason(text) or f"exit code {ended.returncode}"
        except OSError as error:
            problem = str(error)
        with self._lock:
            self._state = RankingsBuild(state="failed" if problem else "built", problem=problem)


def _reason(errors: str) -> str:
    """What a command says of its failure: the lines about failures, or else the last one."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    failures = [line for line in lines if line.lower().startswith(("failed: ", "error: "))]
    return "; ".join(failures or lines[-1:])


def current_version(reader: Reader, builds: RankingsBuilds) -> RankingsVersion:
    """The last version of `human_rankings` under the recipe, and what the next one would add."""
    workspace = reader.workspace
    artifact = _last_version(workspace)
    record = artifact.record if artifact is not None else None
    return RankingsVersion(
        identity=record.short_id if record else None,
        rankings=record.stats["rankings"] if record else 0,
        by_people=record.stats["by_people"] if record else 0,
        finished_at=str(record.timings.get("finished_at", ""))[:19] if record else "",
        unread=waiting_votes(workspace.recipe.human_rankings, reader.settings.data, artifact),
        refusal=_refusal(workspace),
        build=builds.state,
        dagster=f"{reader.settings.dagster_url.rstrip('/')}/assets/{HUMAN_RANKINGS.name}",
    )


def start_build(reader: Reader, builds: RankingsBuilds) -> RankingsVersion:
    """Start the build of the next version. Raises ApiError if the recipe leaves `human_rankings` out."""
    if (refusal := _refusal(reader.workspace)) is not None:
        raise ApiError(409, f"{HUMAN_RANKINGS.name} is left out: {refusal}", "left_out")
    builds.start()
    return current_version(reader, builds)


def _refusal(workspace: Workspace) -> str | None:
    return workspace.graph.left_out(workspace.recipe).get(HUMAN_RANKINGS.name)


def _last_version(workspace: Workspace) -> Artifact | None:
    """The recipe's artifact, or the one that was built last; None if there is none."""
    try:
        return current_or_last_built(workspace, HUMAN_RANKINGS.name)[0]
    except NotBuilt:
        return None
