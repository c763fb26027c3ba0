"""A refit of the product's quality score: its four factors with other weights, and the vector's length beside them.

The score of a face is ``c + sum a_k log f_k`` with no weight below 0, so it grows with everything that is good, as the
product's own does. It is fitted to the mean cosine of each face with the other photographs of its person.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models.evaluate.recognition_metrics import Scores

FACTORS = ("size", "sharpness", "pose", "certainty", "length")
LEAST = 0.01  # of a factor: a logarithm needs more than 0
Index = NDArray[np.int64]


def factors(parts: Scores, lengths: Scores) -> Scores:
    """Return the logarithms of `FACTORS` (n, 5): the product's four, see `assess`, and the length.

    Args:
        parts: (n, 4) eye distance in pixels, sharpness, yaw, score of the finder.
        lengths: (n,) of the vectors before they were normalised.
    """
    eyes, sharpness, yaw, score = parts.T
    found = np.stack(
        [
            1 - (5.5 / np.maximum(eyes, 5.5)) ** 2,
            sharpness / (sharpness + 3),
            1 - yaw**2 / 2,
            ((score - 0.6) / 0.35).clip(0, 1),
            lengths / 100,
        ],
        axis=1,
    )
    return np.asarray(np.log(found.clip(LEAST)))


def weights(logs: Scores, targets: Scores) -> Scores:
    """Return the constant and the weights (1 + k,) with the least squared error of which no weight is below 0.

    Every choice of factors is tried, for there are few.

    Args:
        logs: (n, k) of the factors.
        targets: (n,).
    """
    best, least = np.zeros(logs.shape[1] + 1), np.inf
    for size in range(logs.shape[1] + 1):
        for chosen in combinations(range(logs.shape[1]), size):
            table = np.column_stack([np.ones(len(logs)), logs[:, list(chosen)]])
            found = np.linalg.lstsq(table, targets, rcond=None)[0]
            error = float(np.square(table @ found - targets).sum())
            if (found[1:] >= 0).all() and error < least:
                best, least = np.zeros(logs.shape[1] + 1), error
                best[[0, *(place + 1 for place in chosen)]] = found
    return best


def mean_cosines(rows: Index, cosines: Scores, faces: int) -> Scores:
    """Return the mean cosine (faces,) of the comparisons (n,) of each face, NaN where there are none."""
    sums, counts = (np.bincount(rows, values, faces) for values in (cosines, np.ones(len(rows))))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def judged_by_others(logs: Scores, targets: Scores, halves: NDArray[np.bool_]) -> tuple[Scores, list[Scores]]:
    """Return for each face (n,) what the fit to the other half's faces says, and the weights of both fits.

    Args:
        logs: (n, k) of the factors.
        targets: (n,) NaN where nothing is known.
        halves: (n,) whether the face's person is of the second half.
    """
    said, fits = np.zeros(len(logs)), []
    for half in (False, True):
        learnt = (halves != half) & ~np.isnan(targets)
        found = weights(logs[learnt], targets[learnt])
        said[halves == half] = found[0] + logs[halves == half] @ found[1:]
        fits.append(found)
    return said, fits
