"""What a net is made of, read from its ONNX graph without running it: work, weights, memory, operators.

One multiply-add is one MAC; a FLOP count is twice that. An activation that alone reads a convolution's or a matrix
product's output is part of it, as runtimes join the two; what can be computed before the first picture is not counted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, shape_inference

from app.errors import SetupError
from models.latency.cells import Plan

CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = ("Gemm", "MatMul")
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid")
COPIES = {  # what only moves values, or not even that
    "pool": ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
    "move": ("Transpose", "Concat", "Resize", "Slice", "Pad", "Split", "Gather", "Expand", "Tile"),
    "view": ("Reshape", "Flatten", "Identity", "Squeeze", "Unsqueeze", "Dropout", "Cast"),
    "code": ("QuantizeLinear", "DequantizeLinear"),
}
KINDS = ("conv1x1", "conv3x3", "conv", "depthwise", "grouped", "dense", "elementwise", *COPIES)
KIND_OF = {operator: kind for kind, operators in COPIES.items() for operator in operators}


@dataclass(frozen=True, slots=True)
class Operator:
    """One step of a net as a runtime takes it."""

    kind: str  # of `KINDS`
    macs: int
    parameters: int
    read: int  # values of maps
    written: int
    channels_in: int
    channels_out: int
    sources: tuple[int, ...]  # earlier operators that it reads from


@dataclass(frozen=True, slots=True)
class Figures:
    """A net as predictors see it."""

    operators: tuple[Operator, ...]  # each after those that it reads from
    parameters: int
    peak_bytes: int  # see `peak_bytes`
    precision: str  # fp32 | int8
    plan: Plan | None = None  # of a net made of random cells

    @property
    def macs(self) -> int:
        """Multiply-adds of one pass."""
        return sum(operator.macs for operator in self.operators)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; `from_json` is the inverse."""
        operators = [list(astuple(each)) for each in self.operators]
        rest = {"parameters": self.parameters, "peak_bytes": self.peak_bytes, "precision": self.precision}
        plan = self.plan.to_json() if self.plan else None
        return {"macs": self.macs, **rest, "plan": plan, "operators": operators}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Figures":
        """Return the figures that `to_json` described.

        Raises:
            ValueError: the values describe none.
        """
        try:
            operators = tuple(
                Operator(kind, macs, parameters, read, written, channels_in, channels_out, tuple(sources))
                for kind, macs, parameters, read, written, channels_in, channels_out, sources in values["operators"]
            )
            plan = Plan.from_json(values["plan"]) if values["plan"] else None
            return Figures(operators, values["parameters"], values["peak_bytes"], values["precision"], plan)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no figures of a net ({error!r})") from error


def fixed(net: bytes, shape: Sequence[int] | None = None) -> bytes:
    """Return a serialised ONNX net whose inputs have whole shapes.

    Args:
        net: any ONNX net.
        shape: of its first input, where that has free dimensions beside the batch; a free batch is 1.

    Raises:
        SetupError: it cannot be read, or a dimension stays free.
    """
    try:
        onnx.checker.check_model(net)
    except (ValueError, onnx.checker.ValidationError) as error:
        raise SetupError(f"the net cannot be read ({error}); is it a whole ONNX file?") from error
    model = onnx.load_from_string(net)
    for place, value in enumerate(_inputs(model)):
        dimensions = value.type.tensor_type.shape.dim
        sides = shape if place == 0 and shape else [side.dim_value for side in dimensions]
        if len(sides) != len(dimensions):
            raise SetupError(f"{value.name} has {len(dimensions)} dimensions, not {len(sides)}; give as many")
        for axis, (dimension, side) in enumerate(zip(dimensions, sides, strict=True)):
            dimension.dim_value = side or (1 if axis == 0 else 0)
        if not all(dimension.dim_value for dimension in dimensions):
            raise SetupError(f"{value.name} has free dimensions; fix them with --shape, such as 1,3,240,320")
    return bytes(model.SerializeToString())


def figures(net: bytes, plan: Plan | None = None) -> Figures:
    """Return what a serialised ONNX net is made of, whose inputs have whole shapes.

    Args:
        net: see `fixed`.
        plan: what the net was built from.

    Raises:
        SetupError: a shape does not follow from those of the inputs.
    """
    model = onnx.load_from_string(net)
    del model.graph.value_info[:]  # they may still tell of free dimensions
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        graph = _Graph(shape_inference.infer_shapes(model, strict_mode=True, data_prop=True))
    except shape_inference.InferenceError as error:
        raise SetupError(f"the net's shapes cannot be worked out ({error}); check it with onnx.checker") from error
    coded = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    return Figures(graph.operators(), graph.parameters(), graph.peak_bytes(), "int8" if coded else "fp32", plan)


class _Graph:
    """A net with the shapes of all its maps."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        values = [*graph.input, *graph.value_info, *graph.output]
        self._shapes = {value.name: _dimensions(value) for value in values}
        self._bytes = {value.name: _item_bytes(value.type.tensor_type.elem_type) for value in values}
        weights = {tensor.name: tensor for tensor in graph.initializer}
        self._weights = {name: math.prod(tensor.dims) for name, tensor in weights.items() if _is_weight(tensor)}
        self._shapes |= {name: list(tensor.dims) for name, tensor in weights.items()}
        self._constant = set(weights)
        self._numbers = dict(self._weights)  # also of what is made of weights before the first picture, such as codes
        self._inputs = [value.name for value in _inputs(model)]
        self._outputs = [value.name for value in graph.output]
        self._nodes = [node for node in graph.node if not self._is_folded(node)]
        self._readers: dict[str, int] = {}
        for name in [*(name for node in self._nodes for name in node.input), *self._outputs]:
            self._readers[name] = self._readers.get(name, 0) + 1

    def operators(self) -> tuple[Operator, ...]:
        """Return the steps in the order of the file."""
        made: dict[str, int] = {}  # map -> the operator that makes it
        ended_by: dict[str, str] = {}  # output of a convolution or product -> node that made it
        operators: list[Operator] = []
        for node in self._nodes:
            read = [name for name in node.input if name and name not in self._constant]
            if node.op_type in ACTIVATIONS and self._joins(read[0], ended_by):
                made[node.output[0]] = made[read[0]]
                continue
            sources = tuple(sorted({made[name] for name in read if name in made}))
            operators.append(self._operator(node, read, sources))
            made |= dict.fromkeys(node.output, len(operators) - 1)
            if node.op_type in CONVOLUTIONS + PRODUCTS:
                ended_by[node.output[0]] = node.op_type
        return tuple(operators)

    def parameters(self) -> int:
        """Return how many weights the file keeps; indices and shapes are none."""
        return sum(self._weights.values())

    def peak_bytes(self) -> int:
        """Return the bytes of the largest set of maps that live at once when nodes run in the order of the file.

        A map lives from the node that makes it, an input from the start, to the last node that reads it, an output of
        the net to the end. Weights are not counted, nor what a runtime saves by working in place.
        """
        last = {name: place for place, node in enumerate(self._nodes) for name in node.input}
        last |= dict.fromkeys(self._outputs, len(self._nodes))
        live = {name for name in self._inputs if name in last}
        peak = 0
        for place, node in enumerate(self._nodes):
            live |= set(node.output) - {""}
            peak = max(peak, sum(self._size(name) * self._bytes[name] for name in live))
            live = {name for name in live if last.get(name, place) > place}
        return peak

    def _is_folded(self, node: NodeProto) -> bool:
        """Note the outputs of a node that depends on constants or shapes alone, and how large those of weights are."""
        shape = node.op_type in ("Shape", "Size")
        folded = shape or all(name in self._constant for name in node.input if name)
        if folded:
            self._constant |= set(node.output)
            if not shape and any(name in self._numbers for name in node.input):
                made = {name: self._shapes.get(name) for name in node.output}
                self._numbers |= {name: math.prod(sides) for name, sides in made.items() if sides is not None}
        return folded

    def _joins(self, read: str, ended_by: Mapping[str, str]) -> bool:
        return read in ended_by and self._readers[read] == 1

    def _operator(self, node: NodeProto, read: list[str], sources: tuple[int, ...]) -> Operator:
        first, output = self._shape(read[0] if read else node.output[0]), self._shape(node.output[0])
        kind = self._kind(node)
        return Operator(
            kind,
            self._macs(node, output),
            sum(self._numbers.get(name, 0) for name in node.input),
            sum(self._size(name) for name in read),
            sum(self._size(name) for name in node.output if name),
            first[1] if len(first) > 1 else 1,
            output[1] if len(output) > 1 else 1,
            sources,
        )

    def _kind(self, node: NodeProto) -> str:
        if node.op_type in CONVOLUTIONS:
            groups = _attribute(node, "group", 1)
            if groups > 1:
                return "depthwise" if groups == self._shape(node.input[0])[1] else "grouped"
            named = f"conv{'x'.join(map(str, self._shape(node.input[1])[2:]))}"
            return named if named in KINDS else "conv"
        return "dense" if node.op_type in PRODUCTS else KIND_OF.get(node.op_type, "elementwise")

    def _macs(self, node: NodeProto, output: list[int]) -> int:
        """Return the multiply-adds: of a convolution, outputs times the taps of one; of a product, times its depth."""
        if node.op_type == "Conv":
            return math.prod(output) * math.prod(self._shape(node.input[1])[1:])
        if node.op_type == "ConvTranspose":
            return self._size(node.input[0]) * math.prod(self._shape(node.input[1])[1:])
        if node.op_type in PRODUCTS:
            turned = node.op_type == "Gemm" and _attribute(node, "transA", 0)
            return math.prod(output) * self._shape(node.input[0])[0 if turned else -1]
        return 0

    def _size(self, name: str) -> int:
        return math.prod(self._shape(name))

    def _shape(self, name: str) -> list[int]:
        shape = self._shapes.get(name)
        if shape is None:
            raise SetupError(f"the shape of {name} does not follow from the net's inputs; it cannot be predicted")
        return shape


def _inputs(model: ModelProto) -> list[ValueInfoProto]:
    """Return the inputs proper: old files list their weights among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _dimensions(value: ValueInfoProto) -> list[int] | None:
    """Return a shape, None where a dimension is unknown."""
    kind = value.type.tensor_type
    known = kind.HasField("shape") and all(dimension.HasField("dim_value") for dimension in kind.shape.dim)
    return [dimension.dim_value for dimension in kind.shape.dim] if known else None


def _item_bytes(kind: int) -> int:
    return helper.tensor_dtype_to_np_dtype(kind).itemsize if kind else 0


def _is_weight(tensor: TensorProto) -> bool:
    return tensor.data_type != TensorProto.INT64


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
