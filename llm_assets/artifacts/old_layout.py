"""Conversion of a store at a URL that version 0.1 has written: its records lie beside the data."""

from __future__ import annotations

from .objects import ObjectStore, concurrently
from .record import RECORD
from .remote_files import record_key

CONVERSION = ".conversion"  # an object that is there during a conversion, and after one that was killed
_RECORDS = 16  # at a time


def convert(objects: ObjectStore, has_records: bool) -> bool:
    """Write the records where they are looked for. Continues a conversion that was killed. Returns whether there were
    any.

    has_records: whether the store has records there. They are not overwritten: another machine may have converted the
    store, and have changed artifacts since.
    """
    if has_records and objects.get(CONVERSION) is None:
        return False
    paths = [item.key.split("/") for item in objects.list("")]
    old = ["/".join(path) for path in paths if len(path) == 4 and path[3] == RECORD and not path[0].startswith(".")]
    if old:
        objects.put(CONVERSION, b"")
        concurrently(lambda key: _copy(objects, key), old, _RECORDS)
        objects.delete([CONVERSION])
    return bool(old)


def _copy(objects: ObjectStore, key: str) -> None:
    data = objects.get(key)
    if data is not None:  # else the artifact has been removed since
        objects.create(record_key(key.rpartition("/")[0]), data)
