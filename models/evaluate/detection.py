"""`cardea models evaluate detection`: average precision of a detector of faces or persons on pictures with truth.

Finds and truths are matched as in COCO (Lin et al. 2014) at an IoU of .5. A truth below the least size is ignored: no
mistake to find it, none to miss it; a find below it that is no hit is ignored too. Regions where nothing is known take
any number of finds. Sets differ in what they call a face, some draw it from hair to neck: ``by_centre`` tells how many
are found whatever the shape of the boxes.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from app.options import positive
from app.types import Array
from app.vision.artefact import SHIPPED, Artefact, shipped
from models.commands import CACHE, say
from models.detection.finding import FLOOR
from models.detection.labelled import LabelledPictures
from models.detection.samples import CATEGORIES, Sample
from models.detection.splits import TEST, TRAIN, VALIDATION, gradient_hash, splits
from models.evaluate.average_precision import average_precision, match, recall_precision
from models.evaluate.subjects import PlainYuNet, RuntimeFaces, RuntimePersons, SplitNet, Subject
from models.starter.build import built
from models.starter.recipes import FINDER, PERSON

DRAWS = 1000  # of the bootstrap over pictures
SIZES = (0, 16, 24, 32, 48, 96, 192, np.inf)  # pixels of a truth's shorter side
NOTICE_EVERY = 500
FOLDER = "folder:"

RUNTIME: dict[str, Callable[[], Subject]] = {
    "person": lambda: RuntimePersons(shipped("detector")),
    "face": lambda: RuntimeFaces(shipped("face_finder")),
}
DETECTORS: dict[str, Callable[[str], Subject]] = {  # name -> category -> what is measured
    "cardea": lambda category: RUNTIME[category](),
    "starter-person": lambda category: SplitNet(built(PERSON, CACHE), category, "fp32"),
    "yunet": lambda category: _yunet(category, shrink=False),
    "yunet-320": lambda category: _yunet(category, shrink=True),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One picture: what was found and what was to be found, in its pixels."""

    boxes: Array  # (n, 4)
    scores: Array  # (n,)
    truths: Array  # (t, 4)
    ignored: Array  # (m, 4)
    ms: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--images", required=True, type=Path, metavar="ZIP", help="zip file or folder of pictures")
    parser.add_argument("--coco", type=Path, metavar="JSON", help="truth in the COCO form (default: boxes.json inside)")
    parser.add_argument("--category", required=True, choices=CATEGORIES)
    parser.add_argument(
        "--min-size", type=positive, default=0.0, metavar="PX", help="ignore what has a shorter side (nothing)"
    )
    parser.add_argument("--split", choices=(TRAIN, VALIDATION, TEST), help="only pictures of this side of the split")
    parser.add_argument(
        "--detector", default="cardea", help=f"{', '.join(DETECTORS)} or {FOLDER}ARTEFACT[@fp32|@int8] (default cardea)"
    )


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure.

    Raises:
        ArtefactError: the detector's files are damaged.
        SetupError: the pictures, their truth or the detector are not there, or hold nothing of the category.
    """
    subject = subject_of(arguments.detector, arguments.category)
    pictures = LabelledPictures(arguments.images, arguments.coco)
    if arguments.category not in pictures.categories:
        raise SetupError(f"the truth of {arguments.images} knows no {arguments.category}; its categories do not say it")
    measured = _measure(pictures, subject, arguments.category, _rows(pictures, arguments.split))
    if not measured:
        raise SetupError(f"no picture of {arguments.images} has all of {arguments.category} marked; choose another set")
    return {
        "detector": arguments.detector,
        "sha256": subject.sha256,
        "precision_of_net": subject.precision,
        "category": arguments.category,
        "min_size": arguments.min_size,
        "split": arguments.split,
        **figures(measured, subject.threshold, arguments.min_size),
    }


def figures(measured: Sequence[Measured], threshold: float, least: float) -> dict[str, Any]:
    """Return what is told of the measured pictures.

    Args:
        measured: at least one picture.
        threshold: score from which a find counts for recall and precision.
        least: truths with a shorter side are ignored.
    """
    pooled = Pool(measured, least, np.inf)
    ap50, recall, precision = pooled.figures(threshold)
    names = ("ap50", "recall", "precision")
    return {
        "images": len(measured),
        "truths": int(pooled.truths.sum()),
        "ap50": _round(ap50),
        "recall": _round(recall),
        "precision": _round(precision),
        "score_threshold": threshold,
        "images_with_a_find": _round(float(np.mean([(one.scores >= threshold).any() for one in measured]))),
        "intervals": {
            "what": f"95 %, bootstrap over pictures, {DRAWS} draws",
            **{
                name: [_round(low), _round(high)]
                for name, (low, high) in zip(names, pooled.intervals(threshold), strict=True)
            },
        },
        "by_centre": by_centre(measured, threshold, least),
        "by_size": recall_by_size(measured, threshold, least),
        "ms_per_image": round(float(np.median([one.ms for one in measured])), 2),
    }


def by_centre(measured: Sequence[Measured], threshold: float, least: float) -> dict[str, float | None]:
    """Return the share of truths that hold a find's centre, and of finds with their centre in a truth.

    Finds with their centre in a truth below the least size, or in an ignored box, count for neither.
    """
    found, wanted, right, counted = 0, 0, 0, 0
    for one in measured:
        finds = one.boxes[one.scores >= threshold]
        large = _sized(one.truths, least, np.inf)
        held = _holds(one.truths[large], finds)
        neither = _holds(np.concatenate([one.ignored, one.truths[~large]]), finds).any(axis=0) & ~held.any(axis=0)
        found, wanted = found + int(held.any(axis=1).sum()), wanted + len(held)
        right, counted = right + int(held.any(axis=0).sum()), counted + int((~neither).sum())
    return {
        "recall": _round(found / wanted if wanted else np.nan),
        "precision": _round(right / counted if counted else np.nan),
    }


def _sized(boxes: Array, low: float, high: float) -> NDArray[np.bool_]:
    """Return (b,) which boxes (b, 4) have a shorter side of `low` or more and below `high`."""
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
    return np.asarray((sides >= low) & (sides < high))


def _holds(boxes: Array, finds: Array) -> NDArray[np.bool_]:
    """Return (b, n) which boxes (b, 4) hold the centre of which finds (n, 4)."""
    centres = (finds[None, :, :2] + finds[None, :, 2:]) / 2
    return np.asarray(((centres >= boxes[:, None, :2]) & (centres <= boxes[:, None, 2:])).all(axis=2))


def recall_by_size(measured: Sequence[Measured], threshold: float, least: float) -> dict[str, dict[str, Any]]:
    """Return number and recall of the truths of each size, by their shorter side in pixels, ``24-32``, ``192-``."""
    by_size = {}
    for low, high in pairwise(SIZES):
        part = Pool(measured, max(low, least), high)
        if part.truths.sum():
            name = f"{max(low, least):g}-{high:g}".removesuffix("inf")
            by_size[name] = {"truths": int(part.truths.sum()), "recall": _round(part.figures(threshold)[1])}
    return by_size


class Pool:
    """The counted finds of all pictures by falling score; truths of other sizes, and finds that miss, are ignored."""

    def __init__(self, measured: Sequence[Measured], low: float, high: float) -> None:
        """Match the finds of each picture with its truths whose shorter side is `low` or more and below `high`."""
        scores, hits, owners, truths = [], [], [], []
        for owner, one in enumerate(measured):
            wanted = _sized(one.truths, low, high)
            ignored = np.concatenate([one.ignored, one.truths[~wanted]])
            hit, counted = match(one.boxes, one.scores, one.truths[wanted], ignored)
            counted &= hit | _sized(one.boxes, low, high)
            scores.append(one.scores[counted])
            hits.append(hit[counted])
            owners.append(np.full(int(counted.sum()), owner))
            truths.append(int(wanted.sum()))
        order = np.argsort(-np.concatenate(scores), kind="stable")
        self.scores: Array = np.concatenate(scores)[order]
        self.hits: NDArray[np.bool_] = np.concatenate(hits)[order]
        self.owners: NDArray[np.int64] = np.concatenate(owners)[order]
        self.truths: NDArray[np.int64] = np.array(truths, np.int64)

    def figures(self, threshold: float, times: NDArray[np.int64] | None = None) -> tuple[float, float, float]:
        """Return average precision, recall and precision; `times` says how often each picture is drawn."""
        times = np.ones(len(self.truths), np.int64) if times is None else times
        rows = np.repeat(np.arange(len(self.scores)), times[self.owners])
        scores, hits, truths = self.scores[rows], self.hits[rows], int(times @ self.truths)
        recall, precision = recall_precision(scores, hits, truths, threshold)
        return average_precision(scores, hits, truths), recall, precision

    def intervals(self, threshold: float) -> list[tuple[float, float]]:
        """Return the 95 % interval of each of the three figures; NaN where too few draws give a figure."""
        generator, count = np.random.default_rng(0), len(self.truths)
        drawn = generator.multinomial(count, np.full(count, 1 / count), DRAWS)
        values = np.array([self.figures(threshold, times) for times in drawn])
        known = [column[~np.isnan(column)] for column in values.T]
        bounds = [np.quantile(column, (0.025, 0.975)) if len(column) else (np.nan, np.nan) for column in known]
        return [(float(low), float(high)) for low, high in bounds]


def subject_of(name: str, category: str) -> Subject:
    """Open what is measured by its name in `--detector`.

    Raises:
        ArtefactError: its files are damaged.
        SetupError: there is no such detector, or it does not find this category.
    """
    if name.startswith(FOLDER):
        folder, _, precision = name.removeprefix(FOLDER).partition("@")
        return SplitNet(Artefact(Path(folder)), category, precision or "fp32")
    if name not in DETECTORS:
        raise SetupError(f"there is no detector {name}; choose {', '.join(DETECTORS)} or {FOLDER}ARTEFACT")
    return DETECTORS[name](category)


def _yunet(category: str, shrink: bool) -> Subject:
    if category != "face":
        raise SetupError("YuNet finds faces alone; measure it with --category face")
    return PlainYuNet(Artefact(SHIPPED / FINDER.name), shrink)


def _rows(pictures: LabelledPictures, split: str | None) -> list[int]:
    """Return the rows of the pictures on one side of the split, near-duplicates together; all of them for None.

    Training looks at several sets at once. What is for testing here is so there too, see `splits`.
    """
    if split is None:
        return list(range(len(pictures)))
    samples = (pictures.sample(row) for row in range(len(pictures)))
    places = splits({sample.name: gradient_hash(sample.image) for sample in samples})
    return [row for row in range(len(pictures)) if places[pictures.named(row)] == split]


def _measure(pictures: LabelledPictures, subject: Subject, category: str, rows: Sequence[int]) -> list[Measured]:
    """Run the detector on the pictures where all objects of the category are marked."""
    measured = []
    for number, row in enumerate(rows, 1):
        sample = pictures.sample(row)
        if category in sample.labelled:
            measured.append(_measured(sample, subject, category))
        if number % NOTICE_EVERY == 0:
            say(f"{number} of {len(rows)} pictures")
    return measured


def _measured(sample: Sample, subject: Subject, category: str) -> Measured:
    start = time.perf_counter()
    subject.find(sample.image, subject.threshold)
    ms = (time.perf_counter() - start) * 1000
    boxes, scores = subject.find(sample.image, FLOOR)
    return Measured(boxes, scores, sample.boxes[sample.classes == CATEGORIES.index(category)], sample.ignored, ms)


def _round(value: float) -> float | None:
    """Return a figure with four decimals; None where it is not defined, for JSON has no NaN."""
    return None if np.isnan(value) else round(value, 4)
