"""Corrections: what an operator says later about a visit. The event itself stays as it was decided and sent."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import ConflictError, NotFoundError
from app.store.clock import now
from app.store.records import CorrectionFields, CorrectionRecord, Verdict
from app.store.tables import Correction, EventRow, PersonRow


def put(session: Session, building: str, event: str, fields: CorrectionFields, actor: str) -> CorrectionRecord:
    """Write what is said about an access event, in place of what was said before.

    Args:
        actor: name of whoever says it.

    Raises:
        NotFoundError: there is no such event, or no such person, in this building.
        ConflictError: the event is not about an access, or what is said does not fit it.
    """
    if fields.person is not None:
        _hold_person(session, building, fields.person)  # before the event, as an erasure locks them
    row = _locked_event(session, building, event)
    _check(row, fields)
    moment = now(session)  # asks PostgreSQL, which must not see half a row
    correction = session.get(Correction, event, populate_existing=True)
    if correction is None:
        correction = Correction(event_id=event)
        session.add(correction)
    correction.verdict = fields.verdict.value
    correction.person_id = fields.person
    correction.note = fields.note
    correction.actor = actor
    correction.at = moment
    session.flush()
    return to_record(correction)


def delete(session: Session, building: str, event: str) -> None:
    """Take back what was said about an event.

    Raises:
        NotFoundError: nothing was said, or there is no such event in this building.
    """
    _locked_event(session, building, event)
    correction = session.get(Correction, event, populate_existing=True)
    if correction is None:
        raise NotFoundError(f"event {event!r} is not corrected")
    session.delete(correction)
    session.flush()


def to_record(row: Correction) -> CorrectionRecord:
    """Return the record of a row."""
    return CorrectionRecord(Verdict(row.verdict), row.person_id, row.note, row.actor, row.at)


def _hold_person(session: Session, building: str, person: str) -> None:
    """Make an erasure that begins now wait for this correction, which it then finds."""
    there = select(PersonRow.id).where(PersonRow.building_id == building, PersonRow.id == person)
    if session.scalar(there.with_for_update(read=True, key_share=True)) is None:
        raise NotFoundError(f"there is no person {person!r} in building {building!r}")


def _locked_event(session: Session, building: str, event: str) -> EventRow:
    query = select(EventRow).where(EventRow.building_id == building, EventRow.id == event)
    row = session.scalars(query.with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no event {event!r} in building {building!r}")
    return row


def _check(row: EventRow, fields: CorrectionFields) -> None:
    if row.kind != "access":
        raise ConflictError(f"event {row.id!r} is about a camera; there is nothing to correct")
    if fields.verdict is Verdict.WRONG_PERSON and row.person_id is None:
        raise ConflictError(f"event {row.id!r} names nobody who could be the wrong one")
    if fields.person is not None and fields.person == row.person_id:
        raise ConflictError(f"event {row.id!r} names this person already")
