"""The walk of ``llm-assets tour``, a step at a time."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel

from llm_assets.artifacts.errors import RESOLUTION_ERRORS
from llm_assets.tour import STEPS, TourError, Visit, find_step, take_step
from llm_assets.tour.visit import NothingToShow

from ..bounded_threads import BoundedThreads
from ..errors import ApiError
from .reading import Reader, with_statuses

WAITING = 16  # steps that wait for the one that is being taken

Name = Annotated[str, Path(max_length=64)]


class TourStep(BaseModel):
    """A step. seen: what is seen. left_out: why it cannot be taken; empty if it can."""

    name: str
    title: str
    seen: str
    assets: list[str]
    left_out: str


class TourBody(BaseModel):
    recipe: str
    steps: list[TourStep]


class TourStepReport(BaseModel):
    """What a step shows, in at most 100 columns. notices: see `Visit`."""

    lines: list[str]
    left_out: str
    notices: list[str]


def add_tour(router: APIRouter, reader: Reader) -> None:
    # A step loads the models that it asks and closes them again, so that they take no memory beside those of the API.
    threads, walk = BoundedThreads(1, WAITING, "take a step of the tour"), Walk(reader)

    @router.get("/tour")
    async def tour() -> TourBody:
        """The steps, in order, and what keeps a step from being taken."""
        return await reader.run(partial(reader.remembered, "tour", partial(_steps, reader)))

    @router.post("/tour/{name}")
    async def step(name: Name) -> TourStepReport:
        """Take a step, given its name or its number: its lines, or why it is left out. Two runs give the same."""
        try:
            place = find_step(name)
        except TourError as error:
            raise ApiError(404, str(error), "not_found", "name") from error
        return await threads.run(with_statuses, partial(walk.take, place))


def _steps(reader: Reader) -> TourBody:
    with Visit(reader.workspace) as visit:
        missing = {asset: _missing(visit, asset) for asset in {asset for step in STEPS for asset in step.assets}}
    steps = [
        TourStep(
            name=step.name,
            title=step.title,
            seen=step.seen,
            assets=list(step.assets),
            left_out=next((missing[asset] for asset in step.assets if missing[asset]), ""),
        )
        for step in STEPS
    ]
    return TourBody(recipe=reader.workspace.recipe.name, steps=steps)


def _missing(visit: Visit, asset: str) -> str:
    try:
        visit.artifact(asset)
    except (*RESOLUTION_ERRORS, NothingToShow) as error:
        return str(error)
    return ""


class Walk:
    """Takes steps. A report is kept as long as the artifacts that its step looked up are the same."""

    def __init__(self, reader: Reader):
        self.reader = reader
        self._reports: dict[int, tuple[dict[str, tuple[str, str] | None], TourStepReport]] = {}

    def take(self, place: int) -> TourStepReport:
        read, report = self._reports.get(place, ({}, None))
        with Visit(self.reader.workspace) as visit:
            if report is None or any(_read(visit, asset) != before for asset, before in read.items()):
                visit.read.clear()
                visit.notices.clear()
                taken = take_step(place, visit)
                report = TourStepReport(lines=taken.lines, left_out=taken.left_out, notices=list(visit.notices))
                self._reports[place] = dict(visit.read), report
            return report


def _read(visit: Visit, asset: str) -> tuple[str, str] | None:
    with contextlib.suppress(*RESOLUTION_ERRORS, NothingToShow):
        visit.artifact(asset)
    return visit.read[asset]
