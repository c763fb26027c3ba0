"""Nets whose time is compared with our embedder's: the registry's, and large ones of which only the shape is built.

Time does not depend on weights, so those of IResNet-100 and dlib's ResNet are drawn. All are as the runtime likes them
best: batch normalisation folded where that is exact, PReLU as ``a x + (1 - a) relu(x)``. No training framework is
needed for that.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.packages import take
from models.labels import SFACE
from models.recognition.teachers import without_prelus
from models.starter.graph import Graph, Map
from models.starter.recipes import EMBEDDER

SIDE, DIMENSION, FIRST = 112, 512, 64
STAGES = ((64, 3), (128, 13), (256, 30), (512, 3))  # channels and blocks; 12.09 G multiply-adds (Deng et al. 2019)
SLOPE = 0.25  # of PReLU

DLIB_SIDE, DLIB_DIMENSION, DLIB_FIRST = 150, 128, 32
DLIB_STAGES = ((32, (1, 1, 1)), (64, (2, 1, 1, 1)), (128, (2, 1, 1)), (256, (2, 1, 1)), (256, (2,)))  # and strides


def iresnet100() -> bytes:
    """Return IResNet-100: ``crops`` (1, 3, 112, 112) to ``embedding`` (1, 512)."""
    net = DrawnNet("IResNet-100", SIDE)
    cells = net.prelu(net.convolution(net.crops, FIRST, 3))
    for channels, blocks in STAGES:
        for stride in (2,) + (1,) * (blocks - 1):
            shortcut = net.convolution(cells, channels, 1, stride) if stride > 1 else cells
            inside = net.prelu(net.convolution(net.normalised(cells), channels, 3))
            cells = net.graph.sum(net.convolution(inside, channels, 3, stride), shortcut)
    return net.headed(net.graph.node("Flatten", net.normalised(cells).name), cells.rows * cells.columns, DIMENSION)


def dlib_resnet() -> bytes:
    """Return the net of dlib's face recognition, in our runtime: ``crops`` (1, 3, 150, 150) to ``embedding`` (1, 128).

    29 convolutions, those of stride 2 not padded (dlib's example dnn_face_recognition_ex.cpp). A block of stride 2 adds
    averages of its input; where one map has more channels, rows or columns, the other has zeros there.
    """
    net = DrawnNet("dlib ResNet", DLIB_SIDE)
    cells = net.pooled(net.relu(net.convolution(net.crops, DLIB_FIRST, 7, 2, pad=False)), "MaxPool", 3)
    for channels, strides in DLIB_STAGES:
        for stride in strides:
            inside = net.relu(net.convolution(cells, channels, 3, stride, pad=stride == 1))
            inside = net.convolution(inside, channels, 3)
            cells = net.relu(net.joined(inside, net.pooled(cells, "AveragePool", 2) if stride > 1 else cells))
    return net.headed(net.graph.node("Flatten", net.graph.node("GlobalAveragePool", cells.name)), 1, DLIB_DIMENSION)


YARDSTICKS: dict[str, Callable[[Path], bytes]] = {  # name -> cache of packages -> ONNX, one picture to one vector
    "start": lambda cache: EMBEDDER.build(take(EMBEDDER.source, cache))["embedder.onnx"],
    "teacher": lambda cache: without_prelus(take(SFACE, cache)),
    "iresnet100": lambda cache: iresnet100(),
    "dlib": lambda cache: dlib_resnet(),
}


class DrawnNet:
    """A net in the making whose weights are drawn so that no value is lost in rounding to zero, which takes long."""

    def __init__(self, name: str, side: int) -> None:
        self.graph, self._random = Graph(name, {"crops": [1, 3, side, side]}), np.random.default_rng(0)
        self.crops = Map("crops", 3, side, side)
        self._channels = 3

    def convolution(self, source: Map, channels: int, kernel: int, stride: int = 1, pad: bool = True) -> Map:
        """Add a convolution, the normalisation behind it folded."""
        self._channels = channels
        weights = self._weights(channels, source.channels * kernel**2)
        shaped = weights.reshape(channels, source.channels, kernel, kernel)
        return self.graph.convolution(source, shaped, np.zeros(channels), stride, pad)

    def normalised(self, source: Map) -> Map:
        """Add a normalisation that cannot be folded: the convolution behind it pads with zeros."""
        ones, zeros = (self.graph.constant(np.full(source.channels, value, np.float32)) for value in (1, 0))
        return replace(source, name=self.graph.node("BatchNormalization", source.name, ones, zeros, zeros, ones))

    def prelu(self, source: Map) -> Map:
        """Add a PReLU."""
        slope, rest = (
            self.graph.constant(np.full((source.channels, 1, 1), value, np.float32)) for value in (SLOPE, 1 - SLOPE)
        )
        linear = self.graph.node("Mul", source.name, slope)
        rectified = self.graph.node("Mul", self.relu(source).name, rest)
        return replace(source, name=self.graph.node("Add", linear, rectified))

    def relu(self, source: Map) -> Map:
        """Add a ReLU."""
        return replace(source, name=self.graph.node("Relu", source.name))

    def pooled(self, source: Map, operator: str, kernel: int) -> Map:
        """Add a pooling of stride 2 without padding."""
        output = self.graph.node(operator, source.name, kernel_shape=[kernel, kernel], strides=[2, 2])
        return Map(output, source.channels, (source.rows - kernel) // 2 + 1, (source.columns - kernel) // 2 + 1)

    def joined(self, first: Map, second: Map) -> Map:
        """Add two maps as large as the larger one on each axis."""
        sides = [max(pair) for pair in zip(_sides(first), _sides(second), strict=True)]
        return self.graph.sum(*(self._widened(source, sides) for source in (first, second)))

    def headed(self, flat: str, cells: int, dimension: int) -> bytes:
        """Add the linear layer behind flat values of so many cells of the last map, and return the file."""
        weights = self._weights(self._channels * cells, dimension)
        bias = self.graph.constant(np.zeros(dimension, np.float32))
        self.graph.node("Gemm", flat, self.graph.constant(weights), bias, output="embedding")
        return self.graph.model({"embedding": [1, dimension]})

    def _widened(self, source: Map, sides: Sequence[int]) -> Map:
        missing = [wanted - side for wanted, side in zip(sides, _sides(source), strict=True)]
        if not any(missing):
            return source
        pads = self.graph.constant(np.array([0, 0, 0, 0, 0, *missing], np.int64))
        return Map(self.graph.node("Pad", source.name, pads), *sides)

    def _weights(self, rows: int, columns: int) -> np.ndarray:
        return self._random.standard_normal((rows, columns), np.float32) / np.float32(np.sqrt(columns))


def _sides(source: Map) -> tuple[int, int, int]:
    return source.channels, source.rows, source.columns
