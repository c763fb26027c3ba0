"""Writes the early-exit detector as ONNX, block by block, batch normalisation folded into the convolutions.

torch's own exporter pads in nodes of their own in front of each strided convolution, which in eight bits cost more than
the convolutions; here the pads belong to the convolution. The same net always gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.nets.blocks import Convolution, InvertedResidual, Predictor, Squeeze
from models.nets.early_exit import GATE_CELLS, FaceBranch, FacePredictor, PatchStem, Tail
from models.nets.ssdlite import BRANCH_BLOCK, ENDS, FIRST_BLOCK, Heads, Trunk
from models.starter.graph import OPSET, finished, same_padding


@dataclass(frozen=True, slots=True)
class Map:
    """A feature map (1, channels, rows, columns) inside the graph."""

    name: str
    channels: int
    rows: int
    columns: int


class Writer:
    """A graph in the making; nodes are named by counting."""

    def __init__(self, name: str, inputs: dict[str, list[int]]) -> None:
        self._name, self._inputs = name, inputs
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        output = output or f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def constant(self, values: np.ndarray) -> str:
        """Add a constant and return its name."""
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def convolution(self, source: Map, conv: nn.Conv2d, weights: np.ndarray, bias: np.ndarray) -> Map:
        """Add a convolution with these weights and TensorFlow's SAME padding."""
        (kernel, _), (stride, _) = conv.kernel_size, conv.stride
        pads = [same_padding(side, kernel, stride) for side in (source.rows, source.columns)]
        output = self.node(
            "Conv",
            source.name,
            self.constant(weights.astype(np.float32)),
            self.constant(bias.astype(np.float32)),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
            group=conv.groups,
        )
        return Map(output, len(weights), -(-source.rows // stride), -(-source.columns // stride))

    def rectified(self, source: Map) -> Map:
        """Add a ReLU6, which the runtime joins with the convolution before it."""
        bounds = [self.constant(np.array(bound, np.float32)) for bound in (0, 6)]
        return Map(self.node("Clip", source.name, *bounds), source.channels, source.rows, source.columns)

    def sum(self, first: Map, second: Map) -> Map:
        """Add two maps of one shape."""
        return Map(self.node("Add", first.name, second.name), first.channels, first.rows, first.columns)

    def model(self, outputs: dict[str, list[int]]) -> bytes:
        """Return the checked, serialised model."""
        ends = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends.items()]
            for ends in (self._inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, self._name, *ends, self._constants)
        return finished(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))


def stem_model(stem: PatchStem, width: int, height: int) -> bytes:
    """Return the stem for pictures of this size: ``map`` for the tail and ``features`` for the gate."""
    writer = Writer("early-exit stem", {"image": [1, 3, height, width]})
    cells = layer(writer, Map("image", 3, height, width), stem.first, scale=1 / 128)
    cells = finished_block(writer, cells, cells, stem.block)
    writer.node("Identity", cells.name, output="map")
    # Averages by a convolution: the runtime's own pooling takes a fifth of the stem's time.
    kernel = np.full((cells.channels, 1, GATE_CELLS, GATE_CELLS), GATE_CELLS**-2, np.float32)
    sides = [GATE_CELLS, GATE_CELLS]
    kernels = writer.constant(kernel)
    writer.node("Conv", cells.name, kernels, output="features", kernel_shape=sides, strides=sides, group=cells.channels)
    features = [1, cells.channels, cells.rows // GATE_CELLS, cells.columns // GATE_CELLS]
    return writer.model({"map": [1, cells.channels, cells.rows, cells.columns], "features": features})


def tail_model(tail: Tail, channels: int, rows: int, columns: int) -> bytes:
    """Return the tail for a stem's map of this shape: codes and logits of persons; those of faces, and points."""
    writer = Writer("early-exit tail", {"map": [1, channels, rows, columns]})
    maps, ends = trunk(writer, Map("map", channels, rows, columns), tail.trunk)
    persons, faces = heads(writer, maps, tail.persons), face_branch(writer, ends, tail.faces)
    return writer.model(
        {
            "box_codes": [1, persons, 4],
            "person_logit": [1, persons],
            "face_codes": [1, faces, 4],
            "face_logit": [1, faces],
            "face_points": [1, faces, 10],
        }
    )


def layer(writer: Writer, source: Map, module: Convolution, scale: float = 1.0) -> Map:
    """Add a layer; w' = w g / sqrt(v + e) and b' = b - m g / sqrt(v + e), the input's `scale` in the weights too."""
    norm = module.norm
    gamma, beta, mean, variance = map(_array, (norm.weight, norm.bias, norm.running_mean, norm.running_var))
    factor = gamma / np.sqrt(variance + norm.eps)
    weights = _array(module.conv.weight) * factor[:, None, None, None] * scale
    output = writer.convolution(source, module.conv, weights, beta - mean * factor)
    return output if module.linear else writer.rectified(output)


def expanded(writer: Writer, source: Map, block: InvertedResidual) -> Map:
    """Add a block's expansion, if it has one."""
    return layer(writer, source, block.expand) if isinstance(block.expand, Convolution) else source


def finished_block(writer: Writer, source: Map, inside: Map, block: InvertedResidual) -> Map:
    """Add what follows a block's expansion."""
    output = layer(writer, layer(writer, inside, block.depthwise), block.project)
    return writer.sum(source, output) if block.adds else output


def trunk(writer: Writer, source: Map, module: Trunk) -> tuple[list[Map], list[Map]]:
    """Add the trunk; return the SSD maps and the ends of the strides."""
    maps, ends, cells = [], [], source
    for index, block in enumerate(module.blocks, start=FIRST_BLOCK):
        inside = expanded(writer, cells, block)
        if index == BRANCH_BLOCK:
            maps.append(inside)
        cells = finished_block(writer, cells, inside, block)
        if index in ENDS:
            ends.append(cells)
    cells = layer(writer, cells, module.last)
    maps.append(cells)
    for extra in module.extras:
        cells = squeeze(writer, cells, extra)
        maps.append(cells)
    return maps, ends


def squeeze(writer: Writer, source: Map, module: Squeeze) -> Map:
    """Add an extra layer."""
    for part in module:
        source = layer(writer, source, part)
    return source


def heads(writer: Writer, maps: Sequence[Map], module: Heads) -> int:
    """Add the person heads with their outputs; return the number of priors."""
    codes = [predictor(writer, cells, part) for cells, part in zip(maps, module.codes, strict=True)]
    logits = [predictor(writer, cells, part, flat=True) for cells, part in zip(maps, module.logits, strict=True)]
    writer.node("Concat", *codes, output="box_codes", axis=1)
    writer.node("Concat", *logits, output="person_logit", axis=1)
    return sum(
        cells.rows * cells.columns * part.pointwise.out_channels
        for cells, part in zip(maps, module.logits, strict=True)
    )


def predictor(writer: Writer, source: Map, module: Predictor, flat: bool = False) -> str:
    """Add a predictor; return the name of (1, priors, values), or of (1, priors) when `flat`."""
    return listed(writer, layer(writer, source, module.depthwise), module.pointwise, 0 if flat else module.values)


def listed(writer: Writer, source: Map, pointwise: nn.Conv2d, values: int) -> str:
    """Add a linear 1x1 convolution and list its map: rows, columns, boxes of a cell; 0 `values` makes one axis."""
    assert pointwise.bias is not None
    output = writer.convolution(source, pointwise, _array(pointwise.weight), _array(pointwise.bias))
    rows = writer.node("Transpose", output.name, perm=[0, 2, 3, 1])
    shape = [1, -1, values] if values else [1, -1]
    return writer.node("Reshape", rows, writer.constant(np.array(shape, np.int64)))


def face_branch(writer: Writer, ends: Sequence[Map], module: FaceBranch) -> int:
    """Add the face branch with its outputs; return the number of priors."""
    fine, middle, coarse = (layer(writer, end, part) for end, part in zip(ends, module.across, strict=True))
    middle = layer(writer, writer.sum(middle, enlarged(writer, coarse, middle)), module.smooth[1])
    fine = layer(writer, writer.sum(fine, enlarged(writer, middle, fine)), module.smooth[0])
    levels = (fine, middle, coarse)
    parts = [face_predictor(writer, cells, part) for cells, part in zip(levels, module.predictors, strict=True)]
    for name, several in zip(("face_codes", "face_logit", "face_points"), zip(*parts, strict=True), strict=True):
        writer.node("Concat", *several, output=name, axis=1)
    per_cell = module.predictors[0].pointwise[1].out_channels
    return sum(cells.rows * cells.columns * per_cell for cells in levels)


def face_predictor(writer: Writer, source: Map, module: FacePredictor) -> list[str]:
    """Add a predictor; return the names of codes, logits and points."""
    cells = layer(writer, source, module.depthwise)
    return [listed(writer, cells, part, values) for part, values in zip(module.pointwise, (4, 0, 10), strict=True)]


def enlarged(writer: Writer, source: Map, like: Map) -> Map:
    """Repeat each cell twice in both directions and cut what is beyond the other map."""
    scales = writer.constant(np.array([1, 1, 2, 2], np.float32))
    output = writer.node(
        "Resize",
        source.name,
        "",
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    if (source.rows * 2, source.columns * 2) != (like.rows, like.columns):
        bounds = ([0, 0], [like.rows, like.columns], [2, 3])
        output = writer.node("Slice", output, *(writer.constant(np.array(bound, np.int64)) for bound in bounds))
    return Map(output, source.channels, like.rows, like.columns)


def _array(values: Tensor | None) -> np.ndarray:
    assert values is not None
    return values.detach().double().numpy()
