"""Log-in sessions: a key exchanged for a cookie, for people with a browser.

A session lives no longer than its key: when that is revoked or expires, so does the session, at once. Only the SHA-256
of the cookie's secret is kept, as for keys.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from app.store import keys
from app.store.clock import now
from app.store.records import KeyRecord
from app.store.tables import ApiKey, LoginSession

IDLE = timedelta(hours=12)  # without a request for so long, a session ends
LONGEST = timedelta(days=7)  # and after this in any case
TOUCH = timedelta(minutes=5)  # a request is noted when the last note is older: most pages then write nothing


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session that is good now."""

    key: KeyRecord
    csrf: str = field(repr=False)  # every form of this session carries it
    address: str  # of whoever logged in
    created_at: datetime
    stale: bool  # its last use should be noted: see `touch`


def begin(session: Session, key: str, address: str) -> str:
    """Begin a session for a key and return the cookie's secret. Sessions that have ended are swept out.

    Args:
        key: id of the key, which the caller has verified.
    """
    moment = now(session)
    ended = or_(LoginSession.expires_at <= moment, LoginSession.seen_at <= moment - IDLE)
    session.execute(delete(LoginSession).where(ended))
    secret = secrets.token_urlsafe(32)
    session.add(
        LoginSession(
            digest=_digest(secret),
            key_id=key,
            csrf=secrets.token_urlsafe(32),
            address=address,
            created_at=moment,
            seen_at=moment,
            expires_at=moment + LONGEST,
        )
    )
    session.flush()
    return secret


def find(session: Session, secret: str) -> SessionRecord | None:
    """Return the session of a cookie; None when there is none, or it or its key has ended."""
    moment = now(session)
    query = select(LoginSession).join(ApiKey, ApiKey.id == LoginSession.key_id)
    query = query.where(
        LoginSession.digest == _digest(secret),
        LoginSession.expires_at > moment,
        LoginSession.seen_at > moment - IDLE,
        ApiKey.revoked_at.is_(None),
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > moment),
    )
    row = session.scalars(query).one_or_none()
    if row is None:
        return None
    key = keys.get(session, row.key_id)
    return SessionRecord(key, row.csrf, row.address, row.created_at, row.seen_at < moment - TOUCH)


def touch(session: Session, secret: str) -> None:
    """Note that a session was used, so that it does not end for idleness."""
    row = session.get(LoginSession, _digest(secret))
    if row is not None:
        row.seen_at = now(session)
        session.flush()


def end(session: Session, secret: str) -> None:
    """End a session; without effect when it has ended."""
    session.execute(delete(LoginSession).where(LoginSession.digest == _digest(secret)))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
