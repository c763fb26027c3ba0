"""What the analysis of a camera last saw, for the thread that decodes: whether anybody is worth decoding for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of all frames up to one. Times are monotonic seconds of frames, not of their analysis."""

    clock: float  # of the last analysed frame
    shut_since: float | None  # of the first frame since which the gate has been shut; None while it is open
    opened_at: float | None  # of the first frame since which it has been open; None while it is shut
    peopled: bool  # somebody was followed since it opened
    people_at: float  # of the last frame in which somebody was followed, minus infinity before the first
    looked_at: bool  # an operator looks at the camera


class Attention:
    """Written by the inference loop after each frame, read by the camera's reader; a judgement is replaced whole.

    Attributes:
        everything: every frame shall be decoded whatever is seen, as when one measures what that costs.
    """

    def __init__(self) -> None:
        self.everything = False
        self.judgement: Judgement | None = None

    def tell(self, clock: float, *, still: bool, people: bool, looked_at: bool = False) -> None:
        """Note what the frame of this time showed.

        Args:
            clock: monotonic seconds of the frame.
            still: the gate was shut.
            people: somebody is followed.
            looked_at: an operator looks at the camera.
        """
        before = self.judgement
        shut, opened, peopled, people_at = None, None, False, float("-inf")
        if before is not None:
            shut, opened, peopled, people_at = before.shut_since, before.opened_at, before.peopled, before.people_at
        people_at = clock if people else people_at
        if still:
            self.judgement = Judgement(clock, clock if shut is None else shut, None, False, people_at, looked_at)
        else:
            opened = clock if opened is None else opened
            self.judgement = Judgement(clock, None, opened, peopled or people, people_at, looked_at)
