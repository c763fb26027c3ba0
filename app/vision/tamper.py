"""Notices that a camera was covered, turned away or put out of focus, and when it is well again.

A camera's view is learned over minutes. While most of it cannot be known again, seconds count against the camera: fully
while the picture rests, less while much of it moves or somebody was followed a moment ago (a back before the lens),
least while anybody is followed. Nothing is learned then, so a cover does not become the view. What is compared is the
mean of the last four looks, one a second at most: noise goes, and five frames a second and one in four seconds behave
alike.

What is worth nothing is never taken for a view: a cover and a lens out of focus stay said until they are gone.
Darkness is said too, since nobody can tell tape from a light that went out; but a light that came back twice within a
day is known to do so. Whoever was followed just before may have been the darkness, so that teaches nothing, and no
habit covers more than a night.
"""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from app.types import Array, Ending, Image, TamperKind
from app.vision.views import HALF, SIDE, Difference, Look, View, block_means

PAUSE = 0.9  # s, least time between two looks
AVERAGED = 4  # looks
LONGEST_STEP = 5.0  # s that one look counts for at most, after a gap in the stream
LEARNING = 30.0  # s until a view is known well enough to be missed
MEMORY = 120.0  # s, of a view
HOLD = 10.0  # s of a resting picture before something is said
FOLLOWED = 1 / 6  # what a second counts while somebody is followed
NEAR = 1 / 3  # ... for `NEARNESS` after that: whoever stands too close is not found
MOVING = 1 / 4  # ... while much moves
NEARNESS = 30.0  # s
FORGIVENESS = 3.0  # seconds that a good second takes away
LOST = 0.65  # share of the view's blocks whose edges must be gone; a lamp takes up to .1, infrared up to .25
WRONG = 0.7  # share of the blocks whose edges or fine detail must be gone
WELL = 0.5  # with less the picture is well again
COVERED = 0.4  # share of the view's structure: with less the picture is empty, with more it shows something else
DARK = 30.0  # mean grey
RECOVERY = 5.0  # s that the picture must be well
ACCEPTANCE = 600.0  # s after which another view is the camera's own
VIEWS = 3  # that a camera may change between, such as by a gate that opens
STIR = 4.0  # grey levels by which a block moves ...
STIRRED = 0.2  # ... and the share of blocks with which much moves
HABIT = 24 * 3600.0  # s; if the light went and came twice in so long, darkness is no news ...
OUT = 30.0  # s ... if it was out for as long: tape would have been said by then ...
LONGEST_DARK = 18 * 3600.0  # s ... and for no longer: from an evening to a late morning

DETAILS = {
    Ending.RECOVERED: "the picture is as it was before",
    Ending.ACCEPTED: "the view has been there for ten minutes and is taken as the camera's own from now on",
}


@dataclass(frozen=True, slots=True)
class Change:
    """Tampering that began or ended."""

    kind: TamperKind
    ended_by: Ending | None  # None: it began
    detail: str  # for people
    since: float  # monotonic seconds: of the first look that was wrong or well again, or of the acceptance


class TamperWatch:
    """The watch over one camera."""

    def __init__(self, told: TamperKind | None = None) -> None:
        """Begin without knowing the view.

        Args:
            told: what was said of this camera before and has not ended. Nobody knows how its view was then, so another
                one ends when a view has been there for `ACCEPTANCE`, a cover when such a view came after an empty
                picture, and a lens out of focus when people say so.
        """
        self._told = told
        self._recovery = ACCEPTANCE if told is TamperKind.TURNED else np.inf  # s that the picture must be well
        self._views = [View()]  # the first one is in force
        self._other = View()  # what is seen instead of it
        self._recent: deque[Array] = deque(maxlen=AVERAGED)  # grey (75, 75)
        self._clock = 0.0
        self._followed = -np.inf  # when somebody was followed last
        self._against = 0.0  # seconds that count against the camera
        self._well = 0.0  # seconds of a good picture after something was said
        self._since = 0.0  # when those seconds began
        self._darkened: float | None = None  # when it went dark
        self._by_somebody = False  # whether somebody may have darkened it
        self._lit: deque[float] = deque(maxlen=2)  # when the light came back

    @property
    def told(self) -> TamperKind | None:
        """What was said and has not ended."""
        return self._told

    def look(self, picture: Image, clock: float, *, somebody: bool) -> Change | None:
        """Look at a small grey picture (h, w) and return what began or ended with it, often nothing.

        Args:
            clock: monotonic seconds.
            somebody: whether anybody is followed in the picture.
        """
        if self._recent and clock - self._clock < PAUSE:
            return None
        step = min(clock - self._clock, LONGEST_STEP) if self._recent else 0.0
        self._clock = clock
        self._followed = clock if somebody else self._followed
        grey = _sized(picture)
        stirred = self._take(_half(grey))
        if len(self._recent) < AVERAGED:
            return None
        look = Look.at(_mean(self._recent), grey)
        difference = self._compare(look)
        if difference is None or not _wrong(difference):
            return self._find_well(look, difference, step)
        kind = _kind(difference)
        if self._told is None:
            return self._count(look, kind, step * self._weight(stirred))
        return self._await(self._told, look, kind, step)

    def _take(self, half: Array) -> bool:
        """Put a picture in the place of the oldest one and tell whether much moved, apart from the light as a whole."""
        stirred = False
        if self._recent:
            change = block_means(half - _mean(self._recent))
            whole = np.sort(change, axis=None)[change.size // 2]
            stirred = bool((np.abs(change - whole) > STIR).mean() >= STIRRED)
        self._recent.append(half)
        return stirred

    def _weight(self, stirred: bool) -> float:
        """Return what a second counts now."""
        if self._clock == self._followed:
            return FOLLOWED
        return MOVING if stirred else NEAR if self._clock - self._followed < NEARNESS else 1.0

    def _compare(self, look: Look) -> Difference | None:
        """Compare with the view in force, or with another one that is known if that fits; None while none is known."""
        present, *others = self._views
        if present.seconds < LEARNING:
            return None
        difference = present.difference(look)
        if difference is None:
            self._views[0] = View()  # there was nothing to learn, as in the dark: what comes now is learned quickly
            if self._told is TamperKind.COVERED:
                self._recovery = min(self._recovery, ACCEPTANCE)  # what comes after an empty picture is not the cover
            return None
        if not _wrong(difference):
            return difference
        for view in others:
            fit = view.difference(look)
            if fit is not None and _good(fit):
                self._views = [view, *(other for other in self._views if other is not view)]
                return fit
        return difference

    def _find_well(self, look: Look, difference: Difference | None, step: float) -> Change | None:
        """Learn, forgive, and end what was said once the picture has been good for long enough."""
        good = difference is not None and _good(difference)
        if difference is None or good or self._told is None:
            self._views[0].learn(look, step, MEMORY)
        self._against = max(self._against - FORGIVENESS * step, 0.0)
        if not good:
            self._well = 0.0
            return None
        self._note_light()
        if self._told is None:
            return None
        if self._well == 0:
            self._since = self._clock
        self._well += step
        if self._well < self._recovery:
            return None
        if self._recovery == RECOVERY:
            return self._end(self._told, Ending.RECOVERED, self._since)
        return self._end(self._told, Ending.ACCEPTED, self._clock)

    def _note_light(self) -> None:
        """Remember that a darkness ended of itself: whoever switches a light does so again."""
        if self._darkened is not None and self._clock - self._darkened >= OUT and not self._by_somebody:
            self._lit.append(self._clock)
        self._darkened = None

    def _is_usual(self, darkened: float) -> bool:
        """Whether the light is known to be out at times, and for as long."""
        often = len(self._lit) == 2 and self._clock - self._lit[0] < HABIT
        return often and self._clock - darkened < LONGEST_DARK

    def _count(self, look: Look, kind: TamperKind, seconds: float) -> Change | None:
        """Count against the camera; say so when it is enough."""
        began = self._clock
        if kind is TamperKind.COVERED and look.level < DARK:
            if self._darkened is None:
                self._darkened = self._clock
                self._by_somebody = self._clock - self._followed < NEARNESS
            if self._is_usual(self._darkened):
                return None
            began = self._darkened
        if self._against == 0:
            self._since = began
        self._against += seconds
        if self._against < HOLD:
            return None
        self._told, self._recovery, self._other = kind, RECOVERY, View()
        self._against = self._well = 0.0
        return Change(kind, None, _detail(kind, look), self._since)

    def _await(self, told: TamperKind, look: Look, kind: TamperKind, step: float) -> Change | None:
        """Learn what is seen now; a view that stays for `ACCEPTANCE` is the camera's own."""
        self._well = 0.0
        difference = self._other.difference(look) if self._other.seconds >= LEARNING else None
        if difference is not None and _wrong(difference):
            self._other = View()
        self._other.learn(look, step, MEMORY)
        if kind is not TamperKind.TURNED or difference is None or self._other.seconds < ACCEPTANCE:
            return None
        self._views = [self._other, *self._views][:VIEWS]
        return self._end(told, Ending.ACCEPTED, self._clock)

    def _end(self, told: TamperKind, how: Ending, since: float) -> Change:
        self._told, self._well = None, 0.0
        return Change(told, how, DETAILS[how], since)


def _wrong(difference: Difference) -> bool:
    return difference.lost >= LOST or difference.lost + difference.soft >= WRONG


def _good(difference: Difference) -> bool:
    return difference.lost + difference.soft < WELL


def _kind(difference: Difference) -> TamperKind:
    """Return what is wrong: nothing is left, fine detail alone is gone, or something else is seen."""
    if difference.lost >= LOST and difference.left < COVERED:
        return TamperKind.COVERED
    if difference.lost < LOST or difference.dull >= WRONG:
        return TamperKind.DEFOCUSED
    return TamperKind.TURNED


def _detail(kind: TamperKind, look: Look) -> str:
    match kind:
        case TamperKind.COVERED:
            return "the picture is dark and shows nothing" if look.level < DARK else "the picture shows nothing"
        case TamperKind.TURNED:
            return "the picture shows something else than before"
        case TamperKind.DEFOCUSED:
            return "the picture has lost its fine detail"


def _sized(grey: Image) -> Array:
    """Return a grey picture as (150, 150)."""
    if grey.shape != (SIDE, SIDE):
        grey = np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    return grey.astype(np.float32)


def _half(grey: Array) -> Array:
    return np.asarray(cv2.resize(grey, (HALF, HALF), interpolation=cv2.INTER_AREA), np.float32)


def _mean(pictures: deque[Array]) -> Array:
    return np.asarray(sum(pictures) / np.float32(len(pictures)), np.float32)
