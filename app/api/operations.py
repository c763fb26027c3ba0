"""Operations: long jobs, how far they are, and what came of each of their items.

An operation is kept for a week after its end. A key of one building knows of no others.
"""

from datetime import datetime

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.api.auth import Acting, Key, needs
from app.api.problems import documented
from app.api.schemas import PAGE, Id, Page, PageSize, PageToken, page_of
from app.api.services import Serving
from app.errors import NotFoundError
from app.store import audit, operations
from app.store.operations import ItemRecord, OperationRecord
from app.store.records import KeyRecord, Scope

router = APIRouter(prefix="/operations", tags=["operations"])
OPERATE = [Depends(needs(Scope.OPERATOR))]

_EXAMPLE: dict[str, JsonValue] = {
    "id": "ope_5d1e0c9b8a7f6e5d4c3b",
    "building": "main",
    "kind": "enrolment",
    "state": "running",
    "total": 300,
    "done": 120,
    "report": {"enrolled": 117, "unusable": 2, "duplicate": 1},
    "created_at": "2026-01-01T08:00:00Z",
    "updated_at": "2026-01-01T08:00:20Z",
}
_ITEM: dict[str, JsonValue] = {
    "position": 17,
    "file": "Eileen Collins.jpg",
    "name": "Eileen Collins",
    "outcome": "unusable",
    "reasons": ["face-unusable", "blurred"],
    "person": None,
    "other": None,
    "similarity": None,
}


class OperationRead(BaseModel):
    """A long job."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    building: str
    kind: str
    state: str = Field(description="receiving, running, done, failed or cancelled")
    total: int = Field(description="items")
    done: int = Field(description="items that were settled")
    report: dict[str, int] = Field(description="how many items had each outcome")
    created_at: datetime
    updated_at: datetime

    @staticmethod
    def of(record: OperationRecord) -> "OperationRead":
        """Return the answer for a record."""
        return OperationRead(
            id=record.id,
            building=record.building,
            kind=record.kind,
            state=record.state,
            total=record.total,
            done=record.done,
            report=record.report,
            created_at=record.created_at,
            updated_at=record.updated_at,
        )


class ItemRead(BaseModel):
    """One photo of an enrolment."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ITEM]})

    position: int
    file: str
    name: str
    outcome: str | None = Field(description="enrolled, already_enrolled, duplicate, unusable, failed; null: to do")
    reasons: list[str] = Field(
        description="codes; beside enrolled they are warnings: `looks_like`, `unlike_own_photos`, `near_duplicate` and "
        "`low_quality`"
    )
    person: str | None = Field(description="id of whom the photo was meant for, if there is such a person")
    other: str | None = Field(description="id of the person whose photo it is or who looks alike")
    similarity: float | None = Field(description="to `other`, or to the person's own photos")

    @staticmethod
    def of(record: ItemRecord) -> "ItemRead":
        """Return the answer for a record."""
        return ItemRead(
            position=record.position,
            file=record.file,
            name=record.name,
            outcome=record.outcome,
            reasons=list(record.reasons),
            person=record.person,
            other=record.other,
            similarity=record.similarity,
        )


@router.get("", dependencies=OPERATE, responses=documented("invalid-page-token"))
def list_operations(
    services: Serving, key: Key, page_size: PageSize = PAGE, page_token: PageToken = None
) -> Page[OperationRead]:
    """List operations, newest first: those of the key's building, or of all."""
    with services.store.reading() as session:
        return page_of(operations.listing(session, key.building, page_size, page_token), OperationRead.of)


@router.get("/{operation}", dependencies=OPERATE, responses=documented("not-found"))
def get_operation(services: Serving, key: Key, operation: Id) -> OperationRead:
    """Read how far an operation is."""
    with services.store.reading() as session:
        return OperationRead.of(_within(key, operations.get(session, operation)))


@router.get("/{operation}/items", dependencies=OPERATE, responses=documented("not-found", "invalid-page-token"))
def list_operation_items(
    services: Serving, key: Key, operation: Id, page_size: PageSize = PAGE, page_token: PageToken = None
) -> Page[ItemRead]:
    """List what came of each item, in order."""
    with services.store.reading() as session:
        _within(key, operations.get(session, operation))
        return page_of(operations.items(session, operation, page_size, page_token), ItemRead.of)


@router.delete("/{operation}", dependencies=OPERATE, responses=documented("not-found", "conflict"))
def cancel_operation(services: Serving, key: Key, actor: Acting, operation: Id) -> OperationRead:
    """Cancel an operation: what is still to do is dropped, with its photos; what is done stays done."""
    with services.store.session() as session:
        _within(key, operations.get(session, operation))
        record = operations.cancel(session, operation)
        detail = {"done": record.done, "total": record.total}
        audit.add(session, actor, f"{record.kind}.cancelled", building=record.building, target=operation, detail=detail)
    return OperationRead.of(record)


def _within(key: KeyRecord, record: OperationRecord) -> OperationRecord:
    if key.building not in (None, record.building):
        raise NotFoundError(f"there is no operation {record.id!r}")
    return record
