"""Tracing an answer to the training data: its longest verbatim matches with pages and conversations, by an index.

The idea is that of OLMoTrace (Liu et al., arXiv:2504.07096).
"""

from .index import TraceError, TraceIndex
from .matches import Span, Trace, trace_answer
from .tool_runs import tool_runs

__all__ = ["Span", "Trace", "TraceError", "TraceIndex", "tool_runs", "trace_answer"]
