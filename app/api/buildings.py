"""Buildings: each has its own persons, cameras, events and gallery."""

from datetime import datetime

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from app.api.auth import Key, needs, needs_everywhere, needs_here
from app.api.problems import documented
from app.api.schemas import PAGE, BuildingId, BuildingSlug, Page, PageSize, PageToken, Strictly, Text, page_of
from app.api.services import Serving
from app.store import buildings, records
from app.store.records import BuildingFields, BuildingRecord, Scope

router = APIRouter(prefix="/buildings", tags=["buildings"])


class BuildingCreate(Strictly):
    """A building to add."""

    id: BuildingSlug
    name: Text


class BuildingRead(BaseModel):
    """A building."""

    id: str
    name: str
    created_at: datetime

    @staticmethod
    def of(record: BuildingRecord) -> "BuildingRead":
        """Return the answer for a record."""
        return BuildingRead(id=record.id, name=record.fields.name, created_at=record.created_at)


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
def create_building(services: Serving, body: BuildingCreate, response: Response) -> BuildingRead:
    """Add a building, empty."""
    with services.store.session() as session:
        record = buildings.create(session, body.id, BuildingFields(body.name))
    response.headers["Location"] = f"/v1/buildings/{record.id}"
    return BuildingRead.of(record)


@router.get("/{building}", dependencies=[Depends(needs_here(Scope.VIEWER))], responses=documented("not-found"))
def get_building(services: Serving, building: BuildingId) -> BuildingRead:
    """Read one building."""
    with services.store.reading() as session:
        return BuildingRead.of(buildings.get(session, building))
