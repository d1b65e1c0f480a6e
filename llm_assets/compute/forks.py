"""Training processes on a CPU, forked from a server process that has imported torch.

Importing torch, with the `torch._dynamo` that every optimiser needs, takes 4 s of CPU time. A run of the whole graph
starts 14 processes that need it, and pays for it once.

The server is a child of the process that runs the graph, and ends with it. It has one thread and has touched no device,
so that its forks are as good as new processes. It forks twice per job: the first child waits for the second, which runs
the job, and reports its exit code. With a GPU, processes are started as usual: forks were not tried there, and training
takes longer than starting.
"""

from __future__ import annotations

import functools
import gc
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
from typing import Any, NoReturn

# Variables that libraries read when they are loaded. A process with other values of them needs a server of its own.
_READ_AT_LOAD = ("CUDA_", "GOMP_", "KMP_", "LD_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH_", "TORCH")
_GPU_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
KILLED = -int(signal.SIGKILL)


@functools.cache
def can_fork() -> bool:
    """Whether processes may be forked: on Linux 5.3 or later, without a GPU."""
    if sys.platform != "linux" or any(path.exists() for path in _GPU_DRIVERS):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def run_module(module: str, arguments: Sequence[str], environment: Mapping[str, str], output: int) -> int:
    """Run ``python -m module arguments...`` in a fork of the server, until it ends; returns its exit code.

    output: the descriptor to which the process writes its standard output. An exception, such as KeyboardInterrupt,
    kills the process.
    """
    request = {
        "module": module,
        "arguments": list(arguments),
        "environment": dict(environment),
        "folder": os.getcwd(),
    }
    connection, supervisors_end = socket.socketpair()
    with connection, connection.makefile("rw") as answers:
        with supervisors_end:
            _send_to_server(environment, supervisors_end, output)
        answers.write(json.dumps(request) + "\n")
        answers.flush()
        try:
            return int(answers.readline() or KILLED)
        except BaseException:
            connection.shutdown(socket.SHUT_WR)
            answers.readline()  # nothing may be written into the job's folder after this call
            raise


class _Server:
    """The server process as its parent knows it. It ends when `control` is closed, or its parent has ended."""

    def __init__(self, environment: Mapping[str, str]):
        self.settings = _settings_at_load(environment)
        self.control, servers_end = socket.socketpair()
        with servers_end:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(servers_end.fileno())],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                pass_fds=[servers_end.fileno()],
            )

    def end(self) -> None:
        self.control.close()
        self.process.wait()


_servers: dict[int, _Server] = {}  # by process id, because a fork of this process needs a server of its own
_servers_lock = threading.Lock()


def _settings_at_load(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_LOAD)}


def _send_to_server(environment: Mapping[str, str], connection: socket.socket, output: int) -> None:
    """Pass a connection and the process's output and errors to the server, which is started if there is none yet."""
    with _servers_lock:
        server = _servers.get(os.getpid())
        # A server may have been killed, most often because memory ran out.
        if server and (server.settings != _settings_at_load(environment) or server.process.poll() is not None):
            _servers.pop(os.getpid()).end()
            server = None
        if server is None:
            server = _servers[os.getpid()] = _Server(environment)
        socket.send_fds(server.control, [b"."], [connection.fileno(), output, 2])


def serve(control: socket.socket) -> NoReturn:
    """Fork for every connection that arrives, until the parent process is gone."""
    import torch._dynamo  # noqa: F401

    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that have ended leave no zombies
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 3)
        if not message:
            os._exit(0)  # at once: to unload torch takes a second
        if os.fork() == 0:
            control.close()
            with suppress(BrokenPipeError), socket.socket(fileno=descriptors[0]) as connection:
                _supervise(connection, *descriptors[1:])
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _supervise(connection: socket.socket, output: int, errors: int) -> None:
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
            os.dup2(output, 1)
            os.dup2(errors, 2)
            for descriptor in (connection.fileno(), output, errors):
                os.close(descriptor)
            os._exit(_run(request))
        for descriptor in (output, errors):
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
        serve(_control)
