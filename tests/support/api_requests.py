"""Requests to the endpoints of the page, which are below /api/."""

import requests

# Where the endpoints of the explorer begin.
EXPLORER_PATHS = ("/api/data/", "/api/pipeline", "/api/trace", "/api/rank", "/api/arena/", "/api/compare/", "/api/tour")


def get(server, path, **query):
    return server.get(f"/api/{path}", params=query)


def post(server, path, **body):
    return requests.post(f"{server.url}/api/{path}", json=body, timeout=300)
