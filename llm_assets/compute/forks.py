"""Processes forked from a server process that has imported what they need, as torch for training on a CPU.

Importing torch, with the `torch._dynamo` that every optimiser needs, takes 4 s of CPU time. A run of the whole graph
starts 14 processes that need it, and pays for it once.

The server is a child of the process that runs the graph, and ends with it. It has one thread and has touched no device,
so that its forks are as good as new processes. It forks twice per job: the first child waits for the second, which runs
the job, and reports its exit code. With a GPU, training processes are started as usual: forks were not tried there, and
training takes longer than starting.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Self

# Variables that libraries read when they are loaded. A process with other values of them needs a server of its own.
_READ_AT_LOAD = ("CUDA_", "GOMP_", "KMP_", "LD_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH_", "TORCH")
_GPU_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
KILLED = -int(signal.SIGKILL)
TRAINING = ("torch._dynamo",)  # what the server of training processes has imported


@functools.cache
def can_fork() -> bool:
    """Whether processes can be forked: on Linux 5.3 or later."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def can_fork_training() -> bool:
    """Whether training processes are forked: where processes can be, without a GPU."""
    return can_fork() and not any(path.exists() for path in _GPU_DRIVERS)


def run_module(module: str, arguments: Sequence[str], environment: Mapping[str, str], output: int) -> int:
    """Run ``python -m module arguments...`` for training in a fork, until it ends; returns its exit code.

    output: the descriptor to which the process writes its standard output. An exception, such as KeyboardInterrupt,
    kills the process.
    """
    with open(os.devnull) as no_input:
        streams = (no_input.fileno(), output, 2)
        with Fork(module, arguments, environment, streams, TRAINING) as process:
            try:
                return process.wait()
            except BaseException:
                process.kill()
                process.wait()  # nothing may be written into the job's folder after this call
                raise


class Fork:
    """A process ``python -m module arguments...``, in the current folder. It is killed when this is closed.

    streams: descriptors of its standard input, output and errors. imported: modules that its server has imported.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        streams: tuple[int, int, int],
        imported: tuple[str, ...],
    ):
        request = {
            "module": module,
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": os.getcwd(),
        }
        self._connection, supervisors_end = socket.socketpair()
        with supervisors_end:
            _send_to_server(imported, environment, (supervisors_end.fileno(), *streams))
        self._answers = self._connection.makefile("rw")
        self._answers.write(json.dumps(request) + "\n")
        self._answers.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._answers.close()
        self._connection.close()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return int(self._answers.readline() or KILLED)

    def kill(self) -> None:
        self._connection.shutdown(socket.SHUT_WR)


class _Server:
    """The server process as its parent knows it. It ends when `control` is closed, or its parent has ended."""

    def __init__(self, imported: tuple[str, ...], environment: Mapping[str, str]):
        self.settings = _settings_at_load(environment)
        self.control, servers_end = socket.socketpair()
        with servers_end:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(servers_end.fileno()), *imported],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                pass_fds=[servers_end.fileno()],
            )

    def end(self) -> None:
        self.control.close()
        self.process.wait()


# By what they have imported, and by process id, because a fork of this process needs servers of its own.
_servers: dict[tuple[int, tuple[str, ...]], _Server] = {}
_servers_lock = threading.Lock()


def _settings_at_load(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_LOAD)}


def _send_to_server(imported: tuple[str, ...], environment: Mapping[str, str], descriptors: Sequence[int]) -> None:
    """Pass a connection and a process's streams to the server, which is started if there is none yet."""
    key = (os.getpid(), imported)
    with _servers_lock:
        server = _servers.get(key)
        # A server may have been killed, most often because memory ran out.
        if server and (server.settings != _settings_at_load(environment) or server.process.poll() is not None):
            _servers.pop(key).end()
            server = None
        if server is None:
            server = _servers[key] = _Server(imported, environment)
        socket.send_fds(server.control, [b"."], descriptors)


def serve(control: socket.socket, imported: Sequence[str]) -> NoReturn:
    """Fork for every connection that arrives, until the parent process is gone."""
    for name in imported:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that have ended leave no zombies
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 4)
        if not message:
            os._exit(0)  # at once: to unload torch takes a second
        if os.fork() == 0:
            control.close()
            with suppress(BrokenPipeError), socket.socket(fileno=descriptors[0]) as connection:
                _supervise(connection, *descriptors[1:])
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _supervise(connection: socket.socket, *streams: int) -> None:
    """Run the requested job in a fork and write its exit code. It is killed if the other end is shut down or closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection.makefile("rw") as stream:
        line = stream.readline()
        if not line:
            return  # the parent was interrupted before it asked
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number, descriptor in enumerate(streams):
                os.dup2(descriptor, number)
            for descriptor in (connection.fileno(), *streams):
                os.close(descriptor)
            os._exit(_run(request))
        for descriptor in streams:
            os.close(descriptor)
        end = os.pidfd_open(process)
        ready, _, _ = select.select([connection, end], [], [])
        if end not in ready:
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        stream.write(f"{os.waitstatus_to_exitcode(status)}\n")


def _run(request: dict[str, Any]) -> int:
    """Run a module as a new interpreter would; returns its exit code."""
    os.environ.clear()
    os.environ.update(request["environment"])
    if sys.path[0] == os.getcwd():  # as `python -m` has it, unless the environment says otherwise
        sys.path[0] = request["folder"]
    os.chdir(request["folder"])
    sys.argv = [request["module"], *request["arguments"]]
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as _control:
        serve(_control, sys.argv[2:])
