"""The stages of tracing, upstream first."""

from .trace_index import TRACE_INDEX

STAGES = (TRACE_INDEX,)
