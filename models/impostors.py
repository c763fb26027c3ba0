"""How alike different people look to an embedder: the table from which a gallery's threshold is read.

A false match is a pair of different people whose cosine reaches the threshold. Nothing is interpolated below one
pair, ties go against the system, and the interval comes from drawing people, not pairs, again: pairs of the same
person depend on each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RATES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
DECIMALS = 4
BIN = 0.002  # of cosine, for the interval alone
DRAWS = 1000
DRAWS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class ImpostorTable:
    """Row i of each field belongs to ``rates[i]``."""

    rates: list[float]  # false-match rates, falling
    similarities: list[float]  # the smallest cosine (rounded up) at which the rate is kept
    low: list[float]  # 95 % interval of the similarity
    high: list[float]
    accepted: list[float]  # share of same-person pairs that reach the similarity
    impostor_pairs: int
    genuine_pairs: int
    groups: int
    faces: int


def impostor_table(
    vectors: np.ndarray, people: np.ndarray, groups: np.ndarray, photographs: np.ndarray
) -> ImpostorTable:
    """Measure all pairs of the faces.

    Args:
        vectors: (n, d) unit rows.
        people: (n,) labels; pairs of one label are genuine, but for copies of one photograph.
        groups: (n,) faces of different groups are impostors to each other; coarser than the labels.
        photographs: (n,) hashes of the files.
    """
    first, second = np.triu_indices(len(vectors), 1)
    similarities = (vectors @ vectors.T)[first, second]
    impostors = np.sort(similarities[groups[first] != groups[second]])[::-1]
    genuine = similarities[(people[first] == people[second]) & (photographs[first] != photographs[second])]
    rates = [rate for rate in RATES if int(rate * len(impostors)) >= 1]
    thresholds = [threshold_at(impostors, rate) for rate in rates]
    low, high = interval(PairCounts.of(vectors, groups), rates)
    return ImpostorTable(
        rates=rates,
        similarities=thresholds,
        low=low,
        high=high,
        accepted=[round(float((genuine >= threshold).mean()), DECIMALS) for threshold in thresholds],
        impostor_pairs=len(impostors),
        genuine_pairs=len(genuine),
        groups=len(np.unique(groups)),
        faces=len(vectors),
    )


def threshold_at(impostors: np.ndarray, rate: float) -> float:
    """Return the smallest threshold, rounded up, that at most ``rate`` of the impostors (n,), falling, reach.

    With k = floor(rate * n) that is just above the (k + 1)-th largest.
    """
    limit = float(impostors[int(rate * len(impostors))])
    threshold = np.ceil(limit * 10**DECIMALS) / 10**DECIMALS
    return float(threshold if threshold > limit else round(threshold + 10**-DECIMALS, DECIMALS))


@dataclass(frozen=True, slots=True)
class PairCounts:
    """How often which cosine occurs between each two people, so that people can be drawn instead of pairs."""

    counts: np.ndarray  # (p, bins) in bins of BIN from 0 to 1; what is below 0 lies in the first
    pairs: np.ndarray  # (2, p) numbers of the two people
    people: int

    @staticmethod
    def of(vectors: np.ndarray, groups: np.ndarray) -> "PairCounts":
        """Count the pairs of faces (n, d), unit rows, of different groups (n,)."""
        rows = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        bins = round(1 / BIN)
        pairs = np.stack(np.triu_indices(len(rows), 1))
        counts = np.zeros((pairs.shape[1], bins), np.float32)
        for pair, (first, second) in enumerate(pairs.T):
            cosines = (vectors[rows[first]] @ vectors[rows[second]].T).ravel()
            cells = np.clip((cosines / BIN).astype(np.int64), 0, bins - 1)
            counts[pair] = np.bincount(cells, minlength=bins)
        return PairCounts(counts, pairs, len(rows))

    def among(self, times: np.ndarray) -> np.ndarray:
        """Return the counts (k, bins) when each person is there so many times, (k, people)."""
        present = times.astype(np.float32)
        return np.asarray((present[:, self.pairs[0]] * present[:, self.pairs[1]]) @ self.counts)

    def draws(self) -> Iterator[np.ndarray]:
        """Yield the counts (DRAWS_AT_ONCE, bins) of DRAWS bootstrap draws of the people, always the same."""
        generator = np.random.default_rng(0)
        for _ in range(DRAWS // DRAWS_AT_ONCE):
            yield self.among(generator.multinomial(self.people, np.full(self.people, 1 / self.people), DRAWS_AT_ONCE))


def interval(pairs: PairCounts, rates: list[float]) -> tuple[list[float], list[float]]:
    """Return the 95 % interval of the similarity at each rate, by bootstrap draws over the people."""
    draws = []
    for drawn in pairs.draws():
        shares = drawn[:, ::-1].cumsum(axis=1) / drawn.sum(axis=1, keepdims=True)
        # The first bin from above at which the share exceeds the rate holds the threshold.
        draws.append(np.stack([1 - BIN * (shares > rate).argmax(axis=1) for rate in rates], axis=1))
    low, high = np.percentile(np.concatenate(draws), (2.5, 97.5), axis=0).round(3)
    return low.tolist(), high.tolist()
