"""What the published evaluation does to a picture before a net sees it."""

import zlib

import cv2
import numpy as np

from app.types import Image


def with_seed_noise(image: Image, name: str, index: int) -> Image:
    """Return the picture with the noise of the published evaluation, the same for the same clip and frame.

    Every pixel and channel is multiplied by N(0.8, 0.3); then the frame is stretched to 0..255.
    """
    random = np.random.Generator(np.random.SFC64([zlib.crc32(name.encode()), index]))
    noisy = image * (random.standard_normal(image.shape, dtype=np.float32) * np.float32(0.3) + np.float32(0.8))
    low, high = noisy.min(), noisy.max()
    if low == high:  # a black picture
        return image
    return np.asarray((noisy - low) * (255 / (high - low)), np.uint8)


def disturbed(noise: str, image: Image, name: str, index: int) -> Image:
    """Return the picture with the noise of this name, ``none`` or ``seed``."""
    return with_seed_noise(image, name, index) if noise == "seed" else image


def as_published(noise: str, image: Image, name: str, index: int) -> Image:
    """Return what the published evaluation makes of a picture with a figure in it: noise, then JPEG."""
    return through_jpeg(disturbed(noise, image, name, index))


def through_jpeg(image: Image) -> Image:
    """Return the picture as it comes out of a JPEG file of quality 100."""
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
