"""Gates that look at pixels: what the feature-level gate is compared with.

Each takes BGR pictures (H, W, 3) of one camera in their order and gives each a score; above the threshold the frame is
moving. Sizes are as in their sources, so that one threshold fits cameras of any size.
"""

from typing import Protocol

import cv2
import numpy as np

from app.types import Array, Image

SMALL_WIDTH = 320


class Rival(Protocol):
    """A gate on pixels."""

    threshold: float

    def score(self, image: Image) -> float:
        """Return how much a BGR picture (H, W, 3) differs from those before it."""


class MeanSquaredError:
    """The rival in the paper on feature-level background modelling (arXiv 2011.07513): the same rule on pixels.

    The mean over channels of (I - B)^2 of the 300x300 picture, its largest pixel; B <- 0.9 B + 0.1 I on still frames
    alone. Published thresholds go from 10 to 2500.
    """

    def __init__(self, threshold: float = 2000.0) -> None:
        self.threshold = threshold
        self._background: Array | None = None

    def score(self, image: Image) -> float:
        """Return the largest squared difference, 0..65025."""
        small = cv2.resize(image, (300, 300), interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._background is None:
            self._background = small.copy()
        score = float(np.square(small - self._background).mean(axis=2).max())
        if score <= self.threshold:
            self._background += (small - self._background) * np.float32(0.1)
        return score


class Mog2:
    """Mixture of Gaussians per pixel (Zivkovic 2004) as in OpenCV with its own defaults, opened; the largest area."""

    def __init__(self, threshold: float = 50.0) -> None:
        self.threshold = threshold
        self._mixture = cv2.createBackgroundSubtractorMOG2(history=500, varThreshold=16, detectShadows=True)

    def score(self, image: Image) -> float:
        """Return the area of the largest contour, in pixels of the picture at 320 wide; shadows do not count."""
        found = (self._mixture.apply(_small(image)) == 255).astype(np.uint8)
        return _largest_area(cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))


class FrigateLike:
    """The steps of Frigate's motion detector (its module ``frigate/motion/improved_motion.py``), not its code.

    Grey, 100 rows, contrast stretched between the percentiles 4 and 96, blurred; difference from a running mean above
    30, dilated; the largest area. The mean follows by .2 in the first 20 frames, then by .02.
    """

    def __init__(self, threshold: float = 30.0) -> None:
        self.threshold = threshold
        self._mean: Array | None = None
        self._frames = 0

    def score(self, image: Image) -> float:
        """Return the area of the largest contour, in pixels of the picture at 100 rows."""
        grey = self._prepared(image)
        if self._mean is None:
            self._mean = grey.copy()
        changed = (cv2.convertScaleAbs(grey - self._mean) > 30).astype(np.uint8)
        self._frames += 1
        cv2.accumulateWeighted(grey, self._mean, 0.2 if self._frames < 20 else 0.02)
        return _largest_area(cv2.dilate(changed, np.ones((3, 3), np.uint8)))

    @staticmethod
    def _prepared(image: Image) -> Array:
        size = (round(100 * image.shape[1] / image.shape[0]), 100)
        grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), size, interpolation=cv2.INTER_LINEAR)
        low, high = np.percentile(grey, [4, 96])
        stretched = np.clip((grey.astype(np.float32) - low) * (255 / max(high - low, 1)), 0, 255)
        return np.asarray(cv2.GaussianBlur(stretched.astype(np.float32), (3, 3), 1), np.float32)


class FrameDifference:
    """The share of pixels of the blurred grey picture that changed since the frame before: the textbook's gate."""

    def __init__(self, threshold: float = 0.005) -> None:
        self.threshold = threshold
        self._before: Image | None = None

    def score(self, image: Image) -> float:
        """Return the share, 0..1, of pixels that changed by more than 15 grey levels."""
        grey = cv2.GaussianBlur(cv2.cvtColor(_small(image), cv2.COLOR_BGR2GRAY), (5, 5), 0)
        before, self._before = self._before, grey
        return 0.0 if before is None else float((cv2.absdiff(grey, before) > 15).mean())


RIVALS: dict[str, type[MeanSquaredError] | type[Mog2] | type[FrigateLike] | type[FrameDifference]] = {
    "mse": MeanSquaredError,
    "mog2": Mog2,
    "frigate": FrigateLike,
    "diff": FrameDifference,
}


def _small(image: Image) -> Image:
    height = round(SMALL_WIDTH * image.shape[0] / image.shape[1])
    return np.asarray(cv2.resize(image, (SMALL_WIDTH, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _largest_area(binary: Image) -> float:
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return max((float(cv2.contourArea(contour)) for contour in contours), default=0.0)
