"""What a quality score is worth: how fast errors go when the worst faces are set aside. Pure functions.

A comparison takes the lower quality of its two faces. Every figure takes weights, so that a bootstrap draws people
(Grother and Tabassi 2007; ISO/IEC 29794-1).
"""

from collections.abc import Sequence

import numpy as np

from models.evaluate.recognition_metrics import ROUNDING, Flags, Scores

AREA = tuple(share / 100 for share in range(0, 51, 2))  # shares set aside that `gain` is the mean of


def curve(qualities: Scores, errors: Flags, shares: Sequence[float], weights: Scores | None = None) -> Scores:
    """Return the error rates (s,) of what is left when the worst `shares` by quality are set aside.

    Args:
        qualities: (n,) of the comparisons.
        errors: (n,) at a threshold that stays.
        shares: of the comparisons, each below 1.
        weights: (n,) how often each counts; once each when left out.
    """
    weights = np.ones(len(errors)) if weights is None else weights
    order = np.argsort(qualities, kind="stable")
    return curve_in_order(errors[order], weights[order], shares)


def curve_in_order(errors: Flags, weights: Scores, shares: Sequence[float]) -> Scores:
    """Return the same for comparisons (n,) that are in order, the worst first; NaN when none has a weight."""
    counted = np.concatenate([[0.0], np.cumsum(weights)])
    wrong = np.concatenate([[0.0], np.cumsum(weights * errors)])
    if not counted[-1]:
        return np.full(len(shares), np.nan)
    first = np.searchsorted(counted, np.array(shares) * counted[-1] + ROUNDING, side="right") - 1
    return np.asarray((wrong[-1] - wrong[first]) / (counted[-1] - counted[first]))


def perfect(rate: float, shares: Sequence[float]) -> Scores:
    """Return the error rates (s,) of a score that sets all errors aside first; `rate` is that of all comparisons."""
    left = 1 - np.array(shares)
    return np.asarray((rate - np.array(shares)).clip(0) / left)


def gain(errors: Flags, weights: Scores) -> float:
    """Return how much of a perfect score's gain is reached, over `AREA`: 0 by chance, 1 at best, NaN without errors.

    Args:
        errors: (n,) in order of quality, the worst first.
        weights: (n,) how often each counts.
    """
    found = curve_in_order(errors, weights, AREA)
    best = found[0] - perfect(float(found[0]), AREA).mean()
    return float((found[0] - found.mean()) / best) if best > 0 else float("nan")
