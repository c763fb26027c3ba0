"""Buildings: tenancy and gallery. "main" is made by the first migration."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.errors import ConflictError, NotFoundError
from app.store.clock import now
from app.store.paging import decode, page
from app.store.records import BuildingRecord, Page
from app.store.tables import Building, GalleryChange


def create(session: Session, building: str, name: str) -> BuildingRecord:
    """Make a building whose id is chosen by the caller.

    Raises:
        ConflictError: the id is taken.
    """
    if session.get(Building, building) is not None:
        raise ConflictError(f"building {building!r} exists already")
    row = Building(id=building, name=name, gallery_sequence=0, created_at=now(session))
    session.add(row)
    session.flush()
    return _record(row)


def get(session: Session, building: str) -> BuildingRecord:
    """Return a building.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = session.get(Building, building, populate_existing=True)
    if row is None:
        raise NotFoundError(f"there is no building {building!r}")
    return _record(row)


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
    """
    raised = update(Building).where(Building.id == building).values(gallery_sequence=Building.gallery_sequence + 1)
    sequence = session.execute(raised.returning(Building.gallery_sequence)).scalar_one()
    session.add(GalleryChange(building_id=building, sequence=sequence, person_id=person))
    session.flush()
    return sequence


def _record(row: Building) -> BuildingRecord:
    return BuildingRecord(row.id, row.name, row.gallery_sequence, row.created_at)
