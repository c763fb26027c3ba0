"""How often something may be asked for: a moving window per caller, kept in the memory of this process.

The limits are fixed and part of the API's description. They hold per process: with n processes behind one address a
caller has n times as much.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fastapi import Request, Response

from app.api.auth import Check, Key, client_address
from app.api.problems import ProblemError


@dataclass(frozen=True, slots=True)
class Limit:
    """So many in any stretch of so many seconds."""

    count: int
    seconds: int


Name = Literal["identify", "login", "refused-key"]
LIMITS: dict[Name, Limit] = {
    "identify": Limit(60, 60),  # per key: identify, verify and face-checks together
    "login": Limit(10, 60),  # per address
    "refused-key": Limit(30, 60),  # per address; a good key is never refused for it
}
CALLERS = 10_000  # remembered at most: above that those are dropped whose window has passed


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of asking for one more."""

    limit: Limit
    allowed: bool
    remaining: int  # that may still be asked for now
    wait: int  # whole seconds until one more is allowed; 0 while some remain

    def headers(self, name: Name) -> dict[str, str]:
        """Return the fields of draft-ietf-httpapi-ratelimit-headers, and Retry-After for a refusal."""
        policy = f'"{name}";q={self.limit.count};w={self.limit.seconds}'
        told = {"RateLimit-Policy": policy, "RateLimit": f'"{name}";r={self.remaining};t={self.wait}'}
        return told if self.allowed else told | {"Retry-After": str(self.wait)}


class RateLimiter:
    """Counts in moving windows. Threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock  # seconds
        self._lock = threading.Lock()
        self._taken: dict[tuple[Name, str], deque[float]] = {}

    def take(self, name: Name, caller: str) -> Taken:
        """Ask for one more for a caller: a key's id or an address. What is refused does not count."""
        limit, moment = LIMITS[name], self._clock()
        with self._lock:
            if len(self._taken) > CALLERS:
                self._sweep(moment)
            times = self._taken.setdefault((name, caller), deque())
            while times and times[0] <= moment - limit.seconds:
                times.popleft()
            allowed = len(times) < limit.count
            if allowed:
                times.append(moment)
            remaining = limit.count - len(times)
            wait = 0 if remaining else int(times[0] + limit.seconds - moment) + 1
        return Taken(limit, allowed, remaining, wait)

    def _sweep(self, moment: float) -> None:
        past = [place for place, times in self._taken.items() if times[-1] <= moment - LIMITS[place[0]].seconds]
        for place in past:
            del self._taken[place]


def check_limit(request: Request, name: Name, caller: str) -> Taken:
    """Take one of a caller's share.

    Raises:
        ProblemError: nothing of it is left.
    """
    limiter: RateLimiter = request.app.state.limiter
    taken = limiter.take(name, caller)
    if not taken.allowed:
        limit = f"{taken.limit.count} in {taken.limit.seconds} seconds"
        raise ProblemError("too-many-requests", f"The limit is {limit}; wait {taken.wait} s.", taken.headers(name))
    return taken


def limited(name: Literal["identify"]) -> Check:
    """Return the dependency that lets a key ask so often and answers 429 after that.

    Its endpoint documents ``too-many-requests``.
    """

    async def check(request: Request, response: Response, key: Key) -> None:
        taken = check_limit(request, name, key.id)
        response.headers.update(taken.headers(name))

    return check


def check_login(request: Request) -> None:
    """Count an attempt to log in with a bad key from the request's address.

    Raises:
        ProblemError: there were too many.
    """
    check_limit(request, "login", client_address(request))


def check_refused(request: Request) -> None:
    """Count a bad key from the request's address. Good keys are not asked for this: others may share the address.

    Raises:
        ProblemError: there were too many.
    """
    check_limit(request, "refused-key", client_address(request))
