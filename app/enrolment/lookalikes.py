"""Whom a new face looks like among the enrolled of one building, while more of them are being enrolled."""

import numpy as np
from sqlalchemy.orm import Session

from app.enrolment.notices import Likeness, best_row
from app.store import galleries
from app.types import Array


class Lookalikes:
    """All templates of a building, row by row; unlike a gallery it can leave one person out.

    Args:
        embedder: id of the net that made the templates.
        dimension: length of a template.
    """

    def __init__(self, building: str, embedder: str, dimension: int) -> None:
        self._building = building
        self._embedder = embedder
        self._sequence = 0
        self._owners = np.zeros(0, object)  # (n,) person ids
        self._vectors = np.zeros((0, dimension), np.float32)

    @property
    def owners(self) -> list[str]:
        """Whose template each one is."""
        return list(self._owners)

    def follow(self, session: Session) -> None:
        """Take in what changed in the building, whoever changed it."""
        changes = galleries.changes_since(session, self._building, self._sequence, self._embedder)
        stay = np.array([owner not in changes.changed for owner in self._owners], bool)
        self._owners, self._vectors = self._owners[stay], self._vectors[stay]
        if changes.owners:
            self._append(changes.owners, changes.vectors)
        self._sequence = changes.sequence

    def add(self, person: str, vector: Array) -> None:
        """Take in one template, (d,) of unit length."""
        self._append((person,), vector[None])

    def compare(self, vector: Array, person: str | None) -> Likeness:
        """Compare a face, (d,) of unit length, with a person's templates and with everybody else's."""
        mine = self._owners == person
        similarities = self._vectors @ vector
        own, other = (best_row(similarities, rows) for rows in (mine, ~mine))
        return Likeness(
            own=None if own is None else float(similarities[own]),
            other=-1.0 if other is None else float(similarities[other]),
            other_person=None if other is None else str(self._owners[other]),
        )

    def _append(self, owners: tuple[str, ...], vectors: Array) -> None:
        self._owners = np.concatenate((self._owners, np.array(owners, object)))
        self._vectors = np.concatenate((self._vectors, vectors))
