"""The audit trail: who did what, written in the transaction of the change itself.

An entry names ids, codes and counts, never a person's name, a secret or a picture, so it may outlive an erasure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import CursorError
from app.store.clock import now
from app.store.paging import decode, page
from app.store.records import Page
from app.store.tables import AuditRow


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something."""

    kind: str  # key | session | command | system | anonymous
    id: str = ""  # of the key; empty for commands and the system
    name: str = ""  # of the key, the command or the job
    address: str = ""  # of the client


SYSTEM = Actor("system")


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One entry."""

    id: int
    at: datetime
    building: str | None
    actor: Actor
    action: str
    target: str
    detail: dict[str, Any]


def add(
    session: Session,
    actor: Actor,
    action: str,
    *,
    building: str | None = None,
    target: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write an entry.

    Args:
        action: ``noun.verb`` in the past, such as ``person.created`` or ``key.refused``.
        building: None for what concerns all buildings.
        target: id of what was acted on.
        detail: small and JSON-safe: codes, ids, counts.
    """
    row = AuditRow(
        at=now(session),
        building_id=building,
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_name=actor.name,
        address=actor.address,
        action=action,
        target=target,
        detail=dict(detail or {}),
    )
    session.add(row)


def listing(
    session: Session, size: int, token: str | None = None, building: str | None = None, action: str | None = None
) -> Page[AuditRecord]:
    """Return entries, newest first.

    Args:
        building: of this building alone; None returns all.
        action: this action, or all of a noun when it ends with a dot, such as ``key.``.

    Raises:
        CursorError: the token is not valid.
    """
    query = select(AuditRow).order_by(AuditRow.id.desc()).limit(size + 1)
    if building is not None:
        query = query.where(AuditRow.building_id == building)
    if action is not None:
        wanted = AuditRow.action.startswith(action, autoescape=True)
        query = query.where(wanted if action.endswith(".") else AuditRow.action == action)
    if token is not None:
        query = query.where(AuditRow.id < _position(token))
    return page(session.scalars(query).all(), size, _record, lambda row: (str(row.id),))


def _position(token: str) -> int:
    (position,) = decode(token, 1)
    if not position.isdecimal() or len(position) > 18:
        raise CursorError("the page token belongs to another list")
    return int(position)


def _record(row: AuditRow) -> AuditRecord:
    actor = Actor(row.actor_kind, row.actor_id, row.actor_name, row.address)
    return AuditRecord(row.id, row.at, row.building_id, actor, row.action, row.target, row.detail)
