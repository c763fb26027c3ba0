"""Static 8-bit quantisation of convolutional nets: unsigned activations, signed weights with a scale per channel.

A net is calibrated once: it runs on pictures in float32, and of every map the range and the channels' means are noted.
The ranges then become pairs of QuantizeLinear and DequantizeLinear, which ONNX Runtime joins with the convolution
between them to one integer convolution. Bytes depend on the net and on what was noted alone, and that, unlike float
sums, can be kept in a file: so a build gives the same bytes on every processor.
"""

import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from app.vision.runtime import ort
from models.codes import Scale, lost_by_rounding, quantisation, quantised_bias, quantised_weights
from models.starter.graph import finished

PASSING = ("Resize", "Slice", "MaxPool")  # what they put out has the scale of what they take in
FLOAT_CONVOLUTIONS = ("Conv", "FusedConv", "NhwcFusedConv")


@dataclass(frozen=True, slots=True)
class Range:
    """What calibration noted of a map: the values that it shall express, 0 among them, and each channel's mean."""

    low: float
    high: float
    means: tuple[float, ...]


Ranges = dict[str, Range]  # by the name of the map


def calibrate(model: bytes, batches: Iterable[np.ndarray], in_float: Collection[str] = ()) -> Ranges:
    """Return the range of every map that `quantised` will ask for.

    A range goes from the minimum to the maximum over all batches, 0 always inside. Behind a rectifier it begins at 0
    and ends no later than the rectifier does: with any other the runtime would leave the convolution in float32.

    Args:
        model: a serialised float32 net with one input.
        batches: what the net will see, float32 in the shape of its input; maps have four axes, channels second.
        in_float: what `quantised` will be told to leave alone.

    Raises:
        ValueError: there are no batches.
    """
    net = _Net(model, in_float)
    names = net.quantised_maps()
    session = _session(net.showing(names))
    ends = dict.fromkeys(names, (0.0, 0.0))
    means: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for batch in batches:
        for name, values in zip(names, session.run(names, {session.get_inputs()[0].name: batch}), strict=True):
            ends[name] = (min(ends[name][0], float(values.min())), max(ends[name][1], float(values.max())))
            means[name].append(values.mean(axis=(0, 2, 3), dtype=np.float64))
    if not means[names[0]]:
        raise ValueError("no batches to calibrate with")
    return {
        name: Range(*net.within_rectifier(name, *ends[name]), tuple(np.mean(means[name], axis=0).tolist()))
        for name in names
    }


def quantised(model: bytes, ranges: Ranges, in_float: Collection[str] = ()) -> bytes:
    """Return the net with 8-bit convolutions; inputs, outputs and what is no convolution or sum stay float32.

    Every convolution becomes an integer one, with the ReLU or clip from 0 behind it if nothing else reads what lies
    between them. A sum of two maps becomes an integer sum where an integer convolution goes on from it or the net ends,
    unless float convolutions make both, and what a nearest Resize, a Slice or a MaxPool passes on stays as it is.

    Args:
        model: a serialised float32 net.
        ranges: see `calibrate`.
        in_float: convolutions, by the name of their output, that stay as they are.

    Raises:
        KeyError: a map has no range: they are those of another net, or were found with other `in_float`.
        ValueError: a convolution to be left alone lies between integer ones. The runtime would quantise it by itself,
            with one scale for all channels; only those at the beginning and the end of a net can stay in float32.
    """
    return _Net(model, in_float).rewritten(ranges)


def convolutions(model: bytes) -> list[str]:
    """Return the names of the convolutions' outputs, in the order in which the net runs them."""
    return [node.output[0] for node in onnx.load_from_string(model).graph.node if node.op_type == "Conv"]


def float_convolutions(model: bytes) -> list[str]:
    """Return the names of the convolutions that ONNX Runtime runs in float32, after all its optimisations.

    A convolution that could not be joined with its neighbours gives right results slowly and without a word.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        _session(model, path)
        nodes = onnx.load(path).graph.node
    names = [node.name or node.output[0] for node in nodes if node.op_type in FLOAT_CONVOLUTIONS]
    return [name.removesuffix("_nchwc") for name in names]  # the runtime's mark of a blocked layout


class _Net:
    """A float net and which of its maps and nodes become integers."""

    def __init__(self, model: bytes, in_float: Collection[str]) -> None:
        self._model = onnx.load_from_string(model)
        graph = self._model.graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._ends = {output.name for output in graph.output}
        self._in_float = frozenset(in_float)
        self._rectified = {node.output[0]: bound for node in graph.node if (bound := self._bound(node)) is not None}
        self._read_as_integers: set[str] = set()
        self._made_by_integers: set[str] = set()
        for node in reversed(graph.node):
            self._follow(node)

    def quantised_maps(self) -> list[str]:
        """Return the maps that get a scale, in the order of the graph."""
        graph = self._model.graph
        names = [value.name for value in graph.input] + [name for node in graph.node for name in node.output]
        return [name for name in names if name in self._read_as_integers or name in self._made_by_integers]

    def within_rectifier(self, name: str, low: float, high: float) -> tuple[float, float]:
        """Return a range cut to what the rectifier that makes the map lets through."""
        return (0.0, min(high, self._rectified[name])) if name in self._rectified else (low, high)

    def showing(self, names: list[str]) -> bytes:
        """Return the net with these maps as its outputs."""
        shown = onnx.ModelProto()
        shown.CopyFrom(self._model)
        del shown.graph.output[:]
        shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
        return bytes(shown.SerializeToString())

    def rewritten(self, ranges: Ranges) -> bytes:
        """Return the net with pairs of QuantizeLinear and DequantizeLinear around everything that becomes integer."""
        source = self._model.graph
        scales: dict[str, Scale] = {}
        for name in self.quantised_maps():
            maker = self._makers.get(name)
            passed = maker is not None and maker.op_type in PASSING
            scales[name] = scales[maker.input[0]] if passed else quantisation(ranges[name].low, ranges[name].high)
        nodes, constants = [], dict(self._constants)
        for name in (value.name for value in source.input):
            if name in scales:
                nodes += _pair(name, name, _coded(name), scales[name], constants)
        for node in source.node:
            nodes += self._rewritten_node(node, scales, ranges, constants)
        read = {name for node in nodes for name in node.input}
        kept = [constants[name] for name in constants if name in read]
        graph = helper.make_graph(nodes, source.name + " in 8 bits", source.input, source.output, kept)
        return finished(helper.make_model(graph, opset_imports=self._model.opset_import))

    def _rewritten_node(
        self,
        node: NodeProto,
        scales: dict[str, Scale],
        ranges: Ranges,
        constants: dict[str, onnx.TensorProto],
    ) -> Iterator[NodeProto]:
        """Yield a node that reads the coded maps where it works on integers, and what codes its own output."""
        changed = NodeProto()
        changed.CopyFrom(node)
        changed.name = node.output[0]  # so that a convolution left in float can be told by its name
        changed.input[:] = [self._source(node, name, scales) for name in changed.input]
        if self._is_integer_convolution(node):
            read = node.input[0]
            yield from self._coded_weights(changed, scales[read][0], np.array(ranges[read].means), constants)
        output = node.output[0]
        if output not in scales:
            yield changed
            return
        # What the net gives out keeps its name behind the pair, every other map before it.
        plain, coded = (output + ".plain", output) if output in self._ends else (output, _coded(output))
        changed.output[0] = plain
        yield changed
        yield from _pair(output, plain, coded, scales[output], constants)

    def _coded_weights(
        self, node: NodeProto, scale: np.float32, means: np.ndarray, constants: dict[str, onnx.TensorProto]
    ) -> Iterator[NodeProto]:
        """Yield what dequantises a convolution's weights and bias, and let the convolution read it."""
        weights, *biases = (numpy_helper.to_array(self._constants[name]).astype(np.float64) for name in node.input[1:])
        codes, scales = quantised_weights(weights)
        bias = sum(biases) + lost_by_rounding(weights, codes, scales, means)
        products = (scales * scale).astype(np.float32)
        parts = {"weights": (codes, scales), "bias": (quantised_bias(bias, products), products)}
        del node.input[1:]
        for part, (values, steps) in parts.items():
            name = f"{node.name}.{part}"
            inputs = [f"{name}.codes", f"{name}.scales", f"{name}.zeros"]
            for key, content in zip(inputs, (values, steps, np.zeros(len(steps), values.dtype)), strict=True):
                constants[key] = numpy_helper.from_array(content, key)
            yield helper.make_node("DequantizeLinear", inputs, [name], name, axis=0)
            node.input.append(name)

    def _follow(self, node: NodeProto) -> None:
        """Note what a node reads and makes if it works on integers; those behind it are known already."""
        wanted = node.output[0] in self._read_as_integers
        if self._is_integer_convolution(node):
            self._read_as_integers.add(node.input[0])
            self._made_by_integers.add(self._end(node))
        elif (wanted or self._is_end(node.output[0])) and self._is_integer_sum(node):
            self._read_as_integers |= set(node.input)
            self._made_by_integers.add(node.output[0])
        elif wanted and node.op_type in PASSING:
            self._read_as_integers.add(node.input[0])
            self._made_by_integers.add(node.output[0])

    def _source(self, node: NodeProto, name: str, scales: dict[str, Scale]) -> str:
        """Return where a node shall read a map: behind its codes, if either side of them works on integers."""
        integers = self._is_integer_convolution(node) or node.output[0] in self._made_by_integers
        if name not in scales or not (integers or name in self._made_by_integers):
            return name
        if not integers and node.op_type == "Conv" and self._end(node) in scales:
            raise ValueError(f"{node.output[0]} lies between codes: the runtime would make integers of it")
        return name if name in self._ends else _coded(name)

    def _is_integer_convolution(self, node: NodeProto) -> bool:
        return node.op_type == "Conv" and node.output[0] not in self._in_float

    def _is_integer_sum(self, node: NodeProto) -> bool:
        """Whether a sum of two maps works on integers where its reader does: not if float convolutions make both."""
        maps = [name for name in node.input if name not in self._constants]
        return node.op_type == "Add" and len(maps) == 2 and not all(map(self._is_made_in_float, maps))

    def _is_end(self, name: str) -> bool:
        """Whether a map is what the net gives out, maybe by another name, and nothing else."""
        readers = self._readers.get(name, [])
        if len(readers) == 1 and readers[0].op_type == "Identity":
            return self._is_end(readers[0].output[0])
        return not readers and name in self._ends

    def _is_made_in_float(self, name: str) -> bool:
        """Whether a float convolution makes a map, with a rectifier behind it or without."""
        maker = self._makers.get(name)
        if maker is not None and name in self._rectified:
            maker = self._makers.get(maker.input[0])
        return maker is not None and maker.op_type == "Conv" and maker.output[0] in self._in_float

    def _end(self, node: NodeProto) -> str:
        """Return the map behind a convolution, its rectifier included."""
        readers = self._readers.get(node.output[0], [])
        rectifies = len(readers) == 1 and readers[0].output[0] in self._rectified
        return readers[0].output[0] if rectifies else node.output[0]

    def _bound(self, node: NodeProto) -> float | None:
        """Return the highest value that a rectifier lets through; None for every other node."""
        if node.op_type == "Relu":
            return float("inf")
        if node.op_type != "Clip" or len(node.input) < 3:
            return None
        low, high = (numpy_helper.to_array(self._constants[name]).item() for name in node.input[1:3])
        return float(high) if low == 0 else None


def _coded(name: str) -> str:
    """Return the name of a map after it went through its 8-bit codes."""
    return name + ".coded"


def _pair(
    name: str,
    plain: str,
    coded: str,
    scale_and_zero: Scale,
    constants: dict[str, onnx.TensorProto],
) -> list[NodeProto]:
    """Return the two nodes that turn the map `plain` into codes and back into `coded`."""
    scale, zero = f"{name}.scale", f"{name}.zero"
    for key, value in zip((scale, zero), scale_and_zero, strict=True):
        constants[key] = numpy_helper.from_array(np.asarray(value), key)
    codes = f"{name}.codes"
    return [
        helper.make_node("QuantizeLinear", [plain, scale, zero], [codes], codes),
        helper.make_node("DequantizeLinear", [codes, scale, zero], [coded], coded),
    ]


def _session(model: bytes, optimised: Path | None = None) -> ort.InferenceSession:
    """Open a model for one thread; with a path the optimised graph is written there."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
