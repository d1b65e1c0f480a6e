"""Models in memory: loaded when they are first asked for, unloaded when another one needs their place."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_assets.model.assistant import is_chat_model
from llm_assets.model.checkpoint import WEIGHTS, load_checkpoint
from llm_assets.model.decoding import CallReader, Decoder
from llm_assets.model.devices import CPU_SEQUENCES, fitting_sequences
from llm_assets.model.encoding import Encoding, TokenizerError
from llm_assets.model.shape import ModelError, ModelShape

from .errors import ApiError, invalid

LOG = logging.getLogger("llm_assets.serving")
CPU_SHARE = 0.5  # of a machine's memory that the sequences of one model may take on a CPU


@dataclass
class LoadedModel:
    """A model in memory, and the batch of the requests that it is answering.

    size: bytes of its weights. version: of the file that they were read from. generations: those in the batch or
    waiting for a tool, by number of their sequence. capacity: sequences of the whole context that fit into memory,
    measured whenever the batch is empty.
    """

    folder: Path
    engine: Any  # llm_assets.model.sampling.Engine
    is_chat: bool
    size: int
    version: tuple[int, int]
    decoder: Decoder
    calls: CallReader
    generations: dict[int, Any] = field(default_factory=dict)
    capacity: int = 0

    def reset(self) -> None:
        """Begin with an empty batch."""
        self.decoder = Decoder(self.engine.cached, self.encoding)

    def has_room(self, choices: int) -> bool:
        """Whether so many more sequences fit into memory. An empty batch takes them in any case.

        Sequences are counted, since those that have just joined have not taken their memory yet.
        """
        if not self.generations:
            self.capacity = self._measured()
            return True
        return len(self.generations) + choices <= self.capacity

    def _measured(self) -> int:
        if self.engine.on_gpu:
            return int(self.engine.fitting_batch([[0] * self.shape.context], 0))  # in the memory that is free now
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return min(CPU_SEQUENCES, fitting_sequences(self.shape, self.shape.context, int(CPU_SHARE * physical)))

    @property
    def encoding(self) -> Encoding:
        return self.engine.encoding  # type: ignore[no-any-return]

    @property
    def shape(self) -> ModelShape:
        return self.engine.shape  # type: ignore[no-any-return]


class ModelPool:
    """The loaded models, least recently used first. memory: bytes of weights that may be loaded at a time.

    Models are loaded in a thread of their own, so that the others answer meanwhile.
    """

    def __init__(self, memory: int, device: str):
        self.memory, self.device = memory, device
        self.models: OrderedDict[Path, LoadedModel] = OrderedDict()
        self._loading: dict[Path, tuple[int, Future[LoadedModel]]] = {}  # with the bytes of their weights
        self._failed: dict[Path, BaseException] = {}  # why the last one of a folder could not be loaded
        self._loader = ThreadPoolExecutor(1, "loader", _compute_alone)

    def close(self) -> None:
        """Load no more models."""
        self._loader.shutdown(wait=False, cancel_futures=True)

    def is_loading(self, folder: Path) -> bool:
        return folder in self._loading

    def get(self, folder: Path) -> LoadedModel | None:
        """The model of a checkpoint folder; None while it is loaded, or models that are in use leave no memory for it.

        Raises ApiError: 404 if the folder holds no language model, 400 if it is larger than the memory.
        """
        self._take_in()
        if (error := self._failed.pop(folder, None)) is not None:
            raise error
        version = _version(folder)
        loaded = self.models.get(folder)
        if loaded is not None and (loaded.version == version or loaded.generations):
            self.models.move_to_end(folder)
            return loaded
        if loaded is not None:
            del self.models[folder]
        if folder in self._loading:
            return None
        size = version[1]
        if size > self.memory:
            raise invalid(
                f"the model has {size:,} bytes of weights, and the server loads at most {self.memory:,} (--memory)",
                "model",
                "model_too_large",
            )
        for other in list(self.models.values()):
            if self._used() + size <= self.memory:
                break
            if not other.generations:
                del self.models[other.folder]
        if self._used() + size <= self.memory:
            self._loading[folder] = size, self._loader.submit(self._load, folder, version)
        return None

    def _take_in(self) -> None:
        """Take in the models that have been loaded meanwhile."""
        for folder, (_, future) in list(self._loading.items()):
            if future.done():
                del self._loading[folder]
                error = future.exception()
                if error is None:
                    self.models[folder] = future.result()
                else:
                    self._failed[folder] = error

    def _used(self) -> int:
        loading = sum(size for size, _ in self._loading.values())
        return loading + sum(model.size for model in self.models.values())

    def _load(self, folder: Path, version: tuple[int, int]) -> LoadedModel:
        from llm_assets.model.sampling import Engine

        try:
            model, encoding = load_checkpoint(folder, self.device)
        except (ModelError, TokenizerError, OSError) as error:
            LOG.warning("%s is asked for, and cannot be loaded: %s", folder, error)  # answers name no folders
            message = "the checkpoint is not a language model, or is damaged; the server's log says why"
            raise ApiError(404, message, "model_not_found", "model") from error
        engine = Engine(model, encoding, is_final=True)
        decoder, calls = Decoder(engine.cached, encoding), CallReader(encoding)
        return LoadedModel(folder, engine, is_chat_model(folder), version[1], version, decoder, calls)


def _compute_alone() -> None:
    """Let this thread compute without others.

    With more of them than cores, OpenMP lets none wait actively, and a step that is divided takes three times as long.
    """
    import torch

    torch.set_num_threads(1)


def _version(folder: Path) -> tuple[int, int]:
    """Time of change in nanoseconds, and size in bytes, of a checkpoint's weights. Raises ApiError."""
    try:
        stat = (folder / WEIGHTS).stat()
    except OSError as error:
        message = f"the checkpoint's {WEIGHTS}: {error.strerror}"
        raise ApiError(404, message, "model_not_found", "model") from error
    return stat.st_mtime_ns, stat.st_size
