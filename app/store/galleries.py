"""What workers read to keep their galleries like the database.

Names stay in the database: deciding needs none, and what a worker never had in memory cannot be left there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Row, exists, func, select
from sqlalchemy.orm import Session

from app.keyring import plain_length
from app.store.sealing import unseal_into
from app.store.tables import Building, GalleryChange, PersonRow, Photo, Template
from app.types import Array, Enrolled, GalleryChanges, Person


def sequences(session: Session) -> dict[str, int]:
    """Return the gallery sequence of every building."""
    return {row.id: row.gallery_sequence for row in session.execute(select(Building.id, Building.gallery_sequence))}


def changes_since(session: Session, building: str, sequence: int, embedder: str) -> GalleryChanges:
    """Return what a gallery at `sequence` lacks; 0 gives the whole gallery.

    Call it in `Store.reading`, where all of it is of one moment.

    Args:
        embedder: id of the net whose templates are wanted; those of other nets cannot be compared.
    """
    later = select(GalleryChange).where(GalleryChange.building_id == building, GalleryChange.sequence > sequence)
    steps = session.execute(later.with_only_columns(GalleryChange.sequence, GalleryChange.person_id)).all()
    changed = later.with_only_columns(GalleryChange.person_id)
    templates = session.execute(
        select(Template.person_id, Template.vector)
        .join(PersonRow, PersonRow.id == Template.person_id)
        .where(Template.building_id == building, Template.embedder == embedder, Template.person_id.in_(changed))
        .order_by(Template.id)
    ).all()
    owners = tuple(row.person_id for row in templates)
    rights = (PersonRow.id, PersonRow.groups, PersonRow.valid_from, PersonRow.valid_until)
    persons = session.execute(select(*rights).where(PersonRow.id.in_(changed)))
    present = frozenset(owners)
    return GalleryChanges(
        sequence=max((step.sequence for step in steps), default=sequence),
        changed=frozenset(step.person_id for step in steps),
        persons={row.id: _person(row) for row in persons if row.id in present},
        owners=owners,
        vectors=_vectors(session, templates),
    )


def enrolled(session: Session, building: str, embedder: str) -> Enrolled:
    """Return every template of one net in a building, with its photo."""
    every = select(Template.person_id, Template.photo_id, Photo.quality, Template.vector)
    every = every.join(Photo, Photo.id == Template.photo_id)
    every = every.where(Template.building_id == building, Template.embedder == embedder)
    rows = session.execute(every.order_by(Template.person_id, Template.id)).all()
    persons, photos, qualities = ([getattr(row, name) for row in rows] for name in ("person_id", "photo_id", "quality"))
    return Enrolled(tuple(persons), tuple(photos), tuple(qualities), _vectors(session, rows))


def unknown(session: Session, building: str, embedder: str) -> list[str]:
    """Return the ids of the persons of a building who have no template of this net, by name."""
    known = exists().where(Template.person_id == PersonRow.id, Template.embedder == embedder)
    query = select(PersonRow.id).where(PersonRow.building_id == building, ~known)
    return list(session.scalars(query.order_by(PersonRow.name, PersonRow.id)))


def sizes(session: Session, building: str, embedder: str) -> list[int]:
    """Return how many templates of one net each person of a building has who has any."""
    mine = select(func.count(Template.id)).where(Template.building_id == building, Template.embedder == embedder)
    return list(session.scalars(mine.group_by(Template.person_id)))


def templates_of(session: Session, building: str, person: str, embedder: str) -> Array:
    """Return a person's templates (n, d) of one net; none for who is not in this building."""
    mine = select(Template.person_id, Template.vector).where(Template.building_id == building)
    mine = mine.where(Template.person_id == person, Template.embedder == embedder)
    return _vectors(session, session.execute(mine).all())


def templates_by_photo(session: Session, building: str, embedder: str) -> tuple[list[tuple[str, str]], Array]:
    """Return photo and person of every template (n, d) of one net in a building, by photo."""
    every = select(Template.person_id, Template.photo_id, Template.vector).order_by(Template.photo_id)
    rows = session.execute(every.where(Template.building_id == building, Template.embedder == embedder)).all()
    return [(row.photo_id, row.person_id) for row in rows], _vectors(session, rows)


def _vectors(session: Session, templates: Sequence[Row[*tuple[Any, ...]]]) -> Array:
    """Return the templates, (n, d), unsealed into this array alone: whoever overwrites it has overwritten them."""
    numbers = plain_length(templates[0].vector) // 4 if templates else 0
    vectors = np.empty((len(templates), numbers), "<f4")
    for row, template in zip(vectors, templates, strict=True):
        label = f"templates.vector/{template.person_id}"
        unseal_into(session, template.vector, label, row.data.cast("B"))
    return vectors


def _person(row: Row[Any, Any, Any, Any]) -> Person:
    return Person(row.id, "", frozenset(row.groups), row.valid_from, row.valid_until)
