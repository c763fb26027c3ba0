"""Regions: which parts of a picture are searched for faces, and how finely."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.types import Array
from app.vision.boxes import areas

LONGEST = 320  # pixels; a face that fills a person box is found as surely as at 640
KEPT_SCALE = 0.8  # regions become one only if none is searched more coarsely than at this share of its own scale
ENLARGED = 1.5  # a small region is enlarged by this: points of faces with 10 to 16 px between the eyes err a third less
HEAD_WIDTHS = 1.3  # a head region is as deep as this many widths of the person box ...
HEAD_SHARE = 0.35  # ... or this share of its height, whichever is more
HEAD_ASIDE = 0.15  # it goes beyond the box by this share of its width on either side
HEAD_ABOVE = 0.15  # and by this share of its own depth above


def head_regions(boxes: Array, width: int, height: int) -> Array:
    """Return where the face of each person box (n, 4) is looked for, clipped to the picture.

    A head is a third as wide as the shoulders, so a region as deep as the box is wide holds it also when it is bowed
    or the box was drawn too tightly. Of somebody close, whom the picture cuts at the chest, that is nearly all.
    """
    box_width, box_height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    depth = np.minimum(np.maximum(HEAD_WIDTHS * box_width, HEAD_SHARE * box_height), box_height)
    aside, above = HEAD_ASIDE * box_width, HEAD_ABOVE * depth
    regions = np.stack([boxes[:, 0] - aside, boxes[:, 1] - above, boxes[:, 2] + aside, boxes[:, 1] + depth], axis=1)
    return clipped(regions, width, height)


def merge(regions: Array, width: int, height: int) -> NDArray[np.int64]:
    """Return whole-pixel regions (m, 4) inside the picture that cover `regions` (n, 4); empty ones go.

    Two become one when that is no more to search than both, and about as finely: a head in a picture that is searched
    as a whole, because a lamp was switched on, would be too small to be found from 720 lines on.
    """
    outer = clipped(np.concatenate([np.floor(regions[:, :2]), np.ceil(regions[:, 2:])], axis=1), width, height)
    merged: list[Array] = []
    for region in outer[areas(outer) > 0]:
        joined = region
        while (partner := _partner(joined, merged)) is not None:
            joined = _around(joined, merged.pop(partner))
        merged.append(joined)
    return np.array(merged, np.int64).reshape(-1, 4)


def scale_of(width: float, height: float) -> float:
    """Return by what a region of this size in pixels is scaled to be searched."""
    return min(LONGEST / max(width, height), ENLARGED)


def clipped(boxes: Array, width: int, height: int) -> Array:
    """Return boxes (n, 4) without what lies outside of a picture of this size in pixels."""
    return np.asarray(boxes.clip(0, np.array([width, height, width, height])), np.float32)


def _partner(region: Array, others: Sequence[Array]) -> int | None:
    """Return which of `others` is searched at no more cost, and about as finely, together with `region`."""
    for index, other in enumerate(others):
        around = _around(region, other)
        one, two, both = areas(np.stack([region, other, around]))
        if both <= one + two and _fineness(around) >= KEPT_SCALE * max(_fineness(region), _fineness(other)):
            return index
    return None


def _fineness(region: Array) -> float:
    """Return the scale of a region (4,); enlarging is not missed, for it only makes points better."""
    return min(scale_of(region[2] - region[0], region[3] - region[1]), 1.0)


def _around(a: Array, b: Array) -> Array:
    return np.concatenate([np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])])
