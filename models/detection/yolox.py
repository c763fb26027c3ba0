"""YOLOX-nano, a person net that is not ours: a second opinion when persons are labelled by machine, never shipped.

From Ge et al. 2021, "YOLOX: Exceeding YOLO Series in 2021"; Apache 2.0 licence, trained on COCO. No package of a
registry carries its weights, so whoever wants its opinion brings the file: ``model/yolox_nano.onnx`` of the public
repository Kazuhito00/YOLOX-ONNX-TFLite-Sample, commit 3d4f1119d0694200671c08069ecb847aa0d8495a.
"""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from app.errors import SetupError
from app.types import Array, Detections, Image
from app.vision.boxes import nms
from app.vision.runtime import ort

SHA256 = "695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14"
SIDE = 416  # pixels of the square that it looks at
STRIDES = (8, 16, 32)
GREY = 114  # beside a picture that is no square
OBJECT, PERSON = 4, 5  # columns of the output, behind the four of the box
OVERLAP = 0.6  # IoU from which two finds are one, as in the runtime


class YoloX:
    """The net, on one core."""

    def __init__(self, file: Path) -> None:
        """Open it.

        Raises:
            SetupError: the file is missing or is another one.
        """
        content = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(content).hexdigest() != SHA256:
            raise SetupError(f"{file} is not the yolox_nano.onnx that models/detection/yolox.py names")
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def find(self, image: Image, min_score: float) -> Detections:
        """Return the persons of a picture (H, W, 3) BGR, best first, clipped to it."""
        height, width = image.shape[:2]
        scale = SIDE / max(height, width)
        inner = (max(round(width * scale), 1), max(round(height * scale), 1))
        square = np.full((SIDE, SIDE, 3), GREY, np.uint8)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        square[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=method)
        batch = square.transpose(2, 0, 1)[None].astype(np.float32)
        (output,) = self._session.run(None, {self._session.get_inputs()[0].name: batch})
        found = decode(output[0], min_score)
        back = np.tile(np.array([width / inner[0], height / inner[1]], np.float32), 2)
        limits = np.array([width, height, width, height], np.float32)
        return Detections((found.boxes * back).clip(0, limits), found.scores)


def decode(output: Array, min_score: float) -> Detections:
    """Turn the output of the net into persons, best first.

    For the cell in `row` and `column` of stride s: centre = (x + column, y + row) s, size = exp(w, h) s, score = object
    times person.

    Args:
        output: (n, 85) x, y, w, h, object, 80 classes, for each cell of the three strides.
        min_score: persons below it are left out.
    """
    corners, strides = [], []
    for stride in STRIDES:
        cells = SIDE // stride
        rows, columns = np.divmod(np.arange(cells * cells), cells)
        corners.append(np.stack([columns, rows], axis=1))
        strides.append(np.full((cells * cells, 1), stride))
    corner, stride = np.concatenate(corners), np.concatenate(strides)
    scores = output[:, OBJECT] * output[:, PERSON]
    rows = np.flatnonzero(scores >= min_score)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    centres = (output[rows, :2] + corner[rows]) * stride[rows]
    half = np.exp(output[rows, 2:4]) * stride[rows] / 2
    boxes = np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)
    kept = nms(boxes, scores[rows], OVERLAP)
    return Detections(boxes[kept], scores[rows][kept])
