"""Buildings: each has its own persons, cameras, events and gallery, how strict it is, and how long it keeps events."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.api.auth import Acting, Key, needs, needs_everywhere, needs_here
from app.api.problems import documented, invalid
from app.api.schemas import (
    PAGE,
    BuildingId,
    BuildingSlug,
    IfMatch,
    Page,
    PageSize,
    PageToken,
    Patch,
    Strictly,
    Text,
    check_if_match,
    etag,
    page_of,
)
from app.api.services import Serving
from app.fusion import counted
from app.store import audit, buildings, galleries, records
from app.store.records import BuildingFields, BuildingRecord, Scope
from app.vision.embedder import Embedder

router = APIRouter(prefix="/buildings", tags=["buildings"])
WRITE = [Depends(needs_here(Scope.OPERATOR))]

_EXAMPLE: dict[str, JsonValue] = {
    "name": "Harbour house",
    "event_days": 90,
    "snapshot_days": 14,
    "target_fpir": 0.0005,
}
_TARGET = (
    "share of strangers' visits that may match anybody; thresholds follow from it and from the number of templates"
)

Days = Annotated[int, Field(ge=1, le=36_500)]
Fpir = Annotated[float, Field(ge=1e-6, le=0.1)]


class BuildingCreate(Strictly):
    """A building to add."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "harbour", **_EXAMPLE}]})

    id: BuildingSlug
    name: Text
    event_days: Days | None = Field(None, description="events older than this are deleted; null: kept")
    snapshot_days: Days | None = Field(None, description="the same for the pictures of events")
    target_fpir: Fpir | None = Field(None, description=f"{_TARGET}; null: what this installation begins with")


class BuildingUpdate(Patch):
    """What to change about a building."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"event_days": None, "target_fpir": 0.0001}]})

    name: Text = ""
    event_days: Days | None = None
    snapshot_days: Days | None = None
    target_fpir: Fpir = Field(1e-3, description=_TARGET)


class BuildingRead(BaseModel):
    """A building."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "harbour", **_EXAMPLE, "revision": 1, "created_at": "2026-01-01T08:00:00Z"}]
        }
    )

    id: str
    name: str
    event_days: int | None
    snapshot_days: int | None
    target_fpir: float = Field(description=_TARGET)
    revision: int
    created_at: datetime

    @staticmethod
    def of(record: BuildingRecord) -> "BuildingRead":
        """Return the answer for a record."""
        fields = record.fields
        return BuildingRead(
            id=record.id,
            name=fields.name,
            event_days=fields.event_days,
            snapshot_days=fields.snapshot_days,
            target_fpir=fields.target_fpir,
            revision=record.revision,
            created_at=record.created_at,
        )


@router.get("", dependencies=[Depends(needs(Scope.VIEWER))], responses=documented("invalid-page-token"))
def list_buildings(
    services: Serving, key: Key, page_size: PageSize = PAGE, page_token: PageToken = None
) -> Page[BuildingRead]:
    """List the buildings that the key may see."""
    with services.store.reading() as session:
        if key.building is None:
            found = buildings.listing(session, page_size, page_token)
        else:
            found = records.Page([buildings.get(session, key.building)], None)
    return page_of(found, BuildingRead.of)


@router.post(
    "", status_code=201, dependencies=[Depends(needs_everywhere(Scope.OPERATOR))], responses=documented("conflict")
)
def create_building(services: Serving, actor: Acting, body: BuildingCreate, response: Response) -> BuildingRead:
    """Add a building, empty."""
    with services.store.session() as session:
        target = services.target_fpir if body.target_fpir is None else body.target_fpir
        fields = BuildingFields(body.name, body.event_days, body.snapshot_days, target)
        record = buildings.create(session, body.id, fields)
        audit.add(session, actor, "building.created", building=record.id, target=record.id)
    response.headers["Location"] = f"/v1/buildings/{record.id}"
    response.headers["ETag"] = etag(record.revision)
    return BuildingRead.of(record)


@router.get("/{building}", dependencies=[Depends(needs_here(Scope.VIEWER))], responses=documented("not-found"))
def get_building(services: Serving, building: BuildingId, response: Response) -> BuildingRead:
    """Read one building."""
    with services.store.reading() as session:
        record = buildings.get(session, building)
    response.headers["ETag"] = etag(record.revision)
    return BuildingRead.of(record)


@router.patch(
    "/{building}", dependencies=WRITE, responses=documented("not-found", "precondition-failed", "other-embedder")
)
def update_building(
    services: Serving,
    actor: Acting,
    building: BuildingId,
    body: BuildingUpdate,
    response: Response,
    if_match: IfMatch = None,
) -> BuildingRead:
    """Change name, retention and strictness.

    Doors follow `target_fpir` within a second. What is then too old is deleted by the next run of the retention job.
    """
    changes = body.changes()
    embedder = services.embedder() if "target_fpir" in changes else None
    with services.store.session() as session:
        present = buildings.get(session, building)
        check_if_match(if_match, present.revision)
        detail: dict[str, Any] = {"fields": sorted(changes)}
        if embedder is not None:
            _check_known(embedder, galleries.sizes(session, building, embedder.card.id), body.target_fpir)
            detail["target_fpir"] = {"from": present.fields.target_fpir, "to": body.target_fpir}
        record = buildings.update(session, building, replace(present.fields, **changes), present.revision)
        audit.add(session, actor, "building.changed", building=building, target=building, detail=detail)
    response.headers["ETag"] = etag(record.revision)
    return BuildingRead.of(record)


@router.delete(
    "/{building}",
    status_code=204,
    dependencies=[Depends(needs_everywhere(Scope.OPERATOR))],
    responses=documented("not-found", "conflict", "precondition-failed"),
)
def delete_building(services: Serving, actor: Acting, building: BuildingId, if_match: IfMatch = None) -> None:
    """Remove a building that has no persons, cameras or events. Its keys and webhooks end with it."""
    with services.store.session() as session:
        check_if_match(if_match, buildings.get(session, building).revision)
        buildings.delete(session, building)
        audit.add(session, actor, "building.deleted", building=building, target=building)


def _check_known(embedder: Embedder, templates: list[int], target_fpir: float) -> None:
    """Refuse a promise that nothing is known about, given how many templates each person has."""
    if not embedder.keeps(counted(templates), target_fpir):
        known = embedder.most_templates(target_fpir)
        detail = f"target_fpir: thresholds are known for {known} people with a photo each at so small a share; there "
        raise invalid("#/target_fpir", f"{detail}are {sum(templates)} photos of {len(templates)} people")
