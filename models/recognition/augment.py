"""The face that an intercom would have cut: fewer pixels, other light, the wire's damage, points a little off.

The teacher looks at the crop as it is. Everything is a function of the crop and a seeded generator.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from app.types import Array, Image
from app.vision.faces import TEMPLATE, align, assess
from models.detection.augment import blurred, coloured, darkened, h264, infrared, jpeg, noisy
from models.recognition.crops import MARGIN, SIDE

UNTOUCHED = 0.2  # share of the crops that come with the finder's points alone a little off
FEWEST, MOST = 0.45, 1.3  # of the crop's pixels per side are left: 16 to 46 between the eyes
TRIES = 4
POINTS_OFF = 1.6  # largest deviation of a point in pixels of the embedder's picture; the eyes lie 35 apart
EYES, MOUTH = slice(0, 2), slice(3, 5)


def seen(crop: Image, rng: Generator) -> Image:
    """Return the embedder's picture (112, 112, 3) of a crop (144, 144, 3), damaged at random.

    What the runtime's quality gate would refuse is drawn again: the embedder never sees it.
    """
    points = TEMPLATE + MARGIN + rng.standard_normal(TEMPLATE.shape).astype(np.float32) * rng.uniform(0, POINTS_OFF)
    if rng.random() >= UNTOUCHED:
        for _ in range(TRIES):
            scale = float(np.exp(rng.uniform(np.log(FEWEST), np.log(MOST))))
            face, usable = _damaged(crop, points, 2 * round(SIDE / 2 * scale), rng)
            if usable:
                return face
    return align(crop, points)


def _damaged(crop: Image, points: Array, side: int, rng: Generator) -> tuple[Image, bool]:
    """Return the embedder's picture of a crop that a camera saw `side` pixels wide, and whether the gate takes it."""
    for share, cover in COVERS:
        if rng.random() < share:
            crop = cover(crop, rng)
    image = np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    for share, damage in DAMAGES:
        if rng.random() < share:
            image = damage(image, rng)
    points = points * np.float32(side / SIDE)
    face = align(image, points)
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return face, assess(side, side, box, 1.0, points, face).usable


def masked(crop: Image, rng: Generator) -> Image:
    """Draw a cloth over nose and mouth."""
    points = TEMPLATE + MARGIN
    height, middle = rng.uniform(-12, 2), points[2]
    left, right, chin = middle[0] - rng.uniform(30, 38), middle[0] + rng.uniform(30, 38), points[MOUTH, 1].mean() + 30
    outline = [
        [left, middle[1] + height - 4],
        [middle[0], middle[1] + height],
        [right, middle[1] + height - 4],
        [right - 8, chin - 8],
        [middle[0], chin],
        [left + 8, chin - 8],
    ]
    return _filled(crop, np.array(outline), rng)


def shaded(crop: Image, rng: Generator) -> Image:
    """Draw dark glasses."""
    covered, size = crop.copy(), (round(rng.uniform(11, 15)), round(rng.uniform(8, 12)))
    colour = rng.integers(0, 60, 3).tolist()
    eyes = [tuple(np.rint(eye).astype(int).tolist()) for eye in (TEMPLATE + MARGIN)[EYES]]
    for eye in eyes:
        cv2.ellipse(covered, eye, size, 0, 0, 360, colour, cv2.FILLED, cv2.LINE_AA)
    cv2.line(covered, eyes[0], eyes[1], colour, 2, cv2.LINE_AA)
    return np.asarray(cv2.addWeighted(crop, (clear := rng.uniform(0, 0.5)), covered, 1 - clear, 0), np.uint8)


def _filled(crop: Image, outline: np.ndarray, rng: Generator) -> Image:
    filled, colour = crop.copy(), rng.integers(0, 256, 3)
    cv2.fillPoly(filled, [np.rint(outline).astype(np.int32)], colour.tolist(), cv2.LINE_AA)
    return filled


# Shares were set by hand, order as in `models.detection.augment`: the scene, the light, the lens, the sensor, the wire.
COVERS: tuple[tuple[float, Callable[[Image, Generator], Image]], ...] = ((0.05, masked), (0.05, shaded))
DAMAGES: tuple[tuple[float, Callable[[Image, Generator], Image]], ...] = (
    (0.5, coloured),
    (0.2, infrared),
    (0.12, darkened),
    (0.25, blurred),
    (0.15, noisy),
    (0.15, jpeg),
    (0.35, h264),
)
