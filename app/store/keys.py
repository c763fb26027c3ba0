"""API keys. Only a key's SHA-256 is kept: 256 random bits leave nothing to guess, so no salt or slow hash is needed."""

import hashlib
import secrets
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.errors import NotFoundError
from app.store import buildings
from app.store.clock import now
from app.store.paging import decode, new_id, page
from app.store.records import KeyRecord, Page, Scope
from app.store.tables import ApiKey, Building

MARK = "cardea_"  # makes a leaked key easy to find in texts
SHOWN = 12  # characters of a key that stay readable


def create(
    session: Session, name: str, scope: Scope, building: str | None = None, expires_at: datetime | None = None
) -> tuple[KeyRecord, str]:
    """Make a key and return it with its secret, which nobody can read again.

    Raises:
        NotFoundError: there is no such building.
    """
    if building is not None:
        buildings.get(session, building)
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
    """Return the key that a secret belongs to; None when there is none, or it has expired or was revoked.

    The look-up is by digest, so its duration tells nothing about how much of a guess was right.
    """
    query = select(ApiKey).where(ApiKey.digest == _digest(secret), ApiKey.revoked_at.is_(None))
    valid = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now(session))
    row = session.scalars(query.where(valid)).one_or_none()
    return None if row is None else _record(row)


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
    )
