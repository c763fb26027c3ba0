"""The gates that can be compared: each judges a frame and, where the frame goes on, finds persons in it.

A mode belongs to one clip; the nets behind it are shared. Published rule and runtime's gate drop boxes that did not
move, as their rules say; the gates on pixels only decide whether the net runs at all.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from app.errors import SetupError
from app.types import Detections, Picture
from app.vision.artefact import Artefact, shipped
from app.vision.detector import Detector, Glance
from app.vision.gate import Motion, PublishedGate, make_gate, moving
from app.vision.gate_published import KEPT
from models.evaluate.published import cut_person_net
from models.evaluate.rivals import RIVALS, Rival

MODES = ("published", "cardea", *RIVALS, "off")
LEAST_SCORE = 0.02  # finds from here on count for average precision
NOBODY = np.zeros((0, 4), np.float32)  # no tracker: the figures are those of the gate alone


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a gate says of one frame."""

    open: bool  # False: the frame exits here
    score: float | None  # how much moves; only its order counts, within one clip. None: the mode has none


class Mode(Protocol):
    """A gate and the net behind it."""

    def judge(self, picture: Picture, clock: float) -> Judgement:
        """Judge the next frame at `clock` seconds."""

    def detect(self) -> Detections:
        """Return the persons of the frame judged last, which was open, with scores from `LEAST_SCORE` on."""


@dataclass(frozen=True, slots=True)
class Contest:
    """A mode ready to be measured, and the plain net beside it."""

    make: Callable[[], Mode]  # a new one for each clip
    whole: Detector  # the plain net in fp32
    person_score: float  # from here on the runtime calls a find a person
    artefact: dict[str, Any]  # the nets that the mode runs
    parameters: dict[str, Any]  # of the mode


class PlainMode:
    """The net on every frame."""

    def __init__(self, whole: Detector) -> None:
        self._whole = whole
        self._picture: Picture

    def judge(self, picture: Picture, clock: float) -> Judgement:
        """Let every frame go on."""
        self._picture = picture
        return Judgement(True, None)

    def detect(self) -> Detections:
        """See `Mode.detect`."""
        return self._whole.finish(self._whole.look(self._picture))


class PixelMode(PlainMode):
    """The net on frames that a gate on pixels lets through."""

    def __init__(self, whole: Detector, rival: Callable[[], Rival]) -> None:
        super().__init__(whole)
        self._rival = rival()

    def judge(self, picture: Picture, clock: float) -> Judgement:
        """Ask the gate on pixels."""
        self._picture = picture
        score = self._rival.score(picture.image())
        return Judgement(score > self._rival.threshold, score)


class PublishedMode:
    """The published rule on the map of the net's own cut; boxes are filtered by their mean distance."""

    def __init__(self, cut: Detector, gate: Callable[[], PublishedGate]) -> None:
        self._cut = cut
        self._gate = gate()
        self._glance: Glance
        self._motion: Motion

    def judge(self, picture: Picture, clock: float) -> Judgement:
        """Compare the frame's map with the background."""
        self._glance = self._cut.look(picture)
        self._motion = self._gate.update(self._glance.features, clock, hold=False)
        return Judgement(self._motion.open, float(self._motion.distance.max()))

    def detect(self) -> Detections:
        """See `Mode.detect`."""
        picture = self._glance.picture
        return moving(self._cut.finish(self._glance), self._motion, NOBODY, picture.width, picture.height)


class CardeaMode:
    """The runtime's gate with what it is shipped with; persons found on its open frames protect their cells."""

    def __init__(self, detector: Detector, person_score: float) -> None:
        self._detector = detector
        self._person_score = person_score
        self._gate = make_gate("cardea")
        self._found = Detections.empty()

    def judge(self, picture: Picture, clock: float) -> Judgement:
        """Ask the gate, and on an open frame tell it at once where persons are.

        The score is the number of active cells and, among frames with as many, the largest distance.
        """
        glance = self._detector.look(picture)
        motion = self._gate.update(glance.features, clock, hold=False)
        if motion.open:
            found = self._detector.finish(glance)
            persons = found.boxes[found.scores >= self._person_score]
            self._gate.protect(persons, picture.width, picture.height, clock)
            self._found = moving(found, motion, NOBODY, picture.width, picture.height)
        return Judgement(motion.open, float(motion.active.sum() + motion.distance.max()))

    def detect(self) -> Detections:
        """See `Mode.detect`."""
        return self._found


def prepare(mode: str, threshold: float | None, cut: str, cache: Path) -> Contest:
    """Return a mode of `MODES` with its nets; `threshold` None: the mode's own.

    Raises:
        SetupError: the mode has no threshold, or the net to be cut cannot be fetched.
    """
    artefact = shipped("detector")
    person_score = float(artefact.card.parameters["score_floor"])
    whole = _detector(artefact, "cut", "fp32")
    given = {} if threshold is None else {"threshold": threshold}
    make: Callable[[], Mode]
    if mode == "published":
        with TemporaryDirectory() as folder:
            artefact = cut_person_net(cut, cache, Path(folder))
            at_cut = _detector(artefact, "cut", "fp32")
        gate = partial(PublishedGate, **given)
        parameters = {"cut": cut, "threshold": gate().threshold, "kept_per_frame": KEPT}
        make = partial(PublishedMode, at_cut, gate)
    elif mode in RIVALS:
        rival = partial(RIVALS[mode], **given)
        parameters = {"threshold": rival().threshold}
        make = partial(PixelMode, whole, rival)
    elif given:
        raise SetupError(f"mode {mode} has no threshold: leave --threshold out")
    elif mode == "off":
        parameters = {}
        make = partial(PlainMode, whole)
    else:
        detector = _detector(artefact)
        parameters = {"gate": "cardea", "stem": detector.gate_stem, "precision": detector.precision}
        make = partial(CardeaMode, detector, person_score)
    return Contest(make, whole, person_score, _described(artefact), parameters)


def _detector(artefact: Artefact, gate_stem: str | None = None, precision: str | None = None) -> Detector:
    """Open a detector that returns everything that average precision asks for.

    Finds of the card's own floor and above are the same as without: suppression goes from the best one down.
    """
    artefact.card = replace(artefact.card, parameters=artefact.card.parameters | {"score_floor": LEAST_SCORE})
    return Detector(artefact, gate_stem, precision)


def _described(artefact: Artefact) -> dict[str, Any]:
    return {"id": artefact.card.id, "sha256": artefact.card.files}
