"""Faces of a folder of photographs with known people, found and aligned exactly as the runtime does it."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from app.errors import SetupError
from app.types import Image
from app.vision.faces import FaceFinder, align, assess

NOTICE_EVERY = 500


@dataclass(frozen=True, slots=True)
class FaceSet:
    """Usable faces; row i of each field is one photograph."""

    names: list[str]
    people: np.ndarray  # (n,) labels
    photographs: np.ndarray  # (n,) SHA-256 of the file
    crops: np.ndarray  # (n, 112, 112, 3) BGR uint8
    qualities: np.ndarray  # (n,) 0..1, as the runtime judges them
    refused: Counter[str]  # why photographs are not in here

    def __len__(self) -> int:
        return len(self.names)


def load_faces(folder: Path, labels: Path, finder: FaceFinder, say: Callable[[str], None]) -> FaceSet:
    """Return the faces that could be enrolled: one face in the picture, and usable.

    Args:
        folder: of the photographs.
        labels: text, a photograph's name and its person on each line; names without a file are passed over.
        finder: the runtime's.
        say: is told how far the work is.

    Raises:
        SetupError: no photograph is both labelled and there.
    """
    people = dict(line.split() for line in labels.read_text().splitlines() if len(line.split()) == 2)
    paths = [path for path in sorted(folder.iterdir()) if path.name in people]
    found: list[tuple[str, str, str, Image, float]] = []
    refused: Counter[str] = Counter()
    for number, path in enumerate(paths):
        content = path.read_bytes()
        face = _usable_face(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), finder)
        if isinstance(face, str):
            refused[face] += 1
        else:
            found.append((path.name, people[path.name], hashlib.sha256(content).hexdigest(), *face))
        if number % NOTICE_EVERY == 0:
            say(f"{number} of {len(paths)} photographs, {len(found)} usable faces")
    if not found:
        raise SetupError(f"no photograph in {folder} is named in {labels}")
    names, owners, photographs, crops, qualities = zip(*found, strict=True)
    return FaceSet(list(names), np.array(owners), np.array(photographs), np.stack(crops), np.array(qualities), refused)


def _usable_face(image: Image | None, finder: FaceFinder) -> tuple[Image, float] | str:
    """Return the aligned face and its quality, or the reason why there is none."""
    if image is None:
        return "unreadable"
    faces = finder.find(image)
    if len(faces) != 1:
        return "several_faces" if len(faces) else "no_face"
    crop = align(image, faces.landmarks[0])
    height, width = image.shape[:2]
    quality = assess(width, height, faces.boxes[0], float(faces.scores[0]), faces.landmarks[0], crop)
    return (crop, quality.score) if quality.usable else str(quality.reasons[0])
