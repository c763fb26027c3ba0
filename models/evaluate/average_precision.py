"""Finds against truth: which of them are hits, and how well their scores put hits first.

Pure functions on arrays; the evaluations of nets and of gating rules share them.
"""

import numpy as np
from numpy.typing import NDArray

from app.types import Array
from app.vision.boxes import iou, shares_inside

OVERLAP = 0.5  # IoU from which a find is a hit; also the share of a find inside an ignored box that takes it out
LEVELS = 100  # recall is read at 0, 1/100, ... 1


def match(finds: Array, scores: Array, truths: Array, ignored: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say of the finds in one picture which are hits and which count at all.

    The finds are taken by falling score; equal ones keep their order. Each takes the truth that overlaps with it most
    (IoU of at least .5) among those that no better find has taken. One that gets none counts as a mistake, unless half
    of it lies in an ignored box (Lin et al. 2014, COCO; an ignored box takes any number of finds, as crowds do there).

    Args:
        finds: (n, 4) boxes.
        scores: (n,) of the finds.
        truths: (t, 4) boxes to be found.
        ignored: (m, 4) boxes where finds are neither right nor wrong.

    Returns:
        (n,) hit and (n,) counted, in the order of `finds`. Whatever is a hit counts.
    """
    hits = np.zeros(len(finds), bool)
    overlaps = iou(finds, truths)
    free = np.ones(len(truths), bool)
    for row in np.argsort(-scores, kind="stable"):
        candidates = np.flatnonzero(free & (overlaps[row] >= OVERLAP))
        if len(candidates):
            free[candidates[overlaps[row, candidates].argmax()]] = False
            hits[row] = True
    return hits, hits | ~(shares_inside(finds, ignored) >= OVERLAP).any(axis=1)


def average_precision(scores: Array, hits: NDArray[np.bool_], truths: int) -> float:
    """Return the mean over recalls 0, .01, ... 1 of the best precision at that recall or beyond; NaN without truths.

    With precision p and recall r behind each find by falling score, the mean of max p(r') over r' >= r, 0 where no
    such r' is reached (Lin et al. 2014, COCO).

    Args:
        scores: (n,) of the counted finds of all pictures.
        hits: (n,) which of them are hits.
        truths: how many truths there are, found or not.
    """
    if not truths:
        return float("nan")
    right = np.cumsum(hits[np.argsort(-scores, kind="stable")])
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    # whole numbers, because .29 as a quotient may lie on either side of .29 as a level
    reached = np.searchsorted(right * LEVELS, np.arange(LEVELS + 1) * truths)
    return float(np.append(envelope, 0.0)[reached].mean())


def recall_precision(scores: Array, hits: NDArray[np.bool_], truths: int, threshold: float) -> tuple[float, float]:
    """Return recall and precision of the finds with a score of at least `threshold`.

    Recall is NaN without truths, precision is NaN without finds.
    """
    kept = hits[scores >= threshold]
    recall = float(kept.sum()) / truths if truths else float("nan")
    return recall, float(kept.mean()) if len(kept) else float("nan")
