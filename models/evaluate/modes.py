"""The gates that can be compared: each judges a frame and, where the frame goes on, finds persons in it.

A mode belongs to one clip; the nets behind it are shared. Published rule and runtime's gate drop boxes that did not
move, as their rules say; the gates on pixels only decide whether the net runs at all. A mode and the plain net beside
it run in one precision, so that the time saved is the gate's doing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from app.errors import SetupError
from app.types import Detections, Picture
from app.vision.artefact import Card, shipped
from app.vision.detector import Detector, Glance
from app.vision.gate import Motion, PublishedGate, make_gate, moving
from app.vision.gate_published import KEPT
from models.evaluate.published import cut_person_net
from models.evaluate.rivals import RIVALS, Rival
from models.evaluate.subjects import person_net

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
        """Return the persons of the frame judged last, which was open, doubtful finds included."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    mode: str  # of `MODES`
    cache: Path  # keeps fetched packages
    cut: str = "b06"  # published: the block whose map is compared
    threshold: float | None = None  # None: the mode's own
    precision: str | None = None  # int8 or fp32; None: what suits the processor, fp32 for a net that is cut anew


@dataclass(frozen=True, slots=True)
class Contest:
    """A mode ready to be measured, and the plain net beside it."""

    make: Callable[[], Mode]  # a new one for each clip
    whole: Detector  # the plain net, in the precision of the mode
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


def prepare(wanted: Wanted) -> Contest:
    """Return a mode with its nets.

    Raises:
        SetupError: the mode has no threshold or no such precision, or the net to be cut cannot be fetched.
    """
    return PREPARED[wanted.mode](wanted)


def plain_net(precision: str | None) -> Detector:
    """Open the shipped person detector, to run it whole."""
    return person_net(shipped("detector"), "cut", precision)


def _published(wanted: Wanted) -> Contest:
    if wanted.precision not in (None, "fp32"):
        raise SetupError(f"mode published cuts the net anew, in fp32 alone: leave --precision {wanted.precision} out")
    with TemporaryDirectory() as folder:
        at_cut = person_net(cut_person_net(wanted.cut, wanted.cache, Path(folder)), "cut", "fp32")
    gate = partial(PublishedGate, **_given(wanted))
    parameters = {"cut": wanted.cut, "threshold": gate().threshold, "kept_per_frame": KEPT}
    return _contest(partial(PublishedMode, at_cut, gate), plain_net("fp32"), at_cut.card, parameters)


def _cardea(wanted: Wanted) -> Contest:
    _refuse_threshold(wanted)
    detector, whole = person_net(shipped("detector"), precision=wanted.precision), plain_net(wanted.precision)
    make = partial(CardeaMode, detector, _person_score())
    return _contest(make, whole, detector.card, {"gate": "cardea", "stem": detector.gate_stem})


def _on_pixels(wanted: Wanted) -> Contest:
    rival, whole = partial(RIVALS[wanted.mode], **_given(wanted)), plain_net(wanted.precision)
    return _contest(partial(PixelMode, whole, rival), whole, whole.card, {"threshold": rival().threshold})


def _off(wanted: Wanted) -> Contest:
    _refuse_threshold(wanted)
    whole = plain_net(wanted.precision)
    return _contest(partial(PlainMode, whole), whole, whole.card, {})


PREPARED: dict[str, Callable[[Wanted], Contest]] = {
    "published": _published,
    "cardea": _cardea,
    **dict.fromkeys(RIVALS, _on_pixels),
    "off": _off,
}
MODES = tuple(PREPARED)


def _given(wanted: Wanted) -> dict[str, float]:
    return {} if wanted.threshold is None else {"threshold": wanted.threshold}


def _refuse_threshold(wanted: Wanted) -> None:
    if wanted.threshold is not None:
        raise SetupError(f"mode {wanted.mode} has no threshold: leave --threshold out")


def _person_score() -> float:
    return float(shipped("detector").card.parameters["score_sure"])


def _contest(make: Callable[[], Mode], whole: Detector, card: Card, parameters: dict[str, Any]) -> Contest:
    return Contest(make, whole, _person_score(), {"id": card.id, "sha256": card.files}, parameters)
