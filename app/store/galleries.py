"""What workers read to keep their galleries like the database."""

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.sealing import unseal
from app.store.tables import Building, GalleryChange, PersonRow, Template
from app.types import GalleryChanges, Person


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
        .where(Template.building_id == building, Template.embedder == embedder, Template.person_id.in_(changed))
        .order_by(Template.id)
    ).all()
    owners = tuple(row.person_id for row in templates)
    persons = session.scalars(select(PersonRow).where(PersonRow.id.in_(changed)))
    present = frozenset(owners)
    vectors = [unseal(session, row.vector, f"templates.vector/{row.person_id}") for row in templates]
    return GalleryChanges(
        sequence=max((step.sequence for step in steps), default=sequence),
        changed=frozenset(step.person_id for step in steps),
        persons={row.id: _person(row) for row in persons if row.id in present},
        owners=owners,
        vectors=np.frombuffer(b"".join(vectors), "<f4").reshape(len(owners), -1)
        if owners
        else np.zeros((0, 0), np.float32),
    )


def _person(row: PersonRow) -> Person:
    return Person(row.id, row.name, frozenset(row.groups), row.valid_from, row.valid_until)
