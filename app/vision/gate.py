"""The early exit: which rule decides that a frame is still, and the promise that all rules keep.

A gate belongs to one camera. Rules: `AdaptiveGate` for work, `PublishedGate` to compare, `OpenGate` for none.
"""

from typing import Protocol

from app.types import Array
from app.vision.gate_adaptive import AdaptiveGate
from app.vision.gate_published import PublishedGate
from app.vision.motion import Motion, Why, everywhere, moving

__all__ = ["GATES", "AdaptiveGate", "Gate", "Motion", "OpenGate", "PublishedGate", "make_gate", "moving"]


class Gate(Protocol):
    """Tells still frames from moving ones by the detector's own early features."""

    def update(self, features: Array, clock: float, hold: bool) -> Motion:
        """Judge one frame by its features (C, h, w) at `clock` monotonic seconds; open while `hold`."""

    def protect(self, boxes: Array, width: int, height: int, clock: float) -> None:
        """Learn where persons were found (n, 4) in pixels in the frame that was judged last."""


class OpenGate:
    """Lets every frame pass and calls every cell active: the plain detector."""

    def update(self, features: Array, clock: float, hold: bool) -> Motion:
        """Return a map without a still cell."""
        return everywhere(features.shape[1:], Why.OFF)

    def protect(self, boxes: Array, width: int, height: int, clock: float) -> None:
        """Do nothing: there is no background."""


GATES: dict[str, type[AdaptiveGate] | type[PublishedGate] | type[OpenGate]] = {
    "cardea": AdaptiveGate,
    "published": PublishedGate,
    "off": OpenGate,
}


def make_gate(mode: str) -> Gate:
    """Return a new gate of this mode: ``cardea``, ``published`` or ``off``.

    Raises:
        KeyError: there is no such mode.
    """
    return GATES[mode]()
