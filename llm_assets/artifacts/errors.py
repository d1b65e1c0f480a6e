"""Errors of the artifact store. Each message says what was wrong, where, and what to do."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}


class ArtifactError(Exception):
    """Base class of all errors that the store raises."""


class UnstableValue(ArtifactError):
    """An identity contains a value without stable bytes."""


class NotBuilt(ArtifactError):
    """An input artifact is not in the store under the current recipe."""


class LeftOut(NotBuilt):
    """The current recipe leaves a stage out; the message says why."""


class CorruptArtifact(ArtifactError):
    """A stored artifact does not match its record."""


class StoreUnwritable(ArtifactError):
    """The store's disk is full or read-only; nothing was published."""


class StoreUnreachable(ArtifactError):
    """The object store does not answer, or refuses; nothing was published."""


class LeaseLost(ArtifactError):
    """Another builder has taken over an artifact; nothing was published or removed since."""


class BeingBuilt(ArtifactError):
    """An artifact that is to be removed is being built."""


class CodeDiffers(ArtifactError):
    """A worker has other code than the builder, and could write other bytes."""


class ExternalInputError(ArtifactError):
    """An external input (a user's file, a crawl's source) is missing or unreadable."""


# Of an asset that cannot be resolved, which must hide no other one. Stages raise ValueErrors of their own for a missing
# file that the recipe names.
RESOLUTION_ERRORS = (ArtifactError, ValueError, OSError)


@contextlib.contextmanager
def clear_disk_errors(root: Path) -> Iterator[None]:
    """Turn the operating system's write errors into StoreUnwritable, whose message says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_ERRORS:
            file = f" ({error.filename})" if error.filename else ""
            raise StoreUnwritable(
                f"cannot write to the artifact store {root}: {error.strerror}{file}. Nothing was published, and "
                "finished tasks are kept; free space or make the folder writable, then run again"
            ) from error
        raise
