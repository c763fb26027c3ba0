"""From what a gate did on clips with truth to rates, times and precision: pure functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.intervals import rate
from app.types import Detections
from models.evaluate.average_precision import average_precision, match
from models.evaluate.visits import WARM_UP, Flags, People, VisitClip

EXITED_SHARE = 0.1  # of one second's frames may be open once the gate has "exited"
DRAWS = 1000  # of the bootstrap over clips


@dataclass(slots=True)
class Replay:
    """What a mode did on the frames of a clip that were shown."""

    indices: list[int] = field(default_factory=list)  # frame numbers
    opened: list[bool] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    finds: dict[int, Detections] = field(default_factory=dict)  # frame -> persons, of frames whose finds count
    mode_ms: list[float] = field(default_factory=list)
    whole_ms: list[float] = field(default_factory=list)  # of the same frames


@dataclass(frozen=True, slots=True)
class Counts:
    """Whole numbers of one clip, so that clips can be pooled."""

    frames: int
    still: int
    exited: int  # still frames on which the gate was closed
    still_with_cuts: int
    exited_with_cuts: int
    moving: int
    opened: int  # moving frames on which it was open
    standing: int
    stood: int  # frames of somebody standing still on which it was open
    looked_at: int  # still frames whose finds count
    false_on_figure: int  # persons found on the pasted figure in them


@dataclass(frozen=True, slots=True)
class Finds:
    """The finds of a clip beside its truth; n counted finds."""

    scores: NDArray[np.float32]  # (n,)
    hits: Flags  # (n,)
    truths: int


def count(clip: VisitClip, replay: Replay, on_figure: dict[int, int]) -> Counts:
    """Compare the frames on which the gate was open with the clip's truth; `on_figure` is by frame."""
    indices, opened = np.array(replay.indices, np.int64), np.array(replay.opened, bool)
    judged = np.arange(len(indices)) >= WARM_UP
    still, with_cuts = clip.still[indices] & judged, clip.still_with_cuts[indices] & judged
    moves = clip.moving[indices] & judged
    standing = np.zeros(len(indices), bool)
    for span in clip.standing:
        standing |= (indices >= span.start) & (indices < span.end)
    looked_at = [index for index in indices[still] if index in replay.finds]
    return Counts(
        frames=len(indices),
        still=int(still.sum()),
        exited=int((still & ~opened).sum()),
        still_with_cuts=int(with_cuts.sum()),
        exited_with_cuts=int((with_cuts & ~opened).sum()),
        moving=int(moves.sum()),
        opened=int((moves & opened).sum()),
        standing=int(standing.sum()),
        stood=int((standing & opened).sum()),
        looked_at=len(looked_at),
        false_on_figure=sum(on_figure.get(index, 0) for index in looked_at),
    )


def auc(clip: VisitClip, replay: Replay) -> float | None:
    """Return how often a moving frame has a higher score than a still one (ties half); None without both or scores.

    The area under the receiver operating characteristic by ranks (Mann and Whitney 1947).
    """
    rows = [
        (score, bool(clip.moving[index]))
        for index, score in list(zip(replay.indices, replay.scores, strict=True))[WARM_UP:]
        if score is not None and (clip.moving[index] or clip.still[index])
    ]
    values, moves = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], bool)
    positive, negative = int(moves.sum()), int((~moves).sum())
    if not positive or not negative:
        return None
    _, ranked, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[ranked]  # equal values share their mean rank
    return float((ranks[moves].sum() - positive * (positive + 1) / 2) / positive / negative)


def compare(clip: VisitClip, replay: Replay, width: int, height: int) -> Finds:
    """Match the finds of a clip of this size in pixels with the people in its masks."""
    size = np.array([width, height, width, height], np.float32)
    nobody = People(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32))
    scores, hits, truths = [np.zeros(0, np.float32)], [np.zeros(0, bool)], 0
    for index, found in replay.finds.items():
        people = clip.people.get(index, nobody)
        hit, counted = match(found.boxes, found.scores, people.boxes * size, people.ignored * size)
        scores.append(found.scores[counted])
        hits.append(hit[counted])
        truths += len(people.boxes)
    return Finds(np.concatenate(scores), np.concatenate(hits), truths)


def precision(finds: Sequence[Finds]) -> float | None:
    """Return AP50 of clips merged into one; None without truths."""
    merged = average_precision(
        np.concatenate([one.scores for one in finds]),
        np.concatenate([one.hits for one in finds]),
        sum(one.truths for one in finds),
    )
    return None if np.isnan(merged) else merged


def seconds_to_exit(clip: VisitClip, replay: Replay) -> dict[str, float | None]:
    """Return for each permanent change how long it keeps the gate open; None: beyond the next event or the end.

    Events of one type are told apart by a number from the second one on.
    """
    indices, opened = np.array(replay.indices, np.int64), np.array(replay.opened, bool)
    seconds: dict[str, float | None] = {}
    for row, span in enumerate(clip.permanent):
        after = (indices >= span.start) & (indices < span.end)
        earlier = sum(other.what == span.what for other in clip.permanent[:row])
        what = f"{span.what} {earlier + 1}" if earlier else span.what
        seconds[what] = first_exit((indices[after] - span.start) / clip.fps, opened[after])
    return seconds


def first_exit(clock: NDArray[np.float64], opened: Flags) -> float | None:
    """Return when a second begins that the gate spends closed but for a tenth of its frames; None: never.

    `clock` (n,) is the time of each frame since the change.
    """
    apart = float(np.diff(clock).mean()) if len(clock) > 1 else 0.0
    for first in np.flatnonzero(~opened):
        second = (clock >= clock[first]) & (clock < clock[first] + 0.95)
        if clock[-1] + apart < clock[first] + 0.95:  # the clip ends before the second does
            return None
        if opened[second].mean() <= EXITED_SHARE:
            return round(float(clock[first]), 2)
    return None


def rates(counts: Sequence[Counts]) -> dict[str, dict[str, Any]]:
    """Return the rates of clips with their intervals, see `app.intervals.rate`."""
    return {
        "exit_rate_still": rate([one.exited for one in counts], [one.still for one in counts]),
        "exit_rate_still_with_cuts": rate(
            [one.exited_with_cuts for one in counts], [one.still_with_cuts for one in counts]
        ),
        "open_rate_moving": rate([one.opened for one in counts], [one.moving for one in counts]),
        "standing_open": rate([one.stood for one in counts], [one.standing for one in counts]),
    }


def drawn(statistic: Callable[[NDArray[np.int64]], float | None], clips: int) -> list[float] | None:
    """Return the 95 % interval of a statistic of clips, by drawing clips with replacement; None for one clip."""
    if clips < 2:
        return None
    random = np.random.default_rng(0)
    values = [statistic(random.integers(0, clips, clips)) for _ in range(DRAWS)]
    known = [value for value in values if value is not None]
    return [round(float(bound), 4) for bound in np.quantile(known, [0.025, 0.975])] if known else None
