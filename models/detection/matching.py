"""Which prior answers for which truth, and the codes in which it does. Pure functions on arrays.

Matching and codes: Liu et al. 2016 (SSD, section 2.2); points: Deng et al. 2020 (RetinaFace), coded like centres.
Boxes and points are in shares of the picture; n truths, p priors.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.types import Array
from app.vision.boxes import iou, shares_inside
from models.detection.priors import VARIANCES

POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1
HIDDEN = 0.5  # share of a prior inside an ignored region from which nothing is known of it


@dataclass(frozen=True, slots=True)
class Targets:
    """What the priors of one class should say of one picture."""

    labels: NDArray[np.int8]  # (p,) POSITIVE, NEGATIVE or UNKNOWN
    codes: Array  # (p, 4) ty tx th tw; 0 where there is no truth
    points: Array  # (p, 10) x y of five points; NaN where unknown


def corners(priors: Array) -> Array:
    """Return boxes ``cx cy w h`` (p, 4) as ``x1 y1 x2 y2``."""
    return np.concatenate([priors[:, :2] - priors[:, 2:] / 2, priors[:, :2] + priors[:, 2:] / 2], axis=1)


def match(boxes: Array, priors: Array, threshold: float) -> NDArray[np.int64]:
    """Return for each prior (p, 4) its truth's row in `boxes` (n, 4), -1 for none; all as ``x1 y1 x2 y2``.

    A prior takes the truth it overlaps with most if the IoU reaches `threshold`. Then each truth claims the prior that
    overlaps with it most, however little; of two truths that claim the same one the later wins.
    """
    if not len(boxes):
        return np.full(len(priors), -1, np.int64)
    overlaps = iou(boxes, priors)
    rows = np.where(overlaps.max(axis=0) >= threshold, overlaps.argmax(axis=0), -1)
    rows[overlaps.argmax(axis=1)] = np.arange(len(boxes))
    return rows


def encode(boxes: Array, priors: Array) -> Array:
    """Return the codes (p, 4) ``ty tx th tw`` of boxes ``x1 y1 x2 y2`` against priors ``cx cy w h``, row by row.

    t = v (centre - prior's centre) / prior's size and v ln(size / prior's size), with the variances v 10 10 5 5:
    the inverse of `app.vision.boxes.decode`.
    """
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    shift = (centres - priors[:, :2]) / priors[:, 2:]
    growth = np.log(sizes / priors[:, 2:])
    return np.asarray(np.concatenate([shift[:, ::-1], growth[:, ::-1]], axis=1) * VARIANCES, np.float32)


def encode_points(points: Array, priors: Array) -> Array:
    """Return the codes (p, 10) ``x y x y ...`` of points (p, 5, 2): v (point - prior's centre) / prior's size."""
    codes = (points - priors[:, None, :2]) / priors[:, None, 2:] * VARIANCES[0]
    return np.asarray(codes.reshape(len(points), 2 * points.shape[1]), np.float32)


def decode_points(codes: Array, priors: Array) -> Array:
    """Return points (p, 5, 2) in shares of the picture: the inverse of `encode_points`."""
    points = (
        codes.reshape(len(codes), codes.shape[1] // 2, 2) / VARIANCES[0] * priors[:, None, 2:] + priors[:, None, :2]
    )
    return np.asarray(points, np.float32)


def targets(boxes: Array, points: Array, ignored: Array, priors: Array, threshold: float, labelled: bool) -> Targets:
    """Return what priors ``cx cy w h`` (p, 4) should say.

    Args:
        boxes: (n, 4) truths of one class, ``x1 y1 x2 y2``.
        points: (n, 5, 2) theirs, NaN where unknown.
        ignored: (m, 4) regions in which nothing is known.
        priors: (p, 4).
        threshold: IoU from which a prior answers for a truth.
        labelled: whether all objects of the class are marked; if not, no prior is said to be wrong.
    """
    outlines = corners(priors)
    rows = match(boxes, outlines, threshold)
    labels = np.where(rows >= 0, POSITIVE, NEGATIVE if labelled else UNKNOWN).astype(np.int8)
    hidden = (shares_inside(outlines, ignored) >= HIDDEN).any(axis=1)
    labels[(labels == NEGATIVE) & hidden] = UNKNOWN
    codes, codes_of_points = np.zeros((len(priors), 4), np.float32), np.full((len(priors), 10), np.nan, np.float32)
    found = np.flatnonzero(rows >= 0)
    codes[found] = encode(boxes[rows[found]], priors[found])
    codes_of_points[found] = encode_points(points[rows[found]], priors[found])
    return Targets(labels, codes, codes_of_points)
