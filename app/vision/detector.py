"""The person detector in two steps: `look` runs the stem, whose features the gate judges, `finish` the rest.

The net remembers nothing and may be shared by any number of cameras. Its card says where the gate's features come
from: from a stem of its own for a grey picture of half the side (``half``), or from the cut of the very pass that the
tail goes on with (``cut``), in averages if the stem gives some. With a half-size stem the whole pass sees noisy
pictures smoothed; the gate never does, for it learns the noise. The card also names the files of each precision,
``fp32`` and ``int8``; the processor decides.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from app.errors import ArtefactError
from app.types import Array, Detections, Image, Picture
from app.vision.artefact import Artefact, Net
from app.vision.boxes import anchors, areas, decode, nms, to_pixels
from app.vision.denoise import denoised
from app.vision.processor import suited_precision

CANDIDATES = 200  # best boxes that go into the suppression; a scene never holds so many people


@dataclass(frozen=True, slots=True)
class Glance:
    """A picture of which only the stem has run."""

    picture: Picture
    small: Image  # grey, of the size of what the stem was shown
    features: Array  # (C, h, w) for the gate
    cells: Array | None  # (1, C, h, w) what the tail goes on with; None when the stem of the whole pass has not run


class Detector:
    """Finds persons.

    Attributes:
        sure: score, 0..1, from which a find is a person by itself; a fainter one only tells where somebody is by now.
    """

    def __init__(self, artefact: Artefact, gate_stem: str | None = None, precision: str | None = None) -> None:
        """Open the nets.

        Args:
            gate_stem: overrides the card's choice, ``half`` or ``cut``.
            precision: overrides what suits the processor, ``int8`` or ``fp32``.

        Raises:
            ArtefactError: the card describes no detector, or has no such stem or precision.
        """
        self.card = artefact.card
        try:
            parameters = artefact.card.parameters
            self.gate_stem = gate_stem or str(parameters["gate_stem"])
            self._anchors = anchors(**parameters["anchors"])
            self._variances = [float(value) for value in parameters["variances"]]
            floor, self.sure = float(parameters["score_floor"]), float(parameters["score_sure"])
            self._least = math.log(floor / (1 - floor))
            self._nms_iou = float(parameters["nms_iou"])
            self._size = _size(artefact.card.input["size"])
            precisions = parameters["precisions"]
            self.precision = precision or suited_precision(precisions)
            files = precisions[self.precision]
            stem, tail = files["stem"], files["tail"]
            half_stem = files["stem_half"] if self.gate_stem == "half" else None
            self._half_size = _size(parameters["half_size"]) if half_stem else self._size
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{artefact.card.name}: the card describes no detector ({error!r})") from error
        if self.gate_stem not in ("half", "cut"):
            raise ArtefactError(f"{artefact.card.name}: gate_stem is {self.gate_stem!r}, not half or cut")
        self._stem = artefact.open(stem, one_shape=True)
        self._tail = artefact.open(tail, one_shape=True)
        self._half_stem = artefact.open(half_stem, one_shape=True) if half_stem else None

    @property
    def id(self) -> str:
        """The artefact's id and the precision it runs in, ``name@hash/int8``: written into every event."""
        return f"{self.card.id}/{self.precision}"

    def look(self, picture: Picture) -> Glance:
        """Run the stem alone."""
        if self._half_stem is None:
            outputs = _run(self._stem, _blob(picture.scaled(*self._size)))
            features = outputs.get("features", outputs["map"])[0]
            return Glance(picture, picture.luma(*self._size), features, outputs["map"])
        small = picture.luma(*self._half_size)
        outputs = _run(self._half_stem, small[None, None].astype(np.float32))
        return Glance(picture, small, outputs["features"][0], None)

    def finish(self, glance: Glance) -> Detections:
        """Run the rest: the persons with a score of at least the card's floor, best first, clipped to the picture."""
        cells = glance.cells
        if cells is None:
            cells = _run(self._stem, _blob(denoised(glance.picture.scaled(*self._size))))["map"]
        outputs = _run(self._tail, cells)
        logits = outputs["person_logit"][0]
        rows = np.flatnonzero(logits >= self._least)
        if not len(rows):
            return Detections.empty()
        rows = rows[np.argsort(-logits[rows], kind="stable")][:CANDIDATES]
        boxes = decode(outputs["box_codes"][0][rows], self._anchors[rows], self._variances)
        boxes, scores = to_pixels(boxes, glance.picture.width, glance.picture.height), _sigmoid(logits[rows])
        visible = areas(boxes) > 0
        boxes, scores = boxes[visible], scores[visible]
        kept = nms(boxes, scores, self._nms_iou)
        return Detections(boxes[kept], scores[kept])


def _run(net: Net, batch: Array) -> dict[str, Array]:
    """Return the outputs of a net by name."""
    return dict(zip(net.outputs, net.run(batch), strict=True))


def _size(value: list[int]) -> tuple[int, int]:
    width, height = value
    return int(width), int(height)


def _blob(image: Image) -> Array:
    """Return a BGR picture (H, W, 3) as a batch (1, 3, H, W) of float32 0..255."""
    planes = np.empty((1, 3, *image.shape[:2]), np.uint8)
    cv2.split(image, planes[0])  # half the time of a transposition
    return planes.astype(np.float32)


def _sigmoid(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)
