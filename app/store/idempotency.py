"""Replies to requests that carry an Idempotency-Key, kept for a day, so that sending one again does nothing again.

A request first claims its row, works, and then completes the row with its reply or releases it. A reply may hold the
secret of a new API key or somebody's name, so it is sealed.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, CursorResult, delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.store.clock import now
from app.store.sealing import seal, unseal
from app.store.tables import IdempotentReply

KEPT = timedelta(hours=24)
TAKE_OVER = timedelta(minutes=1)  # a request that still runs after this has died with its process


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it was given."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)


class Refused(StrEnum):
    """Why a request may not go ahead."""

    RUNNING = "running"  # the first one has no answer yet
    OTHER_REQUEST = "other request"  # the key was used for something else


def claim(session: Session, request: str, fingerprint: str) -> Reply | Refused | str:
    """Begin a request that carries a key.

    Args:
        request: SHA-256 hex of whatever tells this key from all others: caller, method, path and key.
        fingerprint: SHA-256 hex of what is asked for.

    Returns:
        The reply of the first request; or why there is none; or the mark of a new claim for `complete` and `release`.
    """
    moment = now(session)
    row = session.scalars(select(IdempotentReply).where(IdempotentReply.id == request).with_for_update()).one_or_none()
    if row is not None and row.created_at > moment - (TAKE_OVER if row.status is None else KEPT):
        if row.fingerprint != fingerprint:
            return Refused.OTHER_REQUEST
        if row.status is None:
            return Refused.RUNNING
        return Reply(row.status, dict(row.headers), unseal(session, row.reply or b"", _label(request)))
    mark = secrets.token_hex(8)
    if row is not None:
        row.fingerprint, row.status, row.reply, row.resource = fingerprint, None, None, ""
        row.headers, row.created_at = {"mark": mark}, moment
        session.flush()
        return mark
    new = IdempotentReply(id=request, fingerprint=fingerprint, status=None, headers={"mark": mark}, created_at=moment)
    try:
        with session.begin_nested():
            session.add(new)
    except IntegrityError:  # the same request came twice at once, and the other one was quicker
        return Refused.RUNNING
    return mark


def complete(session: Session, request: str, mark: str, resource: str, reply: Reply) -> None:
    """Keep the reply to a claimed request; without effect when somebody has taken the claim over.

    Args:
        resource: path of what was made, such as ``/v1/buildings/main/persons/per_1``, for `forget`.
    """
    row = _claimed(session, request, mark)
    if row is not None:
        row.status, row.headers, row.resource = reply.status, reply.headers, resource
        row.reply = seal(session, reply.body, _label(request))
        session.flush()


def release(session: Session, request: str, mark: str) -> None:
    """Forget a claimed request that came to nothing, so that it may be sent again."""
    row = _claimed(session, request, mark)
    if row is not None:
        session.delete(row)
        session.flush()


def forget(session: Session, resource: str) -> int:
    """Delete the replies about a resource and all below it, and return how many there were.

    Args:
        resource: its path without a slash at the end: ``/v1/buildings/{building}/persons/{person}``.
    """
    below = IdempotentReply.resource.startswith(resource + "/", autoescape=True)
    return _deleted(session, or_(IdempotentReply.resource == resource, below))


def purge(session: Session, older_than: datetime) -> int:
    """Delete what was begun before a time, and return how many rows that were: `KEPT` ago is the time to give."""
    return _deleted(session, IdempotentReply.created_at < older_than)


def _deleted(session: Session, which: ColumnElement[bool]) -> int:
    result = session.execute(delete(IdempotentReply).where(which))
    assert isinstance(result, CursorResult)
    return result.rowcount


def _claimed(session: Session, request: str, mark: str) -> IdempotentReply | None:
    query = select(IdempotentReply).where(IdempotentReply.id == request, IdempotentReply.status.is_(None))
    row = session.scalars(query.with_for_update()).one_or_none()
    return row if row is not None and row.headers.get("mark") == mark else None


def _label(request: str) -> str:
    return f"idempotent_replies.reply/{request}"
