"""How far each shipped net lies from its source on the same pictures."""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.types import Faces, Image
from app.vision.artefact import SHIPPED, Artefact, Net
from app.vision.boxes import anchors, nms
from app.vision.detector import Detector
from app.vision.faces import decode
from app.vision.picture import ArrayPicture
from models.pictures import patterns, shrunk, variants
from models.starter.person import SIDE, PersonNet, anchor_shapes
from models.starter.recipes import FINDER

FINDER_SIDE = 320  # the longest side that the runtime searches
MULTIPLE = int(FINDER.parameters["multiple"])
ONE_FACE_SCORE = 0.6


@dataclass(frozen=True, slots=True)
class Difference:
    """One measured difference, the largest over everything that was compared, and what is still rounding."""

    what: str
    value: float
    limit: float
    n: int
    of: str  # what n counts

    def figure(self) -> dict[str, Any]:
        """Return it as a card has it."""
        return {"what": self.what, "value": float(f"{self.value:.3g}"), "n": self.n, "of": self.of}


def person_differences(
    artefact: Artefact, source: bytes, whole: list[Image], reference: Mapping[str, np.ndarray]
) -> list[Difference]:
    """Compare the starter's person net with the frozen graph's outputs (`tensorflow_reference.person`), and uncut."""
    maps, pooled = _outputs(artefact.open("stem.onnx"), map(_single, whole))
    codes, logits = _outputs(artefact.open("tail.onnx"), maps[:, None])
    uncut_codes, uncut_logits = _uncut_outputs(source, whole)
    source_map = reference["map"].transpose(0, 3, 1, 2)
    shapes = _corners(anchors(**anchor_shapes()))
    by, n = f"TensorFlow {reference['version']}", len(whole)
    found = [
        Difference(f"box codes, {by}", _largest(codes, reference["codes"][:, :, 0]), 1e-3, n, "pictures"),
        Difference(f"person logits, {by}", _largest(logits, reference["logits"][..., 1]), 1e-3, n, "pictures"),
        Difference(f"map behind the stem, {by}", _largest(maps, source_map), 1e-3, n, "pictures"),
        Difference(f"features of the stem, {by}", _largest(pooled, averaged(source_map, 3)), 1e-3, n, "pictures"),
        Difference("box codes, stem and tail against the uncut net", _largest(codes, uncut_codes), 1e-4, n, "pictures"),
        Difference("logits, stem and tail against the uncut net", _largest(logits, uncut_logits), 1e-4, n, "pictures"),
        Difference(f"anchors, {by}", _largest(shapes, reference["anchors"]), 1e-5, len(shapes), "anchors"),
    ]
    return found + _detection_differences(artefact, whole, reference, by)


def _outputs(net: Net, inputs: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Run a net on one input after another; return each of its outputs for all of them."""
    return [np.concatenate(rows) for rows in zip(*(net.run(row) for row in inputs), strict=True)]


def _uncut_outputs(source: bytes, whole: list[Image]) -> list[np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "person.onnx"
        path.write_bytes(PersonNet(source).whole())
        return _outputs(Net(path), map(_single, whole))


def _detection_differences(
    artefact: Artefact, whole: list[Image], reference: Mapping[str, np.ndarray], by: str
) -> list[Difference]:
    """Compare the boxes behind non-maximum suppression with those of the graph's own postprocessor."""
    detector = Detector(artefact, gate_stem="cut", precision="fp32")
    floor = artefact.card.parameters["score_floor"]
    unlike, boxes, scores, persons = 0, 0.0, 0.0, 0
    for picture, source_boxes, source_scores in zip(whole, reference["boxes"], reference["scores"], strict=True):
        found = detector.finish(detector.look(ArrayPicture(picture)))
        rows = source_scores >= floor
        if len(found) != rows.sum():
            unlike += 1
            continue
        persons += len(found)
        expected = source_boxes[rows][:, [1, 0, 3, 2]] * SIDE
        boxes = max(boxes, _largest(found.boxes, expected))
        scores = max(scores, _largest(found.scores, source_scores[rows]))
    return [
        Difference(f"pictures with another number of persons, {by}", unlike, 0, len(whole), "pictures"),
        Difference(f"boxes in pixels of 300, {by}", boxes, 0.05, persons, "persons"),
        Difference(f"scores, {by}", scores, 1e-3, persons, "persons"),
    ]


def embedder_differences(
    starter: Artefact, crops: list[Image], reference: Mapping[str, np.ndarray]
) -> list[Difference]:
    """Compare the starter embedder's unit vectors with the TFLite net's, brought to unit length."""
    net = starter.open("embedder.onnx")
    vectors = net.run(batch(crops))[0]
    singly = _outputs(net, map(_single, crops))[0]
    expected = reference["vectors"] / np.linalg.norm(reference["vectors"], axis=1, keepdims=True)
    by, n = f"TensorFlow Lite {reference['version']}", len(crops)
    return [
        Difference(f"unit vectors, {by}", _largest(vectors, expected), 1e-5, n, "faces and patterns"),
        Difference(f"1 - cosine, {by}", float(1 - (vectors * expected).sum(1).min()), 1e-5, n, "faces and patterns"),
        Difference(
            "length of the vectors from 1", _largest(np.linalg.norm(vectors, axis=1), np.ones(n)), 1e-5, n, "vectors"
        ),
        Difference("unit vectors, one at a time against all at once", _largest(vectors, singly), 1e-5, n, "vectors"),
    ]


def finder_differences(source: bytes, pictures: list[Image]) -> list[Difference]:
    """Compare the finder's net and our decoding of it with OpenCV's FaceDetectorYN on the source file."""
    net = Artefact(SHIPPED / FINDER.name).open("finder.onnx")
    searched = [variant for picture in pictures for variant in variants(_searched(picture))] + patterns(FINDER_SIDE)
    unlike, boxes, points, scores, count = 0, 0.0, 0.0, 0.0, 0
    for picture in searched:
        found, expected = found_faces(net, picture), opencv_faces(source, picture)
        if len(found) != len(expected):
            unlike += 1
            continue
        count += len(found)
        sizes = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], axis=1)
        boxes = max(boxes, _largest(sizes, expected[:, :4]))
        points = max(points, _largest(found.landmarks.reshape(-1, 10), expected[:, 4:14]))
        scores = max(scores, _largest(found.scores, expected[:, 14]))
    by = f"OpenCV {cv2.__version__} FaceDetectorYN"
    return [
        Difference(f"pictures with another number of faces, {by}", unlike, 0, len(searched), "pictures"),
        Difference(f"boxes in pixels, {by}", boxes, 1e-2, count, "faces"),
        Difference(f"points in pixels, {by}", points, 1e-2, count, "faces"),
        Difference(f"scores, {by}", scores, 1e-4, count, "faces"),
    ]


def found_faces(net: Net, picture: Image) -> Faces:
    """Return the faces of one look at a picture as it is, best first; the runtime looks again to put points right."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)))
    outputs = dict(zip(net.outputs, net.run(batch([padded])), strict=True))
    faces = decode(outputs, padded.shape[1], ONE_FACE_SCORE)
    kept = nms(faces.boxes, faces.scores, FINDER.parameters["nms_iou"])
    return Faces(faces.boxes[kept], faces.scores[kept], faces.landmarks[kept])


def opencv_faces(net: bytes, picture: Image) -> np.ndarray:
    """Return the faces (n, 15) that OpenCV finds: x, y, width, height, five points, score; best first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(net)
        size = (picture.shape[1], picture.shape[0])
        detector = cv2.FaceDetectorYN.create(str(path), "", size, ONE_FACE_SCORE, FINDER.parameters["nms_iou"])
        faces = detector.detect(picture)[1]
    return np.zeros((0, 15), np.float32) if faces is None else faces[np.argsort(-faces[:, 14], kind="stable")]


def batch(images: list[Image]) -> np.ndarray:
    """Return BGR pictures of one size as (n, 3, H, W) float32 0..255."""
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2), np.float32)


def _single(image: Image) -> np.ndarray:
    return batch([image])


def averaged(maps: np.ndarray, size: int) -> np.ndarray:
    """Return maps (n, c, h, w) averaged over size x size cells."""
    n, channels, height, width = maps.shape
    return maps.reshape(n, channels, height // size, size, width // size, size).mean((3, 5))


def _searched(picture: Image) -> Image:
    scale = FINDER_SIDE / max(picture.shape[:2])
    return shrunk(picture, round(picture.shape[1] * scale), round(picture.shape[0] * scale))


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Return ``cx cy w h`` as the TensorFlow detection library orders corners: ``y1 x1 y2 x2``."""
    centres, halves = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([(centres - halves)[:, ::-1], (centres + halves)[:, ::-1]], axis=1)


def _largest(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).max(initial=0))
