"""The lean detector out of its ONNX files, as a net that can go on learning or be narrowed further.

The files have the normalisations folded into the convolutions. They are put back with the figures of pictures: a
channel's mean and deviation in front of its rectifier become what the normalisation takes out and puts back, so the
net computes the same, learns as it did, and tells which of its channels are used.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from app.types import Image
from models.nets.blocks import Convolution, InvertedResidual, Predictor
from models.nets.ssdlite import BRANCH_BLOCK, FIRST_BLOCK, STAGES, SSDLite, Widths
from models.pictures import as_batch, shrunk
from models.precisions import STEM, TAIL
from models.starter.person import SIDE

PIXEL = 2 / 255  # of a pixel's value, taken from -1 to 1: in the first kernel of the file, outside of the net's

Folded = tuple[Tensor, Tensor]  # kernel and bias of a convolution


def unfolded(folder: Path, pictures: Iterable[Image]) -> SSDLite:
    """Return the net of ``stem.onnx`` and ``tail.onnx`` in a folder, its widths as theirs.

    Args:
        pictures: BGR (H, W, 3) of any size; they give the normalisations their figures.
    """
    folded = [_folded(node, graph) for graph in _graphs(folder) for node in graph.node if node.op_type == "Conv"]
    folded[0] = (folded[0][0] / PIXEL, folded[0][1])
    net = SSDLite(_widths(folded)).eval()
    layers = list(convolutions(net))
    with torch.no_grad():
        for layer, (kernel, bias) in zip(layers, folded, strict=True):
            if isinstance(layer, Convolution):
                layer.conv.weight.copy_(kernel)
                _normalise(layer.norm, torch.zeros(len(bias)), torch.ones(len(bias)), bias)
            else:
                layer.weight.copy_(kernel)
                layer.bias.copy_(bias)
        for layer, mean, variance in _seen(net, layers, pictures):
            _normalise(layer.norm, mean, variance, layer.norm.bias.clone())
    return net


def convolutions(net: SSDLite) -> Iterator[Convolution | nn.Conv2d]:
    """Yield the convolutions in the order in which the files have them."""
    yield net.stem.first
    for block in (*net.stem.blocks, *net.trunk.blocks):
        assert isinstance(block, InvertedResidual)
        yield from (part for part in (block.expand, block.depthwise, block.project) if isinstance(part, Convolution))
    yield net.trunk.last
    for extra in net.trunk.extras:
        yield from extra
    for predictor in (*net.persons.codes, *net.persons.logits):
        assert isinstance(predictor, Predictor)
        yield predictor.depthwise
        yield predictor.pointwise


def _seen(
    net: SSDLite, layers: Iterable[nn.Module], pictures: Iterable[Image]
) -> list[tuple[Convolution, Tensor, Tensor]]:
    """Return the mean and variance (c,) of what the normalisation of each layer is given, over pictures."""
    moments: dict[nn.BatchNorm2d, list[tuple[Tensor, Tensor]]] = {}

    def note(norm: nn.BatchNorm2d, given: tuple[Tensor]) -> None:
        values = given[0].double()
        moments.setdefault(norm, []).append((values.mean((0, 2, 3)), values.square().mean((0, 2, 3))))

    normalised = [layer for layer in layers if isinstance(layer, Convolution)]
    handles = [layer.norm.register_forward_pre_hook(note) for layer in normalised]
    for picture in pictures:
        net(torch.from_numpy(as_batch(shrunk(picture, SIDE, SIDE))))
    for handle in handles:
        handle.remove()
    found = []
    for layer in normalised:
        mean, square = (torch.stack(values).mean(0) for values in zip(*moments[layer.norm], strict=True))
        found.append((layer, mean.float(), (square - mean.square()).clamp(min=0).float()))
    return found


def _normalise(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, bias: Tensor) -> None:
    """Take out these figures and put them back, so that only the bias (c,) is added; `bias` is as of no figures."""
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(bias + mean)


def _graphs(folder: Path) -> list[onnx.GraphProto]:
    return [onnx.load(folder / name).graph for name in (STEM, TAIL)]


def _folded(node: onnx.NodeProto, graph: onnx.GraphProto) -> Folded:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kernel, bias = (np.array(numpy_helper.to_array(constants[name])) for name in node.input[1:3])
    return torch.from_numpy(kernel), torch.from_numpy(bias)


def _widths(folded: list[Folded]) -> Widths:
    """Return how wide a net is by its kernels in order: the first, two of block b00, then three of each block."""
    first = len(folded[0][0])
    expansions = [len(kernel) // kernel.shape[1] for kernel, _ in folded[3::3]]  # of b01, b02, b03 ...
    last = 3 + 3 * (FIRST_BLOCK - 1 + sum(count for _, count, _ in STAGES))
    return Widths(first, expansions[0], expansions[2], expansions[BRANCH_BLOCK - 1], len(folded[last][0]))
