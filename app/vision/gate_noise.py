"""How far each cell of a camera's picture strays from its background when nothing happens."""

import numpy as np

from app.types import Array
from app.vision.motion import Cells

SIGMAS = 7.0  # how far the distance must stand out
LEAST_DEVIATION = 0.004
OUTLIER = 4.0  # deviations; the noise scale learns no more than this from one frame
LOUDEST = 4.0  # times the learnt noise; what is louder is a change of the whole picture ...
LOUDEST_LATE = 6.0  # ... and this in a frame that comes late: smoothing at 12.5 a second takes two thirds of the noise
LATE = 0.5  # s after the frame before


class NoiseScale:
    """Running mean and deviation of each cell's distance from its background."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._mean = np.full(shape, 0.02, np.float32)
        self._deviation = np.full(shape, 0.02, np.float32)

    def threshold(self) -> Array:
        """Return the distance (h, w) above which a cell stands out."""
        return self._mean + np.float32(SIGMAS) * self._floored()

    def loudness(self, distance: Array) -> np.float32:
        """Return how many times louder than usual a frame is, at least 1, by its median cell.

        Distances (h, w) grow all over the picture when a camera raises its gain at night, and when a frame comes
        after a gap: it is a key frame then, averaged with nothing. Somebody who covers less than half the cells does
        not move the median.
        """
        times = (distance / np.maximum(self._mean, np.float32(LEAST_DEVIATION))).ravel()
        usual = np.partition(times, times.size // 2)[times.size // 2]  # np.median takes five times as long
        return np.float32(max(usual, np.float32(1)))

    def begin(self, distance: Array) -> None:
        """Take the first distances (h, w) as the scale; one frame says little of a cell, so all share the deviation."""
        self._mean = distance.copy()
        self._deviation = np.full_like(distance, max(float(np.median(distance)) * 0.3, LEAST_DEVIATION))

    def warm(self, distance: Array) -> None:
        """Learn fast from the frames after the first; no cell may be quieter than the median one."""
        self._mean += (distance - self._mean) * np.float32(0.3)
        self._deviation += (np.abs(distance - self._mean) * np.float32(1.25) - self._deviation) * np.float32(0.15)
        self._deviation = np.maximum(self._deviation, np.median(self._deviation))

    def learn(self, distance: Array, quiet: Cells, rate: float) -> None:
        """Follow the distances of the quiet cells; 1.25 mean absolute deviations make a standard deviation."""
        limit = np.float32(OUTLIER) * self._floored()
        error = np.maximum(np.minimum(distance - self._mean, limit), -limit)
        step = np.where(quiet, np.float32(rate), np.float32(0))
        self._mean += step * error
        self._deviation += step * (np.abs(error) * np.float32(1.25) - self._deviation)

    def _floored(self) -> Array:
        return self._deviation + np.float32(LEAST_DEVIATION)
