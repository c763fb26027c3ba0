"""The outbox: events that are stored but not yet in the stream.

A crash between sending and striking off sends an event again, so the stream must ignore an event id that it has.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session

from app.store.engine import Store
from app.store.event_rows import to_event
from app.store.events import HAS_SNAPSHOT
from app.store.records import Backlog, OutboxRecord
from app.store.tables import EventRow, Outbox, PersonRow

# Made once: it is asked every second, and making it takes longer than the answer.
WAITING = (
    select(EventRow, PersonRow.name, HAS_SNAPSHOT)
    .join(Outbox, Outbox.event_id == EventRow.id)
    .outerjoin(PersonRow, PersonRow.id == EventRow.person_id)
    .order_by(Outbox.position)
    .limit(bindparam("limit"))
)


@contextmanager
def batch(store: Store, limit: int) -> Iterator[list[OutboxRecord]]:
    """Hand out the oldest waiting events, and strike them off when the block ends without an error.

    No transaction is open meanwhile and no row is locked: several senders may have the same events in hand, of which
    the stream takes each once. Were they given different ones, a quick sender would overtake a slow one, and events of
    one camera would change places.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    with store.reading() as session:
        records = _take(session, limit)
    yield records
    if records:
        with store.session() as session:
            _strike_off(session, records)


def backlog(session: Session) -> Backlog:
    """Return how many events wait and since when."""
    query = select(func.count(Outbox.position), func.min(EventRow.occurred_at)).join(EventRow)
    waiting, oldest = session.execute(query).one()
    return Backlog(waiting, oldest)


def _take(session: Session, limit: int) -> list[OutboxRecord]:
    rows = session.execute(WAITING, {"limit": limit})
    return [OutboxRecord(to_event(row, name), has_snapshot) for row, name, has_snapshot in rows]


def _strike_off(session: Session, records: Sequence[OutboxRecord]) -> None:
    # Not by their places: SQLite gives those of rows that are gone to new ones, which nobody has sent.
    session.execute(delete(Outbox).where(Outbox.event_id.in_([record.event.id for record in records])))
