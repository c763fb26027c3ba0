"""What an intercom does to a face: six degradations of fixed strength, to measure embedders on.

Each takes one picture (H, W, 3) BGR uint8 and a seed and returns a new picture, the same for the same arguments.
Lengths are in eye distances, for what blurs a face depends on its size: a portrait is taken to have its eyes `EYES`
of its width apart. Strengths follow what they stand for, with one limit: a test of embedders needs faces, so the
runtime's face finder shall miss no more than three in a hundred. Of 350 portraits of CelebA it finds: compressed 1.00,
night .97, blur .99, small .99, noise .99, dark 1.00. Stronger noise was taken back: with 9 levels at .4 of the contrast
by infrared .76 were found, and many pictures of other sets were lost to 15 levels at black by daylight.
"""

import io
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import cv2
import numpy as np

from app.types import Array, Image

EYES = 0.28  # eye distance of a portrait as a share of its width: 42 pixels of 150

QUANTISER = 40  # H.264's, 0..51: what 640x480 at 12 fps and 200 kbit/s leaves to a man who walks up (a real clip)
X264 = {"preset": "veryfast", "profile": "baseline", "tune": "zerolatency", "threads": "1"}
LEAD_IN = 4  # frames before the one that is kept
STEP = 0.05  # eye distances between two frames: half a metre a second at 12 fps

INFRARED = (0.0, 0.2, 0.8)  # shares of blue, green and red: skin is bright near infrared, as it is in red
INFRARED_LEVEL, INFRARED_CONTRAST = 90.0, 0.5  # grey level that the picture's mean gets, share of its contrast left
VIGNETTE = 0.65  # share of the light that is missing in the corners, growing with the square of the distance
INFRARED_NOISE = 6.0  # grey levels, standard deviation

MOTION = 0.25  # eye distances, length of the smear
FOCUS = 0.06  # eye distances, standard deviation of the Gaussian

SMALL_EYES = 20.0  # pixels between the eyes

READ_NOISE = 12.0  # grey levels, standard deviation at black
SHOT_NOISE = 1.5  # grey levels: the standard deviation at grey level g is SHOT_NOISE sqrt(g) beside the read noise

STOPS = 5.0  # halvings of the light
GAMMA = 2.2  # light is the grey level's share of 255 to this power
DARK_NOISE = 0.0012  # of full light, standard deviation: a dark pixel is then off by some four grey levels
WHITE = 255.0


def compressed(picture: Image, seed: int) -> Image:
    """Return a frame of a strongly compressed H.264 film in which the picture moves in a direction of its own.

    The frames before it lend it their blocks, as in a real stream.
    """
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    step = STEP * _eyes(picture) * np.array([np.cos(angle), np.sin(angle)], np.float32)
    height, width = picture.shape[:2]
    even = np.asarray(cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
    frames = (_moved(even, step * (frame - LEAD_IN)) for frame in range(LEAD_IN + 1))
    return _through_h264(frames)[:height, :width]


def night(picture: Image, seed: int) -> Image:
    """Return the picture as by infrared light: grey, flat, brightest in the middle, noisy."""
    grey = picture.astype(np.float32) @ np.array(INFRARED, np.float32)
    lit = (INFRARED_LEVEL + INFRARED_CONTRAST * (grey - grey.mean())) * _spot(*grey.shape)
    deviation = INFRARED_NOISE * np.random.default_rng(seed).standard_normal(grey.shape, np.float32)
    return np.repeat(_rounded(lit + deviation)[..., None], 3, axis=2)


def blur(picture: Image, seed: int) -> Image:
    """Return the picture out of focus and smeared in a direction of its own."""
    focused = cv2.GaussianBlur(picture, (0, 0), FOCUS * _eyes(picture))
    kernel = _smear(MOTION * _eyes(picture), np.random.default_rng(seed).uniform(0, np.pi))
    return np.asarray(cv2.filter2D(focused, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.uint8)


def small(picture: Image, seed: int) -> Image:
    """Return the picture shrunk until the eyes are `SMALL_EYES` pixels apart; one that is smaller stays as it is.

    Nothing in it is left to chance, whatever the `seed`.
    """
    scale = min(SMALL_EYES / _eyes(picture), 1.0)
    size = [max(round(side * scale), 1) for side in picture.shape[1::-1]]
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def noise(picture: Image, seed: int) -> Image:
    """Return the picture with a sensor's noise, each pixel and colour alone."""
    deviation = np.sqrt(READ_NOISE**2 + SHOT_NOISE**2 * picture.astype(np.float32))
    return _rounded(picture + deviation * np.random.default_rng(seed).standard_normal(picture.shape, np.float32))


def dark(picture: Image, seed: int) -> Image:
    """Return the picture with a fraction of its light, the noise that is in it then, and what 8 bits keep of both."""
    light = (picture.astype(np.float32) / WHITE) ** GAMMA * 2**-STOPS
    light += DARK_NOISE * np.random.default_rng(seed).standard_normal(picture.shape, np.float32)
    return _rounded(WHITE * light.clip(0, 1) ** (1 / GAMMA))


DEGRADATIONS: dict[str, Callable[[Image, int], Image]] = {
    "none": lambda picture, seed: picture,
    "compressed": compressed,
    "night": night,
    "blur": blur,
    "small": small,
    "noise": noise,
    "dark": dark,
}


def _eyes(picture: Image) -> float:
    """Return how many pixels a portrait's eyes are apart."""
    return EYES * int(picture.shape[1])


def _rounded(levels: np.ndarray) -> Image:
    return np.asarray(np.rint(levels).clip(0, WHITE), np.uint8)


def _moved(picture: Image, shift: Array) -> Image:
    """Return the picture moved by (x, y) pixels; its edges are repeated."""
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    return np.asarray(cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _through_h264(frames: Iterator[Image]) -> Image:
    """Return the last of some frames with even sides, encoded and decoded."""
    film, pictures = io.BytesIO(), list(frames)
    with av.open(film, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {**X264, "qp": str(QUANTISER)}
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    film.seek(0)
    with av.open(film, "r", format="h264") as encoded:
        *_, last = encoded.decode(video=0)
    return np.asarray(last.to_ndarray(format="bgr24"), np.uint8)


def _spot(height: int, width: int) -> Array:
    """Return the share of the light (height, width) that falls on each pixel: 1 in the middle."""
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.asarray(1 - VIGNETTE * (x**2 + y**2) / 2, np.float32)


def _smear(length: float, angle: float) -> Array:
    """Return the kernel of a straight motion of so many pixels."""
    reach = int(np.ceil(length / 2))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    along, aside = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = (1 - np.abs(aside)).clip(0) * (length / 2 + 0.5 - np.abs(along)).clip(0, 1)
    return np.asarray(kernel / kernel.sum(), np.float32)
