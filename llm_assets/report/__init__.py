"""HTML pages and plots of the assets. A page is one file that loads nothing else, in light and dark colours."""

from .page import bars, render

__all__ = ["bars", "render"]
