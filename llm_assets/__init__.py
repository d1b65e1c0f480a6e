"""From raw web pages to a chat model, with a cached, versioned asset for every intermediate result."""

__version__ = "0.1.0"
