"""A Ray cluster of several nodes on this machine. Each node's workers have a cache folder of their own."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NODE_BYTES = 100 << 20  # of a node's object store, in which only results of tasks lie: None
NODE_MEMORY = 3 << 30  # that a node offers to tasks
TRIES = 3  # to start a node: Ray waits for 30 seconds each time, which a busy machine may take


class RayCluster:
    """Nodes of one core each, with temporary folders of their own.

    folder: with a short path, as Ray's sockets are below it. environment: of all workers. The first node is the head.
    """

    def __init__(self, folder: Path, environment: dict[str, str], nodes: int):
        from ray.cluster_utils import Cluster

        self.folder, self.environment = folder, environment
        self.cluster, self.nodes = Cluster(), dict[str, Any]()
        for _ in range(nodes):
            self.add_node()

    @property
    def address(self) -> str:
        return self.cluster.address

    def cache(self, name: str) -> Path:
        """The folder in which a node's workers keep copies of inputs, and run tasks."""
        return self.folder / name / f"llm-assets-{os.getuid()}"

    def add_node(self, memory: int = NODE_MEMORY) -> str:
        """Start a node. memory: bytes that it offers to tasks."""
        name = f"node{len(self.nodes)}"
        (self.folder / name).mkdir()
        with environment(**self.environment, TMPDIR=str(self.folder / name)):
            for tries_left in reversed(range(TRIES)):
                try:
                    self.nodes[name] = self.cluster.add_node(
                        num_cpus=1, object_store_memory=NODE_BYTES, memory=memory, include_dashboard=False
                    )
                    break
                except Exception as error:
                    if "timed out" not in str(error).lower() or not tries_left:
                        raise
        return name

    def kill_node(self, name: str) -> None:
        """Kill all processes of a node. Not of the head: the cluster ends with it."""
        self.cluster.remove_node(self.nodes[name], allow_graceful=False)

    def shut_down(self) -> None:
        import ray

        ray.shutdown()
        self.cluster.shutdown()


@contextmanager
def environment(**variables: str):
    """These environment variables, for processes that are started meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def python_path() -> str:
    """PYTHONPATH of processes that import the tests' modules."""
    return os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
