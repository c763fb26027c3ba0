"""Templates, and which embedder's are compared.

Those of two embedders cannot be compared. Doors and enrolment know those of the live one alone; others lie beside
them, made from the same photos, until somebody switches (`app.store.embedders`).
"""

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import EmbedderError
from app.store.clock import now
from app.store.sealing import seal
from app.store.tables import LiveEmbedder, Template
from app.types import Array


def live(session: Session) -> str | None:
    """Return the id of the live embedder; None before the first template, which decides."""
    return session.scalar(select(LiveEmbedder.embedder))


def held(session: Session) -> str | None:
    """Return the id of the live embedder, which stays so until the transaction ends."""
    return session.scalar(select(LiveEmbedder.embedder).with_for_update(read=True))


def admit(session: Session, embedder: str) -> None:
    """Make sure that templates of this embedder may be enrolled, until the transaction ends.

    Raises:
        EmbedderError: another one is live.
    """
    found = held(session)
    if found is None:
        try:
            with session.begin_nested():
                session.add(LiveEmbedder(only=1, embedder=embedder, since=now(session)))
            return
        except IntegrityError:  # somebody else was quicker
            found = held(session)
    if found != embedder:
        raise EmbedderError(f"embedder {found} is live, and this template is of {embedder}")


def add(session: Session, building: str, person: str, photo: str, embedder: str, vector: Array) -> None:
    """Store the template of a photo, sealed.

    Args:
        vector: (d,) of unit length.

    Raises:
        ValueError: the vector is not of unit length.
    """
    if vector.ndim != 1 or not abs(float(np.linalg.norm(vector)) - 1) < 1e-3:  # "not <" also refuses NaN
        raise ValueError("a template is one vector of unit length")
    sealed = seal(session, vector.astype("<f4").tobytes(), f"templates.vector/{person}")
    session.add(Template(building_id=building, person_id=person, photo_id=photo, embedder=embedder, vector=sealed))
    session.flush()


def counts(session: Session) -> dict[str, int]:
    """Return the number of templates by embedder."""
    query = select(Template.embedder, func.count()).group_by(Template.embedder).order_by(Template.embedder)
    return {row[0]: row[1] for row in session.execute(query)}
