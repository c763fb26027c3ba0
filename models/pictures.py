"""Pictures to compare nets on: two portraits, altered in ways that cameras know, and patterns without anything."""

from collections.abc import Mapping

import cv2
import numpy as np

from app.types import Array, Image


def shrunk(picture: Image, width: int, height: int) -> Image:
    """Return a picture resized by area averaging."""
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def as_batch(picture: Image) -> Array:
    """Return a picture (H, W, 3) as a net's input (1, 3, H, W), float32 0..255."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)


def decoded(portraits: Mapping[str, bytes]) -> list[Image]:
    """Return encoded portraits as BGR pictures of their own size."""
    pictures = [cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) for content in portraits.values()]
    return [np.asarray(picture, np.uint8) for picture in pictures]


def variants(picture: Image) -> list[Image]:
    """Return a picture as it is, mirrored, dark, bright, noisy and blurred."""
    noise = np.random.default_rng(1).normal(0, 12, picture.shape)
    return [
        picture,
        picture[:, ::-1].copy(),
        (picture * 0.4).astype(np.uint8),
        np.clip(picture * 1.3 + 20, 0, 255).astype(np.uint8),
        np.clip(picture + noise, 0, 255).astype(np.uint8),
        np.asarray(cv2.GaussianBlur(picture, (0, 0), 2), np.uint8),
    ]


def patterns(side: int) -> list[Image]:
    """Return square pictures without a person: black, white, a ramp and noise."""
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    return [
        np.zeros((side, side, 3), np.uint8),
        np.full((side, side, 3), 255, np.uint8),
        np.stack(
            [np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), np.full((side, side), 128, np.uint8)], 2
        ),
        np.random.default_rng(2).integers(0, 256, (side, side, 3), dtype=np.uint8),
    ]
