"""Error rates of recognition as pure functions on scores: verification (1:1) and open-set identification (1:N).

A comparison is accepted when its score reaches the threshold. Scores are cosines; -inf stands for an attempt without
a face, which no threshold accepts. Every rate takes weights, so that a bootstrap draws people, not comparisons:
comparisons of one person depend on each other. No rate below one error of what was measured is told: it is NaN.
Terms: ISO/IEC 19795-1, NIST FRTE 1:N.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]

DISTANCES = np.arange(400) / 100  # squared lengths that the folds' threshold is chosen from, 0 to 4
ROUNDING = 1e-9  # of rate times number: .1 of 30 is 3
DISCARDED = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)  # shares of the worst faces that are set aside
DRAWS = 1000  # of the bootstrap
DECIMALS = 4


def threshold_at(impostors: Scores, rate: float, weights: Scores | None = None) -> float:
    """Return the smallest threshold that at most `rate` of the impostor scores (n,) reach.

    With k = floor(rate n) it lies just above the (k + 1)-th largest score, so ties go against the system. NaN when
    `rate` is less than one of them.
    """
    weights = np.ones(len(impostors)) if weights is None else weights
    total = float(weights.sum())
    if rate * len(impostors) < 1 - ROUNDING or not total:
        return math.nan
    order = np.argsort(-impostors, kind="stable")
    too_many = np.cumsum(weights[order]) > rate * total + ROUNDING
    return float(np.nextafter(impostors[order][too_many.argmax()], np.inf)) if too_many.any() else -math.inf


def accepted(scores: Scores, threshold: float, weights: Scores | None = None) -> float:
    """Return the share of scores (n,) that reach the threshold: FAR of impostors, TAR of genuine ones."""
    weights = np.ones(len(scores)) if weights is None else weights
    total = float(weights.sum())
    return float(weights[scores >= threshold].sum()) / total if total and not math.isnan(threshold) else math.nan


def tar_at_far(genuine: Scores, impostors: Scores, rate: float, weights: tuple[Scores, Scores] | None = None) -> float:
    """Return the share of genuine scores (g,) accepted at the threshold of a false-accept rate; `weights` of both."""
    of_genuine, of_impostors = weights or (None, None)
    return accepted(genuine, threshold_at(impostors, rate, of_impostors), of_genuine)


def equal_error_rate(genuine: Scores, impostors: Scores, weights: tuple[Scores, Scores] | None = None) -> float:
    """Return the mean of false-accept and false-reject rate at the score where they are nearest to each other."""
    of_genuine, of_impostors = weights or (np.ones(len(genuine)), np.ones(len(impostors)))
    thresholds = np.unique(np.concatenate([genuine[np.isfinite(genuine)], impostors[np.isfinite(impostors)]]))
    if not len(thresholds) or not of_genuine.sum() or not of_impostors.sum():
        return math.nan
    false_accepts = 1 - _share_below(impostors, of_impostors, thresholds)
    false_rejects = _share_below(genuine, of_genuine, thresholds)
    nearest = np.abs(false_accepts - false_rejects).argmin()
    return float(false_accepts[nearest]) / 2 + float(false_rejects[nearest]) / 2


def det(genuine: Scores, impostors: Scores) -> tuple[Scores, Scores]:
    """Return false-accept rates (m,), falling, and the false-reject rates (m,) at the same thresholds, never falling.

    One point per impostor score; the last accepts one impostor, for below 1/n nothing was measured (detection error
    trade-off, Martin et al. 1997).
    """
    thresholds = np.unique(impostors[np.isfinite(impostors)])
    return 1 - _share_below(impostors, np.ones(len(impostors)), thresholds), _share_below(
        genuine, np.ones(len(genuine)), thresholds
    )


def fold_accuracy(scores: Scores, same: Flags, folds: NDArray[np.int64]) -> tuple[Scores, Flags]:
    """Return the accuracy of each fold (f,), and which comparisons (n,) were judged right.

    Two faces are one person when the squared distance of their unit vectors, 2 - 2 cosine, is below a threshold: the
    first of `DISTANCES` with the highest accuracy on all other folds (LFW, Huang et al. 2007, image-restricted).
    A comparison without a score, -inf, is wrong whatever the truth.
    """
    distances = 2 - 2 * scores
    right = ((distances[:, None] < DISTANCES) == same[:, None]) & np.isfinite(scores)[:, None]  # (n, 400)
    judged = np.zeros(len(scores), bool)
    accuracies = []
    for fold in np.unique(folds):
        tested = folds == fold
        judged[tested] = right[tested, right[~tested].mean(axis=0).argmax()]
        accuracies.append(judged[tested].mean())
    return np.array(accuracies), judged


def best_candidate(similarities: Scores, owners: NDArray[np.int64]) -> tuple[NDArray[np.int64], Scores]:
    """Return the most similar person (p,) of each search and the similarity (p,), by the best of his templates.

    Args:
        similarities: (p, t) of searches to templates; t is at least 1.
        owners: (t,) person of each template.
    """
    rows = similarities.argmax(axis=1)
    return owners[rows], similarities[np.arange(len(rows)), rows]


def fnir(best: Scores, right: Flags, threshold: float, weights: Scores | None = None) -> float:
    """Return the share of searches by enrolled people that do not end with them, first and at the threshold.

    Args:
        best: (g,) similarity of the first candidate.
        right: (g,) whether it is the person who searches.
        threshold: of similarity.
        weights: (g,) of the searches.
    """
    return 1 - accepted(np.where(right, best, -np.inf), threshold, weights)


def misidentified(best: Scores, right: Flags, threshold: float) -> int | None:
    """Return how many searches by enrolled people end with somebody else: each is a miss and opens a door.

    None when the threshold is NaN.
    """
    return None if math.isnan(threshold) else int((~right & (best >= threshold)).sum())


def error_versus_discard(qualities: Scores, errors: Flags, shares: Sequence[float]) -> list[float]:
    """Return the error rate of what is left when the worst `shares` by quality are set aside.

    A quality is worth something when the rate falls (Grother and Tabassi 2007).

    Args:
        qualities: (n,) of the comparisons: the lower of both faces.
        errors: (n,) at a threshold that stays.
        shares: of the comparisons, each below 1.
    """
    kept = errors[np.argsort(qualities, kind="stable")]
    return [float(kept[int(share * len(kept) + ROUNDING) :].mean()) for share in shares]


def rejected_by_share(qualities: Scores, genuine: Scores, threshold: float) -> dict[str, float | None]:
    """Return the share of genuine scores (g,) below a threshold by the share set aside; None when that is NaN."""
    left = error_versus_discard(qualities, genuine < threshold, DISCARDED)
    known = not math.isnan(threshold)
    return {f"{share:g}": rounded(rate) if known else None for share, rate in zip(DISCARDED, left, strict=True)}


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of two systems, each right where the other errs so many times (McNemar 1947)."""
    total = only_first + only_second
    tail = sum(math.comb(total, count) for count in range(min(only_first, only_second) + 1))
    return min(2 * tail / (1 << total), 1.0)


def drawn(people: int, statistic: Callable[[Scores], Scores]) -> Scores:
    """Return statistics (DRAWS, s) of people drawn with replacement; `statistic` takes how often each one (n,) is."""
    generator = np.random.default_rng(0)
    times = generator.multinomial(people, np.full(people, 1 / people), DRAWS).astype(np.float64)
    return np.array([statistic(row) for row in times])


def interval(values: Scores) -> list[float] | None:
    """Return the 95 % interval of drawn values (d,); None when fewer than half of the draws have one."""
    known = values[~np.isnan(values)]
    if 2 * len(known) < len(values):
        return None
    return [round(float(bound), DECIMALS) for bound in np.quantile(known, (0.025, 0.975))]


def rounded(value: float) -> float | None:
    """Return a figure as it is told; None for what was not measured, for JSON has no NaN and no infinity."""
    return round(float(value), DECIMALS) if math.isfinite(value) else None


def _share_below(scores: Scores, weights: Scores, thresholds: Scores) -> Scores:
    """Return the weighted share of scores (n,) below each threshold (m,)."""
    order = np.argsort(scores, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    return np.asarray(sums[np.searchsorted(scores[order], thresholds)] / sums[-1])
