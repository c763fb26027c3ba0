"""How long a camera is waited for, and when it is tried again."""

import random
from dataclasses import dataclass

_GROWTH = 1.5  # of the longest wait from one failure to the next


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds, except where it says otherwise."""

    open: float = 5.0  # until a camera must have answered
    read: float = 2.5  # for the next packet, twice: at the first time-out FFmpeg gives the frame it has kept back
    silence: float = 3.0  # more than `read`; packets that come after a longer one may have waited in a buffer
    first_picture: float = 20.0  # packets may come for so long before the first key frame
    undecodable: int = 25  # packets in a row after which a stream is opened anew
    steady: float = 10.0  # of pictures, after which a camera counts as well again
    retry_first: float = 1.0  # the first new attempt comes within this
    retry_cap: float = 30.0  # and no wait is longer than this
    hang: float = 20.0  # beyond its own time-out, after which a blocking call is given up

    @property
    def answer(self) -> float:
        """How long FFmpeg's sockets wait: a little less than PyAV, whose error would say less."""
        return 0.9 * self.open


class Backoff:
    """Exponential back-off with full jitter: a random part of a ceiling that grows by half with every failure.

    Doubling would be kinder to a service in the cloud; a camera that boots again is the only one at its door. Full
    jitter spreads the attempts of many cameras that were lost together (Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).
    """

    def __init__(self, first: float, cap: float) -> None:
        self._first = first
        self._cap = cap
        self._random = random.Random()
        self.failures = 0  # since the last `reset`

    def next(self) -> float:
        """Return the seconds until the next attempt, 0..cap."""
        ceiling = min(self._cap, self._first * _GROWTH ** min(self.failures, 50))
        self.failures += 1
        return self._random.uniform(0, ceiling)

    def longest(self) -> float:
        """Return a wait near the cap, for a camera that may lock an account after wrong passwords."""
        self.failures += 1
        return self._random.uniform(self._cap / 2, self._cap)

    def reset(self) -> None:
        """Begin anew: the camera is well."""
        self.failures = 0
