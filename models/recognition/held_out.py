"""People whom no student has seen, to compare students by: verification, accuracy, and identification.

Every figure is drawn again over people (`recognition_metrics.drawn`), by the same draws for every student, so that
differences between two of them have intervals too. Gallery and probes may be seen by different nets: whether a
teacher's templates can be searched by a student is the same question as whether its own can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from app.types import Array
from models.evaluate.recognition_metrics import (
    Scores,
    best_candidate,
    drawn,
    fnir,
    fold_accuracy,
    tar_at_far,
    threshold_at,
)
from models.labels import check_labels
from models.recognition.crops import CropSet

Rows = NDArray[np.int64]

PEOPLE, PHOTOGRAPHS = 400, 8  # of a set, at most
FEWEST = 4  # people
IMPOSTORS = 100_000  # pairs of two people that are drawn, at most
FOLDS = 10  # of people
FAR = (1e-2, 1e-3)
FPIR = 1e-2
LOWEST = -1.1  # every cosine reaches it
FIGURES = ("tar_at_far_1e-2", "tar_at_far_1e-3", "accuracy", "rank1", "fnir_at_fpir_1e-2")
FALLING = frozenset({"fnir_at_fpir_1e-2"})  # figures that are to be small


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Photographs of held-out people of one set; row i of the first three is photograph i of n."""

    faces: NDArray[np.uint8]  # (n, 3, 112, 112) BGR
    teacher: Array  # (n, d) unit rows
    people: Rows  # (n,) 0 to p - 1, those of one person in a row
    genuine: Rows  # (g, 2) pairs of photographs of one person
    impostors: Rows  # (m, 2) pairs of two people

    def figures(self, gallery: Array, probes: Array) -> Scores:
        """Return `FIGURES` (1 + DRAWS, f) of two nets' unit rows (n, d): as they are, then of every draw of people.

        Verification compares the first photograph of a pair in the gallery with the second one as a probe.
        Identification enrols the first photograph of every second person, whose others search; the people between are
        strangers.
        """
        verification = _Verification(self, gallery, probes)
        identification = _Identification(self.people, gallery, probes)

        def statistic(times: Scores) -> Scores:
            return np.array([*verification.figures(times), *identification.figures(times)])

        count = int(self.people.max()) + 1
        return np.concatenate([statistic(np.ones(count))[None], drawn(count, statistic)])


class _Verification:
    """Pairs and their scores; impostors are sorted once, so that every draw is quick."""

    def __init__(self, held: HeldOut, gallery: Array, probes: Array) -> None:
        self._genuine, impostors = (_scores(gallery, probes, pairs) for pairs in (held.genuine, held.impostors))
        order = np.argsort(-impostors)
        self._impostors, self._both = impostors[order], held.people[held.impostors[order]]
        self._owners = held.people[held.genuine[:, 0]]
        self._judge()

    def _judge(self) -> None:
        """Judge as many pairs of one person as of two people of one fold, by the threshold of the other folds."""
        folds = min(FOLDS, (int(self._both.max()) + 1) // 2)
        within = np.flatnonzero(self._both[:, 0] % folds == self._both[:, 1] % folds)
        count = min(len(self._owners), len(within))
        self._judged = _spread(len(self._owners), count), within[_spread(len(within), count)]
        chosen = [scores[rows] for scores, rows in zip((self._genuine, self._impostors), self._judged, strict=True)]
        people = np.concatenate([self._owners[self._judged[0]], self._both[self._judged[1], 0]])
        self._right = fold_accuracy(np.concatenate(chosen), np.arange(2 * count) < count, people % folds)[1]

    def figures(self, times: Scores) -> list[float]:
        """Return the accepted shares at `FAR` and the accuracy when people count so many times."""
        weights = times[self._owners], times[self._both].prod(axis=1)
        judged = np.concatenate([weight[rows] for weight, rows in zip(weights, self._judged, strict=True)])
        accuracy = float(self._right @ judged / judged.sum()) if judged.sum() else np.nan
        return [*(tar_at_far(self._genuine, self._impostors, rate, weights) for rate in FAR), accuracy]


class _Identification:
    """Searches by enrolled people and by strangers, each with the most similar enrolled person."""

    def __init__(self, people: Rows, gallery: Array, probes: Array) -> None:
        first = np.flatnonzero(np.diff(people, prepend=-1))
        enrolled = first[people[first] % 2 == 0]
        known = np.setdiff1d(np.flatnonzero(people % 2 == 0), enrolled)
        strange = np.flatnonzero(people % 2)
        self._known, self._strange = people[known], people[strange]
        templates = gallery[enrolled].T
        found, self._best = best_candidate((probes[known] @ templates).astype(np.float64), people[enrolled])
        self._strangers = best_candidate((probes[strange] @ templates).astype(np.float64), people[enrolled])[1]
        self._right = found == self._known

    def figures(self, times: Scores) -> list[float]:
        """Return how often the right person is first, and the misses at `FPIR`, when people count so many times."""
        threshold = threshold_at(self._strangers, FPIR, times[self._strange])
        weights = times[self._known]
        misses = [fnir(self._best, self._right, limit, weights) for limit in (LOWEST, threshold)]
        return [1 - misses[0], misses[1]]


def held_out(crops: CropSet, vectors: Array, names: Sequence[str]) -> HeldOut:
    """Return photographs of people spread over a set, by labels that the teacher does not find wrong.

    Args:
        crops: a set with identities.
        vectors: (n, d) what the teacher sees in each.
        names: of the people who are held out.

    Raises:
        SetupError: fewer than four of them have two photographs.
    """
    owners = np.array([entry.identity for entry in crops.entries])
    rows = np.flatnonzero(np.isin(owners, _seen_twice(owners[np.isin(owners, names)], crops)))
    labels = check_labels(owners[rows], rows, vectors[rows])
    chosen = _seen_twice(labels.groups[labels.kept], crops)
    chosen = chosen[_spread(len(chosen), min(PEOPLE, len(chosen)))]
    photographs = [rows[labels.kept & (labels.groups == group)] for group in chosen]
    photographs = [mine[_spread(len(mine), min(PHOTOGRAPHS, len(mine)))] for mine in photographs]
    people = np.repeat(np.arange(len(chosen)), [len(mine) for mine in photographs])
    rows = np.concatenate(photographs)
    faces = np.stack([crops.face(int(row)).transpose(2, 0, 1) for row in rows])
    return HeldOut(faces, vectors[rows], people, *_pairs(people))


def _seen_twice(people: NDArray[Any], crops: CropSet) -> NDArray[Any]:
    """Return who has two photographs, of the people (n,) on n of them."""
    found, counts = np.unique(people, return_counts=True)
    if (counts > 1).sum() < FEWEST:
        raise SetupError(
            f"{crops.path}: {(counts > 1).sum()} people with two photographs are held out, {FEWEST} at least"
        )
    return found[counts > 1]


def _pairs(people: Rows) -> tuple[Rows, Rows]:
    """Return all pairs (g, 2) of photographs of one person, and pairs (m, 2) of two people, drawn if there are many."""
    pairs = np.stack(np.triu_indices(len(people), 1), axis=1)
    same = people[pairs[:, 0]] == people[pairs[:, 1]]
    impostors = np.flatnonzero(~same)
    if len(impostors) > IMPOSTORS:
        impostors = np.random.default_rng(0).choice(impostors, IMPOSTORS, replace=False)
    return pairs[same], pairs[impostors]


def _scores(gallery: Array, probes: Array, pairs: Rows) -> Scores:
    return np.asarray((gallery[pairs[:, 0]] * probes[pairs[:, 1]]).sum(axis=1), np.float64)


def _spread(length: int, count: int) -> Rows:
    """Return so many rows of a length, as far apart as they can be."""
    return np.linspace(0, max(length - 1, 0), count).astype(np.int64)
