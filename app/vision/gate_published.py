"""The published rule of feature-level background modelling, with its faults mended; kept to reproduce results.

One background, and one threshold on the largest distance. The background follows still frames alone, so whatever
changes for good keeps this gate open for ever: that is the rule's own nature, and why `AdaptiveGate` is the default.
Mended are: zero vectors made the map NaN; boxes within one cell were lost; coordinates outside wrapped around; one
threshold served both the largest and the mean distance; rates counted frames; the first frame alone was background.
"""

import numpy as np

from app.types import Array
from app.vision.motion import Motion, Why, cosine_distance, everywhere, sound

LARGEST = 0.2  # a frame whose largest distance stays below is still
MEAN = 0.2  # a box whose mean distance stays below is dropped
FOLLOWING = 0.76  # s; the published 0.9 per frame, at 12.5 frames per second
WARM_UP = 5  # frames whose mean is the first background


class PublishedGate:
    """The gate of one camera."""

    def __init__(self, largest: float = LARGEST, mean: float = MEAN) -> None:
        """Set the thresholds on the largest and on a box's mean distance, both 0..1."""
        self._largest = largest
        self._mean = mean
        self._background: Array | None = None
        self._frames = 0
        self._clock = 0.0

    def update(self, features: Array, clock: float, hold: bool) -> Motion:
        """Compare a frame's features (C, h, w) with the background, and learn from it if the frame is still.

        D = 1 - max(0, cosine(F, B)); still when max D < `largest`; then B <- a B + (1 - a) F with
        a = exp(-step / FOLLOWING). `clock` is in monotonic seconds; while `hold` the gate is open, and so it is for
        features that are no sound numbers, which teach it nothing.
        """
        if not sound(features):
            return everywhere(features.shape[1:], Why.BROKEN)
        step, self._clock = max(clock - self._clock, 0.0), clock
        self._frames += 1
        if self._background is None:
            self._background = features.copy()
        distance = cosine_distance(features, self._background)
        if self._frames <= WARM_UP:
            self._background += (features - self._background) / np.float32(self._frames)
            return everywhere(distance.shape, Why.WARMING_UP)
        active = distance >= self._largest
        moves = bool(active.any())
        is_open = hold or moves
        if not is_open:
            self._background += (features - self._background) * np.float32(1 - np.exp(-step / FOLLOWING))
        why = Why.MOTION if moves else Why.FOLLOWED if hold else None
        strength = float(distance.max() / self._largest)
        return Motion(active, distance, is_open, least_share=0.0, least_mean=self._mean, why=why, strength=strength)

    def protect(self, boxes: Array, width: int, height: int, clock: float) -> None:
        """Do nothing: an open frame teaches this gate nothing, so there is nothing to protect."""
