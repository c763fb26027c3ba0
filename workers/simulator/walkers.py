"""Visitors for measurements: a head from a photograph on a drawn body walks up, waits and leaves, as a camera sees it.

Each visitor has a height, a distance, a light and a gait of his own. The lens is sharp near the camera and less so
farther away, and the shutter stays open long enough to smear whoever walks. All sizes follow the width of the face, so
that photographs of any cut give people of one size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.types import Array, Image
from workers.simulator.people import Cutout

COME, STAND, GO = 3.0, 2.5, 1.5  # seconds
SECONDS = COME + STAND + GO
FACE = (60.0, 100.0)  # pixels, width of the face where a visitor stands: .8 to .5 m before a 100 degree lens, 640 wide
FAR, LEAVING = 0.4, 0.7  # size where he appears and where he vanishes, of that
LIGHT = (0.6, 1.2)  # his brightness against the photograph's
BEYOND = 0.1  # of the picture's width: so far he goes on, to be out of sight in the last frame
SHUTTER = 0.04  # seconds: 1/25, what a small sensor takes indoors
FAR_BLUR = 1.2  # pixels, standard deviation, where he appears; sharp where he stands
SWAY, ROLL = 0.012, 3.0  # share of the picture's width, and degrees
BODY = 2.6  # widths of the face from shoulder to shoulder


@dataclass(frozen=True, slots=True)
class Walk:
    """How one visitor comes and goes."""

    face: float  # width of the face in pixels where he stands
    height: float  # of his face in the picture, share from above
    rightwards: bool
    light: float
    phase: float  # radians, of his sway
    coat: tuple[int, int, int]  # BGR


@dataclass(frozen=True, slots=True)
class Figure:
    """A whole visitor, ready to be put into a picture."""

    layer: Array  # (h, w, 4) BGR times alpha, alpha in 0..1
    face: Array  # (4,) box of the face in `layer`


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a visitor is at one moment."""

    x: float  # pixels, centre of the face
    y: float
    face: float  # pixels, width of the face
    roll: float  # degrees


def draw_walk(generator: np.random.Generator) -> Walk:
    """Draw what one visitor does."""
    blue, green, red = generator.integers(25, 190, 3).tolist()
    return Walk(
        face=float(generator.uniform(*FACE)),
        height=float(generator.uniform(0.34, 0.46)),
        rightwards=bool(generator.integers(2)),
        light=float(generator.uniform(*LIGHT)),
        phase=float(generator.uniform(0, 2 * np.pi)),
        coat=(blue, green, red),
    )


def figure(cutout: Cutout, coat: tuple[int, int, int]) -> Figure:
    """Put a head on a body in a plain coat; what the photograph cuts off above is rounded in the colour of its edge."""
    x1, y1, x2, y2 = cutout.face
    w, h = float(x2 - x1), float(y2 - y1)
    above, below, aside = int(0.35 * h), int(6.5 * h), int(BODY * w / 2)
    image = cv2.copyMakeBorder(cutout.image, above, below, aside, aside, cv2.BORDER_CONSTANT)
    head = cv2.copyMakeBorder(cutout.alpha, above, below, aside, aside, cv2.BORDER_CONSTANT)[..., None]
    centre = np.array([(x1 + x2) / 2 + aside, (y1 + y2) / 2 + above])
    layer = np.zeros((*head.shape[:2], 4), np.float32)
    crown = (int(centre[0]), int(centre[1] - 0.15 * h))
    cv2.ellipse(layer, crown, (int(0.5 * w), int(0.6 * h)), 0, 180, 360, (*_edge(cutout), 1.0), -1, cv2.LINE_AA)
    _draw_body(layer, centre, w, h, _neck(cutout), coat)
    layer = layer * (1 - head) + np.dstack([image, np.ones(head.shape, np.float32)]) * head
    return Figure(np.asarray(layer, np.float32), cutout.face + np.array([aside, above] * 2, np.float32))


def pose(walk: Walk, clock: float, width: int, height: int) -> Pose:
    """Return where a visitor is `clock` seconds after he began to appear, in a picture of this size."""
    came, went = np.clip(clock / COME, 0, 1), np.clip((clock - COME - STAND) / GO, 0, 1)
    size = np.interp(_smooth(came), [0, 1], [FAR, 1]) * np.interp(_smooth(went), [0, 1], [1, LEAVING])
    outside = BODY * walk.face / 2 / width  # beyond the edge, at the size of the middle
    path = 0.5 - (0.5 + FAR * outside) * (1 - came) ** 1.5 + (0.5 + BEYOND + LEAVING * outside) * went**1.5
    sway = SWAY * np.sin(2.1 * clock + walk.phase)
    bob = 0.01 * abs(np.sin(6.0 * clock + walk.phase)) * (1 if came < 1 or went > 0 else 0)
    return Pose(
        x=float((path if walk.rightwards else 1 - path) + sway * came * (1 - went)) * width,
        y=float(walk.height - 0.05 * (1 - _smooth(came)) + bob) * height,
        face=float(walk.face * size),
        roll=float(ROLL * np.sin(1.7 * clock + 2 * walk.phase)),
    )


def walking(visitor: Figure, scene: Image, walk: Walk, fps: float) -> Iterator[Image]:
    """Yield the frames of one visit of `SECONDS`."""
    visitor = _resized(visitor, walk.face)  # once: a large photograph need not be shrunk for every frame
    height, width = scene.shape[:2]
    for index in range(round(SECONDS * fps)):
        now, before = (pose(walk, index / fps - ago, width, height) for ago in (0, SHUTTER))
        blur = FAR_BLUR * (1 - now.face / walk.face) / (1 - FAR)
        placed = _smeared(_placed(visitor, now, width, height), now.x - before.x, now.y - before.y)
        if blur > 0:
            placed = np.asarray(cv2.GaussianBlur(placed, (0, 0), blur), np.float32)
        seen = scene * (1 - placed[..., 3:]) + placed[..., :3] * walk.light
        yield np.asarray(np.clip(seen, 0, 255), np.uint8)


def _placed(visitor: Figure, at: Pose, width: int, height: int) -> Array:
    """Return the visitor (height, width, 4) in an empty picture."""
    now = _resized(visitor, at.face)
    x1, y1, x2, y2 = now.face.tolist()
    centre = ((x1 + x2) / 2, (y1 + y2) / 2)
    move = cv2.getRotationMatrix2D(centre, at.roll, 1.0)
    move[:, 2] += np.array([at.x - centre[0], at.y - centre[1]], np.float64)
    return np.asarray(cv2.warpAffine(now.layer, move, (width, height)), np.float32)


def _resized(visitor: Figure, face: float) -> Figure:
    """Return the visitor with a face of this width in pixels."""
    scale = face / float(visitor.face[2] - visitor.face[0])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    layer = cv2.resize(visitor.layer, None, fx=scale, fy=scale, interpolation=method)
    limits = np.array([255, 255, 255, 1], np.float32)  # a cubic goes beyond them
    return Figure(np.asarray(np.clip(layer, 0, limits), np.float32), visitor.face * np.float32(scale))


def _smeared(layer: Array, right: float, down: float) -> Array:
    """Return what an open shutter sees of something that moved by so many pixels."""
    length = float(np.hypot(right, down))
    if length < 1:
        return layer
    reach = int(np.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    steps = np.linspace(-0.5, 0.5, 4 * reach + 1)
    np.add.at(kernel, (np.rint(reach + steps * down).astype(int), np.rint(reach + steps * right).astype(int)), 1)
    return np.asarray(cv2.filter2D(layer, -1, kernel / kernel.sum()), np.float32)


def _draw_body(
    layer: Array, centre: Array, w: float, h: float, skin: tuple[float, ...], coat: tuple[int, int, int]
) -> None:
    """Draw neck, shoulders and chest below a face of this size; colours are BGR."""
    x, y = centre
    neck = [(x - 0.3 * w, y), (x + 0.3 * w, y), (x + 0.35 * w, y + 0.8 * h), (x - 0.35 * w, y + 0.8 * h)]
    cv2.fillConvexPoly(layer, np.array(neck, np.int32), (*skin, 1.0), cv2.LINE_AA)
    half = BODY * w / 2
    outline = [(0.35, 0.62), (0.75, 0.72), (0.95, 0.9), (1.0, 1.3), (1.0, 6.5)]  # half widths and heights of the face
    right = [(x + across * half, y + down * h) for across, down in outline]
    left = [(x - across * half, y + down * h) for across, down in reversed(outline)]
    cv2.fillPoly(layer, [np.array(right + left, np.int32)], (*map(float, coat), 1.0), cv2.LINE_AA)


def _edge(cutout: Cutout) -> tuple[float, ...]:
    """Return the mean colour of the highest rows that belong to the person: mostly hair."""
    rows = np.flatnonzero((cutout.alpha > 0.5).any(axis=1))[:4]
    return _colour(cutout, rows)


def _neck(cutout: Cutout) -> tuple[float, ...]:
    """Return the mean colour of the lowest third of the face: mostly skin."""
    _, y1, _, y2 = cutout.face
    return _colour(cutout, np.arange(int(y2 - (y2 - y1) / 3), min(int(y2), len(cutout.alpha))))


def _colour(cutout: Cutout, rows: NDArray[np.int64]) -> tuple[float, ...]:
    weights = cutout.alpha[rows, :, None]
    mean = (cutout.image[rows] * weights).sum(axis=(0, 1)) / max(float(weights.sum()), 1e-6)
    return tuple(mean.tolist())


def _smooth(part: float) -> float:
    return part * part * (3 - 2 * part)
