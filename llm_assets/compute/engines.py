"""The engine that an installation's settings name."""

from __future__ import annotations

from llm_assets.settings import Settings

from .engine import LocalEngine
from .ray_engine import RayEngine


def open_engine(settings: Settings, name: str = "", address: str = "") -> LocalEngine | RayEngine:
    """The engine that runs tasks.

    name: ``local`` or ``ray``; empty for ray where there is an address. address: of the Ray cluster; empty for that of
    the settings. Raises ValueError for another name.
    """
    address = address or settings.ray_address
    name = name or ("ray" if address else "local")
    if name == "ray":
        return RayEngine(address, memory=settings.ray_task_bytes, workers=settings.workers)
    if name == "local":
        return LocalEngine(settings.workers)
    raise ValueError(f"compute.engine {name!r}: must be 'local' or 'ray'")
