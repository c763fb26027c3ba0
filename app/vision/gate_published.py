"""The rule of feature-level background modelling as published (arXiv 2011.07513), kept to reproduce and to compare.

One background, which follows still frames alone, so whatever changes for good keeps this gate open for ever, and one
threshold for two uses: that is the rule's own nature, and why `AdaptiveGate` is the default. Only its arithmetic is
mended (`app.vision.motion`): a vector of zeros has a distance, and a box covers at least one cell.
"""

import numpy as np

from app.types import Array
from app.vision.motion import Motion, Why, cosine_distance, everywhere, sound

THRESHOLD = 0.2  # the one in the authors' code
KEPT = 0.9  # of the background, per still frame


class PublishedGate:
    """The gate of one camera."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        """Set the threshold on a frame's largest distance and on the mean distance of a box, 0..1."""
        self.threshold = threshold
        self._background: Array | None = None

    def update(self, features: Array, clock: float, hold: bool) -> Motion:
        """Compare a frame's features (C, h, w) with the background, and learn from it if the frame is still.

        D = 1 - max(0, cosine(F, B)). The frame is still when max D < `threshold`; then B <- 0.9 B + 0.1 F. A box counts
        when its mean D reaches the same threshold. The first frame is the first background. While `hold` the gate is
        open, and so it is for features that are no sound numbers, which teach it nothing. The rule counts frames, so
        `clock` changes nothing.
        """
        if not sound(features):
            return everywhere(features.shape[1:], Why.BROKEN)
        if self._background is None:
            self._background = features.copy()
        distance = cosine_distance(features, self._background)
        active = distance >= self.threshold
        moves = bool(active.any())
        is_open = hold or moves
        if not is_open:
            self._background += (features - self._background) * np.float32(1 - KEPT)
        why = Why.MOTION if moves else Why.FOLLOWED if hold else None
        strength = float(distance.max() / self.threshold)
        return Motion(active, distance, is_open, least_share=0.0, least_mean=self.threshold, why=why, strength=strength)

    def protect(self, boxes: Array, width: int, height: int, clock: float) -> None:
        """Do nothing: an open frame teaches this gate nothing, so there is nothing to protect."""
