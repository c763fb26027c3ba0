"""Cameras: added, changed and removed while everything runs. No answer ever shows a camera's password."""

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from app.advice import advice
from app.api.auth import Acting, needs_here
from app.api.problems import documented, invalid
from app.api.schemas import (
    PAGE,
    BuildingId,
    Groups,
    Id,
    IfMatch,
    Page,
    PageSize,
    PageToken,
    Patch,
    Strictly,
    Text,
    TextOrNothing,
    check_if_match,
    etag,
    page_of,
)
from app.api.services import Services, Serving
from app.sources import HIDDEN, LONGEST, is_inside, is_stream, mask_source, validate_source
from app.store import audit, cameras, events
from app.store.records import CameraFields, CameraRecord, Scope
from app.types import CameraState, Tampering, TamperKind, Zones

router = APIRouter(prefix="/buildings/{building}/cameras", tags=["cameras"])
READ = [Depends(needs_here(Scope.VIEWER))]
WRITE = [Depends(needs_here(Scope.OPERATOR))]

_EXAMPLE: dict[str, JsonValue] = {
    "name": "Front door",
    "source": "rtsp://viewer:secret@192.0.2.10/stream1",
    "door": "front",
    "groups": [],
    "fps": 5,
    "transport": "tcp",
    "ca_certificate": None,
    "loop": False,
    "enabled": True,
    "zones": [[[0.1, 0.0], [0.9, 0.0], [0.9, 1.0], [0.1, 1.0]]],
}


def _source(value: str) -> str:
    validate_source(value)
    return value


def _certificate(value: str) -> str:
    try:
        ssl.create_default_context().load_verify_locations(cadata=value)
    except (ssl.SSLError, ValueError, TypeError) as error:  # a TypeError when it is not even ASCII
        raise ValueError("this is no certificate in PEM form") from error
    if "\0" in value:  # around the certificate anything may stand, but PostgreSQL takes no such text
        raise ValueError("the certificate holds a NUL")
    if "PRIVATE KEY" in value:
        raise ValueError("send the certificate alone: the private key stays with the camera")
    return value


def _polygon(value: list[list[float]]) -> list[list[float]]:
    if len({tuple(point) for point in value}) < 3:
        raise ValueError("a polygon needs three points that differ")
    return value


Source = Annotated[str, Field(min_length=1, max_length=LONGEST), AfterValidator(_source)]
Certificate = Annotated[str, Field(max_length=65_536), AfterValidator(_certificate)]
Fps = Annotated[float, Field(gt=0, le=30, allow_inf_nan=False)]
Transport = Literal["tcp", "udp"]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Point = Annotated[list[Share], Field(min_length=2, max_length=2)]
Polygon = Annotated[list[Point], Field(min_length=3, max_length=32), AfterValidator(_polygon)]
Polygons = Annotated[list[Polygon], Field(max_length=16)]


class CameraCreate(Strictly):
    """A camera to watch."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: Text
    source: Source = Field(description="rtsp:// or rtsps:// with user and password, or the path of a video file")
    door: TextOrNothing = Field("", description="what a consumer of events opens")
    groups: Groups = Field([], description="groups that may enter here; empty: every enrolled person")
    fps: Fps = Field(5.0, description="pictures analysed per second")
    transport: Transport = "tcp"
    ca_certificate: Certificate | None = Field(None, description="PEM that an rtsps:// camera is verified against")
    loop: bool = Field(False, description="video files: start again at the end")
    enabled: bool = True
    zones: Polygons = Field(
        [],
        description="polygons of [x, y] in shares of the picture; faces and bodies count only with their middle in "
        "one of them; empty: everywhere",
    )


class CameraUpdate(Patch):
    """What to change about a camera."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"door": "garage", "enabled": False}]})

    name: Text = ""
    source: Source = ""
    door: TextOrNothing = ""
    groups: Groups = Field(default=[])
    fps: Fps = 5.0
    transport: Transport = "tcp"
    ca_certificate: Certificate | None = None
    loop: bool = False
    enabled: bool = True
    zones: Polygons = Field(default=[])


class TamperingRead(BaseModel):
    """What keeps a camera from seeing although its pictures come."""

    kind: TamperKind
    detail: str
    since: datetime

    @staticmethod
    def of(tampering: Tampering) -> "TamperingRead":
        """Return the answer for a record."""
        return TamperingRead(kind=tampering.kind, detail=tampering.detail, since=tampering.since)


class CameraRead(BaseModel):
    """A camera. `source` is shown without its password."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "cam_1f0c6f4b5a0d4e2b9c7a",
                    "building": "main",
                    **_EXAMPLE,
                    "source": "rtsp://viewer:***@192.0.2.10/stream1",
                    "worker": "node-1",
                    "state": "online",
                    "state_detail": "",
                    "state_at": "2026-01-01T08:00:02Z",
                    "tampering": None,
                    "advice": "",
                    "revision": 1,
                    "created_at": "2026-01-01T08:00:00Z",
                    "updated_at": "2026-01-01T08:00:00Z",
                }
            ]
        }
    )

    id: str
    building: str
    name: str
    source: str
    door: str
    groups: list[str]
    fps: float
    transport: str
    ca_certificate: str | None
    loop: bool
    enabled: bool
    zones: list[list[tuple[float, float]]]
    worker: str | None = Field(description="who watches it now")
    state: CameraState | None = Field(description="null while nobody watches it or nothing is known yet")
    state_detail: str
    state_at: datetime | None
    tampering: TamperingRead | None = Field(description="what keeps it from seeing while it is online; null: nothing")
    advice: str = Field(description="what to do about it; empty when all is well")
    revision: int
    created_at: datetime
    updated_at: datetime

    @staticmethod
    def of(record: CameraRecord) -> "CameraRead":
        """Return the answer for a record."""
        fields, seen = record.fields, record.kept_from_seeing
        watched = record.owner is not None
        return CameraRead(
            id=record.id,
            building=record.building,
            name=fields.name,
            source=mask_source(fields.source),
            door=fields.door,
            groups=sorted(fields.groups),
            fps=fields.fps,
            transport=fields.transport,
            ca_certificate=fields.ca_certificate,
            loop=fields.loop,
            enabled=fields.enabled,
            zones=[list(polygon) for polygon in fields.zones],
            worker=record.owner,
            state=record.live_state,
            state_detail=record.state_detail if watched else "",
            state_at=record.state_at if watched else None,
            tampering=None if seen is None else TamperingRead.of(seen),
            advice=advice(record.live_state, enabled=fields.enabled, tampering=seen),
            revision=record.revision,
            created_at=record.created_at,
            updated_at=record.updated_at,
        )


@router.get("", dependencies=READ, responses=documented("not-found", "invalid-page-token"))
def list_cameras(
    services: Serving, building: BuildingId, page_size: PageSize = PAGE, page_token: PageToken = None
) -> Page[CameraRead]:
    """List cameras by name."""
    with services.store.reading() as session:
        return page_of(cameras.listing(session, building, page_size, page_token), CameraRead.of)


@router.post("", status_code=201, dependencies=WRITE, responses=documented("not-found"))
def create_camera(
    services: Serving, building: BuildingId, body: CameraCreate, actor: Acting, response: Response
) -> CameraRead:
    """Add a camera; a worker opens it within a second."""
    fields = CameraFields(**(_plain(dict(body))))
    refuse_mask(fields.source)
    refuse_elsewhere(services, fields.source)
    with services.store.session() as session:
        record = cameras.create(session, building, fields)
        audit.add(session, actor, "camera.created", building=building, target=record.id)
    response.headers["Location"] = f"/v1/buildings/{building}/cameras/{record.id}"
    response.headers["ETag"] = etag(record.revision)
    return CameraRead.of(record)


@router.get("/{camera}", dependencies=READ, responses=documented("not-found"))
def get_camera(services: Serving, building: BuildingId, camera: Id, response: Response) -> CameraRead:
    """Read one camera and what it is doing."""
    with services.store.reading() as session:
        record = cameras.get(session, building, camera)
    response.headers["ETag"] = etag(record.revision)
    return CameraRead.of(record)


@router.patch("/{camera}", dependencies=WRITE, responses=documented("not-found", "precondition-failed"))
def update_camera(
    services: Serving,
    building: BuildingId,
    camera: Id,
    body: CameraUpdate,
    actor: Acting,
    response: Response,
    if_match: IfMatch = None,
) -> CameraRead:
    """Change a camera; its worker opens it anew. The source as it is shown, without password, leaves it as it was.

    Another source, or switching it off, ends what was said of tampering: what the camera sees next counts as its view.
    """
    changes = _plain(body.changes())
    with services.store.session() as session:
        present = cameras.get(session, building, camera)
        check_if_match(if_match, present.revision)
        if changes.get("source") == mask_source(present.fields.source):
            del changes["source"]
        refuse_mask(changes.get("source", ""))
        refuse_elsewhere(services, changes.get("source", present.fields.source))
        fields = replace(present.fields, **changes)
        record = cameras.update(session, building, camera, fields, present.revision)
        if fields.source != present.fields.source or not fields.enabled:
            events.accept_view(session, record)
            record = cameras.get(session, building, camera)
        if record.revision != present.revision:
            changed = sorted(name for name in changes if getattr(fields, name) != getattr(present.fields, name))
            detail = {"fields": changed}
            audit.add(session, actor, "camera.updated", building=building, target=camera, detail=detail)
    response.headers["ETag"] = etag(record.revision)
    return CameraRead.of(record)


@router.delete(
    "/{camera}", status_code=204, dependencies=WRITE, responses=documented("not-found", "precondition-failed")
)
def delete_camera(services: Serving, building: BuildingId, camera: Id, actor: Acting, if_match: IfMatch = None) -> None:
    """Remove a camera; its events stay."""
    with services.store.session() as session:
        check_if_match(if_match, cameras.get(session, building, camera).revision)
        cameras.delete(session, building, camera)
        audit.add(session, actor, "camera.deleted", building=building, target=camera)


def _plain(changes: dict[str, Any]) -> dict[str, Any]:
    """Return fields as the store takes them."""
    makers: dict[str, Callable[[Any], Any]] = {"groups": frozenset, "zones": _zones}
    return {name: makers[name](value) if name in makers else value for name, value in changes.items()}


def _zones(polygons: list[list[list[float]]]) -> Zones:
    return tuple(tuple((x, y) for x, y in polygon) for polygon in polygons)


def refuse_elsewhere(services: Services, source: str) -> None:
    """Keep whoever adds a camera from making the server open files: those in the folder of videos alone are sources.

    Raises:
        ProblemError: the source is a file elsewhere.
    """
    if not is_stream(source) and not is_inside(source, services.videos):
        raise invalid("#/source", "a video file must lie in the folder that CARDEA_VIDEOS names on the server")


def refuse_mask(source: str) -> None:
    """Keep the stars of an answer from being taken for a password.

    Raises:
        ProblemError: the source holds them.
    """
    if HIDDEN in source:
        raise invalid("#/source", "the source holds *** in place of its password: write the password")
