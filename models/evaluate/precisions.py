"""`cardea models evaluate precisions`: does the 8-bit detector find what its float twin finds?

The float net's persons are the yardstick, not the truth: what is lost, what is new, how far boxes and scores move.
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import SetupError
from app.options import at_least_one
from app.types import Array, Detections, Image
from app.vision.artefact import Artefact, shipped
from app.vision.boxes import iou
from app.vision.detector import Detector
from app.vision.picture import ArrayPicture
from models.detection.labelled import Pictures
from models.evaluate.visits import rate_and_length, video_frames

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
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], metavar="ZIP", help="zip files or folders")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], metavar="MP4")
    parser.add_argument("--frames", type=at_least_one, default=20, help="that are taken from each video, evenly (20)")


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare, and return the figures of all videos and of each zip file.

    Raises:
        ArtefactError: the detector is damaged or has not both precisions.
        SetupError: there is nothing to look at, or it cannot be read.
    """
    if not arguments.pictures and not arguments.videos:
        raise SetupError("nothing to look at: give --pictures, --videos or both")
    artefact = Artefact(arguments.artefact) if arguments.artefact else shipped("detector")
    floats, integers = (Detector(artefact, precision=precision) for precision in ("fp32", "int8"))

    def compared(pictures: Iterable[Image]) -> dict[str, Any]:
        agreement = Agreement()
        for picture in map(ArrayPicture, pictures):
            agreement.add(floats.finish(floats.look(picture)), integers.finish(integers.look(picture)))
        return agreement.figures()

    videos = (frame for path in arguments.videos for frame in _frames(path, arguments.frames))
    return {
        "artefact": artefact.card.id,
        "certain": CERTAIN,
        "videos": compared(videos),
        "pictures": {str(path): compared(_pictures(path)) for path in arguments.pictures},
    }


def _best(overlaps: Array) -> Array:
    """Return the largest overlap of each row; 0 where there is nothing to overlap with."""
    return overlaps.max(axis=1, initial=0)


def _frames(path: Path, count: int) -> Iterator[Image]:
    """Yield frames of a video, evenly chosen: those that are left when all of it is one second."""
    _, frames = rate_and_length(path)
    return (image for _, image in video_frames(path, frames, count))


def _pictures(path: Path) -> Iterator[Image]:
    pictures = Pictures(path)
    return (pictures.image(name) for name in pictures.names)
