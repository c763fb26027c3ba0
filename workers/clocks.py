"""Whether the wall clock of this machine agrees with the database's: doors refuse what is granted by a wrong one."""

import logging
from datetime import datetime, timedelta

log = logging.getLogger(__name__)

APART = timedelta(seconds=1)  # a grant lives for a few


class Clocks:
    """Compares two clocks again and again and says it when they part and when they agree again."""

    def __init__(self) -> None:
        self._side = ""  # on which ours was, while they disagreed

    def compare(self, before: datetime, theirs: datetime, after: datetime) -> None:
        """Take in the database's time, and ours before and after it was asked for, which may have taken long."""
        ahead, behind = before - theirs, theirs - after
        side = "ahead of" if ahead > APART else "behind" if behind > APART else ""
        if side and side != self._side:
            seconds = max(ahead, behind).total_seconds()
            log.warning(
                "the clock of this machine is %.0f s %s the database's: doors refuse grants by a wrong clock",
                seconds,
                side,
            )
        if self._side and not side:
            log.info("the clock of this machine agrees with the database's again")
        self._side = side
