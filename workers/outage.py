"""What to do while a server is away: try again after growing pauses, and say so once, not a thousand times."""

import logging
import time

from workers.patience import Backoff

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0  # seconds, and so the most that a recovery is noticed late
REASONS = 3  # a server that is gone, then full: both are said, but not every wording of the same


class Outage:
    """Watches one thing that may fail, such as the database. Used by one thread, read by any.

    Args:
        name: for the log, as the subject of a sentence.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._since: float | None = None
        self._told: set[str] = set()  # what was said of the present outage

    @property
    def lasts(self) -> bool:
        """Whether it is away now, as far as we know."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """How long it has been away; 0 while it is there."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def failed(self, error: Exception) -> float:
        """Note a failure and return the seconds to wait before the next try."""
        if self._since is None:
            self._since = time.monotonic()
        reason = str(error)
        if reason not in self._told and len(self._told) < REASONS:
            self._told.add(reason)
            log.warning("%s is away, trying on: %s", self._name, reason)
        return self._backoff.next()

    def over(self) -> None:
        """Note a success."""
        if self._since is not None:
            log.warning("%s is back after %.1f s", self._name, self.seconds)
        self._since = None
        self._told.clear()
        self._backoff.reset()
