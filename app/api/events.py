"""Events: history with filters, snapshots, and the live stream for browsers and small devices.

An event looks the same everywhere, here and in the Redis stream: a CloudEvent of `app.events`.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from app.api.auth import Secret, needs_here
from app.api.problems import documented
from app.api.schemas import PAGE, BuildingId, Id, Moment, Page, PageSize, PageToken, page_of
from app.api.services import Serving
from app.api.stream import live_events
from app.events import to_cloud_event
from app.store import events
from app.store.records import EventFilter, EventRecord, Scope
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
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


class EventRead(BaseModel):
    """A CloudEvent 1.0 about an access or a camera."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "specversion": "1.0",
                    "id": "cam_1f0c6f4b5a0d4e2b9c7a.3.17",
                    "source": "/buildings/main/cameras/cam_1f0c6f4b5a0d4e2b9c7a",
                    "type": "org.cardea.camera.state.v1",
                    "subject": "cameras/cam_1f0c6f4b5a0d4e2b9c7a",
                    "time": "2026-01-01T08:00:02.000000Z",
                    "sequence": "0000000003.000000000017",
                    "datacontenttype": "application/json",
                    "data": {
                        "sequence": 17,
                        "owner_epoch": 3,
                        "building": "main",
                        "camera": "cam_1f0c6f4b5a0d4e2b9c7a",
                        "state": "online",
                        "previous": "offline",
                        "detail": "",
                        "at": "2026-01-01T08:00:02.000000Z",
                    },
                }
            ]
        }
    )

    specversion: str
    id: str
    source: str
    type: str = Field(description="org.cardea.access.{decision}.v1 or org.cardea.camera.state.v1")
    subject: str
    time: str
    sequence: str
    datacontenttype: str
    data: dict[str, Any]


@router.get("", dependencies=RECEIVE, responses=documented("not-found", "invalid-page-token"))
def list_events(
    services: Serving,
    building: BuildingId,
    page_size: PageSize = PAGE,
    page_token: PageToken = None,
    kind: Annotated[Literal["access", "camera"] | None, Query()] = None,
    decision: Annotated[Decision | None, Query()] = None,
    camera: Annotated[str | None, Query(max_length=200)] = None,
    person: Annotated[str | None, Query(max_length=200)] = None,
    since: Annotated[Moment | None, Query(description="from here on")] = None,
    until: Annotated[Moment | None, Query(description="before this")] = None,
) -> Page[EventRead]:
    """List events, newest first."""
    only = EventFilter(kind, decision, camera, person, since, until)
    with services.store.reading() as session:
        return page_of(events.listing(session, building, page_size, page_token, only), _read)


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
    told = live_events(services, secret, building, last_event_id)
    return StreamingResponse(told, headers=_UNBUFFERED, media_type="text/event-stream")


@router.get("/{event}", dependencies=RECEIVE, responses=documented("not-found"))
def get_event(services: Serving, building: BuildingId, event: Id) -> EventRead:
    """Read one event."""
    with services.store.reading() as session:
        return _read(events.get(session, building, event))


@router.get(
    "/{event}/snapshot",
    dependencies=READ,
    response_class=Response,
    responses=documented("not-found") | {200: {"content": {"image/jpeg": {}}, "description": "The picture"}},
)
def get_event_snapshot(services: Serving, building: BuildingId, event: Id) -> Response:
    """Read the picture of an access event."""
    with services.store.reading() as session:
        image = events.snapshot(session, building, event)
    return Response(image, headers=_PRIVATE, media_type="image/jpeg")


def _read(record: EventRecord) -> EventRead:
    return EventRead(**to_cloud_event(record.event, record.has_snapshot))
