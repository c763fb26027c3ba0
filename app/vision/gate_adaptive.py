"""The adaptive gate: learns the noise of every cell, absorbs what has come to stay, and never a person.

A cell is active when its distance from the background stands out of the cell's own noise. The background follows
quiet cells only. What stays different but steady (a moved chair, new light) becomes background, as `gate_settling`
tells; the background it replaces is kept as a second one, so that a scene that returns is known at once.
"""

import math

import numpy as np

from app.types import Array
from app.vision.gate_noise import LATE, LOUDEST, LOUDEST_LATE, NoiseScale
from app.vision.gate_settling import LONE, Settling, grown, standing_out
from app.vision.motion import Cells, Motion, Why, cosine_distance, everywhere, sound

# Chosen on clips with truth at 12.5 frames per second; a rate r per frame became the time constant -0.08 s / ln(1 - r).
WARM_UP = 5  # frames whose mean is the first background
SMOOTHING = 0.115  # s, of the features (0.5 per frame)
FOLLOWING = 1.56  # s, of the background in quiet cells (0.05)
LEARNING = 3.96  # s, of the noise scale (0.02) ...
LEARNING_EARLY = 1.29  # ... and while the gate is young (0.06)
EARLY = 3.2  # s that the gate counts as young
LEAST_DISTANCE = 0.02  # less is never motion
LONGEST_STEP = 1.0  # s; a gap in the stream teaches no more than this


class AdaptiveGate:
    """The gate of one camera."""

    def __init__(self) -> None:
        self._cells: _Cells | None = None

    def update(self, features: Array, clock: float, hold: bool) -> Motion:
        """Compare a frame's features (C, h, w) with the background and learn from it.

        `clock` is in monotonic seconds; frames may be seconds apart. While `hold` the gate is open whatever it sees;
        while the background is not known yet every cell is active. So it is for features that are no sound numbers,
        which teach the gate nothing.
        """
        if not sound(features):
            return everywhere(features.shape[1:], Why.BROKEN)
        if self._cells is None:
            self._cells = _Cells(features, clock)
        return self._cells.update(features, clock, hold)

    def protect(self, boxes: Array, width: int, height: int, clock: float) -> None:
        """Keep the cells under these boxes (n, 4) in pixels from being absorbed; call it after the frame's `update`."""
        if self._cells is not None:
            self._cells.settling.protect(boxes, width, height, clock)


class _Cells:
    """The maps of one camera, all of one shape."""

    def __init__(self, features: Array, clock: float) -> None:
        shape = features.shape[1:]
        self._clock = self._born = clock
        self._frames = 0
        self._smooth = features.copy()
        self._references = np.stack([features, features])  # background and candidate in one piece: compared in one go
        self._background = self._references[0]
        self._second = features.copy()  # the background before the last absorption
        self._has_second = np.zeros(shape, bool)
        self._noise = NoiseScale(shape)
        self.settling = Settling(self._references[1])

    def update(self, features: Array, clock: float, hold: bool) -> Motion:
        """See `AdaptiveGate.update`."""
        step = min(max(clock - self._clock, 0.0), LONGEST_STEP)
        self._clock = clock
        self._frames += 1
        self._smooth += (features - self._smooth) * _rate(step, SMOOTHING)
        distance, drift = cosine_distance(self._smooth, self._references)
        if self._frames <= WARM_UP:
            self._warm_up(distance)
            return everywhere(distance.shape, Why.WARMING_UP)
        outlying = self._noise.threshold()
        distance = self._recall(distance, outlying)
        loudness = self._noise.loudness(drift)
        if loudness > (LOUDEST_LATE if step > LATE else LOUDEST):
            loudness = np.float32(1)
            self.settling.begin_anew(self._smooth)
        threshold = np.maximum(outlying, np.float32(LEAST_DISTANCE)) * loudness
        ratio = distance / threshold
        active = standing_out(ratio)
        self._follow(distance / loudness, active, step)
        self._absorb(self.settling.ripe(self._smooth, ratio, active, drift / threshold, clock, step), threshold)
        return _answer(active, distance, ratio, hold)

    def _warm_up(self, distance: Array) -> None:
        if self._frames == 2:
            self._noise.begin(distance)
        elif self._frames > 2:
            self._noise.warm(distance)
        self._background += (self._smooth - self._background) / np.float32(self._frames)
        self.settling.begin(self._smooth)

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
        quiet = ~grown(active)
        self._background += (self._smooth - self._background) * (quiet * _rate(step, FOLLOWING))
        young = self._clock - self._born < EARLY
        self._noise.learn(distance, quiet, float(_rate(step, LEARNING_EARLY if young else LEARNING)))

    def _absorb(self, ripe: Cells, threshold: Array) -> None:
        """Make the candidate the background of these cells where the two differ, and remember the old one."""
        if not ripe.any():
            return
        ripe = ripe & (cosine_distance(self._background, self.settling.candidate) > threshold / 2)
        self._second[:, ripe] = self._background[:, ripe]
        self._has_second |= ripe
        self._background[:, ripe] = self.settling.candidate[:, ripe]
        if ripe.any():
            self.settling.settle(ripe)


def _answer(active: Cells, distance: Array, ratio: Array, hold: bool) -> Motion:
    """Return what the gate says of a frame."""
    moves = bool(active.any())
    strength = float(np.where(active, ratio, ratio / np.float32(LONE)).max())
    why = Why.MOTION if moves else Why.FOLLOWED if hold else None
    return Motion(active, distance, open=hold or moves, why=why, strength=strength)


def _rate(step: float, constant: float) -> np.float32:
    """Return the share of the way that an average with this time constant goes in `step` seconds, in 0..1."""
    return np.float32(1 - math.exp(-step / constant))
