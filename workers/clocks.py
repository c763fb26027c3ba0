"""Whether the wall clock of this machine agrees with the database's: doors refuse what is granted by a wrong one."""

import logging
from datetime import datetime, timedelta

log = logging.getLogger(__name__)

APART = timedelta(seconds=1)  # a grant lives for a few


class Clocks:
    """Compares two clocks again and again and says it when they part and when they agree again."""

    def __init__(self) -> None:
        self._wrong = False

    def compare(self, before: datetime, theirs: datetime, after: datetime) -> None:
        """Take in the database's time, and ours before and after it was asked for, which may have taken long."""
        ahead = max(before - theirs, timedelta())
        behind = max(theirs - after, timedelta())
        wrong = max(ahead, behind) > APART
        if wrong and not self._wrong:
            seconds, side = (ahead, "ahead of") if ahead else (behind, "behind")
            log.warning(
                "the clock of this machine is %.0f s %s the database's: doors refuse grants by a wrong clock",
                seconds.total_seconds(),
                side,
            )
        if self._wrong and not wrong:
            log.info("the clock of this machine agrees with the database's again")
        self._wrong = wrong
