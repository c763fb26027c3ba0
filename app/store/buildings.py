"""Buildings: tenancy and gallery. "main" is made by the first migration."""

from sqlalchemy import delete as sql_delete
from sqlalchemy import select
from sqlalchemy import update as sql_update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import ConflictError, NotFoundError, RevisionError
from app.store.clock import now
from app.store.paging import decode, page
from app.store.records import BuildingFields, BuildingRecord, Page
from app.store.tables import Building, CameraRow, EventRow, GalleryChange, PersonRow


def create(session: Session, building: str, fields: BuildingFields) -> BuildingRecord:
    """Make a building whose id is chosen by the caller.

    Raises:
        ConflictError: the id is taken.
    """
    if session.get(Building, building) is not None:
        raise ConflictError(f"building {building!r} exists already")
    row = Building(id=building, gallery_sequence=0, revision=1, created_at=now(session))
    _write(row, fields)
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:  # somebody else was quicker
        raise ConflictError(f"building {building!r} exists already") from error
    return _record(row)


def update(session: Session, building: str, fields: BuildingFields, revision: int) -> BuildingRecord:
    """Replace what is said about a building.

    Args:
        revision: the one that the caller knows.

    Raises:
        NotFoundError: there is none of this id.
        RevisionError: the building was changed since `revision`.
    """
    row = session.scalars(select(Building).where(Building.id == building).with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no building {building!r}")
    if row.revision != revision:
        raise RevisionError(f"building {building!r} is at revision {row.revision}, not {revision}")
    if fields != _fields(row):
        _write(row, fields)
        row.revision += 1
        session.flush()
    return _record(row)


def delete(session: Session, building: str) -> None:
    """Remove an empty building together with its keys, webhooks and finished operations.

    Raises:
        NotFoundError: there is none of this id.
        ConflictError: it has persons, cameras or events, or it is the last one.
    """
    every = {row.id: row for row in session.scalars(select(Building).order_by(Building.id).with_for_update())}
    if building not in every:
        raise NotFoundError(f"there is no building {building!r}")
    for noun, column in (
        ("persons", PersonRow.building_id),
        ("cameras", CameraRow.building_id),
        ("events", EventRow.building_id),
    ):
        if session.scalar(select(column).where(column == building).limit(1)) is not None:
            raise ConflictError(f"building {building!r} has {noun}: remove them first")
    if len(every) == 1:
        raise ConflictError("this is the last building")
    session.delete(every[building])
    session.flush()


def get(session: Session, building: str) -> BuildingRecord:
    """Return a building.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = session.get(Building, building, populate_existing=True)
    if row is None:
        raise NotFoundError(f"there is no building {building!r}")
    return _record(row)


def hold(session: Session, building: str) -> None:
    """Keep a building from being deleted until the transaction ends.

    Raises:
        NotFoundError: there is none of this id.
    """
    there = select(Building.id).where(Building.id == building)
    if session.scalar(there.with_for_update(read=True, key_share=True)) is None:
        raise NotFoundError(f"there is no building {building!r}")


def listing(session: Session, size: int, token: str | None = None) -> Page[BuildingRecord]:
    """Return buildings by id.

    Raises:
        CursorError: the token is not valid.
    """
    query = select(Building).order_by(Building.id).limit(size + 1)
    if token is not None:
        query = query.where(Building.id > decode(token, 1)[0])
    return page(session.scalars(query).all(), size, _record, lambda row: (row.id,))


def raise_sequence(session: Session, building: str, person: str) -> int:
    """Note that a person's place in the gallery changed and return the building's new gallery sequence.

    The building's row stays locked until the transaction ends, so followers see the sequence without gaps and in order.
    Of a person the last change is kept: whoever has followed less far finds there what has become of all of them.
    """
    raised = sql_update(Building).where(Building.id == building).values(gallery_sequence=Building.gallery_sequence + 1)
    sequence = session.execute(raised.returning(Building.gallery_sequence)).scalar_one()
    earlier = (GalleryChange.building_id == building, GalleryChange.person_id == person)
    session.execute(sql_delete(GalleryChange).where(*earlier))
    session.add(GalleryChange(building_id=building, sequence=sequence, person_id=person))
    session.flush()
    return sequence


def _write(row: Building, fields: BuildingFields) -> None:
    row.name = fields.name
    row.event_days = fields.event_days
    row.snapshot_days = fields.snapshot_days
    row.target_fpir = fields.target_fpir


def _fields(row: Building) -> BuildingFields:
    return BuildingFields(row.name, row.event_days, row.snapshot_days, row.target_fpir)


def _record(row: Building) -> BuildingRecord:
    return BuildingRecord(row.id, _fields(row), row.gallery_sequence, row.revision, row.created_at)
