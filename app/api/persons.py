"""Persons: residents, staff and guests, what they may do, and their erasure."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.api.auth import Acting, needs_here
from app.api.problems import documented, invalid
from app.api.receipts import INCOMPLETE, ReceiptRead, answer, stream_of
from app.api.schemas import (
    PAGE,
    BuildingId,
    Groups,
    Id,
    IfMatch,
    Moment,
    Note,
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
from app.store import audit, erasure, people
from app.store.records import PersonFields, PersonFilter, PersonRecord, Scope

router = APIRouter(prefix="/buildings/{building}/persons", tags=["persons"])
READ = [Depends(needs_here(Scope.VIEWER))]
WRITE = [Depends(needs_here(Scope.OPERATOR))]

_EXAMPLE: dict[str, JsonValue] = {
    "name": "Eileen Collins",
    "external_id": "flat-12",
    "groups": ["residents"],
    "valid_from": None,
    "valid_until": "2030-12-31T23:00:00Z",
    "consent_at": "2026-01-01T08:00:00Z",
    "consent_note": "lease folder, page 4",
    "erase_on": "2031-06-30T22:00:00Z",
}


class PersonCreate(Strictly):
    """A person to add; the face follows as a photo."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: Text
    external_id: Text | None = Field(None, description="your own identifier, unique in the building")
    groups: Groups = Field([], description="cameras may let in certain groups alone")
    valid_from: Moment | None = Field(None, description="denied before")
    valid_until: Moment | None = Field(None, description="denied from here on")
    consent_at: Moment | None = Field(None, description="when the person agreed to be recognised")
    consent_note: Note | None = Field(None, description="where the consent is to be found")
    erase_on: Moment | None = Field(None, description="retention date: erased by itself from then on")

    def fields(self) -> PersonFields:
        """Return the person as the store takes it.

        Raises:
            ProblemError: the times make no sense.
        """
        _check_future(self.erase_on)
        return _checked(PersonFields(**(dict(self) | {"groups": frozenset(self.groups)})))


class PersonUpdate(Patch):
    """What to change about a person."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"groups": ["residents", "staff"], "valid_until": None}]})

    name: Text = ""
    external_id: Text | None = None
    groups: Groups = Field(default=[])
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    consent_at: Moment | None = None
    consent_note: Note | None = None
    erase_on: Moment | None = None


class PersonRead(BaseModel):
    """A person."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "per_1f0c6f4b5a0d4e2b9c7a",
                    "building": "main",
                    **_EXAMPLE,
                    "photos": 1,
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
    external_id: str | None
    groups: list[str]
    valid_from: datetime | None
    valid_until: datetime | None
    consent_at: datetime | None
    consent_note: str | None
    erase_on: datetime | None
    photos: int = Field(description="without any, nobody recognises the person")
    revision: int
    created_at: datetime
    updated_at: datetime

    @staticmethod
    def of(record: PersonRecord) -> "PersonRead":
        """Return the answer for a record."""
        fields = record.fields
        return PersonRead(
            id=record.id,
            building=record.building,
            name=fields.name,
            external_id=fields.external_id,
            groups=sorted(fields.groups),
            valid_from=fields.valid_from,
            valid_until=fields.valid_until,
            consent_at=fields.consent_at,
            consent_note=fields.consent_note,
            erase_on=fields.erase_on,
            photos=record.photos,
            revision=record.revision,
            created_at=record.created_at,
            updated_at=record.updated_at,
        )


@router.get("", dependencies=READ, responses=documented("not-found", "invalid-page-token"))
def list_persons(
    services: Serving,
    building: BuildingId,
    page_size: PageSize = PAGE,
    page_token: PageToken = None,
    search: Annotated[str, Query(max_length=200, description="how name or external_id begins, in any case")] = "",
    group: Annotated[str | None, Query(max_length=64, description="members of this group")] = None,
    without_photos: Annotated[bool, Query(description="those alone whom nobody recognises")] = False,
    ending_before: Annotated[
        Moment | None, Query(description="whose right to enter or whose retention ends before this")
    ] = None,
) -> Page[PersonRead]:
    """List persons by name."""
    only = PersonFilter(search, group, without_photos, ending_before)
    with services.store.reading() as session:
        return page_of(people.listing(session, building, page_size, page_token, only), PersonRead.of)


@router.post("", status_code=201, dependencies=WRITE, responses=documented("not-found", "conflict"))
def create_person(
    services: Serving, building: BuildingId, body: PersonCreate, actor: Acting, response: Response
) -> PersonRead:
    """Add a person."""
    fields = body.fields()
    with services.store.session() as session:
        record = people.create(session, building, fields)
        audit.add(session, actor, "person.created", building=building, target=record.id)
    response.headers["Location"] = f"/v1/buildings/{building}/persons/{record.id}"
    response.headers["ETag"] = etag(record.revision)
    return PersonRead.of(record)


@router.get("/{person}", dependencies=READ, responses=documented("not-found"))
def get_person(services: Serving, building: BuildingId, person: Id, response: Response) -> PersonRead:
    """Read one person."""
    with services.store.reading() as session:
        record = people.get(session, building, person)
    response.headers["ETag"] = etag(record.revision)
    return PersonRead.of(record)


@router.patch("/{person}", dependencies=WRITE, responses=documented("not-found", "conflict", "precondition-failed"))
def update_person(
    services: Serving,
    building: BuildingId,
    person: Id,
    body: PersonUpdate,
    actor: Acting,
    response: Response,
    if_match: IfMatch = None,
) -> PersonRead:
    """Change what is said about a person; doors know it within a second."""
    changes = body.changes()
    if "groups" in changes:
        changes["groups"] = frozenset(changes["groups"])
    _check_future(changes.get("erase_on"))
    with services.store.session() as session:
        present = people.get(session, building, person)
        check_if_match(if_match, present.revision)
        fields = _checked(replace(present.fields, **changes))
        record = people.update(session, building, person, fields, present.revision)
        if record.revision != present.revision:
            changed = sorted(name for name in changes if getattr(fields, name) != getattr(present.fields, name))
            audit.add(session, actor, "person.updated", building=building, target=person, detail={"fields": changed})
    response.headers["ETag"] = etag(record.revision)
    return PersonRead.of(record)


@router.delete("/{person}", dependencies=WRITE, responses=documented("not-found") | INCOMPLETE)
def erase_person(services: Serving, building: BuildingId, person: Id, actor: Acting, response: Response) -> ReceiptRead:
    """Erase a person for good and say what is gone: rows, photos, templates, pictures and name in events, galleries.

    The answer waits until every live worker has followed. 202 instead of 200 means that one has not said so in time.
    """
    with stream_of(services) as stream:
        return answer(erasure.erase_person(services.store, building, person, stream=stream, actor=actor), response)


def _check_future(erase_on: datetime | None) -> None:
    """Keep a slip of the year from erasing somebody within the hour."""
    if erase_on is not None and erase_on <= datetime.now(UTC):
        raise invalid("#/erase_on", "erase_on must lie in the future; to erase somebody now, delete the person")


def _checked(fields: PersonFields) -> PersonFields:
    if fields.valid_from is not None and fields.valid_until is not None and fields.valid_from >= fields.valid_until:
        raise invalid("#/valid_until", "valid_until must lie after valid_from")
    return fields
