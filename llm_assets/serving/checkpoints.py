"""Checkpoints by name: an asset, a stage's short name, an identity, or a folder."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from llm_assets.artifacts import Artifact, Workspace
from llm_assets.artifacts.errors import RESOLUTION_ERRORS, NotBuilt
from llm_assets.artifacts.last_built import current_or_last_built
from llm_assets.evaluation.figures import MODELS, released_model
from llm_assets.model.assistant import ASSISTANT, is_chat_model, tools_of
from llm_assets.model.shape import ModelError, ModelShape

from .errors import ApiError, unreadable

IDENTITY_LENGTH = 6  # characters of an identity that are enough to name an artifact
REMEMBERED_SECONDS = 10.0  # for which a name's folder is not looked up again: a lookup computes every identity upstream
MISSING_SECONDS = 1.0  # the same for an asset that is not built; it may be built at any moment
SHAPE = "shape.json"
DESCRIPTION = (SHAPE, ASSISTANT)  # the files that say what a model is; the others are read once it is asked
SUFFIX = "_checkpoint"  # of the names of assets that are checkpoints


def find_checkpoint(name: str, workspace: Workspace) -> Path:
    """The folder of a checkpoint that is named by stage (``base``), asset, or identity.

    Raises ModelError if there is no such checkpoint, and NotBuilt with the command that builds it.
    """
    asset = _asset_of(name, workspace)
    if asset is not None:
        return workspace.resolver().artifact(asset, None).path
    return _by_identity(name, workspace.store.artifacts(), workspace).path


def find_served_checkpoint(
    name: str, workspace: Workspace, stored: Callable[[], Iterable[Artifact]] | None = None
) -> tuple[Artifact, bool]:
    """As `find_checkpoint`; for an asset whose recipe or inputs have changed, the checkpoint that was built last.

    Returns whether it is that (stale), too. Also raises ModelError for a checkpoint that is no language model. stored:
    see `language_models`.
    """
    asset = _asset_of(name, workspace)
    if asset is None:
        artifacts = language_models(workspace) if stored is None else stored()
        return _by_identity(name, artifacts, workspace), False
    if asset not in MODELS.values():
        raise ModelError(f"{asset} is not a language model; available: {', '.join(_available(workspace, served=True))}")
    return current_or_last_built(workspace, asset)


def language_models(workspace: Workspace) -> list[Artifact]:
    """All language models of the store."""
    return [artifact for asset in MODELS.values() for artifact in workspace.store.artifacts(asset)]


def _asset_of(name: str, workspace: Workspace) -> str | None:
    """The asset of a checkpoint that is named by stage or asset; None for other names. Raises ModelError."""
    asset = name if name in workspace.graph.stages else f"{name}{SUFFIX}"
    if asset not in workspace.graph.stages:
        return None
    if not asset.endswith(SUFFIX):
        raise ModelError(f"{asset} is not a checkpoint; available: {', '.join(_available(workspace))}")
    return asset


def _available(workspace: Workspace, served: bool = False) -> list[str]:
    """The assets that are checkpoints. served: only language models."""
    assets = [stage for stage in workspace.graph.stages if stage.endswith(SUFFIX)]
    return [asset for asset in assets if asset in MODELS.values()] if served else assets


def _by_identity(name: str, artifacts: Iterable[Artifact], workspace: Workspace) -> Artifact:
    """The checkpoint whose identity begins so. Raises ModelError."""
    for artifact in artifacts if len(name) >= IDENTITY_LENGTH else ():
        if artifact.record.identity.startswith(name) and SHAPE in artifact.record.files:
            return artifact
    stages = ", ".join(asset.removesuffix(SUFFIX) for asset in _available(workspace))
    raise ModelError(
        f"no checkpoint {name!r}; available: {stages}; or name an identity (llm-assets artifacts list) "
        "or a folder with a shape.json"
    )


def last_model(workspace: Workspace) -> str:
    """The asset of the last model that the recipe trains; of the graph's, if the recipe leaves out all of them."""
    trained = workspace.graph.stages.keys() - workspace.graph.left_out(workspace.recipe).keys()
    return MODELS[released_model(trained if MODELS["base"] in trained else workspace.graph.stages)]


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

    An asset whose recipe or inputs have changed, as a vote changes those of the models that rankings train, is answered
    by the checkpoint of it that was built last (`is_stale`).
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
            default = last_model(workspace)
        self.default = default or next(iter(folders))
        self._remembered: dict[str, tuple[float, Artifact | str]] = {}  # of an asset's name; or why it has none
        self._stored: tuple[float, list[Artifact]] | None = None
        self._stale: set[str] = set()
        self._lock = threading.Lock()

    def find(self, name: str | None, files: tuple[str, ...] | None = None) -> tuple[str, Path]:
        """Name and folder of a checkpoint; None is the default one. Raises ApiError (404).

        files: those that are needed there; None is all of them. A store at a URL copies no others.
        """
        name = self.default if name is None else name
        if name in self.folders:
            folder = self.folders[name]
        else:
            artifact = self._recent(name) or self._look_up(name)
            if isinstance(artifact, str):
                raise _missing(artifact)
            try:
                folder = artifact.path if files is None else artifact.folder_with(files)
            except RESOLUTION_ERRORS as error:
                raise unreadable(f"model {name!r}", error) from error
        if not (folder / SHAPE).is_file():
            self._remembered.pop(name, None)
            raise _missing(f"model {name!r} has been deleted from the store")
        return name, folder

    def _recent(self, name: str) -> Artifact | str | None:
        """What `_look_up` returned for a name a moment ago; it is read without waiting for lookups of other names."""
        since, checkpoint = self._remembered.get(name, (0.0, None))
        seconds = MISSING_SECONDS if isinstance(checkpoint, str) else REMEMBERED_SECONDS
        return checkpoint if time.monotonic() - since < seconds else None

    def _look_up(self, name: str) -> Artifact | str:
        """The checkpoint of a name in the store, or a message why there is none."""
        unknown = f"no model {name[:100]!r}; GET /v1/models lists them"
        if self.workspace is None:
            return unknown
        with self._lock:
            checkpoint = self._recent(name)  # another thread may have looked it up meanwhile
            if checkpoint is not None:
                return checkpoint
            is_stale = False
            try:
                checkpoint, is_stale = find_served_checkpoint(name, self.workspace, self._language_models)
            except ModelError:
                return unknown  # not remembered: anyone can make up names, and looking for them takes no time
            except RESOLUTION_ERRORS as error:
                is_file = not isinstance(error, NotBuilt) or error.__cause__ is not None  # that the message names
                checkpoint = unreadable(f"model {name!r}", error).message if is_file else str(error)
            if len(self._remembered) > 256:
                self._remembered.clear()
            self._remembered[name] = time.monotonic(), checkpoint
            (self._stale.add if is_stale else self._stale.discard)(name)
            return checkpoint

    def _language_models(self) -> list[Artifact]:
        """Those of the store, which may have been listed a moment ago."""
        now = time.monotonic()
        if self._stored is None or now - self._stored[0] >= REMEMBERED_SECONDS:
            assert self.workspace is not None
            self._stored = now, language_models(self.workspace)
        return self._stored[1]

    def is_stale(self, name: str) -> bool:
        """Whether the recipe or an input has changed since the checkpoint of this name was built."""
        return name in self._stale

    def names(self) -> list[str]:
        """The default one, those that were named, and those of the recipe that are built; each once."""
        names: dict[Path, str] = {}
        assets = MODELS.values() if self.workspace is not None else ()
        for name in (self.default, *self.named, *self.folders, *assets):
            with contextlib.suppress(ApiError):  # it is not built, or is the path of one of the folders
                names.setdefault(self.find(name, DESCRIPTION)[1], name)
        return list(names.values())

    def facts(self, name: str) -> Facts:
        """What is known of a checkpoint without its weights. Raises ApiError (404)."""
        return folder_facts(*self.find(name, DESCRIPTION))


def folder_facts(name: str, folder: Path) -> Facts:
    """What is known of the checkpoint in a folder without its weights. Raises ApiError (404)."""
    try:
        created = int((folder / SHAPE).stat().st_mtime)
        context = ModelShape.load((folder / SHAPE).read_text(), SHAPE).context
        return Facts(created, is_chat_model(folder), tools_of(folder), context)
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(f"model {name!r}", error) from error


def _missing(message: str) -> ApiError:
    return ApiError(404, message, "model_not_found", "model")
