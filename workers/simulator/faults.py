"""What can go wrong with a camera, by name."""

import re
from dataclasses import dataclass
from enum import StrEnum

DEFAULT_LOSS = 2.0
_SPELLING = re.compile(r"(?P<fault>[a-z]+)(=(?P<percent>[0-9.]+))?(@(?P<after>[0-9.]+))?")


class Fault(StrEnum):
    """A state the camera is put into; it stays until the next one."""

    NONE = "none"  # works; also brings a camera back after any other fault
    STALL = "stall"  # sessions live and requests are answered, but no media comes
    MUTE = "mute"  # accepts connections; answers nothing and sends nothing
    LOSS = "loss"  # a share of the RTP packets is not sent
    DIE = "die"  # aborts all connections and refuses new ones
    SWAP = "swap"  # goes on with the next clip under the old session description
    REFUSE = "refuse"  # refuses new connections; those there go on


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault and when it comes."""

    fault: Fault
    after: float = 0.0  # seconds since the camera was started
    percent: float = DEFAULT_LOSS  # of packets, for LOSS

    @staticmethod
    def parse(text: str) -> "Injection":
        """Read ``NAME``, ``NAME@SECONDS`` or ``loss=PERCENT@SECONDS``.

        Raises:
            ValueError: with a sentence that says what is allowed.
        """
        match = _SPELLING.fullmatch(text)
        if match is None or match["fault"] not in list(Fault):
            raise ValueError(f"{text!r}: write NAME or NAME@SECONDS, with NAME one of {', '.join(Fault)}")
        fault = Fault(match["fault"])
        if match["percent"] and fault is not Fault.LOSS:
            raise ValueError(f"{text!r}: only loss takes a percentage")
        percent = float(match["percent"] or DEFAULT_LOSS)
        if not 0 < percent <= 100:
            raise ValueError(f"{text!r}: the loss must lie in 0..100 percent")
        return Injection(fault, float(match["after"] or 0), percent)
