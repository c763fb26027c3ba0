"""Detectors as they are measured: each takes one picture and gives boxes with scores of one category.

Average precision wants the doubtful finds too, with scores from `FLOOR` on, where a camera has a higher limit. They
change no other find, for suppression goes from the best one down. `threshold` is the score at which the runtime would
act, and at which recall, precision and time are told.
"""

import hashlib
from copy import copy
from dataclasses import replace
from typing import Protocol

import numpy as np

from app.errors import ArtefactError, SetupError
from app.types import Array, Image
from app.vision.artefact import Artefact, Card
from app.vision.boxes import anchors
from app.vision.detector import Detector
from app.vision.faces import MIN_SCORE, FaceFinder
from app.vision.picture import ArrayPicture
from app.vision.regions import LONGEST
from models.detection.finding import FLOOR, OVERLAPS, finds
from models.detection.teachers import YuNet
from models.starter.person import PARAMETERS

HEADS = {  # category -> the card's name of its anchors, outputs of its codes and logits, score that the runtime acts on
    "person": ("anchors", "box_codes", "person_logit", PARAMETERS["score_sure"]),
    "face": ("face_anchors", "face_codes", "face_logit", MIN_SCORE),
}
FACE_SIZE = (LONGEST, 240)  # what a picture is shrunk into for a face net at the runtime's size


class Subject(Protocol):
    """What is measured."""

    sha256: str  # of all files of its artefact
    precision: str  # fp32 | int8
    threshold: float

    def find(self, image: Image, least: float) -> tuple[Array, Array]:
        """Return boxes (n, 4) in pixels and scores (n,), from `least` on, of a picture (H, W, 3) BGR."""


def fingerprint(card: Card) -> str:
    """Return the SHA-256 over the hashes of all files of an artefact; its first digits stand in the card's id."""
    return hashlib.sha256("".join(card.files[name] for name in sorted(card.files)).encode()).hexdigest()


def person_net(artefact: Artefact, gate_stem: str | None = None, precision: str | None = None) -> Detector:
    """Open a person detector that also returns the doubtful finds; arguments and errors as of `Detector`."""
    doubting = copy(artefact)
    parameters = artefact.card.parameters | {"score_floor": FLOOR}
    doubting.card = replace(artefact.card, parameters=parameters)
    return Detector(doubting, gate_stem, precision)


class RuntimePersons:
    """The person detector as a camera uses it."""

    def __init__(self, artefact: Artefact) -> None:
        self._detector = person_net(artefact)
        self.threshold = self._detector.sure
        self.sha256, self.precision = fingerprint(artefact.card), self._detector.precision

    def find(self, image: Image, least: float) -> tuple[Array, Array]:
        """Return the persons of a picture."""
        found = self._detector.finish(self._detector.look(ArrayPicture(image)))
        rows = found.scores >= least
        return found.boxes[rows], found.scores[rows]


class RuntimeFaces:
    """The face finder as it searches a whole picture."""

    threshold, precision = MIN_SCORE, "fp32"

    def __init__(self, artefact: Artefact) -> None:
        self._finder, self.sha256 = FaceFinder(artefact), fingerprint(artefact.card)

    def find(self, image: Image, least: float) -> tuple[Array, Array]:
        """Return the faces of a picture."""
        found = self._finder.find(image, least)
        return found.boxes, found.scores


class PlainYuNet:
    """YuNet with one look, at a picture's own size or shrunk to fit into 320x240."""

    threshold, precision = MIN_SCORE, "fp32"

    def __init__(self, artefact: Artefact, shrink: bool) -> None:
        self._net, self._shrink, self.sha256 = YuNet(artefact), shrink, fingerprint(artefact.card)

    def find(self, image: Image, least: float) -> tuple[Array, Array]:
        """Return the faces of a picture."""
        height, width = image.shape[:2]
        scale = min(FACE_SIZE[0] / width, FACE_SIZE[1] / height) if self._shrink else 1.0
        found = self._net.find(image, scale, least)
        return found.boxes, found.scores


class SplitNet:
    """A detector's stem and tail, read for one category; faces when its card has anchors for them."""

    def __init__(self, artefact: Artefact, category: str, precision: str) -> None:
        """Open the nets.

        Raises:
            ArtefactError: the card describes no detector, or has no such precision.
            SetupError: the detector does not find this category.
        """
        name, self._codes, self._logits, self.threshold = HEADS[category]
        parameters = artefact.card.parameters
        if name not in parameters:
            raise SetupError(f"{artefact.card.name} finds no {category}; measure one whose card has {name}")
        try:
            files = parameters["precisions"][precision]
            self._priors = anchors(**parameters[name])
            self._stem, self._tail = artefact.open(files["stem"]), artefact.open(files["tail"])
            self._size = tuple(int(side) for side in artefact.card.input["size"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{artefact.card.name}: the card has no {precision} detector ({error!r})") from error
        self._overlap = OVERLAPS[category]
        self.sha256, self.precision = fingerprint(artefact.card), precision

    def find(self, image: Image, least: float) -> tuple[Array, Array]:
        """Return the objects of a picture."""
        width, height = self._size
        small = ArrayPicture(image).scaled(width, height)
        batch = np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32)
        cells = dict(zip(self._stem.outputs, self._stem.run(batch), strict=True))["map"]
        outputs = dict(zip(self._tail.outputs, self._tail.run(cells), strict=True))
        size = (image.shape[1], image.shape[0])
        found = finds(outputs[self._codes][0], outputs[self._logits][0], self._priors, self._overlap, size)
        rows = found.scores >= least
        return found.boxes[rows], found.scores[rows]
