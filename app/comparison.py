"""Two embedders on one gallery, before anybody switches: whom each tells apart, and whom it would confuse.

Both are asked about the same photos. Two photos of one person are a genuine pair, two of different people an impostor
pair; the thresholds are those that doors would use for so many templates (`Embedder.threshold`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.intervals import wilson
from app.types import Array

BLOCK = 512  # photos compared with all at a time
BINS = 2000  # of the cosine's range: similarities are told to .001
GENUINE = (0.01, 0.05, 0.5, 0.95)
IMPOSTOR = (0.5, 0.99, 0.999, 0.9999, 1.0)
Index = NDArray[np.int64]
Flags = NDArray[np.bool_]
Pairs = dict[tuple[int, int], tuple[float, float]]  # two people -> similarity before and after


@dataclass(frozen=True, slots=True)
class Side:
    """One embedder and the templates that it made of n photos."""

    embedder: str
    vectors: Array  # (n, d) unit rows
    threshold: float | None  # None: the embedder is not at hand, and nobody knows its threshold


@dataclass(frozen=True, slots=True)
class Figures:
    """What one embedder makes of a gallery."""

    embedder: str
    threshold: float | None
    genuine: dict[str, float]  # share of the genuine pairs -> similarity that so many stay below
    impostor: dict[str, float]  # the same of impostor pairs
    matching: int  # photos that match another one of the same person
    matching95: tuple[float, float] | None  # 95 % interval of their share of those that have another one
    false_matches: int  # impostor pairs that match
    fpir: float  # expected share of strangers' looks that match anybody: templates x false matches / pairs
    fpir95: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Confused:
    """Two people who match each other; similarities of the photos that are most alike."""

    persons: tuple[str, str]
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both embedders on one gallery."""

    photos: int  # that have a template of each
    genuine_pairs: int
    impostor_pairs: int
    with_others: int  # photos whose person has another one
    before: Figures
    after: Figures
    newly_confused: list[Confused]  # matched after and not before, the most alike first
    no_longer_confused: int
    no_longer_matching: list[str]  # persons one of whose photos matched another of theirs before, and not after

    def as_json(self) -> dict[str, Any]:
        """Return all of it, JSON-safe."""
        return asdict(self)


class _Tally:
    """Counts of one embedder, filled block by block."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.threshold = 2.0 if side.threshold is None else side.threshold
        self.genuine, self.impostor = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
        self.false_matches = 0
        self.nearest_own = np.full(len(side.vectors), -2.0)  # similarity to another photo of the same person

    def add(self, rows: slice, same: Flags, later: Flags) -> Array:
        """Compare some photos with all, and return the similarities (m, n).

        Args:
            same: (m, n) whether two photos are of one person.
            later: (m, n) whether the second comes after the first one: each pair counts once.
        """
        found: Array = np.clip(self.side.vectors[rows] @ self.side.vectors.T, -1, 1)
        self.genuine += _histogram(found[same & later])
        self.impostor += _histogram(found[~same & later])
        self.false_matches += int((found[~same & later] >= self.threshold).sum())
        others = same.copy()
        others[np.arange(len(found)), np.arange(rows.start, rows.start + len(found))] = False
        self.nearest_own[rows] = np.where(others, found, -2.0).max(axis=1)
        return found

    def figures(self) -> Figures:
        """Return what was counted."""
        own, pairs = self.nearest_own[self.nearest_own > -2], int(self.impostor.sum())
        matching, templates = int((own >= self.threshold).sum()), len(self.side.vectors)
        bounds = wilson(self.false_matches, pairs) if pairs else None
        return Figures(
            embedder=self.side.embedder,
            threshold=self.side.threshold,
            genuine=_quantiles(self.genuine, GENUINE),
            impostor=_quantiles(self.impostor, IMPOSTOR),
            matching=matching,
            matching95=wilson(matching, len(own)) if len(own) else None,
            false_matches=self.false_matches,
            fpir=min(templates * self.false_matches / max(pairs, 1), 1.0),
            fpir95=None if bounds is None else (min(templates * bounds[0], 1.0), min(templates * bounds[1], 1.0)),
        )


def compare(owners: Sequence[str], before: Side, after: Side) -> Comparison:
    """Compare two embedders on the same n photos.

    Args:
        owners: (n,) whose photo each row of both sides is.
    """
    names, numbers = np.unique(np.array(owners, object).astype(str), return_inverse=True)
    old, new = _Tally(before), _Tally(after)
    pairs: Pairs = {}
    for start in range(0, len(owners), BLOCK):
        rows = slice(start, min(start + BLOCK, len(owners)))
        same = numbers[rows, None] == numbers[None, :]
        later = np.arange(len(owners))[None, :] > np.arange(rows.start, rows.stop)[:, None]
        was, will = old.add(rows, same, later), new.add(rows, same, later)
        _note(pairs, numbers, rows.start, ~same & later & ((was >= old.threshold) | (will >= new.threshold)), was, will)
    newly = [
        Confused((str(names[one]), str(names[two])), round(was, 4), round(will, 4))
        for (one, two), (was, will) in pairs.items()
        if will >= new.threshold and was < old.threshold
    ]
    lost = (old.nearest_own >= old.threshold) & (new.nearest_own < new.threshold)
    return Comparison(
        photos=len(owners),
        genuine_pairs=int(old.genuine.sum()),
        impostor_pairs=int(old.impostor.sum()),
        with_others=int((old.nearest_own > -2).sum()),
        before=old.figures(),
        after=new.figures(),
        newly_confused=sorted(newly, key=lambda one: -one.after),
        no_longer_confused=sum(was >= old.threshold and will < new.threshold for was, will in pairs.values()),
        no_longer_matching=sorted({str(names[number]) for number in numbers[lost]}),
    )


def _note(pairs: Pairs, numbers: Index, start: int, wanted: Flags, was: Array, will: Array) -> None:
    """Keep of every two people the highest similarities of their photos that match."""
    for row, column in np.argwhere(wanted).tolist():
        one, two = sorted((int(numbers[start + row]), int(numbers[column])))
        best = pairs.get((one, two), (-1.0, -1.0))
        pairs[one, two] = max(best[0], float(was[row, column])), max(best[1], float(will[row, column]))


def _histogram(similarities: Array) -> Index:
    return np.histogram(similarities, BINS, (-1, 1))[0].astype(np.int64)


def _quantiles(counts: Index, shares: Sequence[float]) -> dict[str, float]:
    """Return for each share the similarity that so much of the counted lies below, to a bin; empty for nothing."""
    total = int(counts.sum())
    if not total:
        return {}
    places = np.searchsorted(np.cumsum(counts), np.array(shares) * total).tolist()
    return {f"{share:g}": round((place + 1) * 2 / BINS - 1, 4) for share, place in zip(shares, places, strict=True)}
