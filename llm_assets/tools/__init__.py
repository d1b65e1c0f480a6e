"""Tools that a model may call: a search over the corpus, and Python in an interpreter made for code that nobody trusts."""

from .python import PythonLimits, PythonTool
from .search import SearchError, SearchIndex, SearchTool

__all__ = ["PythonLimits", "PythonTool", "SearchError", "SearchIndex", "SearchTool"]
