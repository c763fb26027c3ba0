"""A small hand to write ONNX graphs: nodes are named by counting, so the same calls always give the same bytes."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
PRODUCER = "cardea"


@dataclass(frozen=True, slots=True)
class Map:
    """A feature map (1 or n, channels, rows, columns) inside a graph."""

    name: str
    channels: int
    rows: int
    columns: int


class Graph:
    """An ONNX graph in the making."""

    def __init__(self, name: str, inputs: dict[str, list[int | str]]) -> None:
        """Begin a graph whose float32 inputs have these shapes; a string is a free dimension."""
        self._name = name
        self._inputs = [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in inputs.items()]
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: np.ndarray | np.float32) -> str:
        """Add a constant and return its name."""
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        output = output or f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def normalised(self, picture: Map, scale: float, offset: float) -> Map:
        """Return ``pixel * scale + offset``.

        It stays outside the first convolution's weights: that one pads with zeros of the *normalised* picture.
        """
        scaled = self.node("Mul", picture.name, self.constant(np.float32(scale)))
        return replace(picture, name=self.node("Add", scaled, self.constant(np.float32(offset))))

    def convolution(self, source: Map, weights: np.ndarray, bias: np.ndarray, stride: int, pad: bool = True) -> Map:
        """Convolve with weights (out, in, k, k), depthwise when ``in`` is 1, with TensorFlow's SAME or no padding."""
        kernel = weights.shape[2]
        above, below = same_padding(source.rows, kernel, stride) if pad else (0, 0)
        left, right = same_padding(source.columns, kernel, stride) if pad else (0, 0)
        output = self.node(
            "Conv",
            source.name,
            self.constant(weights.astype(np.float32)),
            self.constant(bias.astype(np.float32)),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[above, left, below, right],
            group=source.channels // weights.shape[1],
        )
        rows, columns = source.rows + above + below, source.columns + left + right
        return Map(output, len(weights), (rows - kernel) // stride + 1, (columns - kernel) // stride + 1)

    def clipped(self, source: Map, low: float, high: float) -> Map:
        """Clip to low..high; 0 and 6 make a ReLU6, which the runtime fuses into the convolution before it."""
        bounds = [self.constant(np.float32(low)), self.constant(np.float32(high))]
        return replace(source, name=self.node("Clip", source.name, *bounds))

    def sum(self, first: Map, second: Map) -> Map:
        """Add two maps of one shape."""
        return replace(first, name=self.node("Add", first.name, second.name))

    def model(self, outputs: dict[str, list[int | str]]) -> bytes:
        """Return the checked, serialised model with these outputs."""
        ends = [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in outputs.items()]
        graph = helper.make_graph(self._nodes, self._name, self._inputs, ends, self._constants)
        return finished(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's SAME padding (before, after) of one axis; the odd pixel goes behind.

    At stride 2 it depends on the side: an even one pads (0, 1), an odd one (1, 1). So a net for another input size
    needs its pads computed anew.
    """
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def finished(model: onnx.ModelProto) -> bytes:
    """Check a model, strip what changes from build to build, and serialise it."""
    model.producer_name, model.producer_version, model.ir_version = PRODUCER, "", IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
