"""Faces of known people with everything that might tell how far their embedding can be relied on.

Photographs are seen as they are, or as at a door: the portrait shrunk until its eyes are `EYES` pixels apart, drawn for
each photograph, and then damaged in one of the ways of `models.recognition.degrade`, drawn as well.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from app.errors import SetupError
from app.types import Array, Image
from app.vision.artefact import Artefact
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder, align, assess
from app.vision.runtime import ort
from models.detection.labelled import Pictures
from models.evaluate.seen_faces import PADDING
from models.labels import CheckedLabels, check_labels
from models.recognition.crops import nearest_large
from models.recognition.degrade import DEGRADATIONS
from models.recognition.degrade import EYES as SHARE
from models.recognition.teachers import Teacher

EYES = (14.0, 60.0)  # pixels between the eyes at a door, evenly drawn by their logarithm
MEASURES = ("quality", "sharpness", "size", "finder_score", "length")  # the first one is the product's
PARTS = ("eye_distance", "sharpness", "yaw", "finder_score")  # what the product's score is made of
NOTICE_EVERY = 500


@dataclass(frozen=True, slots=True)
class Face:
    """One face as the product sees it."""

    crop: Image  # (112, 112, 3) aligned
    landmarks: Array  # (5, 2) pixels of the picture
    vector: Array  # (d,) unit length
    usable: bool  # passes the quality gate
    measures: tuple[float, ...]  # of `MEASURES`
    parts: tuple[float, ...]  # of `PARTS`


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph with a face."""

    name: str
    person: str
    digest: str  # SHA-256 of the file
    plain: Face
    door: Face | None  # as a door's camera may see it; None: no face is found then
    judged: Array  # (j,) what the net that judges the labels sees


@dataclass(frozen=True, slots=True)
class Look:
    """The same n photographs, looked at in one way; row i of each field is one of them."""

    found: NDArray[np.bool_]  # (n,)
    usable: NDArray[np.bool_]  # (n,) passes the quality gate
    vectors: Array  # (n, d) unit rows, zeros without a face
    measures: NDArray[np.float64]  # (n, m) of `MEASURES`, 0 without a face
    parts: NDArray[np.float64]  # (n, 4) of `PARTS`, 0 without a face


@dataclass(frozen=True, slots=True)
class KnownFaces:
    """n photographs with a face in each whose labels are believed."""

    people: NDArray[np.int64]  # (n,) 0, 1, ...
    digests: NDArray[np.str_]  # (n,) SHA-256 of the files
    plain: Look
    door: Look
    labels: CheckedLabels  # of all photographs with a face, before some were left out


class Observer:
    """The product's finder, gate and embedder, and the length that a vector has before it is normalised."""

    def __init__(self, finder: FaceFinder, embedder: Artefact) -> None:
        """Open the nets.

        Raises:
            ArtefactError: the card describes no embedder.
            SetupError: the embedder's graph does not end with a division by the length.
        """
        self._finder, card = finder, Embedder(embedder)
        self._unnormalised = _Unnormalised(embedder.folder / embedder.card.parameters["precisions"][card.precision])

    def look(self, picture: Image) -> Face | None:
        """Return the face that a picture (H, W, 3) BGR is about, None when none is found."""
        faces, (height, width) = self._finder.find(picture), picture.shape[:2]
        if not len(faces):
            return None
        row = nearest_large(faces, width, height)
        box, score, landmarks = faces.boxes[row], float(faces.scores[row]), faces.landmarks[row]
        crop = align(picture, landmarks)
        quality = assess(width, height, box, score, landmarks, crop)
        raw = self._unnormalised.run(crop)
        length = float(np.linalg.norm(raw))
        return Face(
            crop,
            landmarks,
            raw / max(length, 1e-9),
            quality.usable,
            (quality.score, quality.sharpness, quality.eye_distance, score, length),
            (quality.eye_distance, quality.sharpness, quality.yaw, score),
        )


class _Unnormalised:
    """An embedder without its last step, cut in memory."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(str(path))
        end = model.graph.node[-1]
        if end.op_type != "Div":
            raise SetupError(f"{path.name} does not end with a division by the length: its length cannot be had")
        del model.graph.output[:]
        model.graph.output.append(helper.make_tensor_value_info(end.input[0], TensorProto.FLOAT, None))
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def run(self, crop: Image) -> Array:
        """Return the vector (d,) of one face."""
        batch = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32)
        return np.asarray(self._session.run(None, {self._input: batch})[0][0], np.float32)


def photographs(
    sets: Sequence[Pictures],
    who: Mapping[str, str],
    observer: Observer,
    judge: Teacher,
    say: Callable[[str], None],
) -> Iterator[Photograph]:
    """Look at every photograph of a known person, as it is and as at a door; those without a face are left out.

    Args:
        sets: pictures, one person on each.
        who: the person of each picture's path.
        observer: the product's nets.
        judge: the net that judges the labels.
        say: is told how far the work is.

    Raises:
        SetupError: a picture cannot be read.
    """
    listed = [(one, name) for one in sets for name in one.names if name in who]
    for number, (pictures, name) in enumerate(listed, 1):
        picture = pictures.image(name)
        face = observer.look(picture)
        if face is not None:
            door = observer.look(at_a_door(picture, face.landmarks, zlib.crc32(name.encode())))
            digest = hashlib.sha256(pictures.content(name)).hexdigest()
            yield Photograph(name, who[name], digest, face, door, judge.embed(face.crop))
        if number % NOTICE_EVERY == 0:
            say(f"{number} of {len(listed)} photographs")


def known_faces(found: Sequence[Photograph]) -> KnownFaces:
    """Judge the labels of photographs and keep those that are believed, of people who have two or more.

    Raises:
        SetupError: there is nobody who has.
    """
    people, digests = (np.array([getattr(one, name) for one in found]) for name in ("person", "digest"))
    several = np.unique(people, return_counts=True)[1].max(initial=0) > 1
    if not several:
        raise SetupError("nobody has two photographs with a face")
    labels = check_labels(people, digests, np.stack([one.judged for one in found]))
    kept = np.flatnonzero(labels.kept)
    numbers, counts = np.unique(labels.groups[kept], return_inverse=True, return_counts=True)[1:]
    kept = kept[counts[numbers] > 1]
    if not len(kept):
        raise SetupError("nobody has two photographs whose labels can be believed")
    return KnownFaces(
        np.unique(labels.groups[kept], return_inverse=True)[1].astype(np.int64),
        digests[kept],
        _look([found[row].plain for row in kept]),
        _look([found[row].door for row in kept]),
        labels,
    )


def at_a_door(picture: Image, landmarks: Array, seed: int) -> Image:
    """Return a portrait (side, side, 3) of a face as a door's camera may see it, with black around it.

    Args:
        picture: (H, W, 3) BGR.
        landmarks: (5, 2) of the face in its pixels.
        seed: draws size and damage.
    """
    random = np.random.default_rng(seed)
    native = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    eyes = min(float(np.exp(random.uniform(*np.log(EYES)))), native)
    kinds = [name for name in DEGRADATIONS if name != "small"]  # the portrait has been shrunk already
    kind = kinds[int(random.integers(len(kinds)))]
    damaged = DEGRADATIONS[kind](_portrait(picture, landmarks, eyes / native, round(eyes / SHARE)), seed)
    return np.pad(damaged, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))


def _portrait(picture: Image, landmarks: Array, scale: float, side: int) -> Image:
    """Return the square (side, side, 3) around a face of a picture shrunk by `scale`; outside of it all is black."""
    size = [max(round(length * scale), 1) for length in picture.shape[1::-1]]
    smaller = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    middle = landmarks.mean(axis=0) * np.array(size) / np.array(picture.shape[1::-1])
    move = np.array([[1, 0, side / 2 - middle[0]], [0, 1, side / 2 - middle[1]]], np.float32)
    return np.asarray(cv2.warpAffine(smaller, move, (side, side), flags=cv2.INTER_LINEAR), np.uint8)


def _look(faces: Sequence[Face | None]) -> Look:
    dimension = next(len(face.vector) for face in faces if face is not None)
    blank = np.zeros(dimension, np.float32)
    return Look(
        found=np.array([face is not None for face in faces]),
        usable=np.array([face is not None and face.usable for face in faces]),
        vectors=np.stack([blank if face is None else face.vector for face in faces]),
        measures=np.array([(0.0,) * len(MEASURES) if face is None else face.measures for face in faces]),
        parts=np.array([(0.0,) * len(PARTS) if face is None else face.parts for face in faces]),
    )
