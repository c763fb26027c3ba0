"""Where people count: polygons over a camera's picture.

What counts is the middle of a face and the middle of a body's box. The lower edge of a box would say better where
somebody stands, but a camera at a door cuts its visitors at the chest, and a zone is drawn around where they are seen,
not around the floor. One rule for both also lets one polygon keep a face together with its body.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from app.types import Array, Detections, Faces, Zones
from app.vision.motion import Cells, Motion, covered


class Allowed:
    """The zones of one camera; without any, everywhere is allowed."""

    def __init__(self, zones: Zones) -> None:
        self._polygons = [np.array(polygon, np.float32) for polygon in zones]
        self._cells: Cells = np.zeros((0, 0), bool)  # of the gate's map, once its shape is known

    def persons(self, found: Detections, width: int, height: int) -> Detections:
        """Return the persons in a zone."""
        kept = self._holds(found.boxes, width, height)
        return Detections(found.boxes[kept], found.scores[kept])

    def faces(self, found: Faces, width: int, height: int) -> Faces:
        """Return the faces in a zone."""
        kept = self._holds(found.boxes, width, height)
        return Faces(found.boxes[kept], found.scores[kept], found.landmarks[kept])

    def within(self, motion: Motion) -> Motion:
        """Return the motion inside the boxes around the zones.

        A person whose middle lies in a zone covers cells of its box, so nobody who counts is missed.
        """
        if not self._polygons:
            return motion
        shape = motion.active.shape
        if self._cells.shape != shape:
            self._cells = self._around(shape)
        return replace(motion, active=motion.active & self._cells)

    def _around(self, shape: tuple[int, ...]) -> Cells:
        cells = np.zeros(shape, bool)
        for polygon in self._polygons:
            cells[covered(np.concatenate([polygon.min(axis=0), polygon.max(axis=0)]), 1, 1, shape)] = True
        return cells

    def _holds(self, boxes: Array, width: int, height: int) -> NDArray[np.bool_]:
        """Return which boxes (n, 4) in pixels have their middle in a zone or on its edge, (n,)."""
        if not self._polygons:
            return np.ones(len(boxes), bool)
        middles = (boxes[:, :2] + boxes[:, 2:]) / np.array([2 * width, 2 * height], np.float32)
        return np.array([self._hold(x, y) for x, y in middles.tolist()], bool)

    def _hold(self, x: float, y: float) -> bool:
        return any(cv2.pointPolygonTest(polygon, (x, y), measureDist=False) >= 0 for polygon in self._polygons)
