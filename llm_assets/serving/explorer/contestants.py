"""Models as votes name them."""

from __future__ import annotations

from llm_assets.artifacts.record import RECORD, Record, file_digest
from llm_assets.preference.arena import Contestant

from ..checkpoints import Checkpoints
from ..errors import ApiError
from .reading import Reader

WEIGHTS = "*.safetensors"
HOUR = 3600.0
DIGITS = 16  # of the digest that stands for the identity of a folder outside the store


def contestant(reader: Reader, checkpoints: Checkpoints, name: str) -> Contestant:
    """The model of this name. Its identity is that of its artifact, or the digest of its weights. Raises ApiError."""
    name, folder = checkpoints.find(name)
    record = folder / RECORD
    if record.is_file():
        return Contestant(name, Record.load(record.read_bytes(), str(record)).short_id)
    weights = min(folder.glob(WEIGHTS), default=None)
    if weights is None:
        raise ApiError(404, f"model {name!r} has no weights in {folder}", "model_not_found", "model")
    stat = weights.stat()
    key = ("contestant", weights, stat.st_mtime_ns, stat.st_size)
    return Contestant(name, reader.remembered(key, lambda: file_digest(weights)[:DIGITS], HOUR))
