"""What the event stream should hold: the past that is put into it again when its server has lost its data."""

from datetime import timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.store.clock import now
from app.store.event_rows import to_event
from app.store.events import HAS_SNAPSHOT
from app.store.tables import Building, EventRow, Outbox, PersonRow
from app.types import Event

SPAN = timedelta(hours=24)  # older events say nothing to a door, and dashboards have the history


def ids(session: Session, length: int) -> list[str]:
    """Return the ids of the events that a new stream begins with, in the order in which they are to be sent.

    They are the newest `length` events of the last `SPAN`, and all that wait in the outbox: one of those may be in the
    hands of a sender who had just sent it when the data was lost, and will strike it off.

    The order is by time, except that events of one camera keep the order of their numbers whatever its worker's clock
    did.
    """
    known = EventRow.building_id.in_(select(Building.id))  # so that the index of building and time serves
    newest = (
        select(EventRow.id)
        .where(known, EventRow.occurred_at > now(session) - SPAN)
        .order_by(EventRow.occurred_at.desc(), EventRow.id.desc())
        .limit(length)
    )
    camera = (EventRow.camera_id, EventRow.owner_epoch, EventRow.sequence)
    reached = func.max(EventRow.occurred_at).over(partition_by=camera[0], order_by=camera[1:])
    waiting = select(Outbox.event_id)
    chosen = select(EventRow.id).where(or_(EventRow.id.in_(newest), EventRow.id.in_(waiting)))
    return list(session.scalars(chosen.order_by(reached, *camera)))


def sendable(session: Session, chosen: list[str]) -> list[tuple[Event, bool]]:
    """Return these events as they are now, in this order, each with whether it has a snapshot; deleted ones lack."""
    query = select(EventRow, PersonRow.name, HAS_SNAPSHOT).outerjoin(PersonRow, PersonRow.id == EventRow.person_id)
    rows = session.execute(query.where(EventRow.id.in_(chosen)))
    found = {row.id: (to_event(row, name), has_snapshot) for row, name, has_snapshot in rows}
    return [found[event] for event in chosen if event in found]
