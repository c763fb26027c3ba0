"""Writes the face embedder: MobileFaceNet with a 192-wide output of unit length.

The weights come from a TFLite file with a fixed batch of two and no normalisation, walked operator by operator.
Its PReLUs, stored as ``relu(x) + m (x - |x|)``, become ``a x + (1 - a) relu(x)`` with a = 2 m: the same numbers,
about twice as fast in ONNX Runtime on a CPU as its PRelu. Net: Chen et al. 2018 (MobileFaceNets).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from models.starter.graph import Graph, Map
from models.starter.tflite import Operator, operators

SIDE = 112
DIMENSION = 192
SHORTEST = 1e-5  # no vector is divided by less
STORED_PRELU = ("relu", "abs", "subtract", "multiply", "add")

PARAMETERS: dict[str, Any] = {
    "dimension": DIMENSION,
    "size": SIDE,
    "precisions": {"fp32": "embedder.onnx"},
    # Where ArcFace's 112x112 template has the two eyes, the nose and the corners of the mouth (x, y).
    "template": [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
}


def embedder(source: bytes) -> bytes:
    """Return the net: BGR crops (n, 3, 112, 112) of 0..255 to unit vectors ``embedding`` (n, 192)."""
    graph = Graph("face embedder", {"crops": ["batch", 3, SIDE, SIDE]})
    steps = operators(source)
    current = graph.normalised(Map("crops", 3, SIDE, SIDE), 1 / 128, -127.5 / 128)
    maps = {steps[0].inputs[0]: current}
    for step in with_prelus(steps):
        if step.name == "reshape":
            break
        current = maps[step.output] = _translate(
            graph, step, [maps[row] for row in step.inputs], first=step is steps[0]
        )
    vector = graph.node("Flatten", current.name, axis=1)
    length = graph.node("ReduceL2", vector, axes=[1], keepdims=1)
    length = graph.node("Max", length, graph.constant(np.float32(SHORTEST)))
    graph.node("Div", vector, length, output="embedding")
    return graph.model({"embedding": ["batch", DIMENSION]})


def with_prelus(steps: list[Operator]) -> Iterator[Operator]:
    """Yield the operators with each stored PReLU joined into one, whose constant is its slope a."""
    position = 0
    while position < len(steps):
        names = tuple(step.name for step in steps[position : position + len(STORED_PRELU)])
        if names == STORED_PRELU:
            first, multiply, last = steps[position], steps[position + 3], steps[position + 4]
            yield Operator("prelu", first.inputs, [2 * multiply.constants[0]], last.output, 1, False)
            position += len(STORED_PRELU)
        else:
            yield steps[position]
            position += 1


def _translate(graph: Graph, step: Operator, inputs: list[Map], first: bool) -> Map:
    """Add one operator to the graph."""
    if step.name == "add":
        return graph.sum(inputs[0], inputs[1])
    if step.name == "prelu":
        return prelu(graph, inputs[0], step.constants[0])
    # TensorFlow keeps (out, k, k, in) and, depthwise, (1, k, k, channels).
    weights = step.constants[0].transpose((3, 0, 1, 2) if step.name == "depthwise" else (0, 3, 1, 2))
    if first:  # trained on RGB, fed with BGR
        weights = weights[:, ::-1]
    return graph.convolution(inputs[0], weights, step.constants[1], step.stride, step.same)


def prelu(graph: Graph, source: Map, slope: np.ndarray) -> Map:
    """Add a PReLU of these slopes (channels,) as ``a x + (1 - a) relu(x)``."""
    slope = slope.reshape(-1, 1, 1)
    linear = graph.node("Mul", source.name, graph.constant(slope))
    rectified = graph.node("Mul", graph.node("Relu", source.name), graph.constant(1 - slope))
    return replace(source, name=graph.node("Add", linear, rectified))
