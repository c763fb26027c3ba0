"""How good predicted times are, and how good they can be: the same figures of a net timed twice.

p are predicted, y measured milliseconds, (n,) each and above 0. R2 flatters where times span orders of magnitude, so
the relative figures stand beside it, and each of them by tenths of the nets from the fastest to the slowest.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]

TOLERANCE = 0.1  # as BRP-NAS counts a prediction as right
TENTHS = 10


def within(predicted: Times, measured: Times, tolerance: float = TOLERANCE) -> float:
    """Return the share of |p - y| <= tolerance y, 0 to 1."""
    return float(np.mean(np.abs(predicted - measured) <= tolerance * measured))


def r2(predicted: Times, measured: Times) -> float:
    """Return 1 - sum (p - y)^2 / sum (y - mean y)^2, at most 1; undefined (nan) where all y are equal."""
    spread = float(np.sum((measured - measured.mean()) ** 2))
    return 1 - float(np.sum((predicted - measured) ** 2)) / spread if spread else float("nan")


def mape(predicted: Times, measured: Times) -> float:
    """Return the mean of |p - y| / y, 0 and more."""
    return float(np.mean(np.abs(predicted - measured) / measured))


def scores(predicted: Times, measured: Times) -> dict[str, Any]:
    """Return the three figures, and the relative ones by tenths of the nets, the fastest first."""
    return {
        "nets": len(measured),
        "within_10_percent": within(predicted, measured),
        "r2": r2(predicted, measured),
        "mape": mape(predicted, measured),
        "tenths": _tenths(predicted, measured),
    }


def ceiling(runs: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """Return the scores of each run as the prediction of the next one: what no predictor can beat; None for one run.

    Args:
        runs: a net's times, the least of each run; all nets have equally many.
    """
    times = np.array(runs, np.float64)
    if times.shape[1] < 2:
        return None
    return scores(times[:, :-1].ravel(), times[:, 1:].ravel())


def _tenths(predicted: Times, measured: Times) -> list[dict[str, float]]:
    groups = np.array_split(np.argsort(measured, kind="stable"), min(TENTHS, len(measured)))
    return [
        {
            "up_to_ms": float(measured[group].max()),
            "within_10_percent": within(predicted[group], measured[group]),
            "mape": mape(predicted[group], measured[group]),
        }
        for group in groups
    ]
