"""Writes detectors as ONNX, block by block, batch normalisation folded into the convolutions.

torch's own exporter pads in nodes of their own in front of each strided convolution, which in eight bits cost more than
the convolutions; here the pads belong to the convolution. The same net always gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from models.nets.blocks import Convolution, InvertedResidual, Predictor, Squeeze
from models.nets.face_branch import FaceBranch, FacePredictor
from models.nets.ssdlite import BRANCH_BLOCK, ENDS, FIRST_BLOCK, Heads, Trunk
from models.starter.graph import Graph, Map


def layer(graph: Graph, source: Map, module: Convolution, scale: float = 1.0) -> Map:
    """Add a layer; w' = w g / sqrt(v + e) and b' = b - m g / sqrt(v + e), the input's `scale` in the weights too."""
    norm = module.norm
    gamma, beta, mean, variance = map(_array, (norm.weight, norm.bias, norm.running_mean, norm.running_var))
    factor = gamma / np.sqrt(variance + norm.eps)
    weights = _array(module.conv.weight) * factor[:, None, None, None] * scale
    output = graph.convolution(source, weights, beta - mean * factor, module.conv.stride[0])
    return output if module.linear else graph.clipped(output, 0, 6)


def expanded(graph: Graph, source: Map, block: InvertedResidual) -> Map:
    """Add a block's expansion, if it has one."""
    return layer(graph, source, block.expand) if isinstance(block.expand, Convolution) else source


def finished_block(graph: Graph, source: Map, inside: Map, block: InvertedResidual) -> Map:
    """Add what follows a block's expansion."""
    output = layer(graph, layer(graph, inside, block.depthwise), block.project)
    return graph.sum(source, output) if block.adds else output


def trunk(graph: Graph, source: Map, module: Trunk) -> tuple[list[Map], list[Map]]:
    """Add the trunk; return the SSD maps and the ends of the strides."""
    maps, ends, cells = [], [], source
    for index, block in enumerate(module.blocks, start=FIRST_BLOCK):
        inside = expanded(graph, cells, block)
        if index == BRANCH_BLOCK:
            maps.append(inside)
        cells = finished_block(graph, cells, inside, block)
        if index in ENDS:
            ends.append(cells)
    cells = layer(graph, cells, module.last)
    maps.append(cells)
    for extra in module.extras:
        cells = squeeze(graph, cells, extra)
        maps.append(cells)
    return maps, ends


def squeeze(graph: Graph, source: Map, module: Squeeze) -> Map:
    """Add an extra layer."""
    for part in module:
        source = layer(graph, source, part)
    return source


def heads(graph: Graph, maps: Sequence[Map], module: Heads) -> int:
    """Add the person heads with their outputs; return the number of priors."""
    codes = [predictor(graph, cells, part) for cells, part in zip(maps, module.codes, strict=True)]
    logits = [predictor(graph, cells, part, flat=True) for cells, part in zip(maps, module.logits, strict=True)]
    graph.node("Concat", *codes, output="box_codes", axis=1)
    graph.node("Concat", *logits, output="person_logit", axis=1)
    return sum(
        cells.rows * cells.columns * part.pointwise.out_channels
        for cells, part in zip(maps, module.logits, strict=True)
    )


def predictor(graph: Graph, source: Map, module: Predictor, flat: bool = False) -> str:
    """Add a predictor; return the name of (1, priors, values), or of (1, priors) when `flat`."""
    return listed(graph, layer(graph, source, module.depthwise), module.pointwise, 0 if flat else module.values)


def listed(graph: Graph, source: Map, pointwise: nn.Conv2d, values: int) -> str:
    """Add a linear 1x1 convolution and list its map: rows, columns, boxes of a cell; 0 `values` makes one axis."""
    assert pointwise.bias is not None
    output = graph.convolution(source, _array(pointwise.weight), _array(pointwise.bias), 1)
    rows = graph.node("Transpose", output.name, perm=[0, 2, 3, 1])
    shape = [1, -1, values] if values else [1, -1]
    return graph.node("Reshape", rows, graph.constant(np.array(shape, np.int64)))


def face_branch(graph: Graph, ends: Sequence[Map], module: FaceBranch) -> int:
    """Add the face branch with its outputs; return the number of priors."""
    fine, middle, coarse = (layer(graph, end, part) for end, part in zip(ends, module.across, strict=True))
    middle = layer(graph, graph.sum(middle, enlarged(graph, coarse, middle)), module.smooth[1])
    fine = layer(graph, graph.sum(fine, enlarged(graph, middle, fine)), module.smooth[0])
    levels = (fine, middle, coarse)
    parts = [face_predictor(graph, cells, part) for cells, part in zip(levels, module.predictors, strict=True)]
    for name, several in zip(("face_codes", "face_logit", "face_points"), zip(*parts, strict=True), strict=True):
        graph.node("Concat", *several, output=name, axis=1)
    per_cell = module.predictors[0].pointwise[1].out_channels
    return sum(cells.rows * cells.columns * per_cell for cells in levels)


def face_predictor(graph: Graph, source: Map, module: FacePredictor) -> list[str]:
    """Add a predictor; return the names of codes, logits and points."""
    cells = layer(graph, source, module.depthwise)
    return [listed(graph, cells, part, values) for part, values in zip(module.pointwise, (4, 0, 10), strict=True)]


def enlarged(graph: Graph, source: Map, like: Map) -> Map:
    """Repeat each cell twice in both directions and cut what is beyond the other map."""
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    output = graph.node(
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
        output = graph.node("Slice", output, *(graph.constant(np.array(bound, np.int64)) for bound in bounds))
    return replace(like, name=output)


def _array(values: Tensor | None) -> np.ndarray:
    assert values is not None
    return values.detach().double().numpy()
