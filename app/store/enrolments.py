"""What bulk enrolment asks the store: who somebody is, and whose a file is."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.records import PersonFields
from app.store.tables import Building, PersonRow, Photo


def lock(session: Session, building: str) -> None:
    """Let nobody else enrol in this building until the transaction ends.

    Lock a person before the building, never after it: everybody else does.
    """
    session.scalar(select(Building.id).where(Building.id == building).with_for_update())


def find(session: Session, building: str, fields: PersonFields) -> list[str]:
    """Return the ids of those who may be meant: by external id when one is given, else by the exact name."""
    query = select(PersonRow.id).where(PersonRow.building_id == building)
    if fields.external_id is not None:
        query = query.where(PersonRow.external_id == fields.external_id)
    else:
        query = query.where(PersonRow.name == fields.name)
    return list(session.scalars(query.order_by(PersonRow.id).limit(2)))


def owner(session: Session, building: str, digest: str) -> str | None:
    """Return the person who has a photo made from the file of this SHA-256."""
    query = select(Photo.person_id).join(PersonRow, PersonRow.id == Photo.person_id)
    query = query.where(Photo.digest == digest, PersonRow.building_id == building)
    return session.scalar(query.order_by(Photo.created_at).limit(1))


def digests(session: Session, building: str) -> frozenset[str]:
    """Return the SHA-256 of every file that is enrolled."""
    query = select(Photo.digest).join(PersonRow, PersonRow.id == Photo.person_id)
    query = query.where(PersonRow.building_id == building, Photo.digest.is_not(None))
    return frozenset(digest for digest in session.scalars(query) if digest is not None)


def names(session: Session, building: str, persons: frozenset[str]) -> dict[str, str]:
    """Return the names of these persons; who is gone is left out."""
    query = select(PersonRow.id, PersonRow.name).where(PersonRow.building_id == building, PersonRow.id.in_(persons))
    return {row.id: row.name for row in session.execute(query)}
