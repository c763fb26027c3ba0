"""Access and camera events: stored once, for ever, together with their place in the outbox."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, func, literal, select, tuple_
from sqlalchemy.orm import Session

from app.errors import CursorError, NotFoundError, StaleOwnerError
from app.store import buildings, cameras, corrections, webhooks
from app.store.clock import now
from app.store.event_rows import to_event, to_row
from app.store.paging import decode, page
from app.store.records import CameraRecord, EventFilter, EventRecord, Page
from app.store.sealing import seal, unseal
from app.store.tables import Correction, EventRow, Outbox, PersonRow, Portrait, Snapshot, UtcTime
from app.types import AccessEvent, CameraEvent, Ending, Event, TamperEvent, Tampering

SET_ANEW = "the camera was switched off or has another source: what it sees next counts as its view"
HAS_SNAPSHOT = select(Snapshot.event_id).where(Snapshot.event_id == EventRow.id).exists()
HAS_PORTRAIT = select(Portrait.event_id).where(Portrait.event_id == EventRow.id).exists()
RECORD = (
    select(EventRow, PersonRow.name, HAS_SNAPSHOT, HAS_PORTRAIT, Correction)
    .outerjoin(PersonRow, PersonRow.id == EventRow.person_id)
    .outerjoin(Correction, Correction.event_id == EventRow.id)
)


def add(session: Session, event: Event) -> bool:
    """Store an event, its pictures and its outbox row, and how the camera fares if the event is about that.

    A person who was erased since the decision is left out, and so are the pictures; the decision stays.

    Returns:
        False when this event is stored already, so that sending it again does no harm.

    Raises:
        StaleOwnerError: the camera has another owner now, or is gone.
    """
    owned = cameras.lock_owner(session, event.camera, event.owner_epoch)
    if session.scalar(select(EventRow.id).where(EventRow.id == event.id)) is not None:
        return False
    if not owned:
        raise StaleOwnerError(f"camera {event.camera!r} is no longer in owner epoch {event.owner_epoch}")
    if isinstance(event, CameraEvent):
        cameras.set_state(session, event.camera, event.owner_epoch, event.state, detail=event.detail, at=event.at)
    elif isinstance(event, TamperEvent):
        lasting = None if event.ended_at is not None else Tampering(event.kind, event.detail, event.since)
        cameras.set_tampering(session, event.camera, event.owner_epoch, lasting)
    else:
        event = _without_erased(session, event)
    session.add(to_row(event))
    session.flush()
    session.add(Outbox(event_id=event.id))
    webhooks.enqueue(session, event.building, event.id, event.type)
    if isinstance(event, AccessEvent):
        _add_pictures(session, event)
    session.flush()
    return True


def accept_view(session: Session, camera: CameraRecord) -> None:
    """End what was said of tampering because people changed the camera; who watches it then begins anew.

    The end is told in an owner epoch of its own: no number of a worker's event can meet its number.
    """
    if camera.tampering is None:
        return
    epoch, moment = cameras.release(session, camera.id), now(session)
    end = TamperEvent(
        id=f"{camera.id}.{epoch}.1",
        sequence=1,
        owner_epoch=epoch,
        building=camera.building,
        camera=camera.id,
        kind=camera.tampering.kind,
        since=camera.tampering.since,
        ended_at=moment,
        ended_by=Ending.ACCEPTED,
        detail=SET_ANEW,
        at=moment,
    )
    add(session, end)


def _add_pictures(session: Session, event: AccessEvent) -> None:
    for table, image in ((Snapshot, event.snapshot), (Portrait, event.portrait)):
        if image is not None:
            label = f"{table.__tablename__}.image/{event.id}"
            session.add(table(event_id=event.id, image=seal(session, image, label)))


def _without_erased(session: Session, event: AccessEvent) -> AccessEvent:
    """Return the event without a person who is no longer there.

    The lock makes an erasure that runs now wait for this event, which it then finds.
    """
    if event.person is None:
        return event
    there = select(PersonRow.id).where(PersonRow.id == event.person, PersonRow.building_id == event.building)
    if session.scalar(there.with_for_update(read=True, key_share=True)) is not None:
        return event
    return replace(event, person=None, person_name=None, snapshot=None, portrait=None)


def last_sequence(session: Session, camera: str, owner_epoch: int) -> int:
    """Return the highest sequence number stored for a camera in an owner epoch; 0 when there is none."""
    mine = (EventRow.camera_id == camera, EventRow.owner_epoch == owner_epoch)
    return session.scalar(select(func.max(EventRow.sequence)).where(*mine)) or 0


def get(session: Session, building: str, event: str) -> EventRecord:
    """Return an event.

    Raises:
        NotFoundError: there is none of this id in this building.
    """
    query = RECORD.where(EventRow.building_id == building, EventRow.id == event)
    found = session.execute(query).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no event {event!r} in building {building!r}")
    return _record(*found)


def records(session: Session, ids: list[str]) -> dict[str, EventRecord]:
    """Return events of any building by id; those that are gone are left out."""
    return {row[0].id: _record(*row) for row in session.execute(RECORD.where(EventRow.id.in_(ids)))}


def snapshot(session: Session, building: str, event: str) -> bytes:
    """Return the whole picture of an event, JPEG.

    Raises:
        NotFoundError: the event has none or no more, or there is no such event in this building.
    """
    return _picture(session, Snapshot, building, event)


def portrait(session: Session, building: str, event: str) -> bytes:
    """Return the best face of an event, JPEG.

    Raises:
        NotFoundError: the event has none or no more, or there is no such event in this building.
    """
    return _picture(session, Portrait, building, event)


def listing(
    session: Session, building: str, size: int, token: str | None = None, only: EventFilter | None = None
) -> Page[EventRecord]:
    """Return events, newest first.

    Raises:
        NotFoundError: there is no such building.
        CursorError: the token is not valid.
    """
    buildings.get(session, building)
    query = RECORD.where(EventRow.building_id == building)
    query = _filtered(query, only or EventFilter())
    if token is not None:
        query = query.where(tuple_(EventRow.occurred_at, EventRow.id) < tuple_(*_position(token)))
    query = query.order_by(EventRow.occurred_at.desc(), EventRow.id.desc()).limit(size + 1)
    rows = session.execute(query).all()
    return page(
        rows,
        size,
        lambda row: _record(*row),
        lambda row: (row[0].occurred_at.isoformat(), row[0].id),
    )


def _picture(session: Session, table: type[Snapshot] | type[Portrait], building: str, event: str) -> bytes:
    query = select(table.image).join(EventRow, EventRow.id == table.event_id)
    image = session.scalar(query.where(EventRow.building_id == building, EventRow.id == event))
    if image is None:
        raise NotFoundError(f"there is no such picture of event {event!r} in building {building!r}")
    return unseal(session, image, f"{table.__tablename__}.image/{event}")


def _record(
    row: EventRow, name: str | None, has_snapshot: bool, has_portrait: bool, correction: Correction | None
) -> EventRecord:
    said = None if correction is None else corrections.to_record(correction)
    return EventRecord(to_event(row, name), has_snapshot, has_portrait, said)


def _filtered(query: Select[Any, Any, Any, Any, Any], only: EventFilter) -> Select[Any, Any, Any, Any, Any]:
    wanted = {
        EventRow.kind: only.kind,
        EventRow.decision: only.decision,
        EventRow.camera_id: only.camera,
        EventRow.person_id: only.person,
        EventRow.detail["door"].as_string(): only.door,
        EventRow.detail["visit"].as_string(): only.visit,
        Correction.event_id.is_not(None): only.corrected,
    }
    query = query.where(*(column == value for column, value in wanted.items() if value is not None))
    if only.since is not None:
        query = query.where(EventRow.occurred_at >= only.since)
    if only.until is not None:
        query = query.where(EventRow.occurred_at < only.until)
    return query


def _position(token: str) -> tuple[object, object]:
    moment, event = decode(token, 2)
    try:
        when = datetime.fromisoformat(moment)
        if when.tzinfo is None:
            raise ValueError("a time without a zone")
        return literal(when.astimezone(UTC), UtcTime()), literal(event)
    except (ValueError, OverflowError) as error:
        raise CursorError("the page token belongs to another list") from error
