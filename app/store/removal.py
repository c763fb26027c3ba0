"""Taking a person out of every table, in one transaction. What must follow outside of it is `app.store.erasure`'s."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Delete, Select, Update, delete, func, insert, literal, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.store import audit, buildings, enrolments, idempotency, operations, people
from app.store.clock import now
from app.store.records import Removed
from app.store.tables import (
    AuditRow,
    Correction,
    EventRow,
    PersonRow,
    Photo,
    Portrait,
    Snapshot,
    StreamRemoval,
    Template,
    Tombstone,
    UtcTime,
)


def remove_person(session: Session, building: str, person: str, actor: audit.Actor) -> Removed:
    """Delete a person with photos and templates, and take person and pictures out of all events.

    An event that a correction says was this person, or whose picture the person was enrolled from, loses its pictures
    too, even when that photo was erased before. A tombstone keeps the person from coming back with a backup; the events
    that the stream has under the person's name are noted in `stream_removals`, and the person, for events whose rows
    are gone.

    Raises:
        NotFoundError: there is none of this id in this building.
    """
    people.locked(session, building, person)  # an event about this person that is being stored comes first
    enrolments.lock(session, building)  # before operations, as a bulk enrolment does
    moment = now(session)
    photos, templates = _count(session, Photo.id, person), _count(session, Template.id, person)
    named = select(EventRow.id).where(EventRow.person_id == person)
    known = (_corrected(person), _enrolled(person), _enrolled_once(building, person))
    pictured = select(EventRow.id).where(or_(EventRow.person_id == person, *(EventRow.id.in_(ids) for ids in known)))
    snapshots = _rows(session, delete(Snapshot).where(Snapshot.event_id.in_(pictured)), Snapshot.event_id)
    portraits = _rows(session, delete(Portrait).where(Portrait.event_id.in_(pictured)), Portrait.event_id)
    said = or_(Correction.person_id == person, Correction.event_id.in_(named))
    emptied = update(Correction).where(said).values(person_id=None, note="")
    corrections = _rows(session, emptied, Correction.event_id)
    _note_entries(session, named, person, moment)
    anonymous = update(EventRow).where(EventRow.person_id == person).values(person_id=None)
    events = _rows(session, anonymous, EventRow.id)
    replies = idempotency.forget(session, f"/v1/buildings/{building}/persons/{person}")
    items = operations.forget(session, person)
    for table in (Template, Photo):  # said here: a restore runs without foreign keys, so nothing would follow
        session.execute(delete(table).where(table.person_id == person))
    session.execute(delete(PersonRow).where(PersonRow.id == person))
    session.merge(Tombstone(person_id=person, building_id=building, erased_at=moment))
    sequence = buildings.raise_sequence(session, building, person)
    removed = Removed(
        building,
        person,
        sequence,
        moment,
        photos,
        templates,
        events=events,
        snapshots=snapshots,
        portraits=portraits,
        corrections=corrections,
        replies=replies,
        operation_items=items,
    )
    audit.add(session, actor, "person.erased", building=building, target=person, detail=_counts(removed))
    return removed


def remove_photo(session: Session, building: str, person: str, photo: str, actor: audit.Actor) -> Removed:
    """Delete one photo with its templates.

    Raises:
        NotFoundError: the person has none of this id, or there is no such person in this building.
    """
    templates = session.scalar(select(func.count(Template.id)).where(Template.photo_id == photo)) or 0
    sequence = people.delete_photo(session, building, person, photo)
    replies = idempotency.forget(session, f"/v1/buildings/{building}/persons/{person}/photos/{photo}")
    audit.add(session, actor, "photo.erased", building=building, target=photo, detail={"person": person})
    return Removed(building, person, sequence, now(session), 1, templates, whole=False, replies=replies)


def _corrected(person: str) -> Select[Any]:
    return select(Correction.event_id).where(Correction.person_id == person)


def _enrolled(person: str) -> Select[Any]:
    return select(Photo.event_id).where(Photo.person_id == person, Photo.event_id.is_not(None))


def _enrolled_once(building: str, person: str) -> Select[Any]:
    """Photos that were erased before the person are told of by the audit trail alone."""
    added = (AuditRow.building_id == building, AuditRow.action == "photo.added", AuditRow.target == person)
    return select(AuditRow.detail["event"].as_string()).where(*added)


def _note_entries(session: Session, named: Select[Any], person: str, moment: datetime) -> None:
    rows = named.add_columns(literal(moment, UtcTime()))
    session.execute(insert(StreamRemoval).from_select(["subject", "at"], rows))
    session.merge(StreamRemoval(subject=person, at=moment))


def _count(session: Session, column: InstrumentedAttribute[Any], person: str) -> int:
    owner: ColumnElement[str] = column.class_.person_id
    return session.scalar(select(func.count(column)).where(owner == person)) or 0


def _rows(session: Session, change: Delete | Update, key: InstrumentedAttribute[Any]) -> int:
    return len(session.scalars(change.returning(key)).all())


def _counts(removed: Removed) -> dict[str, int]:
    names = ("photos", "templates", "events", "snapshots", "portraits", "corrections")
    return {name: getattr(removed, name) for name in names}
