"""From events to figures for `cardea bench visits`: pure functions.

An event belongs to the visit during which, or shortly after which, it was decided, on the same camera. Two visits are
farther apart than that, so an event has one visit or none, and never the neighbour's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

from app.cli.spectator import percentiles
from app.intervals import rate
from app.types import AccessEvent, Decision

LAST_WORD = 3.0  # seconds after a visitor has gone in which his visit is decided: a track ends 1.5 s after its body
EARLY = 0.3  # seconds by which the clocks of film and events may differ


class Outcome(StrEnum):
    """What became of a visit."""

    GRANTED_RIGHT = "granted_right"
    GRANTED_WRONG = "granted_wrong"  # in somebody else's name
    UNKNOWN = "unknown"
    UNDECIDED = "undecided"
    MISSED = "missed"  # no event at all


@dataclass(frozen=True, slots=True)
class Span:
    """When a visitor appears and when he has gone, seconds of the film."""

    appears: float
    leaves: float


@dataclass(frozen=True, slots=True)
class Seen:
    """An access event and the seconds of the film at which its deciding frame was captured."""

    event: AccessEvent
    captured: float

    @property
    def decided(self) -> float:
        """Seconds of the film at which it was decided."""
        return self.captured + (self.event.decided_at - self.event.captured_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Result:
    """A visit and its end. `decisive` is None for one that was missed."""

    expected: str | None  # person id of a resident, None for a stranger
    span: Span
    outcome: Outcome
    decisive: Seen | None
    decisions: tuple[str, ...]  # of all its events, in order

    @property
    def seconds(self) -> float | None:
        """From the first appearance to the decision."""
        return None if self.decisive is None else self.decisive.decided - self.span.appears


def attribute(spans: Sequence[Span], seen: Sequence[Seen]) -> tuple[list[list[Seen]], list[Seen]]:
    """Return the events of each visit of one camera, and those that belong to none.

    Args:
        spans: in the order of time, farther apart than `EARLY` + `LAST_WORD`.

    Raises:
        ValueError: two visits are too near for their events to be told apart.
    """
    for earlier, later in pairwise(spans):
        if later.appears - EARLY <= earlier.leaves + LAST_WORD:
            raise ValueError(f"the visit at {later.appears:.1f} s is too near the one before")
    own: list[list[Seen]] = [[] for _ in spans]
    strays: list[Seen] = []
    for one in seen:
        fits = [
            number
            for number, span in enumerate(spans)
            if span.appears - EARLY <= one.captured <= span.leaves + LAST_WORD
        ]
        (own[fits[0]] if fits else strays).append(one)
    return own, strays


def judge(expected: str | None, span: Span, events: Sequence[Seen]) -> Result:
    """Say what became of one visit. A wrong name outweighs a right one, and a name outweighs everything else."""
    found: dict[Outcome, Seen] = {}
    for one in events:
        found.setdefault(_outcome(expected, one.event), one)
    ranked = (Outcome.GRANTED_WRONG, Outcome.GRANTED_RIGHT, Outcome.UNKNOWN, Outcome.UNDECIDED)
    outcome = next((outcome for outcome in ranked if outcome in found), Outcome.MISSED)
    return Result(expected, span, outcome, found.get(outcome), tuple(str(one.event.decision) for one in events))


def totals(results: Sequence[Result]) -> dict[str, Any]:
    """Return the number of visits by outcome and each share with its 95 % interval."""
    counts = Counter(result.outcome for result in results)
    return {
        **{str(outcome): counts[outcome] for outcome in Outcome},
        "n": len(results),
        "intervals": {str(outcome): rate([counts[outcome]], [len(results)]) for outcome in Outcome},
    }


def group(results: Sequence[Result]) -> dict[str, Any]:
    """Return the figures of residents or of strangers."""
    return {
        **totals(results),
        "reasons": _reasons(results),
        "seconds_to_decision": {
            str(outcome): _seconds([result for result in results if result.outcome is outcome])
            for outcome in Outcome
            if outcome is not Outcome.MISSED
        },
        "several_events": dict(Counter(" ".join(one.decisions) for one in results if len(one.decisions) > 1)),
    }


def _outcome(expected: str | None, event: AccessEvent) -> Outcome:
    if event.person is not None:  # granted; nobody here is denied, for no camera asks for groups
        return Outcome.GRANTED_RIGHT if event.person == expected else Outcome.GRANTED_WRONG
    return Outcome.UNKNOWN if event.decision is Decision.UNKNOWN else Outcome.UNDECIDED


def _reasons(results: Sequence[Result]) -> dict[str, dict[str, int]]:
    reasons: dict[str, Counter[str]] = {}
    for result in results:
        if result.decisive is not None:
            reasons.setdefault(str(result.outcome), Counter()).update(map(str, result.decisive.event.reasons))
    return {outcome: dict(counted.most_common()) for outcome, counted in reasons.items()}


def _seconds(results: Sequence[Result]) -> dict[str, float | None]:
    spent = [result.seconds * 1e3 for result in results if result.seconds is not None]
    return {name: None if value is None else round(value / 1e3, 2) for name, value in percentiles(spent).items()}
