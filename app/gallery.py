"""Who a face looks like: exact search over the people of one building. The only file that imports FAISS.

A person with several templates is searched by the middle of them, see `app.fusion`: it misses less than the nearest of
them does, and one photograph of somebody else among them opens no door to that one.

A gallery is never changed in place: a change makes a new index beside the old one and swaps them, so a search sees
either everything or nothing of it, and somebody erased is gone for every search that begins afterwards. The old index
is overwritten with zeros when its last search has ended, so that memory that was given back holds no template.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from app.fusion import counted, middles
from app.types import Array, GalleryChanges, Match, Person

ALONE = 2.0  # margin when there is no other person: the distance between the ends of the cosine's range
TOGETHER = 16  # rows searched in one call; from 20 on FAISS lets BLAS pack copies of the templates into its own buffers


@dataclass(slots=True)
class _Index:
    """One state of a gallery; row i of `vectors` is the middle of the templates of ``persons[owners[i]]``.

    They lie in one array of ours, and FAISS searches there: an index of its own could not be overwritten.
    """

    sequence: int
    persons: dict[str, Person]
    owners: tuple[str, ...]  # (p,) person ids, each once
    counts: tuple[int, ...]  # (p,) templates of each
    vectors: Array  # (p, d) unit rows
    searches: int = 0  # that run on it now


class Gallery:
    """The templates of one building, of one embedder. One thread applies changes, any number search.

    Args:
        dimension: length of a template.
    """

    def __init__(self, dimension: int) -> None:
        self.target_fpir = 1e-3  # share of strangers' visits that may match anybody, as whoever applies changes says
        self._dimension = dimension
        self._changing = threading.Lock()
        self._turn = threading.Condition()  # of `_index` and its `searches`
        self._index = self._empty()

    @property
    def sequence(self) -> int:
        """The building's gallery sequence that this gallery has reached; 0 before the first change."""
        return self._index.sequence

    @property
    def templates(self) -> int:
        """Number of templates."""
        return sum(self._index.counts)

    @property
    def comparisons(self) -> float:
        """As how many templates of different people a search counts, for the threshold."""
        return counted(self._index.counts)

    def person(self, person: str) -> Person | None:
        """Return a person who has templates here, with the rights as they are now; None for anybody else."""
        return self._index.persons.get(person)

    def apply(self, changes: GalleryChanges) -> None:
        """Follow the building; an empty gallery takes the changes since 0.

        Costs a copy of the index: some 10 ms with 10,000 templates of 192 numbers, measured.

        Raises:
            ValueError: the changes are older than the gallery, or their vectors are not unit rows of its dimension.
        """
        vectors = np.ascontiguousarray(changes.vectors, np.float32).reshape(len(changes.owners), self._dimension)
        _check(vectors, self._dimension)
        with self._changing:
            old = self._index
            if changes.sequence < old.sequence:
                raise ValueError(f"changes up to {changes.sequence} for a gallery at {old.sequence}")
            stay = [row for row, owner in enumerate(old.owners) if owner not in changes.changed]
            come, middle = middles(changes.owners, vectors)
            owners = tuple(old.owners[row] for row in stay) + come
            numbers = Counter(changes.owners)
            counts = tuple(old.counts[row] for row in stay) + tuple(numbers[owner] for owner in come)
            persons = {key: person for key, person in old.persons.items() if key not in changes.changed}
            together = np.empty((len(owners), self._dimension), np.float32)
            np.take(old.vectors, stay, axis=0, out=together[: len(stay)], mode="clip")  # "raise" makes a copy
            together[len(stay) :] = middle
            middle.fill(0)
            self._replace(_Index(changes.sequence, persons | changes.persons, owners, counts, together))

    def clear(self) -> None:
        """Know nobody any more, as at the beginning."""
        with self._changing:
            self._replace(self._empty())

    def search(self, vectors: Array) -> list[Match]:
        """Return for each row the nearest person, by the middle of the person's templates.

        Args:
            vectors: (q, d) unit rows.

        Raises:
            ValueError: the vectors are not unit rows of the gallery's dimension.
        """
        queries = np.ascontiguousarray(vectors, np.float32)
        _check(queries, self._dimension)
        faiss.omp_set_num_threads(1)  # OpenMP counts per calling thread, so it has to be said here
        with self._searching() as index:
            if not index.owners:
                return [Match(None, -1.0, ALONE) for _ in queries]
            count = min(2, len(index.owners))  # the nearest person, and the second one if there is one
            parts = [queries[start : start + TOGETHER] for start in range(0, len(queries), TOGETHER)]
            found = [faiss.knn(part, index.vectors, count, faiss.METRIC_INNER_PRODUCT) for part in parts]
        return [_match(index, *row) for part in found for row in zip(*part, strict=True)]

    @contextmanager
    def _searching(self) -> Iterator[_Index]:
        """Hold on to the present index: it is not overwritten meanwhile."""
        with self._turn:
            index = self._index
            index.searches += 1
        try:
            yield index
        finally:
            with self._turn:
                index.searches -= 1
                self._turn.notify_all()

    def _replace(self, index: _Index) -> None:
        """Let searches begin on this index, and overwrite the old one when the last search on it has ended."""
        with self._turn:
            old, self._index = self._index, index
            self._turn.wait_for(lambda: not old.searches)
        old.vectors.fill(0)

    def _empty(self) -> _Index:
        return _Index(0, {}, (), (), np.empty((0, self._dimension), np.float32))


def _match(index: _Index, similarities: Array, rows: NDArray[np.int64]) -> Match:
    """Return the first person of one or two rows sorted by similarity, and how far the second one is."""
    best = float(similarities[0])
    margin = best - float(similarities[1]) if len(rows) > 1 else ALONE
    return Match(index.persons[index.owners[rows[0]]], min(best, 1.0), margin)


def _check(vectors: Array, dimension: int) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise ValueError(f"expected rows of {dimension} numbers, got {vectors.shape}")
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))  # `norm` would leave a copy behind
    if not np.all(np.abs(lengths - 1) < 1e-3):  # NaN is never less
        raise ValueError("every row must be of unit length")
