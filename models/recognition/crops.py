"""Sets of aligned faces: a ZIP of JPEG crops and ``index.csv``, made by the runtime's own face finder and alignment.

A crop is larger than the embedder's picture by a margin, so that a student can be shown the same face as a finder with
worse points would cut it.
"""

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from app.errors import SetupError
from app.types import Faces, Image
from app.vision.faces import CROP, MIN_EYE_DISTANCE, TEMPLATE, FaceFinder, similarity_transform
from models.detection.labelled import Pictures

MARGIN = 16  # pixels beyond the embedder's picture on each side
SIDE = CROP + 2 * MARGIN
BORDER = 0.15  # share of the longer side that is put around a picture: many are cut as close as the face itself
JPEG_QUALITY = 95
LARGE = 0.5  # share of the largest face's area from which another one may be meant
INDEX = "index.csv"
NOTICE_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index."""

    file: str  # name in the ZIP
    source: str  # path of the picture that the face was cut from
    identity: str  # empty where nobody knows
    eye_distance: float  # in pixels of that picture
    outside: float  # share of the embedder's 112x112 picture that lies outside of that picture, and is black


class CropSet:
    """A packed set. Crops are decoded when they are asked for; any number of threads may read."""

    def __init__(self, path: Path) -> None:
        """Read the index.

        Raises:
            SetupError: it is no packed set.
        """
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
            lines = csv.DictReader(io.StringIO(self._zip.read(INDEX).decode()))
            self.entries = [_entry(line) for line in lines]
        except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise SetupError(f"{path} is no set of crops ({error!r}); make it with: cardea models align") from error

    def __len__(self) -> int:
        return len(self.entries)

    def crop(self, row: int) -> Image:
        """Return one crop with its margin, BGR (144, 144, 3)."""
        content = np.frombuffer(self._zip.read(self.entries[row].file), np.uint8)
        return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)

    def face(self, row: int) -> Image:
        """Return what the embedder would see, BGR (112, 112, 3)."""
        return self.crop(row)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def pack(
    pictures: Pictures, identities: Mapping[str, str], finder: FaceFinder, out: Path, say: Callable[[str], None]
) -> Counter[str]:
    """Write the largest face near the middle of each picture; return how many were kept, and why others were not.

    Args:
        pictures: the photographs.
        identities: person by a picture's path, or by its file name alone.
        finder: the runtime's.
        out: the ZIP; it appears when it is complete.
        say: is told how far the work is.
    """
    outcome: Counter[str] = Counter()
    entries: list[Entry] = []
    unfinished = out.with_suffix(".new")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as packed:
        for number, name in enumerate(pictures.names):
            if number % NOTICE_EVERY == 0:
                say(f"{out.name}: {number} of {len(pictures.names)} pictures, {len(entries)} faces")
            cut = _cut(pictures, name, finder, outcome)
            if cut is not None:
                crop, eye_distance, outside = cut
                person = identities.get(name) or identities.get(PurePosixPath(name).name, "")
                entries.append(Entry(f"{len(entries):06d}.jpg", name, person, eye_distance, outside))
                packed.writestr(entries[-1].file, _jpeg(crop))
        packed.writestr(INDEX, _table(entries))
    unfinished.replace(out)
    return outcome


def _cut(pictures: Pictures, name: str, finder: FaceFinder, outcome: Counter[str]) -> tuple[Image, float, float] | None:
    """Return a picture's crop, its eye distance and the share outside; count in `outcome` what came of it."""
    try:
        image = pictures.image(name)
    except SetupError:
        outcome["unreadable"] += 1
        return None
    border = round(BORDER * max(image.shape[:2]))
    framed = np.asarray(cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_CONSTANT), np.uint8)
    faces = finder.find(framed)
    if not len(faces):
        outcome["no_face"] += 1
        return None
    landmarks = faces.landmarks[nearest_large(faces, framed.shape[1], framed.shape[0])]
    eye_distance = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    if eye_distance < MIN_EYE_DISTANCE:
        outcome["face_too_small"] += 1
        return None
    outcome["kept"] += 1
    matrix = similarity_transform(landmarks - border, TEMPLATE + np.float32(MARGIN))
    crop = np.asarray(cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR), np.uint8)
    inside = cv2.warpAffine(np.ones(image.shape[:2], np.uint8), matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST)
    return crop, round(eye_distance, 1), round(1 - float(inside[MARGIN:-MARGIN, MARGIN:-MARGIN].mean()), 3)


def nearest_large(faces: Faces, width: int, height: int) -> int:
    """Return the row of the face nearest to the middle, among those that have half of the largest one's area."""
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    away = np.linalg.norm((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - np.array([width, height]) / 2, axis=1)
    areas = sides.prod(axis=1)
    return int(np.where(areas >= LARGE * areas.max(), away, np.inf).argmin())


def _entry(line: Mapping[str, str]) -> Entry:
    return Entry(line["file"], line["source"], line["identity"], float(line["eye_distance"]), float(line["outside"]))


def _table(entries: list[Entry]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [known.name for known in fields(Entry)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in entries)
    return text.getvalue()


def _jpeg(image: Image) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
