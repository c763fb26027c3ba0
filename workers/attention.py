"""What the analysis of a camera last saw, for the thread that decodes: whether anybody is worth decoding for."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of all frames up to one. Times are monotonic seconds of frames, not of their analysis."""

    clock: float  # of the last analysed frame
    shut_since: float | None  # of the first frame since which the gate has been shut; None while it is open
    opened_at: float | None  # of the first frame since which it has been open; None while it is shut
    person_seen: bool  # somebody was followed since it opened
    people_at: float  # of the last frame in which somebody was followed, minus infinity before the first


class Attention:
    """Written by the inference loop after each frame, read by the camera's reader; a judgement is replaced whole.

    Attributes:
        looked_at: tells whether an operator looks at the camera; the reader asks it with every packet, so that a live
            view need not wait for the next frame that is analysed.
    """

    def __init__(self, looked_at: Callable[[], bool] = lambda: False) -> None:
        self.looked_at = looked_at
        self.judgement: Judgement | None = None

    def record(self, clock: float, *, still: bool, people: bool) -> None:
        """Note what the frame of this time showed.

        Args:
            clock: monotonic seconds of the frame.
            still: the gate was shut.
            people: somebody is followed.
        """
        before = self.judgement
        shut, opened, person_seen, people_at = None, None, False, float("-inf")
        if before is not None:
            shut, opened, person_seen = before.shut_since, before.opened_at, before.person_seen
            people_at = before.people_at
        people_at = clock if people else people_at
        if still:
            self.judgement = Judgement(clock, clock if shut is None else shut, None, False, people_at)
        else:
            opened = clock if opened is None else opened
            self.judgement = Judgement(clock, None, opened, person_seen or people, people_at)
