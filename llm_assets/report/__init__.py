"""HTML pages and plots that the assets show: one file each, nothing loaded from elsewhere, light and dark."""

from .page import bars, render

__all__ = ["bars", "render"]
