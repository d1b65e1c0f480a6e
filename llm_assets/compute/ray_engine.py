"""Runs the tasks of a step on a Ray cluster."""

from __future__ import annotations

import importlib
import json
import math
import os
import pickle
import platform
import re
import socket
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llm_assets import __version__

from .engine import GARBAGE_THRESHOLD, LocalEngine, WorkerDied

AUTO = "auto"
CONNECT_SECONDS = 10.0  # for an answer at the cluster's address
WAIT_SECONDS = 300.0  # for a node on which tasks fit: one that is restarted, or that an autoscaler starts
LOOK_SECONDS = 5.0  # between two looks at the nodes
RETRIES = 3  # of a task whose worker or node dies
LEAST_IN_FLIGHT = 16  # tasks for an autoscaler to see, also while the cluster has no cores
# Memory that a task asks for: what Python and the libraries take, and a multiple of the bytes that the task reads.
# Measured: extraction, which takes most, had 412 MB in use for a WARC file of 10 MB, and 561 MB for one of 79 MB.
TASK_BYTES = 800_000_000
BYTES_PER_INPUT_BYTE = 2

_COLOURS = re.compile(r"\x1b\[\d+m")  # in Ray's texts of tracebacks


class ClusterError(RuntimeError):
    """The Ray cluster cannot be reached, or cannot run a task."""


class _WorkerTraceback(Exception):
    """The traceback of a task's error, as text, as the cause of the error."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class RayEngine:
    """Runs tasks on the nodes of a Ray cluster, which need no common disk.

    address: ``host:port`` of the cluster's head, or ``auto`` for that of RAY_ADDRESS, or else of this machine; this
    machine must be a node. cpus: cores that a task asks for. memory: bytes that a task asks for; None takes
    TASK_BYTES, and BYTES_PER_INPUT_BYTE for each byte of its inputs. workers: processes for what must run here.
    """

    shares_disk = False

    def __init__(self, address: str = AUTO, cpus: float = 1.0, memory: int | None = None, workers: int | None = None):
        self.address, self.cpus, self.memory, self.workers = address or AUTO, cpus, memory, workers

    @property
    def on_this_machine(self) -> LocalEngine:
        return LocalEngine(self.workers)

    def run(
        self, work: Callable[..., None], tasks: Mapping[str, tuple], sizes: Mapping[str, int] | None = None
    ) -> Generator[str]:
        """Call ``work(*tasks[name])`` for every name on some node, and yield each name when its task finishes.

        At most two tasks for each place of the cluster are submitted at a time. A task whose node or worker dies runs
        again, RETRIES times. One that waits for more memory than any node has, as after the death of the largest, asks
        for what there is. The first error stops all tasks. Raises ClusterError if the cluster cannot be reached,
        has other versions, or has had no node for the tasks for WAIT_SECONDS; WorkerDied if a task's workers die.
        """
        if not tasks:
            return
        ray = connect(self.address)
        call, nodes = ray.remote(_new_call()), _Nodes(ray, self.cpus)
        queue, running = iter(tasks), dict[Any, _Submitted]()

        def submit(name: str, payload: bytes) -> None:
            options = self._options(name, (sizes or {}).get(name, 0), nodes)
            running[call.options(**options).remote(payload)] = _Submitted(name, payload, options["memory"])

        try:
            while True:
                nodes.look()
                while len(running) < max(2 * nodes.places, LEAST_IN_FLIGHT) and (name := next(queue, None)) is not None:
                    submit(name, pickle.dumps((work, tasks[name])))
                if not running:
                    return
                for reference in _without_place(ray, running, nodes.memory):
                    task = running.pop(reference)
                    ray.cancel(reference, force=True)
                    submit(task.name, task.payload)
                done, _ = ray.wait(list(running), timeout=LOOK_SECONDS)
                for reference in done:
                    name = running.pop(reference).name
                    self._require_success(ray, reference, name)
                    yield name
        finally:
            for reference in running:
                with suppress(Exception):  # the cluster may be gone; the error that led here is the one to report
                    ray.cancel(reference, force=True)

    def _options(self, name: str, size: int, nodes: _Nodes) -> dict[str, Any]:
        """What a task asks for. No task asks for more memory than the largest node has."""
        memory = TASK_BYTES + BYTES_PER_INPUT_BYTE * size if self.memory is None else self.memory
        return {
            "name": name,
            "num_cpus": self.cpus,
            "memory": memory if nodes.memory is None else min(memory, nodes.memory),
            "max_retries": RETRIES,
            "scheduling_strategy": "SPREAD",
        }

    def _require_success(self, ray: Any, reference: Any, name: str) -> None:
        """Raise a task's own error, WorkerDied if its workers died, or ClusterError if its node cannot run it."""
        try:
            problem = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else ClusterError(f"{name}: {error}")
            raise cause from _WorkerTraceback(_COLOURS.sub("", str(error)))
        except ray.exceptions.OutOfMemoryError as error:
            raise WorkerDied(
                f"{name}: ran out of memory on its node; give each task more with LLM_ASSETS_RAY_TASK_GB"
            ) from error
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[:500]
            raise WorkerDied(f"{name}: its worker died, {RETRIES + 1} times in all: {reason}") from error
        if problem is not None:
            raise ClusterError(f"{name}: {problem}")


@dataclass(frozen=True)
class _Submitted:
    """A task that Ray has. payload: the pickled call. memory: bytes that it asks for."""

    name: str
    payload: bytes
    memory: int


def _without_place(ray: Any, running: Mapping[Any, _Submitted], memory: int | None) -> list[Any]:
    """References of unfinished tasks that ask for more memory than the largest node has: Ray would keep them waiting.

    memory: as in `_Nodes`.
    """
    larger = [reference for reference, task in running.items() if memory is not None and task.memory > memory]
    return ray.wait(larger, num_returns=len(larger), timeout=0)[1] if larger else []


class _Nodes:
    """The nodes of the cluster that have the CPUs for a task.

    places: tasks that run at a time. memory: bytes that the largest node has for tasks; None while there is no node.
    """

    def __init__(self, ray: Any, cpus: float):
        self._ray, self._cpus = ray, cpus
        self.places = 0
        self.memory: int | None = None
        self._seen, self._looked = time.monotonic(), -math.inf

    def look(self) -> None:
        """Look at the nodes from time to time. Raises ClusterError if there was none for WAIT_SECONDS."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        resources = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        fitting = [node for node in resources if node.get("CPU", 0) >= self._cpus]
        self.places = sum(int(node["CPU"] // self._cpus) for node in fitting)
        self.memory = int(max(node.get("memory", 0) for node in fitting)) if fitting else None
        if fitting:
            self._seen = now
        elif now - self._seen > WAIT_SECONDS:
            raise ClusterError(
                f"no node of the Ray cluster has {self._cpus:g} CPUs, of {len(resources)} nodes that are alive; waited "
                f"{WAIT_SECONDS:.0f} s. Finished tasks are kept; start nodes, then run again"
            )


def _new_call() -> Callable[[bytes], str | None]:
    """The function that Ray runs. As it is nested, Ray sends its code, so that it can report a node without ours."""
    threshold, version = GARBAGE_THRESHOLD, __version__

    def run_task(payload: bytes) -> str | None:
        import gc
        import pickle
        import socket

        gc.set_threshold(*threshold)
        try:
            work, arguments = pickle.loads(payload)
        except (ImportError, AttributeError) as error:
            try:
                from llm_assets import __version__ as installed
            except ImportError:
                installed = "none"
            return (
                f"the node {socket.gethostname()} cannot run a task of llm-assets {version}; it has {installed} "
                f"({error}). Install the same, with its dependencies, on every node"
            )
        work(*arguments)
        return None

    return run_task


def connect(address: str) -> Any:
    """The module ray, connected to the cluster. Raises ClusterError, soon, if that is not possible."""
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise ClusterError("the engine ray needs Ray: pip install 'llm-assets[ray]'") from None
    address = os.environ.get("RAY_ADDRESS") or AUTO if address == AUTO else address
    if ray.is_initialized():
        current = ray.get_runtime_context().gcs_address
        if address not in (AUTO, current, _names.get(current)):
            raise ClusterError(f"this process is connected to the Ray cluster at {current}, not to {address}")
        return ray
    if address != AUTO:
        _require_answer(address)
        _require_same_versions(ray, address)
    try:
        ray.init(address=address, logging_level="warning")
    except Exception as error:  # of several types, also for other versions of Ray or Python
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(f"cannot connect to the Ray cluster at {address}: {reason}") from error
    _names[ray.get_runtime_context().gcs_address] = address
    return ray


_names: dict[str, str] = {}  # under which this process has connected to clusters, by Ray's own address


def _require_answer(address: str) -> None:
    """Raise ClusterError unless a gRPC server answers at an address: Ray itself may wait for minutes, or abort."""
    import grpc

    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ClusterError(f"the address of the Ray cluster is {address!r}; it must be host:port of its head, or auto")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(CONNECT_SECONDS)
    except (OSError, grpc.FutureTimeoutError) as error:
        reason = str(error) or f"no answer in {CONNECT_SECONDS:.0f} s"
        raise ClusterError(
            f"no Ray cluster at {address}: {reason}; start its head (ray start --head), or correct "
            "LLM_ASSETS_RAY_ADDRESS"
        ) from error


def _require_same_versions(ray: Any, address: str) -> None:
    """Raise ClusterError, which names the versions, if the cluster has another Ray or Python.

    Ray itself first asks the head for other values. One that Ray 2.50 asks for is not there with a head of 2.60, which
    it reports after 40 seconds, without the versions. Where this look at the head fails, Ray's own error counts.
    """
    of_cluster = of_process = f"Ray {ray.__version__} and Python {platform.python_version()}"
    with suppress(Exception):  # an interface inside of Ray, the same in 2.50 and 2.60
        from ray._raylet import GcsClient

        cluster = json.loads(GcsClient(address=address).internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster"))
        of_cluster = f"Ray {cluster['ray_version']} and Python {cluster['python_version']}"
    if of_cluster != of_process:
        raise ClusterError(
            f"the Ray cluster at {address} has {of_cluster}, but this process has {of_process}; install the same on "
            "every machine"
        )


__all__ = ["ClusterError", "RayEngine", "connect"]
