"""When the teachers are believed. Pure rules on what they found in one picture.

A face is believed when YuNet finds it at two scales, or YuNet and CenterFace find it (IoU of at least .5). A person is
believed when the best person net is sure of it on the whole picture, when two looks find it, or when one does and a
believed face is where the head belongs. Every other find is doubtful, and where somebody's face is but no person was
found the body is doubtful: nothing is learnt there. Marks that a picture came with are kept. Where its source says that
all of a category are marked, a believed find that is not marked is doubtful, and doubtful ones are mistakes; else
believed finds are added.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.types import Array, Detections, Faces
from app.vision.boxes import areas, iou, nms, shares_inside
from models.detection.samples import CATEGORIES, POINTS, Sample
from models.detection.teachers import Opinions

SAME = 0.5  # IoU from which two finds are of one object
FACE, PERSON = CATEGORIES.index("face"), CATEGORIES.index("person")

SURE_FACE = 0.6  # the runtime's own limit for YuNet
SURE_OTHER_FACE = 0.5
FACES_APART = 0.3  # IoU above which the weaker of two believed faces goes, as in the runtime
BEST_SIZE = 85.0  # pixels; YuNet places points best on faces of 60 to 120, this is their geometric middle

SURE_PERSON = 0.6  # on the whole picture
LIKELY_PERSON = 0.4  # with a second look or a face
PERSONS_APART = 0.6
HEAD = 0.5  # a face's centre lies in this upper share of its person
BODY = (1.5, 0.5, 6.0)  # a face's body: so many widths aside of its centre, heights above its top and below its bottom

DOUBTS = 3  # with more doubtful than believed finds, and more than so many, a picture is not marked throughout


@dataclass(frozen=True, slots=True)
class Believed:
    """Finds of one category."""

    boxes: Array  # (n, 4)
    scores: Array  # (n,)
    points: Array  # (n, 5, 2), NaN for persons
    doubtful: Array  # (m, 4)


@dataclass(frozen=True, slots=True)
class Labels:
    """What a picture is labelled with; fields as in `Sample`."""

    boxes: Array
    classes: NDArray[np.int64]
    points: Array
    ignored: Array
    labelled: frozenset[str]


def labels(opinions: Opinions, sample: Sample) -> Labels:
    """Return what is believed to be in a picture, given what its source says."""
    height, width = sample.image.shape[:2]
    faces = believed_faces(opinions.faces, opinions.other_faces)
    persons = believed_persons(opinions.persons, faces.boxes)
    unseen = _bodies(faces.boxes[~_headed(persons.boxes, faces.boxes).any(axis=0)], width, height)
    persons = Believed(persons.boxes, persons.scores, persons.points, np.concatenate([persons.doubtful, unseen]))
    merged = [_with_marks(found, category, sample) for category, found in ((FACE, faces), (PERSON, persons))]
    boxes = np.concatenate([part.boxes for part in merged])
    limits = np.array([width, height, width, height], np.float32)
    ignored = np.concatenate([sample.ignored, *(part.doubtful for part in merged)]).clip(0, limits)
    return Labels(
        boxes=boxes.clip(0, limits),
        classes=np.repeat([FACE, PERSON], [len(part.boxes) for part in merged]),
        points=np.concatenate([part.points for part in merged]),
        ignored=ignored[areas(ignored) > 0],
        labelled=frozenset(CATEGORIES[row] for row, part in zip((FACE, PERSON), merged, strict=True) if _clear(part)),
    )


def believed_faces(looks: Sequence[tuple[float, Faces]], other: Faces) -> Believed:
    """Decide on faces.

    Box and points of a believed face are those of the scale at which it is nearest to 85 pixels.

    Args:
        looks: of YuNet, each with its scale.
        other: CenterFace's.
    """
    found = [faces for _, faces in looks] + [other]
    views = np.repeat(np.arange(len(found)), [len(faces) for faces in found])
    boxes = np.concatenate([faces.boxes for faces in found])
    scores = np.concatenate([faces.scores for faces in found])
    points = np.concatenate([faces.landmarks for faces in found])
    own = views < len(looks)
    sure = scores >= np.where(own, SURE_FACE, SURE_OTHER_FACE)
    sizes = np.sqrt(areas(boxes)) * np.array([*(scale for scale, _ in looks), 1.0])[views]
    misfit = np.where(own & sure, np.abs(np.log(np.maximum(sizes, 1e-3) / BEST_SIZE)), np.inf)
    chosen, doubtful = [], []
    for group in _groups(boxes, scores):
        scales = len(set(views[group[sure[group] & own[group]]].tolist()))
        seconded = bool((sure[group] & ~own[group]).any())
        if scales >= 2 or (scales and seconded):
            chosen.append(group[misfit[group].argmin()])
        else:
            doubtful.append(group[0])
    rows = np.array(chosen, np.int64)
    rows = rows[nms(boxes[rows], scores[rows], FACES_APART)]
    left = boxes[np.array(doubtful, np.int64)]
    return Believed(boxes[rows], scores[rows], points[rows], left[~(iou(left, boxes[rows]) > FACES_APART).any(axis=1)])


def believed_persons(looks: Sequence[Detections], faces: Array) -> Believed:
    """Decide on persons.

    Args:
        looks: the best net's of the whole picture first, then all others.
        faces: (f, 4) believed faces.
    """
    views = np.repeat(np.arange(len(looks)), [len(found) for found in looks])
    boxes = np.concatenate([found.boxes for found in looks])
    scores = np.concatenate([found.scores for found in looks])
    headed = np.asarray(_headed(boxes, faces).any(axis=1))
    likely = scores >= LIKELY_PERSON
    chosen, doubtful = [], []
    for group in _groups(boxes, scores):
        sure = bool(((scores[group] >= SURE_PERSON) & (views[group] == 0)).any())
        seconded = len(set(views[group[likely[group]]].tolist())) >= 2
        if sure or seconded or bool((likely[group] & headed[group]).any()):
            chosen.append(group[0])
        else:
            doubtful.append(group[0])
    rows = np.array(chosen, np.int64)
    rows = rows[nms(boxes[rows], scores[rows], PERSONS_APART)]
    left = boxes[np.array(doubtful, np.int64)]
    unknown = np.full((len(rows), len(POINTS), 2), np.nan, np.float32)
    return Believed(boxes[rows], scores[rows], unknown, left[~(iou(left, boxes[rows]) > SAME).any(axis=1)])


def _groups(boxes: Array, scores: Array) -> list[NDArray[np.int64]]:
    """Return rows of finds of one object: the best that is left, and all that overlap with it; the best comes first."""
    left = np.argsort(-scores, kind="stable")
    groups = []
    while len(left):
        alike = iou(boxes[left[:1]], boxes[left])[0] >= SAME
        alike[0] = True
        groups.append(left[alike])
        left = left[~alike]
    return groups


def _headed(persons: Array, faces: Array) -> NDArray[np.bool_]:
    """Return (p, f) whether the centre of a face lies in the upper half of a person."""
    centres = (faces[None, :, :2] + faces[None, :, 2:]) / 2
    low, high = persons[:, None, :2], persons[:, None, 2:].copy()
    high[..., 1] = low[..., 1] + HEAD * (high[..., 1] - low[..., 1])
    return np.asarray(((centres >= low) & (centres <= high)).all(axis=2))


def _bodies(faces: Array, width: int, height: int) -> Array:
    """Return where the persons of faces (f, 4) are, roughly, clipped to the picture."""
    aside, above, below = BODY
    face_width, face_height = faces[:, 2] - faces[:, 0], faces[:, 3] - faces[:, 1]
    middle = (faces[:, 0] + faces[:, 2]) / 2
    left, right = middle - aside * face_width, middle + aside * face_width
    bodies = np.stack([left, faces[:, 1] - above * face_height, right, faces[:, 3] + below * face_height], axis=1)
    return np.asarray(bodies.clip(0, np.array([width, height, width, height])), np.float32)


def _with_marks(found: Believed, category: int, sample: Sample) -> Believed:
    """Join the finds of one category with what the source marked; a mark without points takes those of its find."""
    marked = sample.classes == category
    boxes, points = sample.boxes[marked], sample.points[marked].copy()
    belongs = _belong(found.boxes, boxes, category)
    for column in np.flatnonzero(np.isnan(points).all(axis=(1, 2))):
        finds = np.flatnonzero(belongs[:, column])
        if len(finds):
            points[column] = found.points[finds[found.scores[finds].argmax()]]
    new = ~belongs.any(axis=1)
    if CATEGORIES[category] in sample.labelled:
        return Believed(boxes, np.ones(len(boxes), np.float32), points, found.boxes[new])
    doubtful = found.doubtful[~_belong(found.doubtful, boxes, category).any(axis=1)]
    return Believed(
        np.concatenate([boxes, found.boxes[new]]),
        np.concatenate([np.ones(len(boxes), np.float32), found.scores[new]]),
        np.concatenate([points, found.points[new]]),
        doubtful,
    )


def _belong(finds: Array, marks: Array, category: int) -> NDArray[np.bool_]:
    """Return (n, m) whether a find is of a marked object; marks of faces may be drawn around hair and chin."""
    same = iou(finds, marks) >= SAME
    return same | (shares_inside(finds, marks) >= SAME) if category == FACE else same


def _clear(part: Believed) -> bool:
    """Say whether so few finds are doubtful that all objects of the category can be taken for marked."""
    return len(part.doubtful) <= max(DOUBTS, len(part.boxes))
