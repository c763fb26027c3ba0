"""Which changes have come to stay: what is steady long enough, and in which no person was found, becomes background.

Three cases are told apart. A change in a part of the picture could be somebody the net does not find, so it waits
longest. A change nearly everywhere is light or the camera. And nobody vanishes between two frames: when most of what
was active has gone at once and nothing stirs afterwards, the picture was cut, and what is left is not a person.
"""

import cv2
import numpy as np

from app.types import Array
from app.vision.motion import Cells, covered

DWELL = 7.5  # s that a change must be steady, and no person found in it, before it is background
EVERYWHERE = 0.6  # share of the cells from which a change is one of the whole picture ...
DWELL_EVERYWHERE = 2.5  # ... and how many s it must be steady
CHANGE_MEMORY = 5.0  # s that a cut or such a change is remembered: a codec mends the picture with its next key frame
PERSON_DWELL = 120.0  # s after which even a "person" is furniture: nobody keeps so still, a coat does
GROWTH = 0.03  # of the picture's sides, by which a detection is grown
LONGEST_MEMORY = 2.0  # s over which the candidate for the next background is averaged
LONE = 1.1  # times the threshold that a cell without active neighbours must reach: noise comes alone
CUT_SPAN = 0.41  # s between which most must have gone: two frames at 5 a second, five at 12.5 ...
CUT_SHARE = 0.5  # ... and how much of it ...
CUT_CELLS = 6.0  # ... in cells that stood out clearly, so that a flickering cell cuts nothing
CUT_CALM = 0.4  # s without an unsteady cell after a cut ...
CUT_CALM_FRAMES = 3  # ... and at least so many frames

NEIGHBOURS = np.ones((3, 3), np.uint8)


class Settling:
    """The candidate for a camera's next background, and for how long each cell has been like it."""

    def __init__(self, candidate: Array) -> None:
        """Write the candidate (C, h, w) into this array, which holds the first features."""
        shape = candidate.shape[1:]
        self.candidate = candidate  # mean of the features since they last jumped
        self._fits = np.zeros(shape, np.float32)  # s since then
        self._steady = np.zeros(shape, np.float32)  # s of steady change since a person was found there
        self._steady_at_all = np.zeros(shape, np.float32)  # s of steady change, person or not
        self._found_at = np.full(shape, -np.inf)  # clock of the last person
        self._everywhere_at = -np.inf  # clock when last nearly all cells were active
        self._cuts = _Cuts()

    def protect(self, boxes: Array, width: int, height: int, clock: float) -> None:
        """Note that persons were found under these boxes (n, 4) in pixels."""
        margin = np.array([-width, -height, width, height], np.float32) * np.float32(GROWTH)
        for box in boxes + margin:
            cells = covered(box, width, height, self._steady.shape)
            self._found_at[cells] = clock
            self._steady[cells] = 0

    def ripe(self, smooth: Array, ratio: Array, active: Cells, drift: Array, clock: float, step: float) -> Cells:
        """Go on by one frame and return the cells (h, w) whose candidate may be background now.

        Args:
            smooth: features (C, h, w).
            ratio: distance from the background over its threshold (h, w).
            active: the cells (h, w) that stand out by it.
            drift: distance from the candidate over the same threshold (h, w); above 1 a cell is unsteady.
            clock: monotonic seconds.
            step: seconds that count since the last frame.
        """
        unsteady = standing_out(drift)
        self._follow(smooth, unsteady, step)
        count = np.where(active, np.float32(step), np.float32(-step))
        for seconds in (self._steady, self._steady_at_all):
            np.maximum(seconds + count, 0, out=seconds)
            seconds[unsteady] = 0
        cut = self._cuts.look(ratio, active, unsteady, clock)
        if cut == clock:
            self.begin_anew(smooth)
        if np.count_nonzero(active) > EVERYWHERE * active.size:
            self._everywhere_at = clock
        dwell = DWELL_EVERYWHERE if clock - self._everywhere_at < CHANGE_MEMORY else DWELL
        if self._cuts.calm(clock):
            return self._found_at < cut
        settled, furniture = self._steady >= dwell, self._steady_at_all >= PERSON_DWELL
        if settled.any():
            settled = grown(settled) & (self._found_at < clock - DWELL)
        return settled | grown(furniture) if furniture.any() else settled

    def settle(self, cells: Cells) -> None:
        """Begin to count anew where the candidate has become background."""
        self._steady[cells] = 0
        self._steady_at_all[cells] = 0
        self._cuts.forget_activity()

    def begin(self, smooth: Array) -> None:
        """Follow the first features (C, h, w), before there is a background."""
        self.candidate += (smooth - self.candidate) * np.float32(0.4)

    def begin_anew(self, smooth: Array) -> None:
        """Take features (C, h, w) as the candidate: the whole picture has jumped."""
        np.copyto(self.candidate, smooth)
        self._fits[:] = 0

    def _follow(self, smooth: Array, unsteady: Cells, step: float) -> None:
        """Average what is steady; where the features jump, the average begins anew."""
        self._fits = np.where(unsteady, np.float32(0), np.minimum(self._fits + np.float32(step), LONGEST_MEMORY))
        weight = np.where(unsteady, np.float32(1), np.float32(step) / np.maximum(self._fits, np.float32(1e-6)))
        self.candidate += (smooth - self.candidate) * weight.astype(np.float32)


class _Cuts:
    """Notices that people vanished from one moment to the next."""

    def __init__(self) -> None:
        self._activity: list[tuple[float, float]] = []  # (clock, cells that stand out) of the last `CUT_SPAN`
        self._at = -np.inf
        self._stirred = -np.inf
        self._calm_frames = 0

    def look(self, ratio: Array, active: Cells, unsteady: Cells, clock: float) -> float:
        """Go on by one frame and return the clock of the last cut, -inf without one."""
        now = float(np.minimum(ratio[active] - 1, 1).sum())  # cells just above the threshold count little
        self._activity = [past for past in self._activity if past[0] >= clock - CUT_SPAN] + [(clock, now)]
        most = max(cells for _, cells in self._activity)
        stirs = bool((active & unsteady).any())
        if most - now >= max(CUT_SHARE * most, CUT_CELLS):
            stirs = stirs or self._at == -np.inf  # calm before a cut says nothing of what is left after it
            self._at = clock
        elif (stirs and now >= CUT_CELLS) or clock - self._at > CHANGE_MEMORY:
            self._at = -np.inf
        self._calm_frames = 0 if stirs else self._calm_frames + 1
        if stirs:
            self._stirred = clock
        return self._at

    def calm(self, clock: float) -> bool:
        """Whether nothing has stirred for long enough after a cut."""
        waited = clock - self._stirred >= CUT_CALM and self._calm_frames >= CUT_CALM_FRAMES
        return self._at > -np.inf and waited

    def forget_activity(self) -> None:
        """Take what becomes background now for no cut."""
        self._activity.clear()


def standing_out(ratio: Array) -> Cells:
    """Return the cells (h, w) above their threshold; one without a neighbour must be `LONE` times above it."""
    above = (ratio > 1).astype(np.uint8)
    together = cv2.boxFilter(above, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT) > 1
    return (above > 0) & (together | (ratio > LONE))


def grown(cells: Cells) -> Cells:
    """Return the cells and their eight neighbours."""
    return cv2.dilate(cells.astype(np.uint8), NEIGHBOURS) > 0
