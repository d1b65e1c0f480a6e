"""Pages that others wrote, and reports, as a browser may show them: without scripts, forms, or anything remote."""

from __future__ import annotations

from fastapi import Response

LOADS = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'"
)
# The sandbox makes the page an origin of its own: it reads nothing of this server, runs nothing, and opens nothing.
POLICY = f"sandbox; {LOADS}; frame-ancestors 'self'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-DNS-Prefetch-Control": "off",
    "Cache-Control": "no-store",
}
# The same policy for a page that is shown without its headers, as by `srcdoc`; a sandbox can only be set from outside.
META = (
    f'<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{LOADS}">'
    '<meta name="referrer" content="no-referrer">\n'
)


def foreign_page(markup: str) -> Response:
    """HTML of somebody else, to be drawn."""
    content = (META + markup).encode("utf-8", "replace")
    return Response(content, media_type="text/html; charset=utf-8", headers=HEADERS)


def foreign_source(markup: str) -> Response:
    """HTML of somebody else, as text."""
    return Response(markup.encode("utf-8", "replace"), media_type="text/plain; charset=utf-8", headers=HEADERS)


def own_view(content: bytes, media_type: str) -> Response:
    """A report or plot of the store, which needs no scripts either; it may quote pages."""
    return Response(content, media_type=media_type, headers=HEADERS)
