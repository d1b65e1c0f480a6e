"""A Ray cluster of several nodes on this machine. Each node's workers have a cache folder of their own."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NODE_BYTES = 100 << 20  # of a node's object store, in which only results of tasks lie: None
NODE_MEMORY = 3 << 30  # that a node offers to tasks


class RayCluster:
    """Nodes of one core each, with temporary folders of their own.

    They are started by a fresh process. Ray forks to start one, and a fork of pytest, once tests have loaded Torch,
    Arrow, Spark and some 240 extension modules in all, may crash before it becomes the node.

    folder: with a short path, as Ray's sockets are below it. environment: of all workers. The first node is the head.
    """

    def __init__(self, folder: Path, environment: dict[str, str], nodes: int):
        self.folder, self.environment = folder, environment
        self.names: list[str] = []
        self._starter = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        for _ in range(nodes):
            self.add_node()

    def cache(self, name: str) -> Path:
        """The folder in which a node's workers keep copies of inputs, and run tasks."""
        return self.folder / name / f"llm-assets-{os.getuid()}"

    def has_task(self, name: str) -> bool:
        """Whether a worker of a node runs a task: it holds the lock of the task's folder."""
        for path in (self.cache(name) / ".locks").glob("task-*"):
            with suppress(FileNotFoundError), path.open() as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
        return False

    def add_node(self, memory: int = NODE_MEMORY, python_path: str | None = None) -> str:
        """Start a node. memory: bytes that it offers to tasks. python_path: of its workers, in place of the others'."""
        name = f"node{len(self.names)}"
        (self.folder / name).mkdir()
        environment = {**self.environment, "TMPDIR": str(self.folder / name)}
        if python_path is not None:
            environment["PYTHONPATH"] = python_path
        self.address = self._starter.submit(_start_node, name, environment, memory).result()
        self.names.append(name)
        return name

    def kill_node(self, name: str) -> None:
        """Kill all processes of a node. Not of the head: the cluster ends with it."""
        self._starter.submit(_kill_node, name).result()

    def shut_down(self) -> None:
        import ray

        ray.shutdown()
        self._starter.submit(_shut_down).result()
        self._starter.shutdown()


_started: dict[str, Any] = {}  # in the process that starts nodes: "cluster", and each node by its name


def _start_node(name: str, environment: dict[str, str], memory: int) -> str:
    """Start a node, the cluster with the first one; returns the address of the cluster."""
    os.environ.update(environment)
    from ray.cluster_utils import Cluster

    if "cluster" not in _started:
        _started["cluster"] = Cluster()
    cluster = _started["cluster"]
    _started[name] = cluster.add_node(
        num_cpus=1, object_store_memory=NODE_BYTES, memory=memory, include_dashboard=False
    )
    return str(cluster.address)


def _kill_node(name: str) -> None:
    """The workers first: they outlive Ray's process of the node, and might finish their tasks or remove their files."""
    import psutil  # which Ray brings

    node = _started[name]
    raylet = node.all_processes["raylet"][0].process
    for worker in psutil.Process(raylet.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    _started["cluster"].remove_node(node, allow_graceful=False)


def _shut_down() -> None:
    _started["cluster"].shutdown()


def python_path() -> str:
    """PYTHONPATH of processes that import the tests' modules."""
    return os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
