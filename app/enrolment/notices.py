"""What is to be said about a photo that could be enrolled: how it goes with the person's others, and with everybody.

Said by bulk enrolment beside its outcome and by uploads in their answer, in the same codes. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.fusion import comparisons
from app.gallery_health import WEAK_QUALITY
from app.types import Array, Enrolled
from app.vision.embedder import Embedder

# False-match rates of the embedder's card. Two people who are more alike than this are one person until somebody says
# otherwise; two photos less alike than that are of two people.
SAME_RATE = 1e-6
ALIKE_RATE = 1e-2
# Cosine from which two photos are nearly one. Of copies that were compressed, halved, cut, turned by 5 degrees, made
# brighter or mirrored .71 to .89 reach it (92 photos), and 33 of 9,988 pairs of different files of one person, most of
# them of one moment (CelebA).
NEAR_DUPLICATE = 0.95


class Notice(StrEnum):
    """What is remarkable about a photo. Stable: programs match on these codes."""

    DUPLICATE_FACE = "duplicate_face"  # somebody else is enrolled with this face
    LOOKS_LIKE = "looks_like"  # of somebody else: doors see two people in it and may let in neither
    NOT_THE_SAME_PERSON = "not_the_same_person"  # the person's other photos show somebody else
    UNLIKE_OWN_PHOTOS = "unlike_own_photos"  # doors would not know it by the person's other photos
    NEAR_DUPLICATE = "near_duplicate"  # nearly a photo that the person has: it adds nothing
    LOW_QUALITY = "low_quality"  # doors miss about every second look


OF_OWN_PHOTOS = frozenset({Notice.NOT_THE_SAME_PERSON, Notice.UNLIKE_OWN_PHOTOS, Notice.NEAR_DUPLICATE})


@dataclass(frozen=True, slots=True)
class Likeness:
    """How similar a face is to the templates of a building."""

    own: float | None  # to the person's nearest template, None when there is none
    other: float  # to the nearest one of anybody else, -1 when there is none
    own_photo: str | None = None  # id of the photo of that template
    other_person: str | None = None  # id of whoever that is


@dataclass(frozen=True, slots=True)
class Limits:
    """Similarities that decide."""

    same: float
    match: float  # from which doors match
    alike: float

    @staticmethod
    def of(embedder: Embedder, owners: Iterable[str], target_fpir: float) -> "Limits":
        """Return those of a building, given whose template each one is without the new one."""
        return Limits(
            same=embedder.similarity_at(SAME_RATE),
            match=embedder.threshold(comparisons(owners) + 1, target_fpir),
            alike=embedder.similarity_at(ALIKE_RATE),
        )


def compared(vector: Array, person: str | None, enrolled: Enrolled) -> Likeness:
    """Compare a face with everybody.

    Args:
        vector: (d,) unit length.
        person: id of whom it is meant for; None for somebody new.
        enrolled: the building's templates.
    """
    if not enrolled.persons:
        return Likeness(None, -1.0)
    similarities = (enrolled.vectors @ vector).clip(-1, 1)
    mine = np.array([owner == person for owner in enrolled.persons], bool)
    own, other = (best_row(similarities, rows) for rows in (mine, ~mine))
    return Likeness(
        own=None if own is None else float(similarities[own]),
        other=-1.0 if other is None else float(similarities[other]),
        own_photo=None if own is None else enrolled.photos[own],
        other_person=None if other is None else enrolled.persons[other],
    )


def notices(quality: float, likeness: Likeness, limits: Limits) -> tuple[Notice, ...]:
    """Return what is remarkable about a face, most serious first; nothing when all is well.

    Args:
        quality: rank 0..1 of the face.
        likeness: to what is enrolled.
        limits: of the building.
    """
    own = likeness.own
    found = {
        Notice.DUPLICATE_FACE: likeness.other >= limits.same,
        Notice.LOOKS_LIKE: limits.match <= likeness.other < limits.same,
        Notice.NOT_THE_SAME_PERSON: own is not None and own < limits.alike,
        Notice.UNLIKE_OWN_PHOTOS: own is not None and limits.alike <= own < limits.match,
        Notice.NEAR_DUPLICATE: own is not None and own >= NEAR_DUPLICATE,
        Notice.LOW_QUALITY: quality < WEAK_QUALITY,
    }
    return tuple(notice for notice, holds in found.items() if holds)


def best_row(similarities: Array, rows: NDArray[np.bool_]) -> int | None:
    """Return the row of the highest similarity (n,) among the wanted `rows` (n,); None without any."""
    return int(np.where(rows, similarities, -np.inf).argmax()) if rows.any() else None
