"""Where a picture differs from its background: the gate's answer, and what can be asked of it.

The map is a grid of cells laid over the picture. Each cell has a distance in 0..1 from the background and is active
or not; what the gate's rule is does not matter here.
"""

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from app.types import Array, Detections
from app.vision.boxes import iou

LEAST_NORM = 1e-6  # a feature vector shorter than this has no direction
LARGEST_FEATURE = 1e6  # features are some tens; the squares of much larger ones would overflow
FOLLOWED_IOU = 0.3  # a box that overlaps so much with a track's belongs to it
LEAST_SHARE = 0.25  # of a person's cells are active when a visitor comes; a passer-by wakes fewer of a poster's

Cells = NDArray[np.bool_]


class Why(StrEnum):
    """Why a gate is open."""

    WARMING_UP = "warming_up"  # the background is not known yet
    MOTION = "motion"  # something differs from the background
    FOLLOWED = "followed"  # nothing differs, but somebody is followed
    BROKEN = "broken"  # the features are no sound numbers
    OFF = "off"  # there is no gate


@dataclass(frozen=True, slots=True)
class Motion:
    """What the gate found in one frame."""

    active: Cells  # (h, w) cells that differ from the background
    distance: Array  # (h, w) in 0..1
    open: bool  # False: the frame may exit here
    least_share: float = LEAST_SHARE  # of its cells must be active for a box to count as moving,
    least_mean: float = 0.0  # and its mean distance must reach this
    why: Why | None = None  # it is open; None where it is not
    strength: float = 0.0  # of the clearest cell, as a multiple of what opens the gate

    def regions(self, width: int, height: int) -> Array:
        """Return a box (n, 4) in pixels around each connected active area, grown by one cell.

        Cells that touch at a corner are connected.
        """
        _, _, stats, _ = cv2.connectedComponentsWithStats(self.active.astype(np.uint8), connectivity=8)
        x, y, w, h = stats[1:, :4].T.astype(np.float32)  # row 0 is everything that is not active
        rows, columns = self.active.shape
        grown = np.stack([x - 1, y - 1, x + w + 1, y + h + 1], axis=1)
        scale = np.array([width / columns, height / rows] * 2, np.float32)
        limits = np.array([width, height] * 2, np.float32)
        return np.asarray(np.clip(grown * scale, 0, limits), np.float32)

    def share(self, boxes: Array, width: int, height: int) -> Array:
        """Return for each box (n, 4) in pixels the share (n,) of the cells it covers that are active."""
        return _means(self.active.astype(np.float32), boxes, width, height)

    def mean(self, boxes: Array, width: int, height: int) -> Array:
        """Return for each box (n, 4) in pixels the mean distance (n,) of the cells it covers."""
        return _means(self.distance, boxes, width, height)


def everywhere(shape: tuple[int, ...], why: Why) -> Motion:
    """Return motion in every cell of a map: the answer when there is nothing to compare with."""
    return Motion(np.ones(shape, bool), np.ones(shape, np.float32), open=True, why=why, strength=1.0)


def sound(features: Array) -> bool:
    """Whether features can be compared: none is infinite, not a number, or so large that its square may overflow."""
    return bool(np.abs(features).max() < LARGEST_FEATURE)


def cosine_distance(features: Array, backgrounds: Array) -> Array:
    """Return 1 - max(0, cosine) per cell, in 0..1, of a map (C, h, w) and one (C, h, w) or several (..., C, h, w).

    The answer is (h, w) or (..., h, w); several at once take little more time than one. Negative cosines count as 1. A
    gain does not change it: the distance of cF and B is that of F and B for c > 0. Two vectors without a length are the
    same (0), one alone is utterly different (1).
    """
    products = np.einsum("chw,...chw->...hw", features, backgrounds)
    first = np.sqrt(np.einsum("chw,chw->hw", features, features))
    second = np.sqrt(np.einsum("...chw,...chw->...hw", backgrounds, backgrounds))
    cosine = products / np.maximum(first * second, LEAST_NORM**2)
    distance = 1 - np.minimum(np.maximum(cosine, 0), 1)  # np.clip takes four times as long
    distance[(first < LEAST_NORM) & (second < LEAST_NORM)] = 0
    return np.asarray(distance, np.float32)


def covered(box: Array, width: int, height: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a map of `shape` that a box (4,) in pixels touches; at least one cell.

    Coordinates outside the picture are clipped first.
    """
    rows, columns = shape
    x1, y1, x2, y2 = np.clip(np.asarray(box, np.float64) / [width, height, width, height], 0, 1)
    return _span(y1, y2, rows), _span(x1, x2, columns)


def _span(low: float, high: float, cells: int) -> slice:
    first = min(int(np.floor(low * cells)), cells - 1)
    return slice(first, max(int(np.ceil(high * cells)), first + 1))


def _means(values: Array, boxes: Array, width: int, height: int) -> Array:
    """Return the mean (n,) of a map's values over the cells of each box."""
    return np.array([values[covered(box, width, height, values.shape)].mean() for box in boxes], np.float32)


def moving(detections: Detections, motion: Motion, tracked: Array, width: int, height: int) -> Detections:
    """Drop what the net takes for a person but never moved: posters, coats, statues.

    A box stays when enough of its cells are active and its mean distance is high enough for the rule, or when it
    belongs to a live track, whose boxes (m, 4) are `tracked`: who has walked up to the door may stand still.
    """
    boxes = detections.boxes
    shares, means = motion.share(boxes, width, height), motion.mean(boxes, width, height)
    moved = (shares >= motion.least_share) & (means >= motion.least_mean)
    followed = (iou(boxes, tracked) >= FOLLOWED_IOU).any(axis=1)
    kept = moved | followed
    return Detections(boxes[kept], detections.scores[kept])
