"""Persons and their photos. Everything that a gallery must know raises the building's gallery sequence."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import ConflictError, DuplicatePhotoError, NotFoundError, RevisionError
from app.store import buildings, templates
from app.store.clock import now
from app.store.paging import decode, new_id, page
from app.store.records import NewPhoto, Page, PersonFields, PersonFilter, PersonRecord, PhotoRecord
from app.store.sealing import seal, unseal
from app.store.tables import PersonRow, Photo
from app.types import Array

PHOTO_COUNT = select(func.count(Photo.id)).where(Photo.person_id == PersonRow.id).scalar_subquery()


def create(session: Session, building: str, fields: PersonFields) -> PersonRecord:
    """Add a person without photos.

    Raises:
        NotFoundError: there is no such building.
        ConflictError: the external id is taken in this building.
    """
    buildings.hold(session, building)
    moment = now(session)
    row = PersonRow(id=new_id("per"), building_id=building, revision=1, created_at=moment, updated_at=moment)
    _write(row, fields)
    session.add(row)
    _flush(session, fields)
    return _record(row, 0)


def get(session: Session, building: str, person: str) -> PersonRecord:
    """Return a person.

    Raises:
        NotFoundError: there is none of this id in this building.
    """
    found = session.execute(
        select(PersonRow, PHOTO_COUNT).where(PersonRow.building_id == building, PersonRow.id == person)
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no person {person!r} in building {building!r}")
    return _record(*found)


def names(session: Session, building: str, persons: Collection[str]) -> dict[str, str]:
    """Return the names of those of these persons who are in the building."""
    query = select(PersonRow.id, PersonRow.name)
    rows = session.execute(query.where(PersonRow.building_id == building, PersonRow.id.in_(persons)))
    return {row.id: row.name for row in rows}


def listing(
    session: Session, building: str, size: int, token: str | None = None, only: PersonFilter | None = None
) -> Page[PersonRecord]:
    """Return persons by name.

    Raises:
        NotFoundError: there is no such building.
        CursorError: the token is not valid.
    """
    buildings.get(session, building)
    query = select(PersonRow, PHOTO_COUNT).where(PersonRow.building_id == building)
    query = query.where(*_wanted(session, only or PersonFilter()))
    if token is not None:
        query = query.where(tuple_(PersonRow.name, PersonRow.id) > tuple_(*decode(token, 2)))
    rows = session.execute(query.order_by(PersonRow.name, PersonRow.id).limit(size + 1)).all()
    return page(rows, size, lambda row: _record(*row), lambda row: (row[0].name, row[0].id))


def update(session: Session, building: str, person: str, fields: PersonFields, revision: int) -> PersonRecord:
    """Replace what is said about a person; rights take effect with the raised gallery sequence.

    Args:
        revision: the one that the caller knows.

    Raises:
        NotFoundError: there is none of this id in this building.
        RevisionError: the person was changed since `revision`.
        ConflictError: the external id is taken in this building.
    """
    row, moment = locked(session, building, person), now(session)
    if row.revision != revision:
        raise RevisionError(f"person {person!r} is at revision {row.revision}, not {revision}")
    if fields != _fields(row):
        _write(row, fields)
        row.revision += 1
        row.updated_at = moment
        _flush(session, fields)
        buildings.raise_sequence(session, building, person)
    return get(session, building, person)


def add_photo(
    session: Session, building: str, person: str, photo: NewPhoto, *, embedder: str, vector: Array
) -> PhotoRecord:
    """Store a photo with its template; galleries follow from here.

    Args:
        embedder: id of the net that made the template.
        vector: the template, (d,) of unit length.

    Raises:
        NotFoundError: there is none of this id in this building.
        EmbedderError: another embedder is live; look at the photo again with that one.
        DuplicatePhotoError: somebody of this building has a photo of the same digest.
        ValueError: the vector is not of unit length.
    """
    locked(session, building, person)
    buildings.raise_sequence(session, building, person)  # locks the building: two equal uploads come in turn
    templates.admit(session, embedder)
    _refuse_duplicate(session, building, photo.digest)
    row = Photo(
        id=new_id("pho"),
        person_id=person,
        media_type=photo.media_type,
        width=photo.width,
        height=photo.height,
        quality=photo.quality,
        digest=photo.digest,
        origin=photo.origin,
        event_id=photo.event,
        created_at=now(session),
    )
    row.image = seal(session, photo.image, f"photos.image/{row.id}")
    session.add(row)
    session.flush()
    templates.add(session, building, person, row.id, embedder, vector)
    return _photo(row)


def photos(session: Session, building: str, person: str) -> list[PhotoRecord]:
    """Return a person's photos, oldest first.

    Raises:
        NotFoundError: there is none of this id in this building.
    """
    get(session, building, person)
    query = select(Photo).where(Photo.person_id == person).order_by(Photo.created_at, Photo.id)
    return [_photo(row) for row in session.scalars(query)]


def photo(session: Session, building: str, person: str, photo: str) -> PhotoRecord:
    """Return one photo without its picture.

    Raises:
        NotFoundError: the person has none of this id, or there is no such person in this building.
    """
    return _photo(_photo_row(session, building, person, photo))


def photo_image(session: Session, building: str, person: str, photo: str) -> bytes:
    """Return the picture as it is kept; its media type is in the record.

    Raises:
        NotFoundError: the person has none of this id, or there is no such person in this building.
    """
    row = _photo_row(session, building, person, photo)
    return unseal(session, row.image, f"photos.image/{row.id}")


def delete_photo(session: Session, building: str, person: str, photo: str) -> int:
    """Delete a photo with its templates and return the gallery sequence at which they are gone.

    Raises:
        NotFoundError: the person has none of this id, or there is no such person in this building.
    """
    locked(session, building, person)
    row = _photo_row(session, building, person, photo)
    session.execute(delete(Photo).where(Photo.id == row.id))
    return buildings.raise_sequence(session, building, person)


def locked(session: Session, building: str, person: str) -> PersonRow:
    """Return a person's row, locked until the transaction ends: everything about one person happens in turn.

    Raises:
        NotFoundError: there is none of this id in this building.
    """
    query = select(PersonRow).where(PersonRow.building_id == building, PersonRow.id == person)
    row = session.scalars(query.with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no person {person!r} in building {building!r}")
    return row


def _wanted(session: Session, only: PersonFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if only.search:
        columns = (PersonRow.name, PersonRow.external_id)
        conditions.append(or_(*(column.istartswith(only.search, autoescape=True) for column in columns)))
    if only.group is not None:
        elements = func.json_each if session.get_bind().dialect.name == "sqlite" else func.json_array_elements_text
        groups = elements(PersonRow.groups).table_valued("value")
        conditions.append(exists(select(1).select_from(groups).where(groups.c.value == only.group)))
    if only.without_photos:
        conditions.append(PHOTO_COUNT == 0)
    if only.ending_before is not None:
        conditions.append(or_(PersonRow.valid_until < only.ending_before, PersonRow.erase_on < only.ending_before))
    return conditions


def _refuse_duplicate(session: Session, building: str, digest: str | None) -> None:
    if digest is None:
        return
    same = select(Photo.person_id).join(PersonRow, PersonRow.id == Photo.person_id)
    found = session.scalar(same.where(Photo.digest == digest, PersonRow.building_id == building).limit(1))
    if found is not None:
        raise DuplicatePhotoError(found)


def _photo_row(session: Session, building: str, person: str, photo: str) -> Photo:
    query = select(Photo).join(PersonRow, PersonRow.id == Photo.person_id)
    query = query.where(PersonRow.building_id == building, PersonRow.id == person, Photo.id == photo)
    row = session.scalars(query).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no photo {photo!r} of person {person!r} in building {building!r}")
    return row


def _flush(session: Session, fields: PersonFields) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(f"the external id {fields.external_id!r} is taken in this building") from error


def _write(row: PersonRow, fields: PersonFields) -> None:
    row.name = fields.name
    row.external_id = fields.external_id
    row.groups = sorted(fields.groups)
    row.valid_from = fields.valid_from
    row.valid_until = fields.valid_until
    row.consent_at = fields.consent_at
    row.consent_note = fields.consent_note
    row.erase_on = fields.erase_on


def _fields(row: PersonRow) -> PersonFields:
    return PersonFields(
        name=row.name,
        external_id=row.external_id,
        groups=frozenset(row.groups),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        consent_at=row.consent_at,
        consent_note=row.consent_note,
        erase_on=row.erase_on,
    )


def _record(row: PersonRow, photos: int) -> PersonRecord:
    return PersonRecord(row.id, row.building_id, _fields(row), photos, row.revision, row.created_at, row.updated_at)


def _photo(row: Photo) -> PhotoRecord:
    return PhotoRecord(
        row.id, row.person_id, row.media_type, row.width, row.height, row.quality, row.origin, row.created_at
    )
