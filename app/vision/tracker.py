"""Follow the bodies of one camera from frame to frame.

The method is ByteTrack's (Zhang et al., ECCV 2022): clear detections are matched first, faint ones may only go on with
a body that is known already. Two things are ours: all rates are per second, so five and twenty-five frames a second
behave alike, and a face, where there is one, weighs as much as the body around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.types import Array, Detections, Faces, Track
from app.vision.association import bodies_of, continuity, crowns, nearness, pair, sitting
from app.vision.boxes import iou
from app.vision.regions import head_regions

CONFIRMING_HITS = 2
LOST_AFTER = 1.5  # seconds unseen; people hide one another for about one
LEFT_AFTER = 0.4  # seconds unseen, when the body should be out of the picture by now
TENTATIVE_AFTER = 0.5  # seconds unseen, before the second hit
VELOCITY_SECONDS = 0.3  # time constant of the velocity estimate
REST_SECONDS = 0.7  # an unseen body is foretold to come to rest with this time constant
REACH = 0.4  # body widths that a body may be from where it was foretold ...
REACH_PER_SECOND = 3.0  # ... and more for each second since it was seen: people walk about so many
REACH_LIMIT = 2.0
DOUBLE = 0.5  # IoU with a body of this frame from which a detection without a face is no second body

NO_FACE = np.full(4, np.nan, np.float32)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What may be one body in this frame."""

    box: Array  # (4,)
    face: int | None  # row of the frame's faces
    face_box: Array  # (4,), NaN without a face


@dataclass(slots=True, eq=False)
class Path:
    """A track and what foretells where it goes."""

    track: Track
    face_box: Array  # (4,) where the face is or, unseen, should be; NaN before the first
    velocity: Array  # (2,) pixels per second
    lag: Array  # (2,) pixels that the body went farther than foretold, and the unseen face with it

    def foretell(self, elapsed: float, *, unseen: bool) -> None:
        """Move on at the present velocity, which dies away while the body is unseen."""
        step = self.velocity * np.float32(elapsed)
        self.track.box = self.track.box + np.tile(step, 2)
        self.face_box = self.face_box + np.tile(step + self.lag, 2)
        self.track.face, self.lag = None, np.zeros(2, np.float32)
        if unseen:
            self.velocity = self.velocity * np.float32(np.exp(-elapsed / REST_SECONDS))

    def follow(self, sighting: Sighting, clock: float) -> None:
        """Take the body's new place; the velocity is that of an alpha-beta filter with alpha = 1."""
        track, elapsed = self.track, clock - self.track.seen
        self.lag = (crowns(sighting.box[None]) - crowns(track.box[None]))[0]
        self.velocity = self.velocity + self.lag * np.float32((1 - np.exp(-elapsed / VELOCITY_SECONDS)) / elapsed)
        track.box, track.seen, track.hits = sighting.box, clock, track.hits + 1
        track.confirmed = track.hits >= CONFIRMING_HITS
        self.show(sighting)

    def show(self, sighting: Sighting) -> None:
        """Take the face of the sighting, if it has one."""
        self.track.face = sighting.face
        if sighting.face is not None:
            self.face_box = self.track.face_box = sighting.face_box
            self.lag = np.zeros(2, np.float32)


class Tracker:
    """The bodies in front of one camera."""

    def __init__(self, firm: float) -> None:
        """Begin with nobody.

        Args:
            firm: score, 0..1, from which a detection may start a track.
        """
        self._firm = firm
        self.ended: list[Track] = []  # those that died in the last update
        self._paths: list[Path] = []
        self._tracks_born = 0
        self._clock = -np.inf
        self._size = (0, 0)

    @property
    def alive(self) -> bool:
        """Whether anybody is followed."""
        return bool(self._paths)

    @property
    def ids(self) -> list[int]:
        """Return the ids of the live tracks, in the order of `boxes`."""
        return [path.track.id for path in self._paths]

    def boxes(self) -> Array:
        """Return the boxes of the live tracks, (n, 4), clipped to the picture; of the unseen where they should be."""
        return _rows([path.track.box for path in self._paths]).clip(0, np.array(self._size * 2, np.float32))

    def update(self, detections: Detections, faces: Faces, clock: float, width: int, height: int) -> list[Track]:
        """Go on by one frame and return the live tracks, oldest first.

        Args:
            detections: persons of this frame; none is normal.
            faces: faces of this frame; `Track.face` is a row of it.
            clock: monotonic seconds of the frame, later than that of the last one.
            width: of the picture in pixels: who walks out of it is given up sooner.
            height: the same.
        """
        for path in self._paths:
            path.foretell(clock - self._clock, unseen=path.track.seen < self._clock)
        self._clock, self._size = clock, (width, height)
        firm, faint, lone = self._sightings(detections, faces)
        fresh = self._follow_bodies(firm)
        self._follow_bodies(faint)
        fresh += self._follow_faces(lone)
        for sighting in fresh:
            self._start(sighting)
        self._end()
        return [path.track for path in self._paths]

    def split(self, track: int) -> Track:
        """End `track` and go on with its body under a new id, for another face has appeared on it.

        The old track is not among `ended`: whoever splits it knows.

        Raises:
            KeyError: the track does not live.
        """
        path = {path.track.id: path for path in self._paths}[track]
        path.track = replace(path.track, id=self._next_id(), born=self._clock)
        return path.track

    def _sightings(self, detections: Detections, faces: Faces) -> tuple[list[Sighting], list[Sighting], list[Sighting]]:
        """Join faces and bodies one to one: clear bodies, faint ones, and faces left over on guessed bodies."""
        heads = head_regions(detections.boxes, *self._size)
        face_of = {body: face for face, body in pair(sitting(faces.boxes, detections.boxes, heads))}
        firm: list[Sighting] = []
        faint: list[Sighting] = []
        for body, (box, score) in enumerate(zip(detections.boxes, detections.scores, strict=True)):
            if body in face_of:
                firm.append(Sighting(box, face_of[body], faces.boxes[face_of[body]]))
            else:
                (firm if score >= self._firm else faint).append(Sighting(box, None, NO_FACE))
        guessed = bodies_of(faces.boxes, *self._size)
        lone = [face for face in range(len(faces)) if face not in face_of.values()]
        return firm, faint, [Sighting(guessed[face], face, faces.boxes[face]) for face in lone]

    def _follow_bodies(self, sightings: Sequence[Sighting]) -> list[Sighting]:
        """Match the tracks that were not seen yet in this frame and return the sightings left over."""
        paths = [path for path in self._paths if path.track.seen < self._clock]
        affinity = continuity(
            _rows([path.track.box for path in paths]),
            _rows([path.face_box for path in paths]),
            _rows([sighting.box for sighting in sightings]),
            _rows([sighting.face_box for sighting in sightings]),
            self._reach(paths),
        )
        pairs = pair(affinity)
        for row, column in pairs:
            paths[row].follow(sightings[column], self._clock)
        return _others(sightings, pairs)

    def _follow_faces(self, sightings: Sequence[Sighting]) -> list[Sighting]:
        """Match faces without a body with the tracks that have no face in this frame; return those left over."""
        paths = [path for path in self._paths if path.track.face is None]
        bodies, faces = _rows([path.track.box for path in paths]), _rows([one.face_box for one in sightings])
        near = nearness(_rows([path.face_box for path in paths]), faces)
        within = np.where(near >= 1 - self._reach(paths)[:, None], near, -np.inf)
        sits = sitting(faces, bodies, head_regions(bodies, *self._size)).T
        pairs = pair(np.where(np.isnan(near), sits, within))
        for row, column in pairs:
            path, sighting = paths[row], sightings[column]
            if path.track.seen == self._clock:
                path.show(sighting)
            else:
                path.follow(
                    replace(sighting, box=_grown(path.track.box, path.face_box, sighting.face_box)), self._clock
                )
        return _others(sightings, pairs)

    def _reach(self, paths: Sequence[Path]) -> Array:
        """Return how far each body may be from where it should be, (n,), in body widths."""
        unseen = np.array([self._clock - path.track.seen for path in paths], np.float32)
        return np.asarray(np.minimum(REACH + REACH_PER_SECOND * unseen, REACH_LIMIT), np.float32)

    def _start(self, sighting: Sighting) -> None:
        """Begin a track, unless the detector drew a second box around a body of this frame."""
        present = _rows([path.track.box for path in self._paths if path.track.seen == self._clock])
        if sighting.face is None and (iou(sighting.box[None], present) > DOUBLE).any():
            return
        track = Track(self._next_id(), sighting.box, born=self._clock, seen=self._clock)
        self._paths.append(Path(track, NO_FACE, velocity=np.zeros(2, np.float32), lag=np.zeros(2, np.float32)))
        self._paths[-1].show(sighting)

    def _end(self) -> None:
        """Give up the tracks that were not seen for too long."""
        self.ended = [path.track for path in self._paths if self._lost(path.track)]
        self._paths = [path for path in self._paths if not self._lost(path.track)]

    def _lost(self, track: Track) -> bool:
        x, y = (track.box[:2] + track.box[2:]) / 2
        outside = not (0 < x < self._size[0] and 0 < y < self._size[1])
        patience = LEFT_AFTER if outside else LOST_AFTER if track.confirmed else TENTATIVE_AFTER
        return self._clock - track.seen > patience

    def _next_id(self) -> int:
        self._tracks_born += 1
        return self._tracks_born


def _rows(boxes: Sequence[Array]) -> Array:
    return np.stack(boxes) if len(boxes) else np.zeros((0, 4), np.float32)


def _others(sightings: Sequence[Sighting], pairs: Sequence[tuple[int, int]]) -> list[Sighting]:
    """Return the sightings that no pair has taken."""
    taken = {column for _, column in pairs}
    return [sighting for column, sighting in enumerate(sightings) if column not in taken]


def _grown(body: Array, face: Array, found: Array) -> Array:
    """Let a body go along with its face from `face` to `found` and grow with it; without a former face it stays."""
    if np.isnan(face).any():
        return body
    scale = (found[2] - found[0]) / max(face[2] - face[0], 1)
    middle, new_middle = (face[:2] + face[2:]) / 2, (found[:2] + found[2:]) / 2
    return np.asarray(np.tile(new_middle, 2) + (body - np.tile(middle, 2)) * scale, np.float32)
