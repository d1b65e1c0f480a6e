"""Errors of the artifact store. Each message says what was wrong, where, and what to do."""


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
