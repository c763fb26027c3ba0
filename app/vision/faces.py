"""Faces: where they are, how they are aligned and whether they are fit for recognition.

The finder is YuNet, made for faces of 10 to 300 pixels; every picture is brought into that range before it is
searched. The limits of `assess` were measured as the loss of cosine that the shipped embedder suffers: 279 faces of
different people, each degraded and compared with itself (figures beside the constants: similarity to the undegraded
face, 10th percentile / median).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.types import Array, Faces, Image, Picture, Quality, Reason
from app.vision.artefact import Artefact
from app.vision.boxes import areas, nms
from app.vision.regions import clipped, merge, scale_of

STRIDES = (8, 16, 32)
SIDE = 32  # the net takes multiples of this
MIN_SCORE = 0.6
OVERLAP = 0.3  # IoU from which two faces are one

CROP = 112  # side of an aligned face
TEMPLATE = np.array(  # where the five points go, x y (ArcFace, Deng et al. 2019)
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
INNER = slice(16, 108), slice(20, 92)  # rows and columns of the crop that hold the face itself

WINDOW = 96  # pixels; in which a face is looked at once more, its eyes 21 apart
WINDOW_TEMPLATE = (TEMPLATE - CROP / 2) * np.float32(0.6) + WINDOW / 2
LOOKS = 3
LEVEL = 0.07  # a head that the last look turned by less, 4 degrees, is upright
LEVEL_SCORE = 0.5

MIN_EYE_DISTANCE = 16.0  # px: 24 .86/.95, 20 .81/.92, 16 .69/.85, 14 .57/.79, 12 .42/.71; impostors do not rise
MIN_FACE_SCORE = 0.8  # below: .05/.29 over all degradations; no face that kept .8 scored less
MIN_SHARPNESS = 4.0  # refuses .4 % of faces that kept .8 and half of those below .5; H.264 at 480x270 gives 6 to 13
# Blur makes nobody look like somebody else: at a sharpness of 4-5, 5-8, 8-15, 15-30 the cosine at FMR 1e-3 is .46, .46,
# .46, .47 (1,872 smeared faces of 16 to 30 px). It hides people: accepted at .546 are .16, .22, .30, .47.
MIN_BRIGHTNESS = 25.0  # grey levels: 26-32 .61/.82, 20-26 .33/.75, 14-20 .31/.59
MAX_BRIGHTNESS = 235.0  # 225-230 .53/.78, 230-235 .49/.71, 235-240 .41/.65, 240-245 .34/.59; impostors do not rise
MAX_YAW = 0.65  # about 37 degrees, the nose 25 mm before eyes 62 mm apart: .4 .69/.84, .5 .66/.72, .6 .67/.68
PITCH = (0.3, 0.7)  # nose between eyes (0) and mouth (1), frontal .55: about 30 degrees up, 35 down (.62/.69)
MEDIUM_GREY, DARK_GREY = 128.0, 64.0  # sharpness is brought to the former; below the latter it only amplifies noise
MIN_SHOWN = 0.85  # share of the face inside the picture: .85-.90 .83/.92, .80-.85 .79/.90, .70-.80 .67/.84


class FaceFinder:
    """The face net. It remembers nothing, so cameras and requests share one."""

    def __init__(self, artefact: Artefact) -> None:
        self.card = artefact.card
        self._net = artefact.open("finder.onnx")

    def find(self, image: Image, min_score: float = MIN_SCORE) -> Faces:
        """Return the faces of a whole picture (H, W, 3) BGR of any size, best first, in its pixels."""
        return self._search(image, min_score)

    def find_in(self, picture: Picture, regions: Array, min_score: float = MIN_SCORE) -> Faces:
        """Return the faces that lie in `regions` (n, 4) of a picture, best first, in pixels of the whole picture."""
        merged = merge(regions, picture.width, picture.height)
        if not len(merged):
            return Faces.empty()
        image = picture.image()
        found = []
        for left, top, right, bottom in merged.tolist():
            faces, shift = self._search(image[top:bottom, left:right], min_score), np.array([left, top], np.float32)
            found.append(Faces(faces.boxes + np.tile(shift, 2), faces.scores, faces.landmarks + shift))
        return _distinct(_joined(found))

    def _search(self, image: Image, min_score: float) -> Faces:
        """Find faces in a picture of any size and put their points right."""
        height, width = image.shape[:2]
        scale = scale_of(width, height)
        inner_width, inner_height = max(round(width * scale), 1), max(round(height * scale), 1)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = np.asarray(cv2.resize(image, (inner_width, inner_height), interpolation=method), np.uint8)
        faces = self._run(resized, min_score)
        eye_distances = np.linalg.norm(faces.landmarks[:, 1] - faces.landmarks[:, 0], axis=1) / scale
        for row in np.flatnonzero(eye_distances >= MIN_EYE_DISTANCE):
            faces.landmarks[row] = self._level(resized, faces.landmarks[row])
        back = np.array([width / inner_width, height / inner_height], np.float32)
        return Faces(faces.boxes * np.tile(back, 2), faces.scores, faces.landmarks * back)

    def _level(self, image: Image, landmarks: Array) -> Array:
        """Find the points (5, 2) of a face once more with its head upright, until it does not turn any more.

        The net has seen few tilted heads and takes half of a tilt away: of a head tilted by 20 degrees the aligned
        face keeps a similarity of .77/.90 to the upright one with the points of the first look, .90/.95 with those of
        the second, at 30 degrees .40/.81 and .82/.93.
        """
        for _ in range(LOOKS):
            matrix = similarity_transform(landmarks, WINDOW_TEMPLATE)
            faces = self._run(_warped(image, matrix, WINDOW), LEVEL_SCORE)
            apart = np.linalg.norm(faces.landmarks.mean(axis=1) - WINDOW_TEMPLATE.mean(axis=0), axis=1)
            if not (apart <= WINDOW / 4).any():
                return landmarks
            found, back = faces.landmarks[apart.argmin()], cv2.invertAffineTransform(matrix)
            landmarks = (found @ back[:, :2].T + back[:, 2]).astype(np.float32)
            across, down = found[1] - found[0]
            if abs(down) <= LEVEL * abs(across):
                return landmarks
        return landmarks

    def _run(self, image: Image, min_score: float) -> Faces:
        """Run the net on a picture as it is; the net takes multiples of 32, what is missing is black."""
        height, width = image.shape[:2]
        batch = np.zeros((1, 3, -(-height // SIDE) * SIDE, -(-width // SIDE) * SIDE), np.float32)
        batch[0, :, :height, :width] = image.transpose(2, 0, 1)
        outputs = dict(zip(self._net.outputs, self._net.run(batch), strict=True))
        return _distinct(decode(outputs, batch.shape[3], min_score))


def decode(outputs: dict[str, Array], width: int, min_score: float) -> Faces:
    """Turn the outputs of the net into faces; those found twice are all still there.

    For the cell in `row` and `column` of stride s: score = sqrt(cls obj), centre = (column + b0, row + b1) s,
    size = exp(b2, b3) s, point k = (column + x_k, row + y_k) s (YuNet, Wu et al. 2023).

    Args:
        outputs: ``cls_s``, ``obj_s`` (1, n, 1), ``bbox_s`` (1, n, 4) and ``kps_s`` (1, n, 10) for each stride s.
        width: of the searched picture in pixels, a multiple of 32.
        min_score: faces below it are left out.
    """
    parts = []
    for stride in STRIDES:
        scores = np.sqrt((outputs[f"cls_{stride}"] * outputs[f"obj_{stride}"]).ravel().clip(0, 1))
        cells = np.flatnonzero(scores >= min_score)
        rows, columns = np.divmod(cells, width // stride)
        corner = np.stack([columns, rows], axis=1).astype(np.float32)
        codes = outputs[f"bbox_{stride}"][0, cells]
        centre, half = (corner + codes[:, :2]) * stride, np.exp(codes[:, 2:]) * (stride / 2)
        points = (corner[:, None] + outputs[f"kps_{stride}"][0, cells].reshape(-1, 5, 2)) * stride
        parts.append(Faces(np.concatenate([centre - half, centre + half], axis=1), scores[cells], points))
    return _joined(parts)


def align(image: Image, landmarks: Array) -> Image:
    """Return the face (112, 112, 3) turned, scaled and moved so that its five points (5, 2) lie on the template.

    What lies outside of the picture is black.
    """
    return _warped(image, similarity_transform(landmarks, TEMPLATE), CROP)


def similarity_transform(source: Array, target: Array) -> Array:
    """Return the (2, 3) matrix s [R | t] that brings points (n, 2) to `target` with the least squared error.

    s > 0 and R is a rotation, never a reflection (Umeyama, PAMI 1991, equations 40 to 43).
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred = source - source_mean
    u, spread, vt = np.linalg.svd((target - target_mean).T @ centred)
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    turn = (u * sign) @ vt * ((spread * sign).sum() / max(float(np.square(centred).sum()), 1e-9))
    return np.asarray(np.column_stack([turn, target_mean - turn @ source_mean]), np.float32)


def assess(width: int, height: int, box: Array, score: float, landmarks: Array, crop: Image) -> Quality:
    """Say how fit a face is for recognition.

    Args:
        width: of the picture in pixels.
        height: the same.
        box: (4,) of the face.
        score: of the finder, 0..1.
        landmarks: (5, 2) in pixels of the picture.
        crop: the aligned face (112, 112, 3).
    """
    yaw, pitch = pose(landmarks)
    shown = _shown(width, height, landmarks)
    grey = np.asarray(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), np.uint8)
    eye_distance, brightness = float(np.linalg.norm(landmarks[1] - landmarks[0])), _mean(grey[INNER], shown)
    sharpness = _sharpness(grey, shown, brightness)
    box_shown = areas(clipped(box[None], width, height))[0] / max(float(areas(box[None])[0]), 1e-6)
    found = {
        Reason.FACE_TOO_SMALL: eye_distance < MIN_EYE_DISTANCE,
        Reason.FRAME_EDGE: min(shown.mean(), box_shown) < MIN_SHOWN,
        Reason.LOW_DETECTION_SCORE: score < MIN_FACE_SCORE,
        Reason.EXTREME_POSE: abs(yaw) > MAX_YAW or not PITCH[0] <= pitch <= PITCH[1],
        Reason.TOO_DARK: brightness < MIN_BRIGHTNESS,
        Reason.TOO_BRIGHT: brightness > MAX_BRIGHTNESS,
        Reason.BLURRED: sharpness < MIN_SHARPNESS,
    }
    rank = _rank(eye_distance, sharpness, yaw, score)
    reasons = tuple(reason for reason, holds in found.items() if holds)
    return Quality(rank, reasons, eye_distance, sharpness, brightness, yaw)


def pose(landmarks: Array) -> tuple[float, float]:
    """Return yaw, where the nose lies between the eyes (-1..1, 0 in the middle), and pitch, where it lies between the
    line of the eyes (0) and the mouth (1), both in the face's own axes."""
    along = landmarks[1] - landmarks[0]
    distance = max(float(np.linalg.norm(along)), 1e-6)
    along = along / distance
    down = np.array([-along[1], along[0]])
    middle = landmarks[:2].mean(axis=0)
    nose, mouth = landmarks[2] - middle, landmarks[3:].mean(axis=0) - middle
    return float(np.clip(nose @ along / (distance / 2), -1, 1)), float(nose @ down / max(mouth @ down, 1e-6))


def _warped(image: Image, matrix: Array, side: int) -> Image:
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR), np.uint8)


def _shown(width: int, height: int, landmarks: Array) -> NDArray[np.bool_]:
    """Return which pixels of the crop's inner part come from inside the picture."""
    y, x = np.ogrid[INNER]
    back = cv2.invertAffineTransform(similarity_transform(landmarks, TEMPLATE))
    px, py = (along_x * x + along_y * y + start for along_x, along_y, start in back.tolist())
    return np.asarray((px >= 0) & (px <= width - 1) & (py >= 0) & (py <= height - 1))


def _sharpness(grey: NDArray[np.uint8], shown: NDArray[np.bool_], brightness: float) -> float:
    """Return the variance of the Laplacian of the smoothed face, as if it were of medium brightness.

    Smoothing by one pixel of the crop makes the measure nearly the same for all eye distances, and deaf to sensor
    noise. Contrast goes with brightness, down to where noise is all there is. The picture's edge is no detail.
    """
    detail = cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), 1.0), cv2.CV_32F)[INNER]
    within = cv2.erode(shown.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    gain = MEDIUM_GREY / max(brightness, DARK_GREY)
    return float(np.var(detail, where=within)) * gain**2 if within.any() else 0.0


def _mean(grey: NDArray[np.uint8], shown: NDArray[np.bool_]) -> float:
    return float(grey[shown].mean()) if shown.any() else 0.0


def _rank(eye_distance: float, sharpness: float, yaw: float, score: float) -> float:
    """Return 0..1, growing with everything that is good for recognition.

    Each factor follows the cosine lost by that degradation alone; over all of them together the product ranks 5,000
    degraded faces with a rank correlation of .82 with the cosine kept.
    """
    size = 1 - (5.5 / max(eye_distance, 5.5)) ** 2
    certainty = np.clip((score - MIN_SCORE) / 0.35, 0, 1)
    return float(size * sharpness / (sharpness + 3) * (1 - yaw**2 / 2) * certainty)


def _joined(parts: Sequence[Faces]) -> Faces:
    return Faces(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.landmarks for part in parts]),
    )


def _distinct(faces: Faces) -> Faces:
    kept = nms(faces.boxes, faces.scores, OVERLAP)
    return Faces(faces.boxes[kept], faces.scores[kept], faces.landmarks[kept])
