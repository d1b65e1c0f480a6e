"""Opens a server: the address it may listen on, its models and tools, and uvicorn."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.errors import RESOLUTION_ERRORS
from llm_assets.artifacts.last_built import current_or_last_built
from llm_assets.model.shape import ModelError

from .checkpoints import SHAPE, Checkpoints, find_served_checkpoint
from .limits import Limits

if TYPE_CHECKING:
    from .service import Service

KEY_VARIABLE = "LLM_ASSETS_KEY"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # what stands for all addresses, with one of them
KEEP_ALIVE_SECONDS = 10
GRACE_SECONDS = 5
LOOK_SECONDS = 10.0  # after which a search index that was not built is looked for again
CONNECTIONS = 2000  # open at a time; further requests are refused with 503


@dataclass(frozen=True)
class Address:
    """Where a server listens. key: of `Authorization: Bearer`; empty for none."""

    host: str = "127.0.0.1"
    port: int = 8000
    key: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def url(self, port: int) -> str:
        """The address that a browser on this machine opens: 0.0.0.0 and :: stand for all of this machine's."""
        host = EVERYWHERE.get(self.host, self.host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def check(self) -> None:
        """Raise ValueError for an address that others can reach without a key, or a key that no header can hold."""
        if not self.is_local and not self.key:
            raise ValueError(
                f"--host {self.host} lets other machines in; give them a key with --key or the variable {KEY_VARIABLE}"
            )
        if self.key and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise ValueError("the key must consist of printable ASCII characters without spaces")

    def listen(self) -> socket.socket:
        """A socket that listens there. Raises ValueError if it cannot, most often because another server does."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            return socket.create_server((self.host, self.port), family=family, backlog=2048)
        except OSError as error:
            raise ValueError(f"cannot listen on {self.host}, port {self.port}: {error.strerror or error}") from error


def named_folders(words: tuple[str, ...]) -> dict[str, Path]:
    """The arguments that are checkpoint folders, by the folder's name. Raises ModelError for two of one name."""
    folders: dict[str, Path] = {}
    for word in words:
        path = Path(word).expanduser()
        if (path / SHAPE).is_file():
            path = path.resolve()
            if folders.setdefault(path.name, path) != path:
                raise ModelError(f"two folders are named {path.name}: {folders[path.name]} and {path}")
    return folders


def named_checkpoints(workspace: Workspace, words: tuple[str, ...]) -> Checkpoints:
    """The checkpoints of a server that is started with these names; the first is the default.

    Raises ModelError or NotBuilt if one of them does not exist. Without names, the default is the last model of the
    recipe, which may not be built yet.
    """
    folders = named_folders(words)
    paths = {word: Path(word).expanduser() for word in words}
    names = tuple(path.resolve().name if (path / SHAPE).is_file() else word for word, path in paths.items())
    checkpoints = Checkpoints(workspace, folders, names[0] if names else None, names)
    for name in names:
        if name not in folders:
            find_served_checkpoint(name, workspace)
    return checkpoints


class StoreTools(Mapping[str, Callable[[str], str]]):
    """The tools of a workspace, by name. Search is one of them from the moment on at which its index has been built.

    tools: those that are there from the beginning. with_search: whether search is wanted.
    """

    def __init__(self, workspace: Workspace, tools: Mapping[str, Callable[[str], str]], with_search: bool):
        self.workspace, self._tools, self._awaits_search = workspace, dict(tools), with_search
        self._looked = -LOOK_SECONDS
        self._look_for_search()

    def __getitem__(self, name: str) -> Callable[[str], str]:
        if name == "search":
            self._look_for_search()
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def _look_for_search(self) -> None:
        if not self._awaits_search or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        from llm_assets.tools import SearchIndex, SearchTool
        from llm_assets.tools.search import index_path

        self._looked = time.monotonic()
        settings = self.workspace.recipe.tools
        try:
            artifact, _ = current_or_last_built(self.workspace, "search_index")
            index = SearchIndex(index_path(artifact))
        except RESOLUTION_ERRORS:  # it is not built yet
            return
        self._tools["search"] = SearchTool(index, settings.results, settings.match)
        self._awaits_search = False


@contextlib.contextmanager
def open_tools(workspace: Workspace, names: tuple[str, ...]) -> Iterator[Mapping[str, Callable[[str], str]]]:
    """The tools of these names, by name. Search is left out as long as its index is not built."""
    from llm_assets.tools import PythonLimits, PythonTool

    settings = workspace.recipe.tools
    limits = PythonLimits(settings.python_seconds, settings.python_memory, characters=settings.python_characters)
    with PythonTool(limits) as python:
        yield StoreTools(workspace, {"python": python} if "python" in names else {}, "search" in names)


def open_service(
    checkpoints: Checkpoints,
    tools: Mapping[str, Callable[[str], str]],
    limits: Limits,
    address: Address,
    recipe: str | None = None,
) -> Service:
    """The service on this machine's device. Raises ModelError if a GPU is required and there is none.

    recipe: see `Service`.
    """
    from llm_assets.model.devices import pick_device

    from .encodings import Encodings
    from .pool import ModelPool
    from .service import Service
    from .worker import Worker

    worker = Worker(ModelPool(limits.memory, pick_device("auto")), limits)
    encodings = Encodings(ranks_files(checkpoints.workspace))
    return Service(worker, checkpoints, tools, limits, address.key, address.host, encodings, recipe=recipe)


def ranks_files(workspace: Workspace | None) -> dict[str, Path]:
    """The ranks files of published encodings that the recipe names, by the encoding's name."""
    settings = None if workspace is None else workspace.recipe.tokenizer
    named = () if settings is None else (*settings.compare, settings.encoding)
    return {item.name: Path(item.ranks).expanduser() for item in named if item is not None and item.ranks}


def uvicorn_server(service: Service, address: Address) -> Any:
    """A uvicorn server that is not running yet."""
    import uvicorn

    from .app import create_app

    config = uvicorn.Config(
        create_app(service),
        host=address.host,
        port=address.port,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
        date_header=False,
    )
    return uvicorn.Server(config)
