"""How well a gallery tells its people apart: who looks like whom, which templates are weak, whom doors miss. Pure.

Every template is compared with every other one of the building. What doors miss is what they would make of its photo
if all the others were enrolled: they compare with the middle of each person's templates.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import numpy as np

from app.access import MARGIN
from app.fusion import middles
from app.intervals import wilson
from app.types import Array, Enrolled

# Of pairs of photographs of one person .46 reach the threshold of 100 templates when the worse one has a quality of
# .65 to .7, .34 at .6 to .65, .22 at .5 to .6, but .51 at .7 to .75 and .81 at .85 to .9 (59,268 pairs of CelebA).
WEAK_QUALITY = 0.7


class Weakness(StrEnum):
    """Why somebody should be photographed again. Stable: programs match on these codes."""

    NO_TEMPLATE = "no_template"  # nobody recognises this person
    LOW_QUALITY = "low_quality"  # doors miss about every second look
    UNLIKE_OWN_PHOTOS = "unlike_own_photos"  # no other photo of the person matches this one
    LOOKS_LIKE_SOMEBODY = "looks_like_somebody"  # above the threshold: doors see two people
    ONLY_ONE_PHOTO = "only_one_photo"  # said beside other reasons, never alone


@dataclass(frozen=True, slots=True)
class LookAlikes:
    """Two people whose nearest templates are about as alike as a match, or more."""

    first: str
    second: str
    similarity: float
    confused: bool  # the similarity reaches the threshold


@dataclass(frozen=True, slots=True)
class WeakTemplate:
    """A template that recognises its person badly."""

    person: str
    photo: str
    quality: float
    likeness: float | None  # to the person's nearest other template; None when there is none
    reasons: tuple[Weakness, ...]


@dataclass(frozen=True, slots=True)
class Missed:
    """How often a photo of somebody with several was not recognised by the others, in one look."""

    share: float
    low: float  # 95 % interval as if each person were one answer: photos of one person fail together
    high: float
    photos: int
    persons: int


@dataclass(frozen=True, slots=True)
class GalleryHealth:
    """What is to be said of a gallery."""

    look_alikes: list[LookAlikes]  # most alike first
    weak: list[WeakTemplate]  # lowest quality first
    missed: Missed | None  # None: nobody has two templates
    again: dict[str, tuple[Weakness, ...]]  # person -> why to photograph this person again, most urgent first


def examine(enrolled: Enrolled, unknown: list[str], threshold: float) -> GalleryHealth:
    """Compare everybody with everybody.

    Args:
        enrolled: nothing of its vectors is kept.
        unknown: ids of the building's persons who have no template.
        threshold: similarity from which doors see a match.
    """
    own, pairs = _compare(enrolled, threshold - MARGIN)
    look_alikes = [LookAlikes(*pair, likeness, likeness >= threshold) for pair, likeness in pairs.items()]
    look_alikes.sort(key=lambda pair: -pair.similarity)
    weak = sorted(_weak(enrolled, own, threshold), key=lambda template: template.quality)
    return GalleryHealth(look_alikes, weak, _missed(enrolled, threshold), _again(enrolled, unknown, weak, look_alikes))


def _compare(enrolled: Enrolled, near: float) -> tuple[Array, dict[tuple[str, str], float]]:
    """Return each template's likeness to its person's nearest other one (n,), -inf without.

    And the pairs of people with templates at least `near` alike. Neither a matrix product, whose library would leave
    copies of the templates in buffers of its own, nor more threads than this one: 20 ms of a core with 1,000 templates
    of 192 numbers, 2 s with 10,000.
    """
    vectors, persons = enrolled.vectors, enrolled.persons
    own = np.full(len(vectors), -np.inf, np.float32)
    pairs: dict[tuple[str, str], float] = {}
    for start, stop in _stretches(persons):
        for row in range(start, stop):
            likeness = np.minimum(np.einsum("ij,j->i", vectors, vectors[row]), 1)
            likeness[row] = -np.inf
            own[row] = likeness[start:stop].max()
            for column in stop + np.flatnonzero(likeness[stop:] >= near):
                pair = (persons[row], persons[column])
                pairs[pair] = max(float(likeness[column]), pairs.get(pair, -1.0))
    return own, pairs


def _at_a_door(enrolled: Enrolled) -> tuple[Array, Array, list[str]]:
    """Return of each photo of people with several how alike it is to the middle of the person's others (m,), to the
    nearest of all other people (m,), -inf without any, and whose it is."""
    names, middle = middles(enrolled.persons, enrolled.vectors)
    own, other, persons = [], [], []
    for place, (start, stop) in enumerate(_stretches(enrolled.persons)):
        for row in range(start, stop) if stop - start > 1 else ():
            rest = enrolled.vectors[start:stop].sum(axis=0) - enrolled.vectors[row]
            likeness = np.einsum("ij,j->i", middle, enrolled.vectors[row])
            likeness[place] = -np.inf
            own.append(float(enrolled.vectors[row] @ rest) / max(float(np.sqrt(rest @ rest)), 1e-9))
            other.append(float(likeness.max()))
            persons.append(names[place])
            rest.fill(0)
    middle.fill(0)
    return np.array(own, np.float32), np.array(other, np.float32), persons


def _stretches(persons: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Yield the first row of each person and the first one after."""
    start = 0
    for _, rows in groupby(persons):
        stop = start + sum(1 for _ in rows)
        yield start, stop
        start = stop


def _weak(enrolled: Enrolled, own: Array, threshold: float) -> list[WeakTemplate]:
    found = []
    for person, photo, quality, likeness in zip(
        enrolled.persons, enrolled.photos, enrolled.qualities, own.tolist(), strict=True
    ):
        alone = not np.isfinite(likeness)
        reasons = {
            Weakness.LOW_QUALITY: quality < WEAK_QUALITY,
            Weakness.UNLIKE_OWN_PHOTOS: not alone and likeness < threshold,
        }
        told = tuple(reason for reason, holds in reasons.items() if holds)
        if told:
            told += (Weakness.ONLY_ONE_PHOTO,) if alone else ()
            found.append(WeakTemplate(person, photo, quality, None if alone else likeness, told))
    return found


def _missed(enrolled: Enrolled, threshold: float) -> Missed | None:
    """Return how often a door would not know a photo: it is too unlike the others, or about as like somebody else."""
    own, other, persons = _at_a_door(enrolled)
    if not persons:
        return None
    missed = (own < threshold) | (own - other < MARGIN)
    share, different = float(missed.mean()), len(set(persons))
    low, high = wilson(share * different, different)
    return Missed(share, low, high, len(persons), different)


def _again(
    enrolled: Enrolled, unknown: list[str], weak: list[WeakTemplate], look_alikes: list[LookAlikes]
) -> dict[str, tuple[Weakness, ...]]:
    """Return whom to photograph again: who has no good template, photos that do not agree, or somebody's face."""
    best: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for person, quality in zip(enrolled.persons, enrolled.qualities, strict=True):
        best[person], counts[person] = max(best[person], quality), counts[person] + 1
    reasons = {
        Weakness.NO_TEMPLATE: set(unknown),
        Weakness.LOW_QUALITY: {person for person, quality in best.items() if quality < WEAK_QUALITY},
        Weakness.UNLIKE_OWN_PHOTOS: {one.person for one in weak if Weakness.UNLIKE_OWN_PHOTOS in one.reasons},
        Weakness.LOOKS_LIKE_SOMEBODY: {
            person for pair in look_alikes if pair.confused for person in (pair.first, pair.second)
        },
    }
    again: dict[str, tuple[Weakness, ...]] = {}
    for reason, persons in reasons.items():
        for person in sorted(persons):
            again[person] = (*again.get(person, ()), reason)
    return {person: (*told, Weakness.ONLY_ONE_PHOTO) if counts[person] == 1 else told for person, told in again.items()}
