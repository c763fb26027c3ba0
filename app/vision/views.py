"""How a camera's view is known again: by where its edges run and how fine they are, whatever the light.

A picture is cut into blocks. In each block the directions of the edges are compared with those that were learned (the
angle doubled, so that an edge counts the same when dark and bright change sides, as in infrared). Gain, exposure, a
lamp or the change to infrared leave most directions as they are; a hand, a turned camera or another place do not.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from app.types import Array

SIDE, HALF = 150, 75  # pixels of the pictures in which fine detail and edges are measured
BLOCKS = 5  # a side
SOFT_GRADIENT = 3.0  # grey levels per pixel at which an edge counts half: sensor noise of an averaged picture has .3
SMOOTHING = 3  # pixels over which edges are averaged, so that a camera may be nudged by 2 % of the picture's width
LEAST_STRUCTURE = 0.015  # mean squared edge strength from which a block has something to be known by
LEAST_BLOCKS = 6  # of the 25; with fewer a view cannot be known again
ALIKE = 0.45  # correlation of a block's directions: other views have 0 +- .3, another light .9, infrared .8 (medians)
FINENESS = 0.35  # of what a block had: a Gaussian blur of 2 pixels in 640 leaves .3, of 3 pixels .15
CONTRAST = 2.0  # factor of the picture's contrast up to which fineness is compared


@dataclass(frozen=True, slots=True)
class Look:
    """What one averaged picture shows. Maps of blocks are (5, 5)."""

    edges: Array  # (2, 75, 75) cosine and sine of the doubled angle, times the edge's strength in 0..1
    structure: Array  # mean squared strength of each block
    fine: Array  # mean squared Laplacian of each block, at 150 x 150
    coarse: Array  # mean squared gradient of each block, at 75 x 75
    level: float  # mean grey, 0..255
    contrast: float  # standard deviation of grey

    @staticmethod
    def at(mean: Array, newest: Array) -> "Look":
        """Measure edges in the mean of some grey pictures, (75, 75), and fine detail in the newest of them, (150, 150).

        A camera that shakes in the wind has a mean without fine detail, though it is in focus.
        """
        laplacian = cv2.Laplacian(newest, cv2.CV_32F)
        right = cv2.Sobel(mean, cv2.CV_32F, 1, 0, scale=1 / 8)
        down = cv2.Sobel(mean, cv2.CV_32F, 0, 1, scale=1 / 8)
        across, along = right * right, down * down
        squared = across + along
        soft = squared + np.float32(SOFT_GRADIENT**2)
        edges = np.empty((2, HALF, HALF), np.float32)
        cv2.blur((across - along) / soft, (SMOOTHING, SMOOTHING), edges[0])
        cv2.blur(2 * right * down / soft, (SMOOTHING, SMOOTHING), edges[1])
        level, contrast = cv2.meanStdDev(mean)
        return Look(
            edges,
            _energy(edges),
            block_means(laplacian * laplacian),
            block_means(squared),
            float(level[0, 0]),
            float(contrast[0, 0]),
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """How a look differs from a view, as shares of the view's blocks that have structure."""

    lost: float  # whose edges are others, or none
    soft: float  # whose edges are the same, but without their fine detail
    dull: float  # without fine detail, whatever the edges
    left: float  # structure in all these blocks, of what was learned; may exceed 1


class View:
    """A view that is being learned: running means of looks."""

    def __init__(self) -> None:
        self.seconds = 0.0  # of learning
        self._looks = 0
        self._edges = np.zeros((2, HALF, HALF), np.float32)
        self._fine = np.zeros((BLOCKS, BLOCKS), np.float32)
        self._coarse = np.zeros((BLOCKS, BLOCKS), np.float32)
        self._contrast = 0.0

    def learn(self, look: Look, step: float, memory: float) -> None:
        """Take a look in, `step` seconds after the last; what is `memory` seconds old weighs 1 / e."""
        self._looks += 1
        self.seconds += step
        rate = np.float32(max(1 - np.exp(-step / memory), 1 / self._looks))
        self._edges += (look.edges - self._edges) * rate
        self._fine += (look.fine - self._fine) * rate
        self._coarse += (look.coarse - self._coarse) * rate
        self._contrast += (look.contrast - self._contrast) * float(rate)

    def difference(self, look: Look) -> Difference | None:
        """Compare; None while the view has too little structure to be known by: a dark room, a bare wall."""
        structure = _energy(self._edges)
        known = structure > LEAST_STRUCTURE
        if known.sum() < LEAST_BLOCKS:
            return None
        products = block_means(self._edges[0] * look.edges[0] + self._edges[1] * look.edges[1])
        alike = products > np.float32(ALIKE) * np.sqrt(structure * look.structure)
        fineness = (look.fine / (look.coarse + 1)) / np.maximum(self._fine / (self._coarse + 1), 1e-6)
        like_contrast = 1 / CONTRAST < look.contrast / max(self._contrast, 1e-6) < CONTRAST
        dull = (fineness < FINENESS) & like_contrast
        left = float(look.structure[known].sum() / structure[known].sum())
        lost, soft = (~alike)[known].mean(), (alike & dull)[known].mean()
        return Difference(float(lost), float(soft), float(dull[known].mean()), left)


def block_means(values: Array) -> Array:
    """Return the mean of each block, (5, 5), of a map (75, 75) or (150, 150)."""
    return np.asarray(cv2.resize(values, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA), np.float32)


def _energy(edges: Array) -> Array:
    return block_means(edges[0] * edges[0] + edges[1] * edges[1])
