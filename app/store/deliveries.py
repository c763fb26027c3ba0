"""Deliveries: each event's way to each webhook, who is at it, when it is tried again, and the log of it all."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.errors import CursorError
from app.store import events, webhooks
from app.store.clock import now
from app.store.paging import decode, page
from app.store.records import EventRecord, Page
from app.store.tables import Delivery, Webhook
from app.store.webhooks import WAITING, DeliveryRecord, to_delivery

# Seconds to wait after each failed attempt: Standard Webhooks 1.0, "Deliverability and reliability".
BACKOFF = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
DELIVERED, GIVEN_UP = "delivered", "given_up"


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """What a sender needs for one attempt."""

    id: int
    webhook: str
    url: str
    secrets: tuple[str, ...] = field(repr=False)  # valid ones, the newest first
    record: EventRecord


def listing(session: Session, building: str, webhook: str, size: int, token: str | None = None) -> Page[DeliveryRecord]:
    """Return the delivery log of a webhook, newest first.

    Raises:
        NotFoundError: there is none of this id in this building.
        CursorError: the token is not valid.
    """
    webhooks.get(session, building, webhook)
    query = select(Delivery).where(Delivery.webhook_id == webhook).order_by(Delivery.id.desc()).limit(size + 1)
    if token is not None:
        query = query.where(Delivery.id < _position(token))
    return page(session.scalars(query).all(), size, to_delivery, lambda row: (str(row.id),))


def any_due(session: Session) -> bool:
    """Return whether a delivery is due to a webhook that is switched on."""
    query = select(Delivery.id).join(Webhook, Webhook.id == Delivery.webhook_id)
    query = query.where(Delivery.state == WAITING, Delivery.next_at <= now(session), Webhook.enabled)
    return session.scalar(query.limit(1)) is not None


def take_due(session: Session, limit: int, hold: timedelta) -> list[DueDelivery]:
    """Hand out deliveries that are due. Nobody else gets one of their webhooks until `finish`, for `hold` at most.

    So a webhook gets one at a time, from however many processes: its events arrive in order as long as it answers.
    """
    moment = now(session)
    first = select(func.min(Delivery.id)).where(Delivery.state == WAITING, Delivery.next_at <= moment)
    free = or_(Webhook.held_until.is_(None), Webhook.held_until <= moment)
    query = (
        select(Delivery, Webhook)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Delivery.id.in_(first.group_by(Delivery.webhook_id)), Webhook.enabled, free)
        .order_by(Delivery.id)
        .limit(limit)
        .with_for_update(of=Webhook, key_share=True, skip_locked=True)  # the lock looks at the row, and `free`, again
    )
    rows = session.execute(query).all()
    records = events.records(session, [delivery.event_id for delivery, _ in rows])
    for delivery, hook in rows:
        delivery.next_at = hook.held_until = moment + hold
    return [
        DueDelivery(delivery.id, hook.id, hook.url, webhooks.signing(session, hook), records[delivery.event_id])
        for delivery, hook in rows
    ]


def finish(session: Session, due: DueDelivery, *, delivered: bool, status: int | None, error: str) -> None:
    """Note the outcome of an attempt and let go of the webhook; a failed one is due again later, until patience ends.

    The outcome of a delivery that is gone, with its webhook or its event or because it was asked for anew, is dropped.
    """
    session.execute(update(Webhook).where(Webhook.id == due.webhook).values(held_until=None))
    # Not by its number alone: SQLite gives that of a delivery that is gone to a new one, which nobody has sent.
    mine = (Delivery.id == due.id, Delivery.webhook_id == due.webhook, Delivery.event_id == due.record.event.id)
    row = session.scalars(select(Delivery).where(*mine)).one_or_none()
    if row is None:
        return
    moment = now(session)
    row.attempts += 1
    row.status, row.error = status, error
    if delivered:
        row.state, row.finished_at = DELIVERED, moment
    elif row.attempts > len(BACKOFF):
        row.state, row.finished_at = GIVEN_UP, moment
    else:
        pause = BACKOFF[row.attempts - 1]
        row.next_at = moment + timedelta(seconds=pause * (1 + secrets.randbelow(1000) / 5000))  # not all at once


def purge(session: Session, before: datetime, limit: int) -> int:
    """Delete up to `limit` finished deliveries of before a time, and return how many."""
    old = select(Delivery.id).where(Delivery.state != WAITING, Delivery.finished_at < before).limit(limit)
    return len(session.scalars(delete(Delivery).where(Delivery.id.in_(old)).returning(Delivery.id)).all())


def backlog(session: Session) -> int:
    """Return how many deliveries wait."""
    return session.scalar(select(func.count(Delivery.id)).where(Delivery.state == WAITING)) or 0


def _position(token: str) -> int:
    (position,) = decode(token, 1)
    if not position.isdecimal() or len(position) > 18:
        raise CursorError("the page token belongs to another list")
    return int(position)
