"""`cardea models evaluate precisions`: does the 8-bit detector find what its float twin finds?

The float net's persons are the yardstick, not the truth: what is lost, what is new, how far boxes and scores move.
"""

import argparse
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.errors import SetupError
from app.types import Array, Detections, Image
from app.vision.artefact import Artefact, shipped
from app.vision.boxes import iou
from app.vision.detector import Detector
from app.vision.picture import ArrayPicture

CERTAIN = 0.5  # score from which a person counts; the other net may find her with a lower one
OVERLAP = 0.5  # IoU from which two boxes are one person


@dataclass(slots=True)
class Agreement:
    """What was counted over all pictures."""

    pictures: int = 0
    persons: int = 0  # of the float net, certain
    lost: int = 0  # of these, not found by the other at any score
    new: int = 0  # certain in the other and not found by the float net at any score
    overlaps: list[float] = field(default_factory=list)
    shifts: list[float] = field(default_factory=list)  # of the scores

    def add(self, floats: Detections, integers: Detections) -> None:
        """Count one picture."""
        rows = floats.scores >= CERTAIN
        overlaps = iou(floats.boxes, integers.boxes)
        self.pictures += 1
        self.persons += int(rows.sum())
        self.new += int((_best(overlaps.T) < OVERLAP)[integers.scores >= CERTAIN].sum())
        found = rows & (_best(overlaps) >= OVERLAP)
        self.lost += int((rows & ~found).sum())
        for row in np.flatnonzero(found):
            other = overlaps[row].argmax()
            self.overlaps.append(float(overlaps[row, other]))
            self.shifts.append(float(integers.scores[other] - floats.scores[row]))

    def figures(self) -> dict[str, Any]:
        """Return the counts, and how far boxes and scores are apart."""
        overlaps, shifts = np.array(self.overlaps), np.array(self.shifts)
        figures: dict[str, Any] = {part: getattr(self, part) for part in ("pictures", "persons", "lost", "new")}
        if len(overlaps):
            figures["iou"] = {"mean": overlaps.mean(), "p1": np.quantile(overlaps, 0.01)}
            figures["score"] = {
                "mean": shifts.mean(),
                "mean_absolute": np.abs(shifts).mean(),
                "p99_absolute": np.quantile(np.abs(shifts), 0.99),
            }
        return {
            name: {key: round(float(one), 4) for key, one in value.items()} if isinstance(value, dict) else value
            for name, value in figures.items()
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--artefact", type=Path, help="folder of a detector; the shipped one")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], metavar="ZIP", help="zip files of JPEGs")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], metavar="MP4")
    parser.add_argument("--frames", type=int, default=20, help="that are taken from each video, evenly")


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare, and return the figures of all videos and of each zip file.

    Raises:
        SetupError: a video cannot be opened.
    """
    artefact = Artefact(arguments.artefact) if arguments.artefact else shipped("detector")
    floats, integers = (Detector(artefact, precision=precision) for precision in ("fp32", "int8"))

    def compared(pictures: Iterator[Image]) -> dict[str, Any]:
        agreement = Agreement()
        for picture in map(ArrayPicture, pictures):
            agreement.add(floats.finish(floats.look(picture)), integers.finish(integers.look(picture)))
        return agreement.figures()

    videos = (frame for path in arguments.videos for frame in _frames(path, arguments.frames))
    return {
        "artefact": artefact.card.id,
        "certain": CERTAIN,
        "videos": compared(videos),
        **{path.name: compared(_pictures(path)) for path in arguments.pictures},
    }


def _best(overlaps: Array) -> Array:
    """Return the largest overlap of each row; 0 where there is nothing to overlap with."""
    return overlaps.max(axis=1, initial=0)


def _frames(path: Path, count: int) -> Iterator[Image]:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SetupError(f"{path} cannot be opened as a video")
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = {int(total * (number + 0.5) / count) for number in range(count)}
    for index in range(total):
        if capture.grab() and index in wanted:
            yield np.asarray(capture.retrieve()[1], np.uint8)
    capture.release()


def _pictures(path: Path) -> Iterator[Image]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".jpg"):
                yield np.asarray(cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR), np.uint8)
