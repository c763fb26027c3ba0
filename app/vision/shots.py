"""Choose the few faces of each track that are worth an embedding.

An embedding costs as much as the whole early exit saves, and twenty-five shots a second of one face say hardly more
than three. The first usable faces are taken at once, for somebody is waiting at the door; then one from time to time,
sooner when it is clearly better; and after a dozen only now and then, to notice that somebody else has taken the
body's place.
"""

from dataclasses import dataclass

from app.types import Faces, FaceShot, Frame, Reason, Track
from app.vision.faces import align, assess

FIRST = 3  # shots taken as soon as they come
APART = 0.1  # seconds between any two shots: closer ones are the same picture once more
INTERVAL = 0.4  # seconds between shots after the first
BETTER = 1.25  # a quality so many times the best one's is not kept waiting
ENOUGH = 12  # shots after which only `REFRESH` counts
REFRESH = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken of one track."""

    count: int = 0
    last: float = -1e9  # monotonic seconds
    best: float = 0.0  # quality score


@dataclass(frozen=True, slots=True)
class Refused:
    """The best face of a track that has no usable one yet."""

    score: float
    reason: Reason


class BestShots:
    """The choice for one camera."""

    def __init__(self) -> None:
        self._taken: dict[int, Taken] = {}
        self._refused: dict[int, Refused] = {}

    @property
    def rejected(self) -> dict[int, Reason]:
        """Return why the best face of each track was refused, for tracks without a usable face so far."""
        return {track: refused.reason for track, refused in self._refused.items()}

    def offer(self, frame: Frame, tracks: list[Track], faces: Faces) -> list[FaceShot]:
        """Return the aligned faces of this frame to be embedded, at most one per track; often none."""
        shots = []
        for track in tracks:
            taken = self._taken.setdefault(track.id, Taken())
            if track.face is None or frame.clock - taken.last < (REFRESH if taken.count >= ENOUGH else APART):
                continue
            shot = _shot(frame, track.id, faces, track.face)
            if not shot.quality.usable:
                self._refuse(shot)
            elif _due(taken, frame.clock, shot.quality.score):
                self._taken[track.id] = Taken(taken.count + 1, frame.clock, max(taken.best, shot.quality.score))
                self._refused.pop(track.id, None)
                shots.append(shot)
        return shots

    def forget(self, track: int) -> None:
        """Drop what is known of a track that has ended."""
        self._taken.pop(track, None)
        self._refused.pop(track, None)

    def _refuse(self, shot: FaceShot) -> None:
        before = self._refused.get(shot.track)
        if self._taken[shot.track].count == 0 and (before is None or shot.quality.score >= before.score):
            self._refused[shot.track] = Refused(shot.quality.score, shot.quality.reasons[0])


def _due(taken: Taken, clock: float, score: float) -> bool:
    if taken.count < FIRST or taken.count >= ENOUGH:  # the wait since the last one is over already
        return True
    return clock - taken.last >= INTERVAL or score >= BETTER * taken.best


def _shot(frame: Frame, track: int, faces: Faces, row: int) -> FaceShot:
    crop = align(frame.picture.image(), faces.landmarks[row])
    quality = assess(
        frame.picture.width,
        frame.picture.height,
        faces.boxes[row],
        float(faces.scores[row]),
        faces.landmarks[row],
        crop,
    )
    return FaceShot(track, frame.clock, frame.captured_at, crop, faces.boxes[row], quality)
