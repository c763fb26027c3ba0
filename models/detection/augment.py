"""What training does to a picture: a cut of it at another scale, mirrored, and the damage that cameras do.

Everything is a function of the picture and a seeded generator, so a batch can be made again.
"""

import io
from collections.abc import Callable
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from app.types import Array, Image
from models.detection.samples import Sample

CUT = 0.7  # share of the pictures that are cut or surrounded; the others stay whole, as at the door
SMALLEST_CUT, LARGEST_CUT = 0.3, 1.6  # sides of the cut in shares of the picture's
STRETCH = 1.25  # a cut is wider or higher than the picture by at most this factor
KEPT = 0.4  # share of a box that must lie in the cut; less of it, and nothing is known there
SMALLEST_BOX = 4.0  # pixels of the shorter side; smaller ones are not known
GREY = 114  # what surrounds a picture that is smaller than its cut
MIRROR = np.array([1, 0, 2, 4, 3])  # the five points of a mirrored face


def augmented(sample: Sample, width: int, height: int, rng: Generator) -> Sample:
    """Return a sample cut, mirrored and damaged at random, `width` by `height` pixels."""
    window = _window(sample.image, rng)
    sample = cut(sample, window, width, height)
    if rng.random() < 0.5:
        sample = mirrored(sample)
    image = sample.image
    for share, damage in DAMAGES:
        if rng.random() < share:
            image = damage(image, rng)
    return Sample(sample.name, image, sample.boxes, sample.classes, sample.points, sample.ignored, sample.labelled)


def cut(sample: Sample, window: Array, width: int, height: int) -> Sample:
    """Return what lies in the window (4,) ``x1 y1 x2 y2`` of a sample, resized to `width` by `height` pixels.

    The window is widened to whole pixels and may reach beyond the picture; grey is put there. Objects of which less
    than `KEPT` is inside, and such as become too small, are regions where nothing is known.
    """
    window = np.concatenate([np.floor(window[:2]), np.ceil(window[2:])])
    scale = np.array([width, height], np.float32) / (window[2:] - window[:2])
    image = _resized(sample.image, window.astype(int), width, height)
    moved, points = _moved(sample.boxes, window, scale), (sample.points - window[:2]) * scale
    boxes, ignored = _inside(moved, width, height), _inside(_moved(sample.ignored, window, scale), width, height)
    sizes = boxes[:, 2:] - boxes[:, :2]
    visible = np.prod(sizes, axis=1) / np.maximum(np.prod(moved[:, 2:] - moved[:, :2], axis=1), 1e-6)
    good = (visible >= KEPT) & (sizes.min(axis=1, initial=np.inf) >= SMALLEST_BOX)
    hidden = boxes[~good & (sizes.min(axis=1, initial=np.inf) > 0)]
    ignored = np.concatenate([ignored, hidden])
    ignored = ignored[(ignored[:, 2:] > ignored[:, :2]).all(axis=1)]
    return Sample(sample.name, image, boxes[good], sample.classes[good], points[good], ignored, sample.labelled)


def mirrored(sample: Sample) -> Sample:
    """Return a sample seen in a mirror; the left eye becomes the right one."""
    width = sample.image.shape[1]
    points = sample.points[:, MIRROR] * np.array([-1, 1], np.float32) + np.array([width, 0], np.float32)
    image = np.ascontiguousarray(sample.image[:, ::-1])
    boxes, ignored = _mirrored(sample.boxes, width), _mirrored(sample.ignored, width)
    return Sample(sample.name, image, boxes, sample.classes, points.astype(np.float32), ignored, sample.labelled)


def coloured(image: Image, rng: Generator) -> Image:
    """Change gamma, contrast, brightness and the balance of the channels."""
    ramp = np.arange(256) / 255
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)
    table = np.power(ramp, rng.uniform(0.6, 1.6))[:, None] * gain + rng.uniform(-0.1, 0.1)
    return np.asarray(cv2.LUT(image, (table.clip(0, 1) * 255).astype(np.uint8)[None]), np.uint8)


def darkened(image: Image, rng: Generator) -> Image:
    """Take most of the light away and add the noise that a sensor then shows."""
    return noisy((image * rng.uniform(0.1, 0.5)).astype(np.uint8), rng)


def blurred(image: Image, rng: Generator) -> Image:
    """Defocus, or smear as a moving head does."""
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.8)), np.uint8)
    length, angle = rng.integers(3, 10), rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle, way = (length - 1) / 2, np.array([np.cos(angle), np.sin(angle)]) * length / 2
    ends = [tuple(round(value) for value in middle + sign * way) for sign in (-1, 1)]
    cv2.line(kernel, *ends, 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def noisy(image: Image, rng: Generator) -> Image:
    """Add normal noise, the same for all channels by half."""
    spread = rng.uniform(2, 14)
    noise = rng.standard_normal(image.shape[:2], np.float32)[:, :, None] * spread
    if rng.random() < 0.5:
        noise = noise + rng.standard_normal(image.shape, np.float32) * spread
    return np.asarray((image + noise).clip(0, 255), np.uint8)


def infrared(image: Image, rng: Generator) -> Image:
    """Grey, lit from the camera: red counts most and the rim is darker than the middle."""
    weights = rng.dirichlet([1, 2, 4]).astype(np.float32)  # of blue, green and red
    grey = image.astype(np.float32) @ weights
    height, width = grey.shape
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - rng.uniform(0, 0.5) * (x**2 + y**2) / 2
    return np.repeat((grey * light * rng.uniform(0.7, 1.4)).clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def jpeg(image: Image, rng: Generator) -> Image:
    """Pack as JPEG of low quality and unpack."""
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def h264(image: Image, rng: Generator) -> Image:
    """Pack as one H.264 key frame of low quality and unpack; sides are even."""
    file = io.BytesIO()
    with av.open(file, "w", format="h264") as container:
        options = {"crf": str(rng.integers(26, 42)), "preset": "ultrafast", "tune": "zerolatency", "threads": "1"}
        stream = container.add_stream("libx264", rate=Fraction(5), options=options)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        for packet in (*stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")), *stream.encode()):
            container.mux(packet)
    file.seek(0)
    with av.open(file, format="h264") as container:
        return np.asarray(next(container.decode(video=0)).to_ndarray(format="bgr24"), np.uint8)


# Order: the scene, the light, the lens, the sensor, the wire. The shares were set by hand.
DAMAGES: tuple[tuple[float, Callable[[Image, Generator], Image]], ...] = (
    (0.6, coloured),
    (0.1, infrared),
    (0.1, darkened),
    (0.15, blurred),
    (0.2, noisy),
    (0.15, jpeg),
    (0.1, h264),
)


def _window(image: Image, rng: Generator) -> Array:
    """Return the whole picture's outline or a random one, ``x1 y1 x2 y2`` in pixels."""
    height, width = image.shape[:2]
    if rng.random() >= CUT:
        return np.array([0, 0, width, height], np.float32)
    stretch = STRETCH ** rng.uniform(-0.5, 0.5)
    side = np.exp(rng.uniform(np.log(SMALLEST_CUT), np.log(LARGEST_CUT)))
    size = np.array([width * side * stretch, height * side / stretch])
    start = rng.uniform(np.minimum(0, [width, height] - size), np.maximum(0, [width, height] - size))
    return np.concatenate([start, start + size]).astype(np.float32)


def _resized(image: Image, outer: NDArray[np.int64], width: int, height: int) -> Image:
    """Return the window `outer` (4,) of a picture, grey beyond its edges; shrinking averages areas."""
    whole = np.array([0, 0, image.shape[1], image.shape[0]])
    inner = np.concatenate([np.maximum(outer[:2], whole[:2]), np.minimum(outer[2:], whole[2:])])
    part = image[inner[1] : inner[3], inner[0] : inner[2]]
    low, high = inner[:2] - outer[:2], outer[2:] - inner[2:]
    if low.any() or high.any():
        part = cv2.copyMakeBorder(
            part, int(low[1]), int(high[1]), int(low[0]), int(high[0]), cv2.BORDER_CONSTANT, value=(GREY,) * 3
        )
    method = cv2.INTER_AREA if part.shape[1] > width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (width, height), interpolation=method), np.uint8)


def _moved(boxes: Array, window: Array, scale: Array) -> Array:
    return (boxes - np.tile(window[:2], 2)) * np.tile(scale, 2)


def _inside(boxes: Array, width: int, height: int) -> Array:
    return np.asarray(boxes.clip(0, np.array([width, height, width, height])), np.float32)


def _mirrored(boxes: Array, width: int) -> Array:
    return np.asarray(np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1), np.float32)
