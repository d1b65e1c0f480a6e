"""Fuzz targets of checkers."""

from .targets import Target

TARGETS: dict[str, Target] = {}
