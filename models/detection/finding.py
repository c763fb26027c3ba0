"""Persons and faces out of the net's outputs, for torch and ONNX alike, and how good they are against truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.types import Array
from app.vision.boxes import decode, nms, to_pixels
from models.detection.matching import decode_points
from models.detection.priors import VARIANCES
from models.detection.samples import CATEGORIES, Sample
from models.evaluate.average_precision import average_precision, match

CANDIDATES = 300  # best priors that go into the suppression
FLOOR = 0.02  # average precision wants the doubtful finds too
OVERLAPS = {"person": 0.6, "face": 0.3}  # IoU from which two finds are one, as the runtime has them


@dataclass(frozen=True, slots=True)
class Finds:
    """What was found of one class in one picture, best first; n finds."""

    boxes: Array  # (n, 4) x1 y1 x2 y2 in pixels
    scores: Array  # (n,)
    points: Array  # (n, 5, 2) pixels; (n, 0, 2) for persons


def finds(
    codes: Array, logits: Array, priors: Array, overlap: float, size: tuple[int, int], points: Array | None = None
) -> Finds:
    """Return the finds of one class in one picture.

    Args:
        codes: (p, 4) ty tx th tw.
        logits: (p,).
        priors: (p, 4) cx cy w h in shares of the picture.
        overlap: IoU above which the weaker of two finds goes.
        size: width and height of the picture in pixels.
        points: (p, 10) codes of the five points of each face.
    """
    scores = 1 / (1 + np.exp(-logits.clip(-30, 30)))
    rows = np.argsort(-scores, kind="stable")[:CANDIDATES]
    rows = rows[scores[rows] >= FLOOR]
    boxes = to_pixels(decode(codes[rows], priors[rows], VARIANCES), *size)
    kept = nms(boxes, scores[rows], overlap)
    rows, boxes = rows[kept], boxes[kept]
    coded = np.zeros((len(rows), 0), np.float32) if points is None else points[rows]
    return Finds(boxes, scores[rows].astype(np.float32), decode_points(coded, priors[rows]) * np.float32(size))


def precision(category: str, found: Sequence[Finds], samples: Sequence[Sample]) -> tuple[float, int]:
    """Return average precision at an IoU of .5 and the number of truths, over pictures where all of them are marked."""
    scores: list[Array] = []
    hits: list[NDArray[np.bool_]] = []
    truths = 0
    for finds_, sample in zip(found, samples, strict=True):
        if category not in sample.labelled:
            continue
        boxes = sample.boxes[sample.classes == CATEGORIES.index(category)]
        hit, counted = match(finds_.boxes, finds_.scores, boxes, sample.ignored)
        scores.append(finds_.scores[counted])
        hits.append(hit[counted])
        truths += len(boxes)
    if not truths:
        return float("nan"), 0
    return average_precision(np.concatenate(scores), np.concatenate(hits), truths), truths
