"""Long jobs and their steps. Who works on one holds a lease, and each step is settled in one transaction with it."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, func, or_, select, update
from sqlalchemy.orm import Session, undefer

from app.errors import ConflictError, CursorError, NotFoundError
from app.store import buildings
from app.store.audit import Actor
from app.store.clock import now
from app.store.paging import decode, new_id, page
from app.store.records import Page, PersonFields
from app.store.sealing import seal, unseal
from app.store.tables import Operation, OperationItem, PersonRow, Tombstone

ENROLMENT = "enrolment"
RECEIVING = "receiving"  # its items are still being written
RUNNING = "running"
DONE = "done"
FAILED = "failed"
CANCELLED = "cancelled"
_MOMENTS = ("valid_from", "valid_until", "consent_at", "erase_on")


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """A long job."""

    id: str
    building: str
    kind: str
    state: str
    total: int
    done: int
    options: dict[str, Any]
    report: dict[str, int]  # outcome -> how often
    actor: Actor
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewItem:
    """One photo to enrol."""

    fields: PersonFields
    file: str
    photo: bytes = field(repr=False)
    trouble: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """One step: what was to be done and what came of it."""

    position: int
    file: str
    name: str
    outcome: str | None  # None: still to do
    reasons: tuple[str, ...]
    person: str | None
    other: str | None
    similarity: float | None


@dataclass(frozen=True, slots=True)
class Work:
    """One step that is still to do."""

    position: int
    fields: PersonFields
    file: str
    photo: bytes = field(repr=False)
    trouble: tuple[str, ...]


def create(session: Session, building: str, actor: Actor, options: dict[str, Any], lease: timedelta) -> str:
    """Make an enrolment that takes items and return its id; nobody works on it before `release`.

    Raises:
        NotFoundError: there is no such building.
    """
    buildings.hold(session, building)
    moment = now(session)
    row = Operation(
        id=new_id("ope"),
        building_id=building,
        kind=ENROLMENT,
        state=RECEIVING,
        total=0,
        done=0,
        options=options,
        report={},
        actor={"kind": actor.kind, "id": actor.id, "name": actor.name, "address": actor.address},
        lease_until=moment + lease,
        created_at=moment,
        updated_at=moment,
    )
    session.add(row)
    return row.id


def append(session: Session, operation: str, items: list[NewItem], lease: timedelta) -> None:
    """Add items behind those that are there.

    Raises:
        NotFoundError: it was given up meanwhile.
    """
    row = _locked(session, operation)
    if row.state != RECEIVING:
        raise NotFoundError(f"operation {operation!r} takes no items")
    last = session.scalar(select(func.max(OperationItem.position)).where(OperationItem.operation_id == operation))
    for position, item in enumerate(items, start=0 if last is None else last + 1):  # an erasure may have left gaps
        detail = {"file": item.file, "trouble": list(item.trouble), "fields": _to_json(item.fields)}
        photo = seal(session, item.photo, _label(operation))
        session.add(OperationItem(operation_id=operation, position=position, detail=detail, photo=photo, reasons=[]))
    row.total += len(items)
    row.updated_at = now(session)
    row.lease_until = row.updated_at + lease


def release(session: Session, operation: str) -> OperationRecord:
    """Let the work begin: all items are there.

    Raises:
        ConflictError: somebody of the building was erased meanwhile, who may be in what came after that.
    """
    row = _locked(session, operation)
    late = select(Tombstone.person_id).where(Tombstone.building_id == row.building_id)
    if session.scalar(late.where(Tombstone.erased_at >= row.created_at).limit(1)) is not None:
        raise ConflictError("somebody was erased while the archive arrived: send it again without that person")
    row.state, row.lease_until = RUNNING, None
    return _record(row)


def discard(session: Session, operation: str) -> None:
    """Delete an operation with its items."""
    session.execute(delete(Operation).where(Operation.id == operation))


def get(session: Session, operation: str) -> OperationRecord:
    """Return an operation.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = session.get(Operation, operation, populate_existing=True)
    if row is None:
        raise NotFoundError(f"there is no operation {operation!r}")
    return _record(row)


def listing(session: Session, building: str | None, size: int, token: str | None = None) -> Page[OperationRecord]:
    """Return operations, newest first; None stands for all buildings.

    Raises:
        CursorError: the token is not valid.
    """
    query = select(Operation).order_by(Operation.created_at.desc(), Operation.id.desc()).limit(size + 1)
    if building is not None:
        query = query.where(Operation.building_id == building)
    if token is not None:
        at, identity = decode(token, 2)
        moment = _moment(at)
        earlier = or_(Operation.created_at < moment, (Operation.created_at == moment) & (Operation.id < identity))
        query = query.where(earlier)
    return page(session.scalars(query).all(), size, _record, lambda row: (row.created_at.isoformat(), row.id))


def items(session: Session, operation: str, size: int, token: str | None = None) -> Page[ItemRecord]:
    """Return the items of an operation in order.

    Raises:
        CursorError: the token is not valid.
    """
    query = select(OperationItem).where(OperationItem.operation_id == operation).order_by(OperationItem.position)
    if token is not None:
        (position,) = decode(token, 1)
        if not position.isdecimal() or len(position) > 9:
            raise CursorError("the page token belongs to another list")
        query = query.where(OperationItem.position > int(position))
    rows = session.scalars(query.limit(size + 1)).all()
    return page(rows, size, _item, lambda row: (str(row.position),))


def cancel(session: Session, operation: str) -> OperationRecord:
    """End an operation: what is still to do is forgotten, what is done stays done.

    Raises:
        NotFoundError: there is none of this id.
        ConflictError: it has ended already.
    """
    row = _locked(session, operation)
    if row.state not in (RECEIVING, RUNNING):
        raise ConflictError(f"operation {operation!r} is {row.state}")
    return _end(session, row, CANCELLED)


def claim(session: Session, lease: timedelta) -> tuple[OperationRecord, datetime] | None:
    """Take the oldest operation on which nobody works, and say until when it is ours; None when there is none.

    One whose items never came whole is ended as failed.
    """
    row = session.scalars(_free(session).with_for_update(skip_locked=True)).first()
    if row is None:
        return None
    if row.state == RECEIVING:
        _end(session, row, FAILED)
        return None
    row.lease_until = now(session) + lease
    return _record(row), row.lease_until


def waiting(session: Session) -> bool:
    """Whether there is an operation on which nobody works. Cheap, and writes nothing."""
    return session.scalars(_free(session)).first() is not None


def renew(session: Session, operation: str, held: datetime, lease: timedelta) -> datetime | None:
    """Return until when an operation stays ours; None when it was cancelled or somebody else has taken it.

    Its row stays locked until the transaction ends.
    """
    row = session.scalars(select(Operation).where(Operation.id == operation).with_for_update()).one_or_none()
    if row is None or row.state != RUNNING or row.lease_until != held:
        return None
    row.lease_until = now(session) + lease
    return row.lease_until


def work(session: Session, operation: str, after: int, size: int) -> list[Work]:
    """Return the next items that are still to do, behind a position."""
    query = select(OperationItem).where(OperationItem.operation_id == operation, OperationItem.outcome.is_(None))
    query = query.where(OperationItem.position > after).order_by(OperationItem.position).limit(size)
    query = query.options(undefer(OperationItem.photo))
    return [_work(session, row) for row in session.scalars(query) if row.photo is not None]


def settle(
    session: Session,
    operation: str,
    position: int,
    outcome: str,
    reasons: tuple[str, ...],
    *,
    person: str | None,
    other: str | None,
    similarity: float | None,
) -> bool:
    """Note what came of an item and forget its photo. The operation must be locked: see `renew`.

    Returns:
        False when the item is gone, because its person was erased.

    Args:
        other: whose photo it is, or whom it looks like.
        similarity: to `other`, or to the person's own photos.
    """
    row = session.get(OperationItem, (operation, position), populate_existing=True)
    if row is None:
        return False
    row.outcome, row.reasons, row.photo, row.person_id = outcome, list(reasons), None, person
    row.detail = row.detail | {"other": other, "similarity": similarity}
    head = session.get_one(Operation, operation, populate_existing=True)
    head.done += 1
    head.report = head.report | {outcome: head.report.get(outcome, 0) + 1}
    head.updated_at = now(session)
    return True


def leave(session: Session, operation: str) -> OperationRecord:
    """End an operation whose items are all done; give up the lease on any other, so that others may go on."""
    row = _locked(session, operation)
    to_do = select(OperationItem.position).where(OperationItem.operation_id == operation)
    if session.scalars(to_do.where(OperationItem.outcome.is_(None)).limit(1)).first() is None:
        return _end(session, row, DONE)
    row.lease_until = None
    return _record(row)


def forget(session: Session, person: str) -> int:
    """Delete all items about a person, those that are still to do too, and return how many.

    Call it in the transaction that erases the person, before the person is gone.
    """
    row = session.get(PersonRow, person, populate_existing=True)
    mine = select(OperationItem).where(OperationItem.person_id == person)
    keys = {(item.operation_id, _key(item)) for item in session.scalars(mine)}
    if row is not None:  # an archive that waits would bring the person back
        waiting = select(Operation.id).where(Operation.building_id == row.building_id)  # the ended name people too
        own = [key for key in (row.external_id, row.name) if key is not None]
        keys |= {(operation, key) for operation in session.scalars(waiting) for key in own}
    return sum(_forget(session, operation, key) for operation, key in sorted(keys))


def _forget(session: Session, operation: str, key: str) -> int:
    """Delete the items of an operation that speak of one person."""
    head = _locked(session, operation)
    rows = session.scalars(select(OperationItem).where(OperationItem.operation_id == operation)).all()
    alike = [row for row in rows if _key(row) == key]
    for row in alike:
        head.total -= row.outcome is None
        session.delete(row)
    session.flush()
    return len(alike)


def _key(row: OperationItem) -> str:
    fields = row.detail["fields"]
    return str(fields["external_id"] or fields["name"])


def _end(session: Session, row: Operation, state: str) -> OperationRecord:
    row.state, row.lease_until, row.updated_at = state, None, now(session)
    session.execute(update(OperationItem).where(OperationItem.operation_id == row.id).values(photo=None))
    return _record(row)


def _locked(session: Session, operation: str) -> Operation:
    row = session.scalars(select(Operation).where(Operation.id == operation).with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no operation {operation!r}")
    return row


def _free(session: Session) -> Select[Operation]:
    nobody = or_(Operation.lease_until.is_(None), Operation.lease_until < now(session))
    query = select(Operation).where(Operation.state.in_((RECEIVING, RUNNING)), nobody)
    return query.order_by(Operation.created_at, Operation.id).limit(1)


def _record(row: Operation) -> OperationRecord:
    return OperationRecord(
        row.id,
        row.building_id,
        row.kind,
        row.state,
        row.total,
        row.done,
        row.options,
        row.report,
        Actor(**row.actor),
        row.created_at,
        row.updated_at,
    )


def _item(row: OperationItem) -> ItemRecord:
    detail = row.detail
    return ItemRecord(
        row.position,
        detail["file"],
        detail["fields"]["name"],
        row.outcome,
        tuple(row.reasons),
        row.person_id,
        detail.get("other"),
        detail.get("similarity"),
    )


def _work(session: Session, row: OperationItem) -> Work:
    photo = unseal(session, row.photo or b"", _label(row.operation_id))
    fields = row.detail["fields"]
    moments = {name: datetime.fromisoformat(fields[name]) for name in _MOMENTS if fields[name]}
    whole = PersonFields(**fields | dict.fromkeys(_MOMENTS) | moments | {"groups": frozenset(fields["groups"])})
    return Work(row.position, whole, row.detail["file"], photo, tuple(row.detail["trouble"]))


def _to_json(fields: PersonFields) -> dict[str, Any]:
    whole = asdict(fields)
    moments = {name: whole[name].isoformat() for name in _MOMENTS if whole[name]}
    return whole | moments | {"groups": sorted(fields.groups)}


def _label(operation: str) -> str:
    return f"operation_items.photo/{operation}"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("a time without a zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CursorError("the page token belongs to another list") from error
