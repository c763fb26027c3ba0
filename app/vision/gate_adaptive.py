"""The adaptive gate: learns the noise of every cell, absorbs what has come to stay, and never a person.

A cell is active when its distance from the background stands out of the cell's own noise. The background follows
quiet cells only. What stays different but steady (a moved chair, new light) becomes background after a dwell time,
unless a person was found there lately; the background it replaces is kept as a second one, so that a scene that
returns is known at once.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.types import Array
from app.vision.motion import Cells, Motion, cosine_distance, covered, everywhere

# Chosen on clips with truth at 12.5 frames per second; a rate r per frame became the time constant -0.08 s / ln(1 - r).
WARM_UP = 5  # frames whose mean is the first background
SMOOTHING = 0.115  # s, of the features (0.5 per frame)
FOLLOWING = 1.56  # s, of the background in quiet cells (0.05)
SETTLING = 0.76  # s, of the candidate for the next background (0.1)
LEARNING = 3.96  # s, of the noise scale (0.02) ...
LEARNING_EARLY = 1.29  # ... and while the gate is young (0.06)
EARLY = 3.2  # s that the gate counts as young
DWELL = 6.4  # s that a change must be steady before it is background
PERSON_DWELL = 120.0  # s after which even a "person" is furniture: nobody keeps so still, a coat does
IMPATIENCE = 3.0  # an unsteady second takes so many steady ones away
PROTECTION = 2.0  # s that the cells under a detection are protected
GROWTH = 0.03  # of the picture's sides, by which a detection is grown
SIGMAS = 7.0  # how far the distance must stand out
LEAST_DEVIATION = 0.004
LEAST_DISTANCE = 0.02  # less is never motion
OUTLIER = 4.0  # deviations; the noise scale learns no more than this from one frame
LONGEST_STEP = 1.0  # s; a gap in the stream teaches no more than this

NEIGHBOURS = np.ones((3, 3), np.uint8)


class NoiseScale:
    """Running mean and deviation of each cell's distance from its background."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._mean = np.full(shape, 0.02, np.float32)
        self._deviation = np.full(shape, 0.02, np.float32)

    def threshold(self) -> Array:
        """Return the distance (h, w) above which a cell stands out."""
        return self._mean + np.float32(SIGMAS) * self._floored()

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
        error = np.clip(distance - self._mean, -limit, limit)
        step = np.where(quiet, np.float32(rate), np.float32(0))
        self._mean += step * error
        self._deviation += step * (np.abs(error) * np.float32(1.25) - self._deviation)

    def _floored(self) -> Array:
        return self._deviation + np.float32(LEAST_DEVIATION)


class AdaptiveGate:
    """The gate of one camera."""

    def __init__(self) -> None:
        self._cells: _Cells | None = None

    def update(self, features: Array, clock: float, hold: bool) -> Motion:
        """Compare a frame's features (C, h, w) with the background and learn from it.

        `clock` is in monotonic seconds. While `hold` the gate is open whatever it sees; while the background is not
        known yet every cell is active. So it is for features that are not finite, which teach the gate nothing.
        """
        if not np.isfinite(features).all():
            return everywhere(features.shape[1:])
        if self._cells is None:
            self._cells = _Cells(features, clock)
        active, distance = self._cells.update(features, clock)
        return Motion(active, distance, open=hold or bool(active.any()))

    def protect(self, boxes: Array, width: int, height: int, clock: float) -> None:
        """Keep the cells under these boxes (n, 4) in pixels from being absorbed; call it after the frame's `update`."""
        if self._cells is not None:
            self._cells.protect(boxes, width, height, clock)


class _Cells:
    """The maps of one camera, all of one shape."""

    def __init__(self, features: Array, clock: float) -> None:
        shape = features.shape[1:]
        self._clock = self._born = clock
        self._frames = 0
        self._smooth = features.copy()
        self._background = features.copy()
        self._second = features.copy()  # the background before the last absorption
        self._has_second = np.zeros(shape, bool)
        self._candidate = features.copy()
        self._noise = NoiseScale(shape)
        self._steady = np.zeros(shape, np.float32)  # s of steady change, none while protected
        self._steady_at_all = np.zeros(shape, np.float32)  # s of steady change, protected or not
        self._protected_until = np.full(shape, -np.inf)

    def update(self, features: Array, clock: float) -> tuple[Cells, Array]:
        """Return the active cells and the distances."""
        step = min(max(clock - self._clock, 0.0), LONGEST_STEP)
        self._clock = clock
        self._frames += 1
        self._smooth += (features - self._smooth) * _rate(step, SMOOTHING)
        distance = cosine_distance(self._smooth, self._background)
        if self._frames <= WARM_UP:
            self._warm_up(distance)
            return np.ones_like(self._has_second), distance
        outlying = self._noise.threshold()
        distance = self._recall(distance, outlying)
        threshold = np.maximum(outlying, np.float32(LEAST_DISTANCE))
        active = distance > threshold
        self._follow(distance, active, step)
        self._settle(active, threshold, step)
        return active, distance

    def protect(self, boxes: Array, width: int, height: int, clock: float) -> None:
        """See `AdaptiveGate.protect`."""
        margin = np.array([-width, -height, width, height], np.float32) * np.float32(GROWTH)
        for box in boxes + margin:
            self._protected_until[covered(box, width, height, self._protected_until.shape)] = clock + PROTECTION

    def _warm_up(self, distance: Array) -> None:
        if self._frames == 2:
            self._noise.begin(distance)
        elif self._frames > 2:
            self._noise.warm(distance)
        self._background += (self._smooth - self._background) / np.float32(self._frames)
        self._candidate += (self._smooth - self._candidate) * np.float32(0.4)

    def _recall(self, distance: Array, outlying: Array) -> Array:
        """Swap the backgrounds where only the second one fits, and return the distances from those in force."""
        if not self._has_second.any():
            return distance
        second = cosine_distance(self._smooth, self._second)
        known = self._has_second & (second < outlying) & (distance >= outlying)
        self._background[:, known], self._second[:, known] = self._second[:, known], self._background[:, known]
        return np.where(known, second, distance)

    def _follow(self, distance: Array, active: Cells, step: float) -> None:
        """Learn background and noise where neither the cell nor a neighbour is active."""
        quiet = ~_grown(active)
        self._background += (self._smooth - self._background) * (quiet * _rate(step, FOLLOWING))
        young = self._clock - self._born < EARLY
        self._noise.learn(distance, quiet, float(_rate(step, LEARNING_EARLY if young else LEARNING)))

    def _settle(self, active: Cells, threshold: Array, step: float) -> None:
        """Count how long each active cell has been steady, and absorb what has come to stay."""
        protected = self._protected_until >= self._clock
        steady = cosine_distance(self._smooth, self._candidate) <= threshold
        self._candidate += (self._smooth - self._candidate) * _rate(step, SETTLING)
        change = np.where(active, np.where(steady, step, -IMPATIENCE * step), -step).astype(np.float32)
        self._steady_at_all = np.maximum(self._steady_at_all + change, 0)
        self._steady = np.where(protected & active, 0, np.maximum(self._steady + change, 0))
        furniture = self._steady_at_all >= PERSON_DWELL
        ripe = (self._steady >= DWELL) | furniture
        if ripe.any():
            self._absorb(_grown(ripe) & (~protected | _grown(furniture)), threshold)

    def _absorb(self, ripe: Cells, threshold: Array) -> None:
        """Make the candidate the background of these cells where the two differ, and remember the old one."""
        ripe = ripe & (cosine_distance(self._background, self._candidate) > threshold / 2)
        self._second[:, ripe] = self._background[:, ripe]
        self._has_second |= ripe
        self._background[:, ripe] = self._candidate[:, ripe]
        self._steady[ripe] = 0
        self._steady_at_all[ripe] = 0


def _rate(step: float, constant: float) -> NDArray[np.float32]:
    """Return the share of the way that an average with this time constant goes in `step` seconds, in 0..1."""
    return np.asarray(1 - np.exp(-step / constant), np.float32)


def _grown(cells: Cells) -> Cells:
    """Return the cells and their eight neighbours."""
    return cv2.dilate(cells.astype(np.uint8), NEIGHBOURS) > 0
