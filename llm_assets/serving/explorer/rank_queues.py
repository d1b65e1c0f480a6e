"""The queues of pairs to rank: what labellers hold and have skipped lasts as long as the server."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from llm_assets.artifacts import Record, Workspace
from llm_assets.artifacts.last_built import current_or_last_built
from llm_assets.preference.ranking_files import PairQueue, models_of_pairs, pairs_of, stage_of_pairs


@dataclass(frozen=True)
class OpenPairs:
    """The pairs of one artifact. models: name and identity of those that gave the `first` and the `second` answers."""

    record: Record
    queue: PairQueue
    models: dict[str, dict[str, str]]


class RankQueues:
    """A queue for each stage that pairs were read from. Safe to call from several threads.

    folder: of the data, where rankings are stored.
    """

    def __init__(self, workspace: Workspace, folder: Path):
        self.workspace, self.folder = workspace, folder
        self._opened: dict[str, OpenPairs] = {}  # by stage
        self._lock = threading.Lock()

    def open(self, adversarial: bool) -> OpenPairs:
        """The pairs of the recipe's artifact, or of the one that was built last. Raises NotBuilt.

        A vote makes `rlhf_checkpoint` stale if the recipe reads its file; its other pairs are ranked all the same.
        Those of an artifact that a takedown has removed, or stripped of its texts, are not.
        """
        stage = stage_of_pairs(adversarial)
        with self._lock:
            artifact, _ = current_or_last_built(self.workspace, stage)
            opened = self._opened.get(stage)
            if opened is None or opened.record != artifact.record:
                models = models_of_pairs(self.workspace.store, artifact)
                queue = PairQueue(pairs_of(artifact), self.folder)
                opened = self._opened[stage] = OpenPairs(artifact.record, queue, models)
            return opened
