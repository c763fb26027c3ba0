"""The one connection of a live page: pictures of its cameras and events of its building, as server-sent events.

A browser opens six connections to a host, so everything that a page shows travels through one. Each look at the
session, every few seconds, ends the connection when the session has ended.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse

from app.advice import advice
from app.api.services import Services, Serving
from app.api.stream import Entry, StreamReader
from app.errors import NotFoundError, StoreUnavailableError
from app.live import subscribe
from app.store import cameras, events, people
from app.types import AccessEvent
from app.web.rendering import fragment, zone_of
from app.web.routing import PageRoute
from app.web.views import camera_names, view_of
from app.web.visitor import Here, Place, find_visitor

router = APIRouter(prefix="/buildings/{building}", route_class=PageRoute)

MOST = 60  # cameras of one connection
SIGN = 5.0  # seconds between signs of life and looks at the session, at most
RETRY_MS = 2000
WAITING = 100  # events that wait for a slow reader; after that the connection ends, and the next one lets it catch up


Told = dict[str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a page asks for."""

    cameras: tuple[str, ...] = ()  # whose pictures
    decision: str | None = None  # events of this decision alone
    camera: str | None = None  # events of this camera alone
    person: str | None = None  # events about this person alone


@dataclass(slots=True)
class Mail:
    """What is to be sent: of a camera the newest picture alone, of events all."""

    pictures: dict[str, str] = field(default_factory=dict)
    events: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(WAITING))
    some: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self) -> list[bytes]:
        """Return what waits, as server-sent events."""
        self.some.clear()
        told = [self.events.get_nowait() for _ in range(self.events.qsize())]
        told += [format_sse_event(data_str=text, event="picture") for text in self.pictures.values()]
        self.pictures.clear()
        return told


@router.get("/live")
def live(
    request: Request,
    services: Serving,
    place: Here,
    show: Annotated[str, Query(max_length=4000, description="ids of cameras, with commas")] = "",
    decision: Annotated[str | None, Query(max_length=200)] = None,
    camera: Annotated[str | None, Query(max_length=200)] = None,
    person: Annotated[str | None, Query(max_length=200)] = None,
) -> StreamingResponse:
    """Send pictures and events while the page is open."""
    with services.store.reading() as session:
        known = camera_names(session, place.building.id)
    shown = [name for name in show.split(",") if name in known][:MOST]
    wanted = Wanted(tuple(shown), decision, camera or None, person or None)
    return StreamingResponse(
        _told(request, services, place, wanted),
        headers={"X-Accel-Buffering": "no"},
        media_type="text/event-stream",
    )


async def _told(request: Request, services: Services, place: Place, wanted: Wanted) -> AsyncIterator[bytes]:
    mail = Mail()
    jobs = [asyncio.create_task(_follow_events(services, place, wanted, zone_of(request), mail))]
    if wanted.cameras:
        jobs.append(asyncio.create_task(_follow_pictures(services, place, wanted, mail)))
    spoken, pause = time.monotonic(), min(SIGN, services.heartbeat)
    try:
        yield format_sse_event(comment="welcome", retry=RETRY_MS)
        while not services.closing.is_set():
            await _something(mail, jobs)
            for message in mail.take():
                yield message
            if time.monotonic() - spoken >= pause:
                if not await run_in_threadpool(_still_there, services, request):
                    yield format_sse_event(data_str="{}", event="ended")
                    return
                yield format_sse_event(comment="alive")
                spoken = time.monotonic()
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


async def _something(mail: Mail, jobs: list[asyncio.Task[None]]) -> None:
    """Wait a second at most for mail; a job that has failed fails here."""
    waiting = asyncio.create_task(mail.some.wait())
    try:
        done, _ = await asyncio.wait([waiting, *jobs], timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    for job in done - {waiting}:
        job.result()


async def _follow_pictures(services: Services, place: Place, wanted: Wanted, mail: Mail) -> None:
    async with aclosing(subscribe(services.redis_url, services.stream, wanted.cameras)) as messages:
        async for text in messages:
            message = json.loads(text)
            await run_in_threadpool(_name, services, place, message["persons"])
            mail.pictures[message["camera"]] = json.dumps(message)
            mail.some.set()


def _name(services: Services, place: Place, shown: list[dict[str, Any]]) -> None:
    """Give everybody in a picture who is known a name: workers tell ids alone."""
    known = {one["person"] for one in shown if one["person"] is not None}
    names: dict[str, str] = {}
    if known:
        with suppress(StoreUnavailableError), services.store.reading() as session:
            names = people.names(session, place.building.id, known)
    for one in shown:
        one["name"] = names.get(one["person"])


async def _follow_events(services: Services, place: Place, wanted: Wanted, zone: tzinfo, mail: Mail) -> None:
    reader = StreamReader(services.redis_url, services.stream, None)
    try:
        while True:
            for entry in await reader.next():
                if entry.building in (None, place.building.id):
                    await _pass_on(services, place, wanted, zone, entry, mail)
    finally:
        await reader.close()


async def _pass_on(services: Services, place: Place, wanted: Wanted, zone: tzinfo, entry: Entry, mail: Mail) -> None:
    """Put an entry of the event stream into the mail, as the page needs it."""
    kind: str = entry.kind
    told: Told | None = {}  # of a gap: the page asks how things stand
    if kind in MAKERS:
        try:
            told = await run_in_threadpool(MAKERS[kind], services, place, wanted, zone, json.loads(entry.text))
        except StoreUnavailableError:
            kind = "gap"  # the page asks until the store answers
    if told is not None:
        mail.events.put_nowait(format_sse_event(data_str=json.dumps(told), event=kind))
        mail.some.set()


def _access(services: Services, place: Place, wanted: Wanted, zone: tzinfo, message: dict[str, Any]) -> Told | None:
    """Return the entry of an event in a list, made from what the store knows of it now."""
    building = place.building.id
    try:
        with services.store.reading() as session:
            record = events.get(session, building, message["id"])
            view = view_of(session, building, record, camera_names(session, building))
    except NotFoundError:  # deleted meanwhile
        return None
    event = record.event
    assert isinstance(event, AccessEvent)
    fits = (
        wanted.decision in (None, event.decision)
        and wanted.camera in (None, event.camera)
        and wanted.person in (None, event.person)
    )
    if not fits:
        return None
    html = fragment(zone, place, "event_entry.html", view=view)
    return {"id": event.id, "camera": event.camera, "headline": view.headline, "html": html}


def _camera(services: Services, place: Place, wanted: Wanted, zone: tzinfo, message: dict[str, Any]) -> Told | None:
    """Return what a camera does now and what to do about it."""
    try:
        with services.store.reading() as session:
            camera = cameras.get(session, place.building.id, message["data"]["camera"])
    except NotFoundError:
        return None
    advised = advice(camera.live_state, enabled=camera.fields.enabled, tampering=camera.kept_from_seeing)
    html = fragment(zone, place, "camera_state.html", camera=camera, advice=advised)
    return {"camera": camera.id, "name": camera.fields.name, "html": html}


MAKERS = {"access": _access, "camera": _camera}


def _still_there(services: Services, request: Request) -> bool:
    """Whether the session is good; while the store is away, it stays what it was."""
    try:
        return find_visitor(services, request) is not None
    except StoreUnavailableError:
        return True
