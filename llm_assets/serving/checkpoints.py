"""Checkpoints by name: an asset, a stage's short name, an identity, or a folder."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.errors import ArtifactError
from llm_assets.evaluation.figures import MODELS, released_model
from llm_assets.model.assistant import is_chat_model, tools_of
from llm_assets.model.shape import ModelError, ModelShape

from .errors import ApiError

IDENTITY_LENGTH = 6  # characters of an identity that are enough to name an artifact
REMEMBERED_SECONDS = 10.0  # for which a name's folder is not looked up again: a lookup computes every identity upstream
SHAPE = "shape.json"


def find_checkpoint(name: str, workspace: Workspace) -> Path:
    """The folder of a checkpoint that is named by stage (``base``), asset, or identity.

    Raises ModelError if there is no such checkpoint, and NotBuilt with the command that builds it.
    """
    checkpoints = [stage for stage in workspace.graph.stages if stage.endswith("_checkpoint")]
    asset = name if name in workspace.graph.stages else f"{name}_checkpoint"
    if asset in workspace.graph.stages:
        if asset not in checkpoints:
            raise ModelError(f"{asset} is not a checkpoint; available: {', '.join(checkpoints)}")
        return workspace.resolver().artifact(asset, None).path
    for artifact in workspace.store.artifacts() if len(name) >= IDENTITY_LENGTH else ():
        if artifact.record.identity.startswith(name) and (artifact.path / SHAPE).is_file():
            return artifact.path
    stages = ", ".join(stage.removesuffix("_checkpoint") for stage in checkpoints)
    raise ModelError(
        f"no checkpoint {name!r}; available: {stages}; or name an identity (llm-assets artifacts list) "
        "or a folder with a shape.json"
    )


@dataclass(frozen=True)
class Facts:
    """What a list of models says about a checkpoint.

    created: Unix time. is_chat: whether it has been trained on conversations. tools: those that it has learnt to call.
    context: the tokens that it holds.
    """

    created: int
    is_chat: bool
    tools: tuple[str, ...]
    context: int


class Checkpoints:
    """The checkpoints that a server offers. Safe to call from several threads.

    folders: by name, those that whoever started the server named. A request names no paths: other names are looked up
    in the workspace's store. default: name of the one that a request without a name gets; without it, the last model
    that the recipe trains. named: others that were named, which are listed as well.

    An asset whose inputs have changed since, as a vote changes those of the models that rankings train, is answered by
    the checkpoint that was last found for it, as long as that exists (`is_stale`).
    """

    def __init__(
        self,
        workspace: Workspace | None,
        folders: dict[str, Path],
        default: str | None = None,
        named: tuple[str, ...] = (),
    ):
        self.workspace, self.folders, self.named = workspace, folders, named
        if default is None and workspace is not None:
            default = MODELS[released_model(workspace.graph.stages)]
        self.default = default or next(iter(folders))
        self._remembered: dict[str, tuple[float, Path]] = {}
        self._latest: dict[str, Path] = {}  # by name of an asset or stage
        self._stale: set[str] = set()
        self._lock = threading.Lock()

    def find(self, name: str | None) -> tuple[str, Path]:
        """Name and folder of a checkpoint; None is the default one. Raises ApiError (404)."""
        name = name or self.default
        if name in self.folders:
            folder = self.folders[name]
        elif self.workspace is None:
            raise _missing(f"no model {name!r}; GET /v1/models lists them")
        else:
            folder = self._look_up(name)
        if not (folder / SHAPE).is_file():
            self._remembered.pop(name, None)
            self._latest.pop(name, None)
            raise _missing(f"model {name!r} has been deleted from the store")
        return name, folder

    def _look_up(self, name: str) -> Path:
        assert self.workspace is not None
        with self._lock:
            since, folder = self._remembered.get(name, (0.0, Path()))
            if since and time.monotonic() - since < REMEMBERED_SECONDS:
                return folder
            folder = self._current_or_latest(name, self.workspace)
            if len(self._remembered) > 256:
                self._remembered.clear()
            self._remembered[name] = time.monotonic(), folder
            return folder

    def _current_or_latest(self, name: str, workspace: Workspace) -> Path:
        try:
            folder = find_checkpoint(name, workspace)
        except (ArtifactError, ModelError) as error:
            latest = self._latest.get(name)
            if latest is None or not (latest / SHAPE).is_file():
                raise _missing(str(error)) from error
            self._stale.add(name)
            return latest
        if name in workspace.graph.stages or f"{name}_checkpoint" in workspace.graph.stages:
            self._latest[name] = folder
        self._stale.discard(name)
        return folder

    def is_stale(self, name: str) -> bool:
        """Whether the checkpoint of this name has inputs that changed since it was built."""
        return name in self._stale

    def names(self) -> list[str]:
        """The default one, those that were named, and those of the recipe that are built; each once."""
        names: dict[Path, str] = {}
        assets = MODELS.values() if self.workspace is not None else ()
        for name in (self.default, *self.named, *self.folders, *assets):
            with contextlib.suppress(ApiError):  # it is not built, or is the path of one of the folders
                names.setdefault(self.find(name)[1], name)
        return list(names.values())

    def facts(self, name: str) -> Facts:
        """What is known of a checkpoint without its weights. Raises ApiError (404)."""
        return folder_facts(*self.find(name))


def folder_facts(name: str, folder: Path) -> Facts:
    """What is known of the checkpoint in a folder without its weights. Raises ApiError (404)."""
    try:
        created = int((folder / SHAPE).stat().st_mtime)
        context = ModelShape.load((folder / SHAPE).read_text(), SHAPE).context
        return Facts(created, is_chat_model(folder), tools_of(folder), context)
    except (OSError, ValueError, KeyError) as error:
        raise _missing(f"model {name!r} cannot be read: {error}") from error


def _missing(message: str) -> ApiError:
    return ApiError(404, message, "model_not_found", "model")
