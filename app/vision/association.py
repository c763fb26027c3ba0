"""Who goes with whom: faces with bodies of one frame, and bodies of one frame with those of the next. Pure geometry.

A missing face is a row of NaN, so that an array of faces has a row for every body.
"""

import numpy as np

from app.types import Array
from app.vision.boxes import areas, iou

SHOULDERS = 3.0  # face widths
REACHING_DOWN = 6.0  # face heights that a body reaches below its face
CROWN = 0.65  # face heights from the top of a body to the middle of its face
NARROWEST_FACE = 0.12  # of the body's width; a smaller face belongs to somebody farther away
HEAD_HOLDS = 0.7  # share of the face that must lie in the head region
SIZE_RATIO = 0.45  # smaller over greater size, as the root of the area, of one body in two sightings


def pair(affinity: Array) -> list[tuple[int, int]]:
    """Pair rows with columns one to one, the greatest affinity first; -inf forbids a pair, ties go to the first."""
    rows, columns = np.unravel_index(np.argsort(-affinity, axis=None, kind="stable"), affinity.shape)
    pairs: list[tuple[int, int]] = []
    free_rows, free_columns = set(range(affinity.shape[0])), set(range(affinity.shape[1]))
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if row in free_rows and column in free_columns and affinity[row, column] > -np.inf:
            pairs.append((row, column))
            free_rows.remove(row)
            free_columns.remove(column)
    return pairs


def distance_iou(a: Array, b: Array) -> Array:
    """Return IoU - d^2 / c^2 of boxes (n, 4) and (m, 4), shape (n, m), in -1..1.

    d is the distance of the centres and c the diagonal of the smallest box around both (Zheng et al., AAAI 2020).
    Unlike IoU it ranks boxes that do not touch, which is common at five frames a second.
    """
    low = np.minimum(a[:, None, :2], b[None, :, :2])
    high = np.maximum(a[:, None, 2:], b[None, :, 2:])
    diagonal = np.square(high - low).sum(axis=2)
    return np.asarray(iou(a, b) - np.square(_gaps(_middles(a), _middles(b))) / np.maximum(diagonal, 1e-9), np.float32)


def nearness(a: Array, b: Array) -> Array:
    """Return 1 - d / w of faces (n, 4) and (m, 4), at least -1; w is the width of the shoulders under a. NaN stays."""
    shoulders = SHOULDERS * np.maximum(a[:, 2] - a[:, 0], 1)
    return np.asarray((1 - _gaps(_middles(a), _middles(b)) / shoulders[:, None]).clip(-1, 1), np.float32)


def continuity(ahead: Array, faces_ahead: Array, found: Array, faces_found: Array, reach: Array) -> Array:
    """Say how well each sighting goes on where a track should be, (n, m) in -1..1; -inf where it cannot.

    The mean of the bodies' distance IoU and the faces' nearness where both have a face, else the former: of people who
    cross, the bodies overlap and the faces do not.

    Args:
        ahead: (n, 4) where the tracks' bodies should be.
        faces_ahead: (n, 4) where their faces should be.
        found: (m, 4) bodies of this frame.
        faces_found: (m, 4) their faces.
        reach: (n,) how far a body may be from where it should be, in mean widths of the two boxes.
    """
    width = (ahead[:, None, 2] - ahead[:, None, 0] + found[None, :, 2] - found[None, :, 0]) / 2
    sizes, other_sizes = np.sqrt(areas(ahead))[:, None], np.sqrt(areas(found))[None, :]
    possible = np.minimum(sizes, other_sizes) >= SIZE_RATIO * np.maximum(sizes, other_sizes)
    possible &= _gaps(crowns(ahead), crowns(found)) <= reach[:, None] * width
    bodies, faces = distance_iou(ahead, found), nearness(faces_ahead, faces_found)
    return np.where(possible, np.where(np.isnan(faces), bodies, (bodies + faces) / 2), -np.inf).astype(np.float32)


def sitting(faces: Array, bodies: Array, heads: Array) -> Array:
    """Say how well each face sits on each body, (n faces, m bodies) in 0..1; -inf where it cannot.

    1 / (1 + d / w), where d is how far the face is from where one of its size would be on the body and w the body's
    width.

    Args:
        faces: (n, 4).
        bodies: (m, 4).
        heads: (m, 4) where the face of each body is looked for.
    """
    low = np.maximum(faces[:, None, :2], heads[None, :, :2])
    high = np.minimum(faces[:, None, 2:], heads[None, :, 2:])
    width, height = (faces[:, 2:] - faces[:, :2]).T
    body_width = np.maximum(bodies[:, 2] - bodies[:, 0], 1)
    tops = _middles(faces) - np.stack([np.zeros_like(height), CROWN * height], axis=1)
    possible = (high - low).clip(0).prod(axis=2) >= HEAD_HOLDS * areas(faces)[:, None]
    possible &= width[:, None] >= NARROWEST_FACE * body_width[None, :]
    return np.where(possible, 1 / (1 + _gaps(tops, crowns(bodies)) / body_width), -np.inf).astype(np.float32)


def bodies_of(faces: Array, width: int, height: int) -> Array:
    """Guess the body box (n, 4) of each face from its size, clipped to the picture."""
    face_width, face_height = (faces[:, 2:] - faces[:, :2]).T
    x, y = _middles(faces).T
    half, top, bottom = SHOULDERS / 2 * face_width, y - CROWN * face_height, faces[:, 3] + REACHING_DOWN * face_height
    boxes = np.stack([x - half, top, x + half, bottom], axis=1)
    return boxes.clip(0, np.array([width, height, width, height])).astype(np.float32)


def crowns(boxes: Array) -> Array:
    """Return the middles (n, 2) of the upper edges: steadier than the centres, for furniture hides feet."""
    return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 1]], axis=1)


def _middles(boxes: Array) -> Array:
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2, np.float32)


def _gaps(a: Array, b: Array) -> Array:
    """Return the distances (n, m) of points (n, 2) and (m, 2)."""
    return np.asarray(np.linalg.norm(a[:, None] - b[None], axis=2), np.float32)
