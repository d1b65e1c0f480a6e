"""Models as votes name them."""

from __future__ import annotations

from llm_assets.artifacts.record import RECORD, Record, file_digest
from llm_assets.preference.arena import Contestant

from ..checkpoints import Checkpoints
from .reading import Reader

WEIGHTS = "*.safetensors"
DIGITS = 16  # of the digest that stands for the identity of a folder outside the store


def contestant(reader: Reader, checkpoints: Checkpoints, name: str) -> Contestant:
    """The model of this name. Its identity is that of its artifact, or the digest of its weights. Raises ApiError."""
    name, folder = checkpoints.find(name)

    def identity() -> str:
        record = folder / RECORD
        if record.is_file():
            return Record.load(record.read_bytes(), str(record)).short_id
        return file_digest(min(folder.glob(WEIGHTS)))[:DIGITS]

    return Contestant(name, reader.remembered(("contestant", folder), identity))
