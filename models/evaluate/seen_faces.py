"""The whole chain on pictures: degraded if wanted, face found, aligned, judged and embedded, once for all embedders.

Pictures of faces are often cut as close as the face itself, which no camera does: black is put around them.
"""

import argparse
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.types import Array, Image
from app.vision.artefact import shipped
from app.vision.faces import FaceFinder, align, assess
from models.commands import add_cache, say
from models.detection.labelled import Pictures
from models.evaluate.embedders import EMBEDDERS, EmbedderSubject, embedder
from models.recognition.crops import nearest_large
from models.recognition.degrade import DEGRADATIONS

PADDING = 20  # pixels of black on each side
NOTICE_EVERY = 500


@dataclass(frozen=True, slots=True)
class SeenFaces:
    """What was seen; row i belongs to picture i of p."""

    found: NDArray[np.bool_]  # (p,)
    qualities: NDArray[np.float64]  # (p,) rank 0..1 of the face, see `assess`; -1 without one
    vectors: list[Array]  # of each embedder, (p, d) unit rows; zeros without a face
    ms_per_face: list[float | None]  # of each embedder, for one face alone; median CPU time of the thread
    ms_of_finding: float | None  # the same for one picture, with alignment
    finder: str  # id of the face finder

    def similarities(self, subject: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the cosines (n,) of pairs of pictures, -inf where one has no face."""
        vectors = self.vectors[subject].astype(np.float64)
        cosines = np.einsum("ij,ij->i", vectors[left], vectors[right])
        return np.where(self.found[left] & self.found[right], cosines, -np.inf)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that every evaluation of embedders has."""
    parser.add_argument("--images", required=True, type=Path, metavar="ZIP", help="zip file or folder of pictures")
    names = f"{', '.join(EMBEDDERS)} or FOLDER[@fp32|@int8]"
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--embedder", default="cardea", metavar="NAME", help=f"{names} (cardea)")
    which.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two of them, and what B has more than A")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="folder for DET and other curves as PNG")
    add_cache(parser)


def subjects(arguments: argparse.Namespace) -> list[tuple[str, EmbedderSubject]]:
    """Open what is to be measured, one embedder or two, with the names that were given.

    Raises:
        ArtefactError: an artefact is damaged.
        SetupError: there is no such embedder.
    """
    return [(name, embedder(name, arguments.cache)) for name in arguments.compare or [arguments.embedder]]


def see(
    pictures: Pictures, entries: Sequence[str], embedders: Sequence[EmbedderSubject], degradation: str = "none"
) -> SeenFaces:
    """Look at pictures, each once, whatever the number of embedders.

    Args:
        pictures: zip file or folder.
        entries: (p,) paths inside it.
        embedders: that see each face.
        degradation: of `DEGRADATIONS`; chance depends on a picture's path alone.

    Raises:
        SetupError: a picture cannot be read.
    """
    artefact = shipped("face_finder")
    finder, degrade = FaceFinder(artefact), DEGRADATIONS[degradation]
    qualities, vectors = np.full(len(entries), -1.0), [[np.zeros(0, np.float32)] * len(entries) for _ in embedders]
    seconds_of_finding: list[float] = []
    seconds: list[list[float]] = [[] for _ in embedders]
    for row, entry in enumerate(entries):
        image = degrade(pictures.image(entry), zlib.crc32(entry.encode()))
        start = time.thread_time()
        face = aligned_face(image, finder)
        seconds_of_finding.append(time.thread_time() - start)
        if face is not None:
            crop, qualities[row] = face
            for number, subject in enumerate(embedders):
                start = time.thread_time()
                vectors[number][row] = subject.embed(crop)
                seconds[number].append(time.thread_time() - start)
        if (row + 1) % NOTICE_EVERY == 0:
            say(f"{row + 1} of {len(entries)} pictures, {int((qualities[: row + 1] >= 0).sum())} with a face")
    return SeenFaces(
        found=qualities >= 0,
        qualities=qualities,
        vectors=[_stacked(rows) for rows in vectors],
        ms_per_face=[_median_ms(one) for one in seconds],
        ms_of_finding=_median_ms(seconds_of_finding),
        finder=artefact.card.id,
    )


def aligned_face(image: Image, finder: FaceFinder) -> tuple[Image, float] | None:
    """Return the face that a picture (H, W, 3) BGR is about, aligned (112, 112, 3), and its quality rank.

    None when no face is found.
    """
    padded = np.pad(image, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    height, width = padded.shape[:2]
    faces = finder.find(padded)
    if not len(faces):
        return None
    row = nearest_large(faces, width, height)
    box, score, landmarks = faces.boxes[row], float(faces.scores[row]), faces.landmarks[row]
    crop = align(padded, landmarks)
    return crop, assess(width, height, box, score, landmarks, crop).score


def told(name: str, subject: EmbedderSubject, seen: SeenFaces, number: int) -> dict[str, Any]:
    """Return which embedder was measured, with the hashes of its files, and its time."""
    return {
        "embedder": name,
        "artefact": subject.id,
        "precision": subject.precision,
        "sha256": subject.sha256,
        "files": subject.files,
        "ms_per_face": seen.ms_per_face[number],
    }


def _stacked(rows: Sequence[Array]) -> Array:
    """Return rows, some of them empty, as one array with zeros in their place."""
    blank = np.zeros(max((len(row) for row in rows), default=0), np.float32)
    return np.stack([row if len(row) else blank for row in rows]) if rows else blank[None][:0]


def _median_ms(seconds: Sequence[float]) -> float | None:
    return round(1000 * float(np.median(seconds)), 2) if seconds else None
