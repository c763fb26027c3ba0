"""The audit trail: who did what and who was turned away, newest first. It names ids and codes, never a person."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import needs_everywhere, needs_here
from app.api.problems import documented
from app.api.schemas import PAGE, BuildingId, Page, PageSize, PageToken, page_of
from app.api.services import Serving
from app.store import audit, buildings
from app.store.audit import AuditRecord
from app.store.records import Scope

router = APIRouter(tags=["audit"])

Action = Annotated[
    str | None,
    Query(
        max_length=64,
        pattern=r"^[a-z_-]+\.[a-z_-]*$",
        description="this action alone, such as `key.refused`; all of a noun when it ends with a dot: `key.`",
    ),
]


class ActorRead(BaseModel):
    """Who did something."""

    kind: str = Field(description="key, session (a key in a browser), command, system or anonymous")
    id: str = Field(description="of the key; empty without one")
    name: str = Field(description="of the key, command or job")
    address: str = Field(description="of the client")


class AuditRead(BaseModel):
    """One entry."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 4711,
                    "at": "2026-01-01T08:00:00Z",
                    "building": "main",
                    "actor": {
                        "kind": "key",
                        "id": "key_1f0c6f4b5a0d4e2b9c7a",
                        "name": "front desk",
                        "address": "192.0.2.7",
                    },
                    "action": "person.created",
                    "target": "per_1f0c6f4b5a0d4e2b9c7a",
                    "detail": {},
                }
            ]
        }
    )

    id: int
    at: datetime
    building: str | None = Field(description="null for what concerns all buildings")
    actor: ActorRead
    action: str
    target: str = Field(description="id of what was acted on")
    detail: dict[str, Any]

    @staticmethod
    def of(record: AuditRecord) -> "AuditRead":
        """Return the answer for a record."""
        actor = record.actor
        return AuditRead(
            id=record.id,
            at=record.at,
            building=record.building,
            actor=ActorRead(kind=actor.kind, id=actor.id, name=actor.name, address=actor.address),
            action=record.action,
            target=record.target,
            detail=record.detail,
        )


@router.get(
    "/audit",
    dependencies=[Depends(needs_everywhere(Scope.OPERATOR))],
    responses=documented("invalid-page-token"),
)
def list_audit(
    services: Serving, page_size: PageSize = PAGE, page_token: PageToken = None, action: Action = None
) -> Page[AuditRead]:
    """List the entries of all buildings, newest first.

    A key that was refused has an entry `key.refused` within a second, with `reason`; in a flood from one address most
    of them share one entry with `count`.
    """
    with services.store.reading() as session:
        return page_of(audit.listing(session, page_size, page_token, None, action), AuditRead.of)


@router.get(
    "/buildings/{building}/audit",
    dependencies=[Depends(needs_here(Scope.OPERATOR))],
    responses=documented("not-found", "invalid-page-token"),
)
def list_building_audit(
    services: Serving,
    building: BuildingId,
    page_size: PageSize = PAGE,
    page_token: PageToken = None,
    action: Action = None,
) -> Page[AuditRead]:
    """List the entries of one building and of the keys bound to it, newest first."""
    with services.store.reading() as session:
        buildings.get(session, building)
        return page_of(audit.listing(session, page_size, page_token, building, action), AuditRead.of)
