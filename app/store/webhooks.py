"""Webhooks: who receives which events. A delivery is made in the transaction of its event, so none is lost."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select, tuple_
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from app.errors import NotFoundError, RevisionError
from app.store import buildings
from app.store.clock import now
from app.store.paging import decode, new_id, page
from app.store.records import Page
from app.store.sealing import seal, unseal
from app.store.tables import Delivery, EventRow, Webhook

OVERLAP = timedelta(hours=24)  # how long a former secret still signs
SIGNING = 4  # secrets at most that sign at once: each is one more signature in the header
WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class WebhookFields:
    """What an operator says about a webhook."""

    name: str
    url: str
    types: tuple[str, ...] = ()  # such as access.granted; empty: all
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """A webhook without its secrets."""

    id: str
    building: str
    fields: WebhookFields
    trouble: str  # why it was switched off
    waiting: int  # deliveries
    revision: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One event's way to one webhook."""

    id: int
    webhook: str
    event: str
    state: str  # waiting | delivered | given_up
    attempts: int
    next_at: datetime | None  # of the next attempt
    status: int | None  # HTTP status of the last answer
    error: str
    created_at: datetime
    finished_at: datetime | None


def create(session: Session, building: str, fields: WebhookFields, secret: str) -> WebhookRecord:
    """Add a webhook.

    Raises:
        NotFoundError: there is no such building.
    """
    buildings.hold(session, building)
    moment = now(session)
    row = Webhook(id=new_id("whk"), building_id=building, trouble="", revision=1, created_at=moment, updated_at=moment)
    _write(row, fields)
    _seal(session, row, [{"secret": secret, "until": None}])
    session.add(row)
    session.flush()
    return _record(row, 0)


def get(session: Session, building: str, webhook: str) -> WebhookRecord:
    """Return a webhook.

    Raises:
        NotFoundError: there is none of this id in this building.
    """
    row = _row(session, building, webhook)
    return _record(row, _waiting(session, row.id))


def listing(session: Session, building: str, size: int, token: str | None = None) -> Page[WebhookRecord]:
    """Return webhooks by name.

    Raises:
        NotFoundError: there is no such building.
        CursorError: the token is not valid.
    """
    buildings.get(session, building)
    query = select(Webhook).where(Webhook.building_id == building).order_by(Webhook.name, Webhook.id).limit(size + 1)
    if token is not None:
        query = query.where(tuple_(Webhook.name, Webhook.id) > tuple_(*decode(token, 2)))
    rows = session.scalars(query).all()
    return page(rows, size, lambda row: _record(row, _waiting(session, row.id)), lambda row: (row.name, row.id))


def update(session: Session, building: str, webhook: str, fields: WebhookFields, revision: int) -> WebhookRecord:
    """Replace what is said about a webhook; switching it on again forgets its trouble.

    Raises:
        NotFoundError: there is none of this id in this building.
        RevisionError: it was changed since `revision`.
    """
    row = _row(session, building, webhook, locked=True)
    if row.revision != revision:
        raise RevisionError(f"webhook {webhook!r} is at revision {row.revision}, not {revision}")
    if fields.enabled and not row.enabled:
        row.trouble = ""
    _write(row, fields)
    row.revision += 1
    row.updated_at = now(session)
    session.flush()
    return _record(row, _waiting(session, row.id))


def add_secret(session: Session, building: str, webhook: str, secret: str) -> datetime:
    """Sign with a new secret, and with the former one too until the returned time; earlier ones keep theirs.

    Raises:
        NotFoundError: there is none of this id in this building.
    """
    row = _row(session, building, webhook, locked=True)
    moment = now(session)
    until = moment + OVERLAP
    former = [one | {"until": one["until"] or until.isoformat()} for one in _valid(_unseal(session, row), moment)]
    _seal(session, row, [{"secret": secret, "until": None}, *former][:SIGNING])
    session.flush()
    return until


def valid_secrets(session: Session, building: str, webhook: str) -> tuple[str, ...]:
    """Return the secrets that sign now, the newest first.

    Raises:
        NotFoundError: there is none of this id in this building.
    """
    return signing(session, _row(session, building, webhook))


def delete(session: Session, building: str, webhook: str) -> None:
    """Delete a webhook with its deliveries.

    Raises:
        NotFoundError: there is none of this id in this building.
    """
    session.delete(_row(session, building, webhook, locked=True))
    session.flush()


def enqueue(session: Session, building: str, event: str, kind: str) -> None:
    """Make a delivery of a new event for every webhook that wants its kind.

    Args:
        kind: such as access.granted or camera.state.
    """
    query = select(Webhook.id, Webhook.types).where(Webhook.building_id == building, Webhook.enabled)
    query = query.with_for_update(read=True, key_share=True)  # one that is being deleted now is waited for, then gone
    moment = None
    for webhook, types in session.execute(query):
        if not types or kind in types:
            moment = moment or now(session)
            session.add(_new_delivery(webhook, event, moment))


def requeue(session: Session, building: str, webhook: str, event: str) -> DeliveryRecord:
    """Send an event again, or for the first time, whatever became of it before.

    Raises:
        NotFoundError: there is no such webhook or event in this building.
    """
    row = _row(session, building, webhook, locked=True)  # who asks for the same at once comes next
    if session.scalar(select(EventRow.id).where(EventRow.building_id == building, EventRow.id == event)) is None:
        raise NotFoundError(f"there is no event {event!r} in building {building!r}")
    session.execute(sql_delete(Delivery).where(Delivery.webhook_id == row.id, Delivery.event_id == event))
    made = _new_delivery(row.id, event, now(session))
    session.add(made)
    session.flush()
    return to_delivery(made)


def disable(session: Session, webhook: str, trouble: str) -> None:
    """Switch a webhook off, and say why; what waits stays waiting."""
    values = {"enabled": False, "trouble": trouble, "updated_at": now(session), "revision": Webhook.revision + 1}
    session.execute(sql_update(Webhook).where(Webhook.id == webhook).values(values))


def signing(session: Session, row: Webhook) -> tuple[str, ...]:
    """Return the secrets of a webhook that sign now, the newest first."""
    return tuple(one["secret"] for one in _valid(_unseal(session, row), now(session)))


def to_delivery(row: Delivery) -> DeliveryRecord:
    """Return the record of a delivery."""
    return DeliveryRecord(
        id=row.id,
        webhook=row.webhook_id,
        event=row.event_id,
        state=row.state,
        attempts=row.attempts,
        next_at=row.next_at if row.state == WAITING else None,
        status=row.status,
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def _row(session: Session, building: str, webhook: str, *, locked: bool = False) -> Webhook:
    query = select(Webhook).where(Webhook.building_id == building, Webhook.id == webhook)
    row = session.scalars(query.with_for_update() if locked else query).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no webhook {webhook!r} in building {building!r}")
    return row


def _write(row: Webhook, fields: WebhookFields) -> None:
    row.name = fields.name
    row.url = fields.url
    row.types = sorted(fields.types)
    row.enabled = fields.enabled


def _record(row: Webhook, waiting: int) -> WebhookRecord:
    fields = WebhookFields(row.name, row.url, tuple(row.types), row.enabled)
    return WebhookRecord(
        row.id, row.building_id, fields, row.trouble, waiting, row.revision, row.created_at, row.updated_at
    )


def _waiting(session: Session, webhook: str) -> int:
    query = select(func.count(Delivery.id)).where(Delivery.webhook_id == webhook, Delivery.state == WAITING)
    return session.scalar(query) or 0


def _new_delivery(webhook: str, event: str, moment: datetime) -> Delivery:
    return Delivery(
        webhook_id=webhook, event_id=event, state=WAITING, attempts=0, next_at=moment, error="", created_at=moment
    )


def _valid(kept: list[dict[str, Any]], moment: datetime) -> list[dict[str, Any]]:
    return [one for one in kept if one["until"] is None or datetime.fromisoformat(one["until"]) > moment]


def _seal(session: Session, row: Webhook, kept: list[dict[str, Any]]) -> None:
    row.secrets = seal(session, json.dumps(kept).encode(), f"webhooks.secrets/{row.id}")


def _unseal(session: Session, row: Webhook) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = json.loads(unseal(session, row.secrets, f"webhooks.secrets/{row.id}"))
    return kept
