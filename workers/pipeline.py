"""The main path of the system: one frame of one camera in, verdicts on visits out.

All state here belongs to this camera alone; the nets are shared and remember nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from app.access import Rules, Verdict, Visits
from app.gallery import Gallery
from app.types import Array, Camera, Decision, Detections, Faces, FaceShot, Frame, Person, Reason, Track
from app.vision.artefact import shipped
from app.vision.detector import Detector, Glance
from app.vision.embedder import Embedder
from app.vision.embedders import Embedders
from app.vision.faces import FaceFinder
from app.vision.gate import Motion, make_gate, moving
from app.vision.regions import head_regions
from app.vision.shots import BestShots
from app.vision.tamper import Change, TamperWatch
from app.vision.tracker import Tracker
from app.vision.zones import Allowed
from workers.stages import Stages

STILL_SECONDS = 60.0  # a tracked body that has not moved for so long is furniture
ALIKE_FMR = 1e-2  # two shots of one track that are less alike than one impostor pair in a hundred are two people


@dataclass(frozen=True, slots=True)
class Nets:
    """The nets of a process, shared by all its cameras."""

    detector: Detector
    finder: FaceFinder
    embedder: Embedder
    ids: dict[str, str]  # role -> name@hash, the detector's with its precision; written into every event
    embedders: Embedders  # all that are at hand

    @staticmethod
    def open() -> "Nets":
        """Open the shipped artefacts, the detector in the precision that suits this processor.

        Raises:
            ArtefactError: one is missing or altered.
        """
        detector, finder = Detector(shipped("detector")), FaceFinder(shipped("face_finder"))
        embedders = Embedders.installed()
        embedder = embedders.of(None)
        ids = {net.card.role: net.card.id for net in (detector, finder, embedder)}
        return Nets(detector, finder, embedder, ids | {"detector": detector.id}, embedders)

    def embedding_by(self, embedder: Embedder) -> "Nets":
        """Return the nets with another embedder."""
        return replace(self, embedder=embedder, ids=self.ids | {embedder.card.role: embedder.card.id})


@dataclass(frozen=True, slots=True)
class Sight:
    """What one frame showed, for those who watch live."""

    tracks: list[Track]
    faces: Faces
    motion: Motion


class CameraPipeline:
    """Background, tracks and visits of one camera."""

    def __init__(
        self,
        camera: Camera,
        nets: Nets,
        gallery: Callable[[], Gallery | None],
        gate: str,
        tamper: TamperWatch | None = None,
    ) -> None:
        """Begin without knowing what the camera sees, but for tampering.

        Args:
            gallery: gives the templates as they are now; None while they are of another embedder than `nets` has.
            tamper: of an earlier pipeline of the same camera; None: begin anew.
        """
        self._camera = camera
        self._nets = nets
        self._gallery = gallery
        self._gate = make_gate(gate)
        self._allowed = Allowed(camera.zones)
        self._tracker = Tracker(nets.detector.sure)
        self._shots = BestShots()
        self._visits = Visits(Rules(alike=nets.embedder.similarity_at(ALIKE_FMR)))
        self._moved: dict[int, float] = {}  # track -> clock of its last motion
        self._tamper = tamper or TamperWatch()
        self.stages = Stages()
        self.sight: Sight | None = None  # of the last frame
        self.tampering: Change | None = None  # what began or ended with the last frame

    def process(self, frame: Frame, *, may_grant: bool) -> list[Verdict]:
        """Follow the people of one frame and return the verdicts that became due; often none."""
        self.stages.wall_ms.clear()
        glance = self._look(frame)
        motion = self._still_or_moving(glance, frame)
        persons = self._detect(glance, motion, frame)
        faces = self._find_faces(persons, motion, frame)
        width, height = frame.picture.width, frame.picture.height
        with self.stages.measure("other"):
            tracks = self._tracker.update(persons, faces, frame.clock, width, height)
            self._visits.follow(tracks, frame)
            self.sight = Sight(tracks, faces, motion)
            self.tampering = self._tamper.look(glance.small, frame.clock, somebody=self._tracker.alive)
            shots = self._choose(frame, tracks, faces)
        self._recognise(frame, shots)
        with self.stages.measure("other"):
            return self._visits.decide(
                self._person, self._camera.groups, datetime.now(UTC), frame.clock, may_grant=may_grant
            )

    def close(self, clock: float) -> list[Verdict]:
        """End all visits, because the camera is lost or no longer ours; nothing is granted."""
        self._visits.finish()
        return self._visits.decide(self._person, self._camera.groups, datetime.now(UTC), clock, may_grant=False)

    def verdict_on(self, track: int) -> tuple[Decision | None, str | None]:
        """Return what was decided about a track and the id of who it is; both None while nothing is."""
        return self._visits.standing(track)

    def _person(self, person: str) -> Person | None:
        gallery = self._gallery()
        return None if gallery is None else gallery.person(person)

    def _look(self, frame: Frame) -> Glance:
        self.stages.analysed += 1
        self.stages.cpu_ms["decode"] += frame.decode_ms
        with self.stages.measure("stem"):
            return self._nets.detector.look(frame.picture)

    def _still_or_moving(self, glance: Glance, frame: Frame) -> Motion:
        """Ask the gate; what moves outside of all zones does not open it."""
        hold = self._held(frame.clock)
        with self.stages.measure("gate"):
            motion = self._gate.update(glance.features, frame.clock, hold)
            if not hold and not self._allowed.within(motion).active.any():
                motion = replace(motion, open=False, why=None)
        self.stages.exited += not motion.open
        return motion

    def _held(self, clock: float) -> bool:
        """Tell whether anybody is followed who moved lately: a face on a wall holds nothing open."""
        return any(clock - self._moved.get(track, clock) <= STILL_SECONDS for track in self._tracker.ids)

    def _detect(self, glance: Glance, motion: Motion, frame: Frame) -> Detections:
        """Run the rest of the net, unless the frame is still: the early exit."""
        if not motion.open:
            return Detections.empty()
        width, height = frame.picture.width, frame.picture.height
        with self.stages.measure("tail"):
            found = self._nets.detector.finish(glance)
        with self.stages.measure("gate"):
            lively = self._lively(motion, frame)
            sure = found.boxes[found.scores >= self._nets.detector.sure]
            self._gate.protect(np.concatenate([sure, lively]), width, height, frame.clock)
            return self._allowed.persons(moving(found, motion, lively, width, height), width, height)

    def _lively(self, motion: Motion, frame: Frame) -> Array:
        """Return the boxes of the tracks that moved lately, so that a poster cannot hold the gate open for ever."""
        boxes = self._tracker.boxes()
        shares = motion.share(boxes, frame.picture.width, frame.picture.height)
        kept = []
        moved = {}
        for row, (track, share) in enumerate(zip(self._tracker.ids, shares, strict=True)):
            moved[track] = frame.clock if share > 0 else self._moved.get(track, frame.clock)
            if frame.clock - moved[track] <= STILL_SECONDS:
                kept.append(row)
        self._moved = moved
        return boxes[kept]

    def _find_faces(self, persons: Detections, motion: Motion, frame: Frame) -> Faces:
        """Look for faces where people are or were, and where something moves that the net took for no person."""
        if not motion.open:
            return Faces.empty()
        width, height = frame.picture.width, frame.picture.height
        with self.stages.measure("faces"):
            bodies = np.concatenate([persons.boxes, self._tracker.boxes()])
            loose = self._allowed.within(motion).regions(width, height)
            loose = loose[_covered(loose, bodies) < 0.5]
            regions = np.concatenate([head_regions(bodies, width, height), loose])
            return self._allowed.faces(self._nets.finder.find_in(frame.picture, regions), width, height)

    def _choose(self, frame: Frame, tracks: list[Track], faces: Faces) -> list[FaceShot]:
        shots = self._shots.offer(frame, tracks, faces)
        for track, reason in self._shots.rejected.items():
            self._visits.note(track, reason)
        for ended in self._tracker.ended:
            self._shots.forget(ended.id)
        return shots

    def _recognise(self, frame: Frame, shots: list[FaceShot]) -> None:
        """Embed the best shots, match them and let them vote; a track that shows another face is split."""
        if not shots:
            return
        gallery = self._gallery()
        if gallery is None:
            for shot in shots:
                self._visits.note(shot.track, Reason.GALLERY_STALE)
            return
        threshold = self._nets.embedder.threshold(gallery.comparisons, gallery.target_fpir)
        with self.stages.measure("embed"):
            vectors = self._nets.embedder.embed([shot.crop for shot in shots])
            matches = gallery.search(vectors)
        for shot, vector, match in zip(shots, vectors, matches, strict=True):
            if self._visits.hear(frame, shot, vector, match, threshold):
                self._visits.split(shot.track, self._tracker.split(shot.track).id)
            if self._visits.doubts(shot.track):
                self._shots.forget(shot.track)  # the next face is taken at once


def _covered(regions: Array, boxes: Array) -> Array:
    """Return the largest share of each region (n, 4) that one of the boxes (m, 4) covers, (n,) in 0..1."""
    if not len(regions) or not len(boxes):
        return np.zeros(len(regions), np.float32)
    low = np.maximum(regions[:, None, :2], boxes[None, :, :2])
    high = np.minimum(regions[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area = np.maximum(np.prod(regions[:, 2:] - regions[:, :2], axis=1), 1e-6)
    return np.asarray((shared / area[:, None]).max(axis=1), np.float32)
