"""What happens to the cameras of `cardea bench soak`, and how the samples become figures: pure functions.

Rounds are all alike: in each, four cameras have trouble or are changed, another four each time, and then everything is
given time to settle. Threads and descriptors are compared at the ends of rounds, when nothing is going on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from workers.simulator.faults import Fault, Injection

ROUND = 90.0  # seconds; the longest way back of a camera is some 20 s
STALLED = (10.0, 22.0)  # seconds of a round: longer than the 5 s after which a camera counts as stalled
DEAD = (14.0, 26.0)
MOVED, REMOVED, ADDED, ENROLLED = 18.0, 24.0, 34.0, 40.0
FIFTH = 0.2


class Change(StrEnum):
    """What an operator does."""

    MOVE = "move"  # the camera's source becomes another camera's
    REMOVE = "remove"
    ADD = "add"  # the removed one again
    ENROL = "enrol"  # one more person, so that every gallery is built anew


@dataclass(frozen=True, slots=True)
class Step:
    """A change and when it is due, seconds since the start."""

    at: float
    change: Change
    camera: int


@dataclass(frozen=True, slots=True)
class Sample:
    """The worker's process at one moment."""

    at: float  # seconds since the start
    megabytes: float  # resident
    threads: int
    descriptors: int
    online: int  # cameras


def changes(cameras: int, seconds: float) -> list[Step]:
    """Return what operators do in all whole rounds of so many seconds."""
    steps = []
    for number in range(rounds(seconds)):
        start, moved, removed = number * ROUND, (number + 2) % cameras, (number + 3) % cameras
        steps += [
            Step(start + MOVED, Change.MOVE, moved),
            Step(start + REMOVED, Change.REMOVE, removed),
            Step(start + ADDED, Change.ADD, removed),
            Step(start + ENROLLED, Change.ENROL, removed),
        ]
    return steps


def faults(camera: int, cameras: int, seconds: float) -> list[Injection]:
    """Return the faults of one virtual camera in all whole rounds of so many seconds."""
    found = []
    for number in range(rounds(seconds)):
        for offset, fault, span in ((0, Fault.STALL, STALLED), (1, Fault.DIE, DEAD)):
            if (number + offset) % cameras == camera:
                begin, end = (number * ROUND + moment for moment in span)
                found += [Injection(fault, begin), Injection(Fault.NONE, end)]
    return found


def rounds(seconds: float) -> int:
    """Return how many whole rounds fit."""
    return int(seconds // ROUND)


def growth(samples: Sequence[Sample]) -> dict[str, Any]:
    """Compare memory at both ends of the second half: the median of its first fifth with that of its last fifth."""
    half = samples[len(samples) // 2 :]
    count = max(round(len(half) * FIFTH), 1)
    before, after = (float(np.median([one.megabytes for one in part])) for part in (half[:count], half[-count:]))
    return {
        "first_fifth_mb": round(before, 1),
        "last_fifth_mb": round(after, 1),
        "percent": round((after / before - 1) * 100, 2),
        "rule": "second half of the run: median of its last fifth against the median of its first fifth",
    }


def at_rest(samples: Sequence[Sample], seconds: float) -> list[Sample]:
    """Return the last sample of every whole round."""
    ends = [(number + 1) * ROUND for number in range(rounds(seconds))]
    return [max((one for one in samples if one.at <= end), key=lambda one: one.at) for end in ends]
