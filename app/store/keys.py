"""API keys. Only a key's SHA-256 is kept: 256 random bits leave nothing to guess, so no salt or slow hash is needed."""

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from app.errors import ConflictError, NotFoundError
from app.store import buildings
from app.store.clock import now
from app.store.paging import decode, new_id, page
from app.store.records import KeyRecord, Page, Refusal, Scope
from app.store.tables import ApiKey, Building

MARK = "cardea_"  # makes a leaked key easy to find in texts
SHOWN = 12  # characters of a key that stay readable
USE = timedelta(minutes=1)  # how exactly `last_used_at` is kept


def create(
    session: Session,
    name: str,
    scope: Scope,
    building: str | None = None,
    expires_at: datetime | None = None,
    rotated_from: str | None = None,
) -> tuple[KeyRecord, str]:
    """Make a key and return it with its secret, which nobody can read again.

    Args:
        rotated_from: id of the key that this one replaces; see `retire`.

    Raises:
        NotFoundError: there is no such building.
    """
    if building is not None:
        buildings.hold(session, building)
    secret = MARK + secrets.token_urlsafe(32)
    row = ApiKey(
        id=new_id("key"),
        name=name,
        prefix=secret[:SHOWN],
        digest=_digest(secret),
        scope=scope.value,
        building_id=building,
        created_at=now(session),
        expires_at=expires_at,
        revoked_at=None,
        rotated_from=rotated_from,
        last_used_at=None,
    )
    session.add(row)
    session.flush()
    return _record(row), secret


def ensure_first_key(session: Session) -> str | None:
    """Make an operator's key for all buildings if there never was a key, and return its secret."""
    # Two processes may start at once: the second waits here until the first has its key.
    session.scalar(select(Building.id).order_by(Building.id).limit(1).with_for_update())
    if session.scalar(select(func.count(ApiKey.id))):
        return None
    return create(session, "first key", Scope.OPERATOR)[1]


def verify(session: Session, secret: str) -> KeyRecord | None:
    """Return the key that a secret belongs to; None when there is none, or it has expired or was revoked."""
    key, refusal = examine(session, secret)
    return key if refusal is None else None


def examine(session: Session, secret: str) -> tuple[KeyRecord | None, Refusal | None]:
    """Return the key that a secret belongs to, if any, and why it opens nothing, if so.

    The look-up is by digest, so its duration tells nothing about how much of a guess was right.
    """
    row = session.scalars(select(ApiKey).where(ApiKey.digest == _digest(secret))).one_or_none()
    if row is None:
        return None, Refusal.UNKNOWN
    if row.revoked_at is not None:
        return _record(row), Refusal.REVOKED
    if row.expires_at is not None and row.expires_at <= now(session):
        return _record(row), Refusal.EXPIRED
    return _record(row), None


def known_prefix(session: Session, secret: str) -> str:
    """Return how an unknown secret begins if one of our keys begins so too, such as a mistyped one; else nothing."""
    prefix = secret[:SHOWN]
    storable = prefix.isascii() and prefix.isprintable()
    found = storable and session.scalar(select(ApiKey.prefix).where(ApiKey.prefix == prefix).limit(1))
    return prefix if found else ""


def touch(session: Session, key: str) -> None:
    """Note that a key was used; without effect when that was noted within the last minute."""
    moment = now(session)
    due = ApiKey.last_used_at.is_(None) | (ApiKey.last_used_at <= moment - USE) | (ApiKey.last_used_at > moment)
    session.execute(sql_update(ApiKey).where(ApiKey.id == key, due).values(last_used_at=moment))


def listing(session: Session, size: int, token: str | None = None, building: str | None = None) -> Page[KeyRecord]:
    """Return keys by id, the expired and revoked ones too.

    Args:
        building: keys of this building alone; None returns all.

    Raises:
        CursorError: the token is not valid.
    """
    query = select(ApiKey).order_by(ApiKey.id).limit(size + 1)
    if building is not None:
        query = query.where(ApiKey.building_id == building)
    if token is not None:
        query = query.where(ApiKey.id > decode(token, 1)[0])
    return page(session.scalars(query).all(), size, _record, lambda row: (row.id,))


def get(session: Session, key: str) -> KeyRecord:
    """Return a key.

    Raises:
        NotFoundError: there is none of this id.
    """
    return _record(_row(session, key))


def revoke(session: Session, key: str) -> KeyRecord:
    """End a key now. Revoking twice keeps the first time.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = _row(session, key)
    row.revoked_at = row.revoked_at or now(session)
    session.flush()
    return _record(row)


def retire(session: Session, key: str, grace: timedelta) -> KeyRecord:
    """Let a key that was replaced end after a time of grace, or earlier if it would have.

    Raises:
        NotFoundError: there is none of this id.
        ConflictError: it has ended already.
    """
    row = session.scalars(select(ApiKey).where(ApiKey.id == key).with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no key {key!r}")
    moment = now(session)
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= moment):
        raise ConflictError(f"key {key!r} has ended: make a new one")
    row.expires_at = min(moment + grace, row.expires_at or moment + grace)
    session.flush()
    return _record(row)


def update(session: Session, key: str, name: str, expires_at: datetime | None) -> KeyRecord:
    """Change name and end of a key.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = _row(session, key)
    row.name, row.expires_at = name, expires_at
    session.flush()
    return _record(row)


def _row(session: Session, key: str) -> ApiKey:
    row = session.get(ApiKey, key, populate_existing=True)
    if row is None:
        raise NotFoundError(f"there is no key {key!r}")
    return row


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _record(row: ApiKey) -> KeyRecord:
    return KeyRecord(
        row.id,
        row.name,
        row.prefix,
        Scope(row.scope),
        row.building_id,
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.rotated_from,
        row.last_used_at,
    )
