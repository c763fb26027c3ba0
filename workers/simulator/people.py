"""People who walk up to a virtual door: a portrait, cut out of its background, moves and grows before a drawn hallway.

The demo, the tests and the benchmarks need faces that come near under sensor noise; a still photograph held before
the camera would neither move like a person nor leave the picture again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from app.types import Array, Image

NOISE = 3.0  # grey levels, standard deviation: what a camera of this size shows indoors


@dataclass(frozen=True, slots=True)
class Cutout:
    """Head and shoulders of one person."""

    image: Image  # (h, w, 3)
    alpha: Array  # (h, w) in 0..1
    face: Array  # (4,) box of the face in `image`, x1 y1 x2 y2


def cut_out(portrait: Image, face: Array) -> Cutout:
    """Cut head and shoulders out of a portrait.

    Args:
        portrait: BGR (H, W, 3).
        face: box of the face, x1 y1 x2 y2 in pixels.
    """
    height, width = portrait.shape[:2]
    x1, y1, x2, y2 = face
    w, h = x2 - x1, y2 - y1
    left, right = int(max(x1 - 1.1 * w, 0)), int(min(x2 + 1.1 * w, width))
    top, bottom = int(max(y1 - 0.6 * h, 0)), int(min(y2 + 1.4 * h, height))
    part = np.ascontiguousarray(portrait[top:bottom, left:right])
    mask = np.full(part.shape[:2], cv2.GC_PR_BGD, np.uint8)
    centre = (int((x1 + x2) / 2) - left, int((y1 + y2) / 2) - top)
    cv2.ellipse(mask, centre, (int(0.75 * w), int(0.75 * h)), 0, 0, 360, cv2.GC_PR_FGD, -1)
    shoulders = (int(centre[0] - 1.1 * w), centre[1] + int(0.8 * h), int(2.2 * w), part.shape[0])
    cv2.rectangle(mask, shoulders, cv2.GC_PR_FGD, -1)
    cv2.ellipse(mask, centre, (int(0.45 * w), int(0.5 * h)), 0, 0, 360, cv2.GC_FGD, -1)
    mask[:, :2] = mask[:, -2:] = mask[:2] = cv2.GC_BGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(part, mask, (0, 0, 0, 0), models[0], models[1], 5, cv2.GC_INIT_WITH_MASK)
    solid = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    closed = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    alpha = cv2.GaussianBlur(closed.astype(np.float32), (0, 0), 1.5)
    corner = np.array([left, top] * 2, np.float32)
    return Cutout(part, np.asarray(alpha, np.float32), face - corner)


def hallway(width: int, height: int) -> Image:
    """Draw the empty scene: wall, floor, a door and a lamp's light, BGR (height, width, 3)."""
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    wall = (1 - rows) * np.array([176, 190, 196], np.float32) + rows * np.array([120, 138, 150], np.float32)
    scene = np.repeat(wall, width, axis=1)
    floor = int(height * 0.82)
    cv2.rectangle(scene, (0, floor), (width, height), (82, 92, 104), -1)
    cv2.rectangle(scene, (int(width * 0.62), int(height * 0.16)), (int(width * 0.86), floor), (62, 84, 112), -1)
    cv2.rectangle(scene, (int(width * 0.64), int(height * 0.19)), (int(width * 0.84), floor), (78, 104, 138), -1)
    cv2.circle(scene, (int(width * 0.66), int(height * 0.54)), max(height // 90, 2), (150, 190, 205), -1)
    cv2.rectangle(
        scene, (int(width * 0.08), int(height * 0.22)), (int(width * 0.3), int(height * 0.48)), (70, 70, 66), 4
    )
    cv2.rectangle(
        scene, (int(width * 0.1), int(height * 0.25)), (int(width * 0.28), int(height * 0.45)), (150, 140, 110), -1
    )
    distance = np.hypot(*np.meshgrid(np.linspace(-1, 1, width), np.linspace(-0.6, 1.4, height)))
    light = 1.12 - 0.28 * distance[..., None]
    return np.clip(scene * light, 0, 255).astype(np.uint8)


def visit(cutout: Cutout, scene: Image, seconds: float, fps: float) -> Iterator[Image]:
    """Yield the frames of one visit: in from the left, nearer, a moment before the camera, out to the right."""
    count = round(seconds * fps)
    for index in range(count):
        part = index / max(count - 1, 1)
        near = np.interp(part, [0, 0.35, 0.75, 1], [0.55, 0.95, 0.95, 0.7])
        x = np.interp(part, [0, 0.35, 0.75, 1], [-0.25, 0.45, 0.55, 1.25])
        sway = 0.012 * np.sin(index / fps * 5.0)
        yield _paste(scene, cutout, float(near), float(x + sway), float(0.015 * np.sin(index / fps * 9.0)))


def _paste(scene: Image, cutout: Cutout, near: float, x: float, bob: float) -> Image:
    """Put the person with his lower edge at the picture's; `near` is his height as a share of the picture's."""
    height, width = scene.shape[:2]
    scale = near * height / cutout.alpha.shape[0]
    shift_x = x * width - scale * cutout.alpha.shape[1] / 2
    shift_y = height * (1.01 + bob) - scale * cutout.alpha.shape[0]
    move = np.array([[scale, 0, shift_x], [0, scale, shift_y]], np.float32)
    person = cv2.warpAffine(cutout.image, move, (width, height), flags=cv2.INTER_AREA)
    alpha = cv2.warpAffine(cutout.alpha, move, (width, height), flags=cv2.INTER_LINEAR)[..., None]
    return np.asarray(person * alpha + scene * (1 - alpha), np.uint8)


def noisy(frames: Iterable[Image], seed: int) -> Iterator[Image]:
    """Add independent sensor noise of `NOISE` grey levels to every pixel."""
    generator = np.random.Generator(np.random.SFC64(seed))
    for frame in frames:
        noise = generator.standard_normal(frame.shape, dtype=np.float32) * NOISE
        yield np.clip(frame + noise, 0, 255).astype(np.uint8)
