"""Events: history with filters, a file of it, pictures, and the live stream for browsers and small devices.

An event looks the same everywhere, here and in the Redis stream: a CloudEvent of `app.events`. What was added to it
later, such as a correction, is shown here alone.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from app.api.auth import Acting, Secret, needs_here
from app.api.event_forms import EventRead
from app.api.exports import MEDIA_TYPES, Format, batches, written
from app.api.problems import documented
from app.api.schemas import PAGE, BuildingId, Id, Moment, Page, PageSize, PageToken, page_of
from app.api.services import Services, Serving
from app.api.stream import live_events
from app.store import audit, buildings, events
from app.store.records import EventFilter, Scope
from app.types import Decision

router = APIRouter(prefix="/buildings/{building}/events", tags=["events"])
RECEIVE = [Depends(needs_here(Scope.DEVICE))]
READ = [Depends(needs_here(Scope.VIEWER))]

_PRIVATE = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
_UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: `data` is a CloudEvent, `id` its place in the stream, `event` is access, "
        "camera or gap. After `gap` events may be missing: read the history.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'event: gap\nid: 1735718400000-0\ndata: {"requested": "0-0", "resumed": "0-0"}\n\n',
            }
        },
    }
}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One event a line, newest first",
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": "id,time,camera,door\r\ncam_1.3.17,2026-01-01,…\r\n"},
            "application/jsonl": {
                "schema": {"type": "string"},
                "example": '{"specversion": "1.0", "id": "cam_1.3.17"}',
            },
        },
    }
}
_PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "The picture"}}


def event_filter(
    kind: Annotated[Literal["access", "camera"] | None, Query()] = None,
    decision: Annotated[Decision | None, Query()] = None,
    camera: Annotated[str | None, Query(max_length=200)] = None,
    person: Annotated[str | None, Query(max_length=200)] = None,
    since: Annotated[Moment | None, Query(description="from here on")] = None,
    until: Annotated[Moment | None, Query(description="before this")] = None,
    door: Annotated[str | None, Query(max_length=200)] = None,
    visit: Annotated[str | None, Query(max_length=200)] = None,
    corrected: Annotated[bool | None, Query(description="whether somebody corrected it")] = None,
) -> EventFilter:
    """Return which events the request asks for."""
    return EventFilter(kind, decision, camera, person, since, until, door, visit, corrected)


Only = Annotated[EventFilter, Depends(event_filter)]


@router.get("", dependencies=RECEIVE, responses=documented("not-found", "invalid-page-token"))
def list_events(
    services: Serving, building: BuildingId, only: Only, page_size: PageSize = PAGE, page_token: PageToken = None
) -> Page[EventRead]:
    """List events, newest first."""
    with services.store.reading() as session:
        return page_of(events.listing(session, building, page_size, page_token, only), EventRead.of)


@router.get(
    "/stream",
    dependencies=RECEIVE,
    response_class=StreamingResponse,
    responses=documented("not-found") | _STREAM,
)
async def stream_events(
    services: Serving,
    secret: Secret,
    building: BuildingId,
    last_event_id: Annotated[
        str | None,
        Header(pattern=r"^[0-9]{1,18}-[0-9]{1,18}$", description="resume behind this event; left out: from now on"),
    ] = None,
) -> StreamingResponse:
    """Receive this building's events as they happen."""
    await run_in_threadpool(_check_building, services, building)  # while an error can still be told
    told = live_events(services, secret, building, last_event_id)
    return StreamingResponse(told, headers=_UNBUFFERED, media_type="text/event-stream")


@router.get("/export", dependencies=READ, response_class=StreamingResponse, responses=documented("not-found") | _FILE)
def export_events(
    services: Serving,
    building: BuildingId,
    only: Only,
    actor: Acting,
    form: Annotated[Format, Query(alias="format", description="a table, or one CloudEvent a line")] = "csv",
) -> StreamingResponse:
    """Receive all events that fit as one file, newest first. In the table, what looks like a formula begins with '."""
    parts = batches(services.store, building, only)
    first = next(parts)  # while an error can still be told
    with services.store.session() as session:
        audit.add(session, actor, "events.exported", building=building, detail={"format": form})
    text: Iterator[str] = written(form, chain([first], parts))
    named = {"Content-Disposition": f'attachment; filename="events-{building}.{form}"'}
    return StreamingResponse(text, headers=_PRIVATE | named, media_type=MEDIA_TYPES[form])


@router.get("/{event}", dependencies=RECEIVE, responses=documented("not-found"))
def get_event(services: Serving, building: BuildingId, event: Id) -> EventRead:
    """Read one event."""
    with services.store.reading() as session:
        return EventRead.of(events.get(session, building, event))


@router.get(
    "/{event}/snapshot", dependencies=READ, response_class=Response, responses=documented("not-found") | _PICTURE
)
def get_event_snapshot(services: Serving, building: BuildingId, event: Id) -> Response:
    """Read the picture of an access event."""
    with services.store.reading() as session:
        image = events.snapshot(session, building, event)
    return Response(image, headers=_PRIVATE, media_type="image/jpeg")


@router.get(
    "/{event}/portrait", dependencies=READ, response_class=Response, responses=documented("not-found") | _PICTURE
)
def get_event_portrait(services: Serving, building: BuildingId, event: Id) -> Response:
    """Read the close picture of the face that decided."""
    with services.store.reading() as session:
        image = events.portrait(session, building, event)
    return Response(image, headers=_PRIVATE, media_type="image/jpeg")


def _check_building(services: Services, building: str) -> None:
    """Let through what exists: a key of all buildings may name any.

    Raises:
        NotFoundError: there is no such building.
    """
    with services.store.reading() as session:
        buildings.get(session, building)
