"""How alike different people look to an embedder: the table from which a gallery's threshold is read.

A false match is a pair of different people whose cosine reaches the threshold. Nothing is interpolated below one
pair, ties go against the system, and the interval comes from drawing people, not pairs, again: pairs of the same
person depend on each other.
"""

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
    low, high = interval(vectors, groups, rates)
    return ImpostorTable(
        rates=rates,
        similarities=thresholds,
        low=low,
        high=high,
        accepted=[round(float((genuine >= threshold).mean()), DECIMALS) for threshold in thresholds],
        impostor_pairs=len(impostors),
        genuine_pairs=len(genuine),
        groups=len(np.unique(groups)),
    )


def threshold_at(impostors: np.ndarray, rate: float) -> float:
    """Return the smallest threshold, rounded up, that at most ``rate`` of the impostors (n,), falling, reach.

    With k = floor(rate * n) that is just above the (k + 1)-th largest.
    """
    limit = float(impostors[int(rate * len(impostors))])
    threshold = np.ceil(limit * 10**DECIMALS) / 10**DECIMALS
    return float(threshold if threshold > limit else round(threshold + 10**-DECIMALS, DECIMALS))


def interval(vectors: np.ndarray, groups: np.ndarray, rates: list[float]) -> tuple[list[float], list[float]]:
    """Return the 95 % interval of the similarity at each rate, by DRAWS bootstrap draws over the groups."""
    counts, pairs = _histograms(vectors, groups)
    size = int(pairs.max()) + 1
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS // DRAWS_AT_ONCE):
        times = generator.multinomial(size, np.full(size, 1 / size), DRAWS_AT_ONCE).astype(np.float32)
        drawn = (times[:, pairs[0]] * times[:, pairs[1]]) @ counts
        shares = drawn[:, ::-1].cumsum(axis=1) / drawn.sum(axis=1, keepdims=True)
        # The first bin from above at which the share exceeds the rate holds the threshold.
        draws.append(np.stack([1 - BIN * (shares > rate).argmax(axis=1) for rate in rates], axis=1))
    low, high = np.percentile(np.concatenate(draws), (2.5, 97.5), axis=0).round(3)
    return low.tolist(), high.tolist()


def _histograms(vectors: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the counts (p, bins) of the cosines between each two groups and who they are, (2, p).

    The bins cover 0 to 1; what is below 0 lies in the first.
    """
    rows = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    bins = round(1 / BIN)
    pairs = np.stack(np.triu_indices(len(rows), 1))
    counts = np.zeros((pairs.shape[1], bins), np.float32)
    for pair, (first, second) in enumerate(pairs.T):
        cosines = (vectors[rows[first]] @ vectors[rows[second]].T).ravel()
        cells = np.clip((cosines / BIN).astype(np.int64), 0, bins - 1)
        counts[pair] = np.bincount(cells, minlength=bins)
    return counts, pairs
