"""Builds random nets of cells as ONNX graphs with random weights; their outputs mean nothing, their times do."""

import math
from dataclasses import replace

import numpy as np

from models.latency.cells import STEMS, Cell, Configuration, Plan
from models.starter.graph import Graph, Map

INPUT = "picture"
CLASSES = 10
EXPANSION = 4  # of an inverted residual's middle (Sandler et al. 2018 have 6)
RELU6 = 6.0


def built(plan: Plan) -> bytes:
    """Return the net of a plan as serialised ONNX, always the same bytes for the same plan.

    An input (1, 3, size, size) goes through the stem, the stages of cells with a halving pool between them, a global
    average and a linear layer.
    """
    return _Builder(plan).net()


class _Builder:
    """One net in the making."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = np.random.default_rng(int(plan.fingerprint, 16))
        size = plan.configuration.size
        self._graph = Graph(plan.fingerprint, {INPUT: [1, 3, size, size]})

    def net(self) -> bytes:
        configuration = self._plan.configuration
        source = self._stem(configuration)
        for stage in range(configuration.stages):
            channels = configuration.channels << stage
            if stage:
                source = self._pooled(source, "MaxPool", 2, 2)
            for _ in range(configuration.cells):
                source = self._cell(self._plan.cell, source, channels)
        return self._graph.model({self._head(source): [1, CLASSES]})

    def _stem(self, configuration: Configuration) -> Map:
        stride = STEMS[configuration.stem]
        picture = Map(INPUT, 3, configuration.size, configuration.size)
        return self._convolved(picture, configuration.channels, max(3, stride), stride=stride)

    def _cell(self, cell: Cell, source: Map, channels: int) -> Map:
        """Append a cell; where its input has other channels than its vertices, each that reads it projects it."""
        maps = [source]
        for vertex in range(1, cell.vertices):
            read = [self._read(maps[origin], channels) for origin in cell.sources(vertex)]
            total = read[0]
            for other in read[1:]:
                total = self._graph.sum(total, other)
            last = vertex == cell.vertices - 1
            maps.append(total if last else self._operation(cell.operations[vertex - 1], total))
        return maps[-1]

    def _read(self, source: Map, channels: int) -> Map:
        return source if source.channels == channels else self._convolved(source, channels, 1)

    def _operation(self, name: str, source: Map) -> Map:
        match name:
            case "conv3x3" | "conv1x1":
                return self._convolved(source, source.channels, int(name[-1]))
            case "depthwise3x3":
                return self._convolved(source, source.channels, 3, depthwise=True)
            case "inverted3x3":
                wide = self._convolved(source, EXPANSION * source.channels, 1)
                deep = self._convolved(wide, wide.channels, 3, depthwise=True)
                return self._convolved(deep, source.channels, 1, active=False)
            case _:
                return self._pooled(source, {"max": "MaxPool", "avg": "AveragePool"}[name[:3]], 3, 1)

    def _convolved(
        self,
        source: Map,
        channels: int,
        kernel: int,
        stride: int = 1,
        depthwise: bool = False,
        active: bool = True,
    ) -> Map:
        """Convolve with random weights and a bias; by default with the activation of the configuration behind it."""
        shape = (channels, 1 if depthwise else source.channels, kernel, kernel)
        weights = self._random.standard_normal(shape, np.float32) / math.sqrt(math.prod(shape[1:]))
        bias = 0.1 * self._random.standard_normal(channels, np.float32)
        output = self._graph.convolution(source, weights, bias, stride)
        return self._activated(output) if active else output

    def _activated(self, source: Map) -> Map:
        match self._plan.configuration.activation:
            case "relu":
                return replace(source, name=self._graph.node("Relu", source.name))
            case "relu6":
                return self._graph.clipped(source, 0.0, RELU6)
            case _:
                return self._prelu(source)

    def _prelu(self, source: Map) -> Map:
        """PReLU as a x + (1 - a) relu(x), the form in which our embedder runs fastest."""
        slope = self._random.random((source.channels, 1, 1), np.float32)
        positive = self._graph.node("Relu", source.name)
        scaled = self._graph.node("Mul", positive, self._graph.constant(1 - slope))
        linear = self._graph.node("Mul", source.name, self._graph.constant(slope))
        return replace(source, name=self._graph.node("Add", linear, scaled))

    def _pooled(self, source: Map, operator: str, kernel: int, stride: int) -> Map:
        """Pool; at stride 1 the map keeps its size, at stride 2 an odd last row or column is left out."""
        pad = (kernel - 1) // 2
        output = self._graph.node(
            operator, source.name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4
        )
        return Map(output, source.channels, source.rows // stride, source.columns // stride)

    def _head(self, source: Map) -> str:
        mean = self._graph.node("Flatten", self._graph.node("GlobalAveragePool", source.name))
        weights = self._random.standard_normal((source.channels, CLASSES), np.float32)
        return self._graph.node("Gemm", mean, self._graph.constant(weights), output="scores")
