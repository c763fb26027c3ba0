"""`cardea models evaluate floor`: from which score on a person net's finds are worth following.

The rule: the lowest floor, in steps of .05, from which the net finds nobody no more often than the starter does from
its own floor on, on the validation pictures of sets, each shown clean, noisy, in infrared and dark. Finds of nobody
hold the gate open; a lower floor means more persons.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from app.types import Array, Image
from models.commands import CACHE, say
from models.detection.augment import darkened, infrared, noisy
from models.detection.finding import FLOOR
from models.detection.labelled import LabelledPictures
from models.detection.samples import CATEGORIES, Sample
from models.detection.splits import VALIDATION, gradient_hash, splits
from models.evaluate.average_precision import match
from models.evaluate.detection import subject_of
from models.evaluate.subjects import SplitNet, Subject
from models.starter.build import built
from models.starter.person import PARAMETERS
from models.starter.recipes import PERSON

FLOORS = tuple(round(0.05 * step, 2) for step in range(2, 19))
CATEGORY = "person"
NOTICE_EVERY = 100


@dataclass(frozen=True, slots=True)
class Told:
    """The finds of one net that count, over all views."""

    scores: Array  # (n,)
    hits: NDArray[np.bool_]  # (n,)

    def right(self, floor: float) -> int:
        """Return how many persons are found from a floor on."""
        return int(self.hits[self.scores >= floor].sum())

    def nobody(self, floor: float) -> int:
        """Return how many finds from a floor on are of nobody."""
        return int((~self.hits)[self.scores >= floor].sum())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--images", required=True, type=Path, nargs="+", metavar="SET", help="sets that were trained on"
    )
    parser.add_argument("--detector", default="cardea", help="as of evaluate detection (cardea)")


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure both nets and return what each floor gives, and the one that the rule says.

    Raises:
        ArtefactError: the detector's files are damaged.
        SetupError: sets or nets are not there, or no validation picture has all persons marked.
    """
    net, starter = subject_of(arguments.detector, CATEGORY), SplitNet(built(PERSON, CACHE), CATEGORY, "fp32")
    views = persons = 0
    found: tuple[list[tuple[Array, NDArray[np.bool_]]], ...] = ([], [])
    for sample in validation([LabelledPictures(path) for path in arguments.images]):
        truths = sample.boxes[sample.classes == CATEGORIES.index(CATEGORY)]
        for image in shown(sample.image, views):
            views, persons = views + 1, persons + len(truths)
            for each, finds in zip((net, starter), found, strict=True):
                finds.append(_looked(each, image, truths, sample.ignored))
            if views % NOTICE_EVERY == 0:
                say(f"{views} views")
    if not persons:
        raise SetupError("no validation picture of these sets has all persons marked and any in it; name other sets")
    told, theirs = (Told(*(np.concatenate(parts) for parts in zip(*each, strict=True))) for each in found)
    most = theirs.nobody(PARAMETERS["score_floor"])
    few = [floor for floor in FLOORS if told.nobody(floor) <= most]
    return {
        "detector": arguments.detector,
        "sha256": net.sha256,
        "precision_of_net": net.precision,
        "views": views,
        "persons": persons,
        "starter": _row(theirs, PARAMETERS["score_floor"], views, persons),
        "floors": [_row(told, floor, views, persons) for floor in FLOORS],
        "floor": min(few, default=None),
    }


def validation(sets: Sequence[LabelledPictures]) -> Iterator[Sample]:
    """Yield the validation pictures on which all persons are marked, split as in training: duplicates on one side."""
    places = splits(
        {
            pictures.named(row): gradient_hash(pictures.pictures.image(pictures.entry(row)))
            for pictures in sets
            for row in range(len(pictures))
        }
    )
    for pictures in sets:
        for row in range(len(pictures)):
            if places[pictures.named(row)] == VALIDATION and CATEGORY in (sample := pictures.sample(row)).labelled:
                yield sample


def shown(image: Image, seed: int) -> Iterator[Image]:
    """Yield a picture as it is, noisy, in infrared and dark."""
    random = np.random.default_rng(seed)
    yield image
    for damage in (noisy, infrared, darkened):
        yield damage(image, random)


def _looked(net: Subject, image: Image, truths: Array, ignored: Array) -> tuple[Array, NDArray[np.bool_]]:
    boxes, scores = net.find(image, FLOOR)
    hits, counted = match(boxes, scores, truths, ignored)
    return scores[counted], hits[counted]


def _row(told: Told, floor: float, views: int, persons: int) -> dict[str, float]:
    right, nobody = told.right(floor) / persons, told.nobody(floor) / views
    return {"floor": floor, "recall": round(right, 4), "finds_of_nobody_per_view": round(nobody, 5)}
