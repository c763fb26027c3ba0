"""What is older than it may be, deleted in small steps: SQLite has one writer, and workers must get their turn."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.store.engine import Store
from app.store.idempotency import KEPT as REPLIES_KEPT
from app.store.tables import (
    AuditRow,
    Building,
    Delivery,
    EventRow,
    IdempotentReply,
    LoginSession,
    Operation,
    Outbox,
    PersonRow,
    Portrait,
    Snapshot,
    Webhook,
)

AUDIT_KEPT = timedelta(days=400)  # a year, and time to look at it
OPERATIONS_KEPT = timedelta(days=7)
DELIVERIES_KEPT = timedelta(days=30)
BATCH = 500  # rows a transaction: some 20 ms on SQLite
Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Old:
    """Rows of one kind that are to go."""

    kind: str  # events | snapshots | portraits | audit | replies | sessions | operations | deliveries
    building: str | None
    key: InstrumentedAttribute[Any]  # primary key of the table
    condition: Condition


def persons_due(session: Session, now: datetime) -> list[tuple[str, str]]:
    """Return building and id of everybody whose retention date has come."""
    query = select(PersonRow.building_id, PersonRow.id).where(PersonRow.erase_on <= now)
    return [(building, person) for building, person in session.execute(query.order_by(PersonRow.erase_on))]


def overdue(session: Session, now: datetime) -> list[Old]:
    """Return everything that has an age limit, building by building, with the limit as it is now.

    An event that waits in the outbox, or to be delivered to a webhook that is switched on, stays until it is out: none
    waits for ever. Tombstones stay.
    """
    old: list[Old] = []
    for building, event_days, snapshot_days in session.execute(
        select(Building.id, Building.event_days, Building.snapshot_days).order_by(Building.id)
    ):
        if snapshot_days is not None:
            limit = now - timedelta(days=snapshot_days)
            old.append(Old("snapshots", building, Snapshot.event_id, _of_old_event(Snapshot.event_id, building, limit)))
            old.append(Old("portraits", building, Portrait.event_id, _of_old_event(Portrait.event_id, building, limit)))
        if event_days is not None:
            old.append(Old("events", building, EventRow.id, _old_event(building, now - timedelta(days=event_days))))
    audit, finished = AuditRow.at < now - AUDIT_KEPT, Delivery.finished_at < now - DELIVERIES_KEPT
    ended = (Operation.updated_at < now - OPERATIONS_KEPT) & (Operation.state != "running")
    old.append(Old("audit", None, AuditRow.id, audit))
    old.append(Old("replies", None, IdempotentReply.id, IdempotentReply.created_at < now - REPLIES_KEPT))
    old.append(Old("sessions", None, LoginSession.digest, LoginSession.expires_at < now))
    old.append(Old("operations", None, Operation.id, ended))
    old.append(Old("deliveries", None, Delivery.id, (Delivery.state != "waiting") & finished))
    return old


def longest_event_days(session: Session) -> int | None:
    """Return for how many days the building that keeps events longest keeps them; None if one keeps them for ever."""
    days = session.scalars(select(Building.event_days)).all()
    return None if None in days else max((each for each in days if each is not None), default=None)


def count(session: Session, old: Old) -> int:
    """Return how many rows are to go."""
    return session.scalar(select(func.count(old.key)).where(old.condition)) or 0


def remove(store: Store, old: Old, pause: Callable[[], bool]) -> int:
    """Delete the rows, a batch a transaction, each beginning behind the last one, and return how many.

    Args:
        pause: called between two batches; tells whether to stop.

    Raises:
        StoreUnavailableError: the database does not answer; what was deleted stays deleted.
    """
    removed, last = 0, None
    while True:
        with store.session() as session:
            query = select(old.key).where(old.condition).order_by(old.key).limit(BATCH)
            keys = session.scalars(query if last is None else query.where(old.key > last)).all()
            gone = delete(old.key.class_).where(old.key.in_(keys), old.condition).returning(old.key)
            removed += len(session.scalars(gone).all())
        if len(keys) < BATCH or pause():
            return removed
        last = keys[-1]


def _old_event(building: str, limit: datetime) -> Condition:
    waits = exists().where(Outbox.event_id == EventRow.id)
    wanted = (Webhook.id == Delivery.webhook_id) & Webhook.enabled
    owed = exists().where(Delivery.event_id == EventRow.id, Delivery.state == "waiting", wanted)
    return (EventRow.building_id == building) & (EventRow.occurred_at < limit) & ~waits & ~owed


def _of_old_event(event: InstrumentedAttribute[str], building: str, limit: datetime) -> Condition:
    return exists().where(EventRow.id == event, EventRow.building_id == building, EventRow.occurred_at < limit)
