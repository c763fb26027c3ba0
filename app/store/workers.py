"""Workers: who lives, who owns which camera, and how far the galleries of each have followed.

A worker's lease is its heartbeat. All times are the database's, so the clocks of the workers do not matter.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from app.errors import StaleOwnerError
from app.store.clock import now
from app.store.records import CameraStats, WorkerRecord
from app.store.tables import CameraRow, Worker

LEASE = timedelta(seconds=5)  # silent for so long, a worker has lost its cameras and may not decide
FORGET = timedelta(days=1)  # rows of workers that never came back


def start(session: Session, worker: str, incarnation: str) -> None:
    """Enter a process under a worker's name, before its first heartbeat.

    An earlier process of this name has lost its cameras and its heartbeat from here on: after a crash nobody needs to
    wait for its lease to end.

    Args:
        incarnation: differs for every process, for instance a UUID.
    """
    moment = now(session)
    session.execute(delete(Worker).where((Worker.id == worker) | (Worker.seen_at < moment - FORGET)))
    session.add(Worker(id=worker, incarnation=incarnation, seen_at=moment, galleries={}))
    _release(session, worker)


def heartbeat(
    session: Session,
    worker: str,
    incarnation: str,
    galleries: dict[str, int],
    stats: Mapping[str, CameraStats] | None = None,
) -> datetime:
    """Renew the lease, tell how far the galleries are, and return the database's time.

    Args:
        galleries: building -> sequence that the worker's index has reached. A building that is left out counts as not
            followed, so name them all, empty and unwatched ones too.
        stats: camera -> what was counted; None leaves what was told before.

    Raises:
        StaleOwnerError: another process has this name now.
    """
    renewed = update(Worker).where(Worker.id == worker, Worker.incarnation == incarnation)
    moment = now(session)
    values: dict[str, Any] = {"seen_at": moment, "galleries": galleries}
    if stats is not None:
        values["stats"] = {camera: asdict(told) | {"since": told.since.isoformat()} for camera, told in stats.items()}
    if session.execute(renewed.values(values).returning(Worker.id)).one_or_none() is None:
        raise StaleOwnerError(f"another process is worker {worker!r} now")
    return moment


def stop(session: Session, worker: str, incarnation: str) -> None:
    """Leave: the cameras are free at once. Without effect when another process has this name now."""
    left = delete(Worker).where(Worker.id == worker, Worker.incarnation == incarnation)
    if session.execute(left.returning(Worker.id)).one_or_none() is not None:
        _release(session, worker)


def live(session: Session) -> list[WorkerRecord]:
    """Return the workers whose lease runs."""
    query = select(Worker).where(alive(session)).order_by(Worker.id)
    rows = session.scalars(query)
    return [WorkerRecord(row.id, row.incarnation, row.seen_at, row.galleries) for row in rows]


def stats(session: Session, building: str) -> dict[str, CameraStats]:
    """Return what the present owner of each camera of a building has last told of it; cameras nobody watches lack."""
    owned = select(CameraRow.id, Worker.stats).join(Worker, Worker.id == CameraRow.owner)
    rows = session.execute(owned.where(CameraRow.building_id == building, alive(session)))
    return {camera: _stats(told[camera]) for camera, told in rows if camera in told}


def alive(session: Session) -> ColumnElement[bool]:
    """Return the condition that a worker's lease runs.

    A heartbeat from the future does not count: else a clock that was set back would make the leases of the dead last
    until it has caught up. Who lives has its next heartbeat within a second.
    """
    moment = now(session)
    return Worker.seen_at.between(moment - LEASE, moment + LEASE)


def _release(session: Session, worker: str) -> None:
    # Whoever locks several cameras does so in this order, so that two of them cannot wait for each other.
    mine = select(CameraRow.id).where(CameraRow.owner == worker).order_by(CameraRow.id)
    held = session.scalars(mine.with_for_update()).all()
    session.execute(update(CameraRow).where(CameraRow.id.in_(held)).values(owner=None))


def _stats(told: dict[str, Any]) -> CameraStats:
    return CameraStats(**{**told, "since": datetime.fromisoformat(told["since"])})
