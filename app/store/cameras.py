"""Cameras and their owners.

A camera has one owner at a time: a live worker that claimed it. Each take-over raises the camera's owner epoch, and
nothing is stored in the name of an earlier epoch, so a worker that wakes up late can do no harm.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, or_, select, tuple_
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from app.errors import NotFoundError, RevisionError, StaleOwnerError
from app.store import buildings
from app.store.clock import now
from app.store.paging import decode, new_id, page
from app.store.records import CameraFields, CameraRecord, Door, Page
from app.store.sealing import seal, unseal
from app.store.tables import CameraRow, Worker
from app.store.workers import alive
from app.types import Camera, CameraState, Tampering, TamperKind, Zones


def create(session: Session, building: str, fields: CameraFields) -> CameraRecord:
    """Add a camera, which a worker will claim within a second.

    Raises:
        NotFoundError: there is no such building.
    """
    buildings.hold(session, building)
    moment = now(session)
    row = CameraRow(
        id=new_id("cam"),
        building_id=building,
        revision=1,
        owner=None,
        owner_epoch=0,
        state=None,
        state_detail="",
        created_at=moment,
        updated_at=moment,
    )
    _write(session, row, fields)
    session.add(row)
    session.flush()
    return _record(session, row, None)


def get(session: Session, building: str, camera: str) -> CameraRecord:
    """Return a camera.

    Raises:
        NotFoundError: there is none of this id in this building.
    """
    query = _with_owner(session).where(CameraRow.building_id == building, CameraRow.id == camera)
    found = session.execute(query).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no camera {camera!r} in building {building!r}")
    return _record(session, *found)


def listing(session: Session, building: str, size: int, token: str | None = None) -> Page[CameraRecord]:
    """Return cameras by name.

    Raises:
        NotFoundError: there is no such building.
        CursorError: the token is not valid.
    """
    buildings.get(session, building)
    query = _with_owner(session).where(CameraRow.building_id == building)
    if token is not None:
        query = query.where(tuple_(CameraRow.name, CameraRow.id) > tuple_(*decode(token, 2)))
    rows = session.execute(query.order_by(CameraRow.name, CameraRow.id).limit(size + 1)).all()
    return page(rows, size, lambda row: _record(session, *row), lambda row: (row[0].name, row[0].id))


def tampered(session: Session) -> list[CameraRecord]:
    """Return the cameras of all buildings of which tampering was said that has not ended."""
    query = _with_owner(session).where(CameraRow.tampering.is_not(None))
    return [_record(session, row, owner) for row, owner in session.execute(query)]


def doors(session: Session) -> list[Door]:
    """Return the cameras of all buildings by id, as others may know them."""
    query = select(CameraRow.id, CameraRow.building_id, CameraRow.name, CameraRow.door).order_by(CameraRow.id)
    return [Door(building, camera, name, door) for camera, building, name, door in session.execute(query)]


def update(session: Session, building: str, camera: str, fields: CameraFields, revision: int) -> CameraRecord:
    """Replace what is said about a camera; its worker opens it anew.

    Args:
        revision: the one that the caller knows.

    Raises:
        NotFoundError: there is none of this id in this building.
        RevisionError: the camera was changed since `revision`.
    """
    row = _locked(session, building, camera)
    if row.revision != revision:
        raise RevisionError(f"camera {camera!r} is at revision {row.revision}, not {revision}")
    if fields != _fields(session, row):
        _write(session, row, fields)
        row.revision += 1
        row.updated_at = now(session)
        if not fields.enabled:
            row.owner = row.state = None
        session.flush()
    return get(session, building, camera)


def delete(session: Session, building: str, camera: str) -> None:
    """Delete a camera. Its events stay; its worker can store no more of them.

    Raises:
        NotFoundError: there is none of this id in this building.
    """
    session.delete(_locked(session, building, camera))
    session.flush()


def claim(session: Session, worker: str) -> frozenset[str]:
    """Take over every enabled camera that has no live owner, and return their ids.

    Of two workers that try at once one gets the camera. The worker's own lease must run.
    """
    living = select(Worker.id).where(alive(session))
    free = and_(CameraRow.enabled, or_(CameraRow.owner.is_(None), CameraRow.owner.not_in(living)))
    # The lock may have waited for a rival. Whether the camera is still free is asked again by the next statement: only
    # that one sees what the rival wrote, its own entry among the workers too.
    seen = session.scalars(select(CameraRow.id).where(free).order_by(CameraRow.id).with_for_update()).all()
    if not seen:
        return frozenset()
    taken = sql_update(CameraRow).where(CameraRow.id.in_(seen), free)
    values = {"owner": worker, "owner_epoch": CameraRow.owner_epoch + 1}
    statement = taken.values(values).returning(CameraRow.id)
    return frozenset(session.scalars(statement))


def release(session: Session, camera: str) -> int:
    """Take a camera from its owner, so that the next one begins anew, and return an owner epoch that is nobody's."""
    statement = sql_update(CameraRow).where(CameraRow.id == camera)
    values = {"owner": None, "owner_epoch": CameraRow.owner_epoch + 1}
    return session.execute(statement.values(values).returning(CameraRow.owner_epoch)).scalar_one()


def watched(session: Session, worker: str) -> list[Camera]:
    """Return the cameras that a worker owns, as they are now."""
    query = select(CameraRow).where(CameraRow.owner == worker, CameraRow.enabled).order_by(CameraRow.id)
    return [_camera(session, row) for row in session.scalars(query)]


def set_state(
    session: Session, camera: str, owner_epoch: int, state: CameraState, *, detail: str, at: datetime
) -> None:
    """Write what a camera is doing, in the name of its owner.

    Raises:
        StaleOwnerError: somebody else owns the camera now, or it is gone.
    """
    _say(session, camera, owner_epoch, {"state": state.value, "state_detail": detail, "state_at": at})


def set_tampering(session: Session, camera: str, owner_epoch: int, tampering: Tampering | None) -> None:
    """Write what keeps a camera from seeing, or that nothing does any more, in the name of its owner.

    Raises:
        StaleOwnerError: somebody else owns the camera now, or it is gone.
    """
    kind, detail, since = None, "", None
    if tampering is not None:
        kind, detail, since = tampering.kind.value, tampering.detail, tampering.since
    values = {"tampering": kind, "tampering_detail": detail, "tampering_since": since}
    _say(session, camera, owner_epoch, values)


def lock_owner(session: Session, camera: str, owner_epoch: int) -> bool:
    """Hold off take-overs until the transaction ends, and tell whether the camera is in this owner epoch."""
    query = select(CameraRow.owner_epoch).where(CameraRow.id == camera).with_for_update()
    return session.scalar(query) == owner_epoch


def _say(session: Session, camera: str, owner_epoch: int, values: dict[str, Any]) -> None:
    mine = sql_update(CameraRow).where(CameraRow.id == camera, CameraRow.owner_epoch == owner_epoch)
    if session.scalar(mine.values(values).returning(CameraRow.id)) is None:
        raise StaleOwnerError(f"camera {camera!r} is no longer in owner epoch {owner_epoch}")


def _tampering(row: CameraRow) -> Tampering | None:
    if row.tampering is None or row.tampering_since is None:
        return None
    return Tampering(TamperKind(row.tampering), row.tampering_detail, row.tampering_since)


def _locked(session: Session, building: str, camera: str) -> CameraRow:
    query = select(CameraRow).where(CameraRow.building_id == building, CameraRow.id == camera)
    row = session.scalars(query.with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no camera {camera!r} in building {building!r}")
    return row


def _with_owner(session: Session) -> Select[CameraRow, str | None]:
    owning = and_(Worker.id == CameraRow.owner, alive(session))
    return select(CameraRow, Worker.id).outerjoin(Worker, owning)


def _source(session: Session, row: CameraRow) -> str:
    return unseal(session, row.sealed_source, f"cameras.source/{row.id}").decode()


def _zones(row: CameraRow) -> Zones:
    return tuple(tuple((x, y) for x, y in polygon) for polygon in row.zones)


def _write(session: Session, row: CameraRow, fields: CameraFields) -> None:
    row.name = fields.name
    row.sealed_source = seal(session, fields.source.encode(), f"cameras.source/{row.id}")
    row.door = fields.door
    row.groups = sorted(fields.groups)
    row.fps = fields.fps
    row.transport = fields.transport
    row.ca_certificate = fields.ca_certificate
    row.loop = fields.loop
    row.enabled = fields.enabled
    row.zones = [[[x, y] for x, y in polygon] for polygon in fields.zones]


def _fields(session: Session, row: CameraRow) -> CameraFields:
    return CameraFields(
        name=row.name,
        source=_source(session, row),
        door=row.door,
        groups=frozenset(row.groups),
        fps=row.fps,
        transport=row.transport,
        ca_certificate=row.ca_certificate,
        loop=row.loop,
        enabled=row.enabled,
        zones=_zones(row),
    )


def _record(session: Session, row: CameraRow, live_owner: str | None) -> CameraRecord:
    return CameraRecord(
        id=row.id,
        building=row.building_id,
        fields=_fields(session, row),
        revision=row.revision,
        owner=live_owner,
        owner_epoch=row.owner_epoch,
        state=None if row.state is None else CameraState(row.state),
        state_detail=row.state_detail,
        state_at=row.state_at,
        tampering=_tampering(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _camera(session: Session, row: CameraRow) -> Camera:
    return Camera(
        id=row.id,
        building=row.building_id,
        name=row.name,
        source=_source(session, row),
        door=row.door,
        groups=frozenset(row.groups),
        fps=row.fps,
        transport=row.transport,
        ca_certificate=row.ca_certificate,
        loop=row.loop,
        zones=_zones(row),
        revision=row.revision,
        owner_epoch=row.owner_epoch,
        tampering=_tampering(row),
    )
