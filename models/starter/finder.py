"""Writes the face finder: YuNet (2023 March) with free input sides.

The source graph says 640x640, but nothing in it depends on that; only the declared shapes are opened.
"""

from typing import Any

import onnx

from models.starter.graph import finished

PARAMETERS: dict[str, Any] = {
    "strides": [8, 16, 32],
    "nms_iou": 0.3,
    "score_floor": 0.6,
    "range_px": [10, 300],
    "multiple": 32,
}


def finder(source: bytes) -> bytes:
    """Return YuNet for any picture whose sides are multiples of 32.

    Outputs for each stride s of 8, 16, 32: ``cls_s`` (1, n, 1), ``obj_s`` (1, n, 1), ``bbox_s`` (1, n, 4),
    ``kps_s`` (1, n, 10), the cells in rows.
    """
    model = onnx.load_from_string(source)
    del model.graph.value_info[:]  # what they say holds for 640x640 only
    _free(model.graph.input[0], {2: "height", 3: "width"})
    for output in model.graph.output:
        _free(output, {1: "cells" + output.name.rsplit("_", 1)[1]})
    return finished(model)


def _free(value: onnx.ValueInfoProto, names: dict[int, str]) -> None:
    for axis, name in names.items():
        value.type.tensor_type.shape.dim[axis].dim_param = name
