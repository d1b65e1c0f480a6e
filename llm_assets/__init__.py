"""From raw web pages to a chat model: every artifact on the way is a cached, versioned asset."""

__version__ = "0.1.0"
