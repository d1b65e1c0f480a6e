"""Tools that a model may call: search over the corpus, and Python in an interpreter made for untrusted code."""

from .python import PythonLimits, PythonTool
from .search import SearchError, SearchIndex, SearchTool

__all__ = ["PythonLimits", "PythonTool", "SearchError", "SearchIndex", "SearchTool"]
