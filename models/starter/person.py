"""Writes the person detector: SSDLite on MobileNetV2 at 300x300, cut behind one of its residual blocks.

The weights come from a frozen TensorFlow graph, the batch normalisations are folded into the convolutions. Stem and
tail together are the whole net; the half-size stem is the same first blocks with the pads of a 150x150 picture.
Layer shapes: Sandler et al. 2018 (MobileNetV2), Liu et al. 2016 (SSD).
"""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from models.starter.graph import Graph, Map
from models.starter.graphdef import float_constants

SIDE, HALF_SIDE = 300, 150
CUT = 2  # where what is shipped is cut: the 24x75x75 map of block b02 gates best for its cost
BLOCKS = 17
BRANCH_BLOCK = 13  # the first feature map is this block's expansion, so the net can be cut before it alone
STRIDED_BLOCKS = frozenset({1, 3, 6, 13})
BATCH_NORM_EPSILON = 1e-3
BACKBONE = "FeatureExtractor/MobilenetV2/"
EXTRA_LAYERS = ((2, 256, 512), (3, 128, 256), (4, 128, 256), (5, 64, 128))  # name's number, squeeze, output

LEVEL_SCALES = (0.35, 0.5, 0.65, 0.8, 0.95, 1.0)


def anchor_shapes() -> dict[str, Any]:
    """Return the prior boxes by level: grid side, and scale s and ratio r of each box of a cell.

    A box has width s sqrt(r) and height s / sqrt(r) of the picture and lies at the cell's centre; rows go first,
    then columns, then the boxes of a cell.
    """
    levels = [[scale] * 5 + [math.sqrt(scale * after)] for scale, after in itertools.pairwise(LEVEL_SCALES)]
    return {
        "grids": [19, 10, 5, 3, 2, 1],
        "scales": [[0.1, 0.2, 0.2], *levels],
        "ratios": [[1.0, 2.0, 0.5], *([[1.0, 2.0, 0.5, 3.0, 0.3333, 1.0]] * 5)],  # .3333 as trained, not 1/3
    }


PARAMETERS: dict[str, Any] = {
    "anchors": anchor_shapes(),
    "variances": [10, 10, 5, 5],
    "score_floor": 0.3,  # of finds that may go on with a track
    "score_sure": 0.5,  # of those that may start one and hold the gate open
    "nms_iou": 0.6,
    "cut": "b02",
    "gate_stem": "half",
    "half_size": [HALF_SIDE, HALF_SIDE],
}


class PersonNet:
    """The layers of the net by their names in the frozen graph."""

    def __init__(self, frozen_graph: bytes, cut: int = CUT) -> None:
        """Read the weights of a serialised GraphDef; the stem ends with block `cut`, 1 to 12."""
        self._weights = float_constants(frozen_graph)
        self._cut = cut

    def files(self) -> dict[str, bytes]:
        """Return stem and tail; the gate's own stem is trained (`models.nets.gate_stem`)."""
        return {"stem.onnx": self.stem(pooled=3), "tail.onnx": self.tail()}

    def stem(self, pooled: int) -> bytes:
        """Return blocks 0 to the cut: the map for the tail and its averages over cells of `pooled` for the gate."""
        graph = Graph("person stem", {"image": [1, 3, SIDE, SIDE]})
        cells = self._stem(graph, SIDE)
        graph.node("Identity", cells.name, output="map")
        return graph.model({"map": _shape(cells), "features": _pool(graph, cells, pooled)})

    def tail(self) -> bytes:
        """Return everything behind the stem: box codes (1, 1917, 4) as ty tx th tw, person logits (1, 1917)."""
        cells = self._stem(Graph("person stem", {"image": [1, 3, SIDE, SIDE]}), SIDE)
        graph = Graph("person tail", {"map": _shape(cells)})
        self._heads(graph, replace(cells, name="map"))
        return graph.model({"box_codes": [1, 1917, 4], "person_logit": [1, 1917]})

    def whole(self) -> bytes:
        """Return the uncut net, which is what stem and tail are measured against."""
        graph = Graph("person", {"image": [1, 3, SIDE, SIDE]})
        self._heads(graph, self._stem(graph, SIDE))
        return graph.model({"box_codes": [1, 1917, 4], "person_logit": [1, 1917]})

    def _stem(self, graph: Graph, side: int) -> Map:
        cells = graph.normalised(Map("image", 3, side, side), 2 / 255, -1)
        cells = self._layer(graph, cells, BACKBONE + "Conv", stride=2)
        for index in range(self._cut + 1):
            cells = self._project(graph, index, cells, self._expand(graph, index, cells))
        return cells

    def _heads(self, graph: Graph, cells: Map) -> None:
        """Add all blocks behind the cut and the two predictors on each of the six feature maps."""
        codes, logits = [], []
        for level, features in enumerate(self._feature_maps(graph, cells)):
            codes.append(self._predict(graph, level, "BoxEncodingPredictor", features, [1, -1, 4]))
            logits.append(self._predict(graph, level, "ClassPredictor", features, [1, -1]))
        graph.node("Concat", *codes, output="box_codes", axis=1)
        graph.node("Concat", *logits, output="person_logit", axis=1)

    def _feature_maps(self, graph: Graph, cells: Map) -> list[Map]:
        maps = []
        for index in range(self._cut + 1, BLOCKS):
            expanded = self._expand(graph, index, cells)
            if index == BRANCH_BLOCK:
                maps.append(expanded)
            cells = self._project(graph, index, cells, expanded)
        cells = self._layer(graph, cells, BACKBONE + "Conv_1")
        maps.append(cells)
        for number, squeeze, output in EXTRA_LAYERS:
            cells = self._layer(graph, cells, BACKBONE + f"layer_19_1_Conv2d_{number}_1x1_{squeeze}")
            name = BACKBONE + f"layer_19_2_Conv2d_{number}_3x3_s2_{output}"
            cells = self._layer(graph, cells, name + "_depthwise", stride=2)
            cells = self._layer(graph, cells, name)
            maps.append(cells)
        return maps

    def _expand(self, graph: Graph, index: int, cells: Map) -> Map:
        return self._layer(graph, cells, _block(index) + "/expand") if index else cells

    def _project(self, graph: Graph, index: int, cells: Map, expanded: Map) -> Map:
        stride = 2 if index in STRIDED_BLOCKS else 1
        output = self._layer(graph, expanded, _block(index) + "/depthwise", stride)
        output = self._layer(graph, output, _block(index) + "/project", activate=False)
        return graph.sum(cells, output) if stride == 1 and cells.channels == output.channels else output

    def _predict(self, graph: Graph, level: int, predictor: str, features: Map, shape: list[int]) -> str:
        """Add one predictor and flatten its map to rows, columns, anchors."""
        name = f"BoxPredictor_{level}/{predictor}"
        features = self._layer(graph, features, name + "_depthwise")
        weights, bias = self._kernel(name), self._weights[name + "/biases"]
        if predictor == "ClassPredictor":  # channels alternate background, person; nobody needs the background
            weights, bias = weights[1::2], bias[1::2]
        output = graph.convolution(features, weights, bias, 1)
        rows = graph.node("Transpose", output.name, perm=[0, 2, 3, 1])
        return graph.node("Reshape", rows, graph.constant(np.array(shape, np.int64)))

    def _layer(self, graph: Graph, source: Map, name: str, stride: int = 1, activate: bool = True) -> Map:
        """Add a convolution, its batch normalisation folded in: w' = w g / sqrt(v + e), b' = b - m g / sqrt(v + e)."""
        values = {key: self._weights[f"{name}/BatchNorm/{key}"].astype(np.float64) for key in ("gamma", "beta")}
        mean, variance = (
            self._weights[f"{name}/BatchNorm/moving_{key}"].astype(np.float64) for key in ("mean", "variance")
        )
        factor = values["gamma"] / np.sqrt(variance + BATCH_NORM_EPSILON)
        weights = self._kernel(name).astype(np.float64) * factor[:, None, None, None]
        if name == BACKBONE + "Conv":  # trained on RGB, fed with BGR
            weights = weights[:, ::-1]
        output = graph.convolution(source, weights, values["beta"] - mean * factor, stride)
        return graph.clipped(output, 0, 6) if activate else output

    def _kernel(self, name: str) -> np.ndarray:
        """Return a kernel as (out, in, k, k); TensorFlow's are (k, k, in, out), depthwise (k, k, channels, 1)."""
        depthwise = self._weights.get(name + "/depthwise_weights")
        if depthwise is not None:
            return depthwise.transpose(2, 3, 0, 1)
        return self._weights[name + "/weights"].transpose(3, 2, 0, 1)


def _block(index: int) -> str:
    return BACKBONE + ("expanded_conv" if index == 0 else f"expanded_conv_{index}")


def _shape(cells: Map) -> list[int | str]:
    return [1, cells.channels, cells.rows, cells.columns]


def _pool(graph: Graph, cells: Map, size: int) -> list[int | str]:
    """Add the output `features`, the averages of size x size cells, and return its shape."""
    graph.node("AveragePool", cells.name, output="features", kernel_shape=[size, size], strides=[size, size])
    return [1, cells.channels, cells.rows // size, cells.columns // size]
