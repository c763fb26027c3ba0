"""Boxes: overlap, suppression, the anchors of an SSD and the decoding of its outputs. Pure functions on arrays.

A box is ``x1 y1 x2 y2``; its unit (pixels or shares of the picture) is the caller's, and no box at all is an
ordinary input.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.types import Array


def iou(a: Array, b: Array) -> Array:
    """Return the overlap (n, m) in 0..1 of boxes (n, 4) with boxes (m, 4): intersection over union.

    A box without an area overlaps with nothing.
    """
    shared = _shared(a, b)
    union = areas(a)[:, None] + areas(b)[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), np.float32)


def shares_inside(inner: Array, outer: Array) -> Array:
    """Return which share (n, m) in 0..1 of each box of `inner` (n, 4) lies in each of `outer` (m, 4).

    A box without an area lies in nothing.
    """
    shared, whole = _shared(inner, outer), areas(inner)[:, None]
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0), np.float32)


def areas(boxes: Array) -> Array:
    """Return the areas (n,) of boxes (n, 4); 0 for boxes turned inside out."""
    return np.asarray(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1), np.float32)


def _shared(a: Array, b: Array) -> Array:
    """Return the area (n, m) that boxes (n, 4) have in common with boxes (m, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.asarray(np.prod(np.clip(high - low, 0, None), axis=2))


def nms(boxes: Array, scores: Array, threshold: float) -> NDArray[np.int64]:
    """Return the rows that survive greedy non-maximum suppression, best first; equal scores keep their order.

    A box goes when its IoU with a better one that stays is greater than `threshold`.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[iou(boxes[best : best + 1], boxes[order])[0] <= threshold]
    return np.array(kept, np.int64)


def anchors(
    grids: Sequence[int | Sequence[int]], scales: Sequence[Sequence[float]], ratios: Sequence[Sequence[float]]
) -> Array:
    """Return the anchors (n, 4) of an SSD as ``cx cy w h`` in shares of the picture, not clipped to it.

    Level k has ``grids[k]`` rows and columns of cells (one number for a square) with one box per entry of ``scales[k]``
    and ``ratios[k]``:
    w = s sqrt(r), h = s / sqrt(r), at the cell's centre. Rows go first, then columns, then the boxes of a cell
    (Liu et al. 2016, SSD, section 2.2; order of the TensorFlow detection library).
    """
    return np.concatenate([_level(*level) for level in zip(grids, scales, ratios, strict=True)])


def _level(grid: int | Sequence[int], scales: Sequence[float], ratios: Sequence[float]) -> Array:
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    scale, root = np.array(scales), np.sqrt(np.array(ratios))
    shapes = np.stack([scale * root, scale / root], axis=1)
    y, x = np.divmod(np.arange(rows * columns), columns)
    centres = (np.stack([x, y], axis=1) + 0.5) / [columns, rows]
    cells = np.repeat(centres, len(shapes), axis=0)
    return np.concatenate([cells, np.tile(shapes, (rows * columns, 1))], axis=1).astype(np.float32)


def decode(codes: Array, anchors: Array, variances: Sequence[float]) -> Array:
    """Return boxes (n, 4) in shares of the picture from codes (n, 4) ``ty tx th tw`` and anchors ``cx cy w h``.

    Centre = t / v * anchor's size + anchor's centre, size = exp(t / v) * anchor's size, with the variances v in the
    order of the codes, usually 10 10 5 5 (Liu et al. 2016, equation 2).
    """
    ty, tx, th, tw = (codes / np.asarray(variances, np.float32)).T
    cx, cy, w, h = anchors.T
    x, y = tx * w + cx, ty * h + cy
    half_w, half_h = np.exp(tw) * w / 2, np.exp(th) * h / 2
    return np.asarray(np.stack([x - half_w, y - half_h, x + half_w, y + half_h], axis=1), np.float32)


def to_pixels(boxes: Array, width: int, height: int) -> Array:
    """Return boxes (n, 4) given in shares of a picture in its pixels, clipped to it."""
    return np.clip(boxes, 0, 1) * np.array([width, height, width, height], np.float32)
