"""Errors of the artifact store: what was wrong, where, and what to do."""


class ArtifactError(Exception):
    """Base of everything the store raises on purpose."""


class UnstableValue(ArtifactError):
    """A value without stable bytes was put into an identity."""


class NotBuilt(ArtifactError):
    """An input artifact is not in the store under the present recipe."""


class CorruptArtifact(ArtifactError):
    """A stored artifact does not match its record."""


class StoreUnwritable(ArtifactError):
    """The store's disk is full or read-only; nothing was published."""


class ExternalInputError(ArtifactError):
    """An input that is no artifact (a user's file, a crawl's source) is missing or unreadable."""
