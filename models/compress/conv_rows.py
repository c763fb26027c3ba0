"""Layers as affine maps of flattened entries, of which only chosen rows are ever written down.

The matrix of a convolution from 64 to 64 channels on 32 x 32 cells takes 16 GiB; the few rows that a reduced net needs
are read straight from the kernel. Maps are (c, h, w), flattened in that order; a vector (n,) is a map (n, 1, 1), and a
fully connected layer a 1x1 convolution of it.
"""

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.errors import SetupError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

Shape = tuple[int, int, int]  # channels, height, width
Pair = tuple[int, int]  # vertical, horizontal


@dataclass(frozen=True, slots=True)
class Affine:
    """A convolution or a fully connected layer with its batch normalisation folded in, at one size of input."""

    weight: Tensor  # (out, in / groups, kh, kw)
    bias: Tensor  # (out,)
    inputs: Shape
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def outputs(self) -> Shape:
        """Shape of what it returns."""
        height, width = (
            (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for side, padding, dilation, kernel, stride in zip(
                self.inputs[1:], self.padding, self.dilation, self.weight.shape[2:], self.stride, strict=True
            )
        )
        return len(self.weight), height, width

    @property
    def macs(self) -> int:
        """Multiply-adds of one picture."""
        return prod(self.outputs) * prod(self.weight.shape[1:])

    def __call__(self, given: Tensor) -> Tensor:
        """Return all outputs (n, c', h', w') of inputs (n, ...), which are taken as (n, c, h, w)."""
        return functional.conv2d(
            given.reshape(-1, *self.inputs),
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    def rows(self, entries: Tensor) -> Tensor:
        """Return the rows (p, c h w) of its matrix for chosen entries (p,) of its flattened outputs.

        Identity: rows(entries) @ x + biases(entries) = flattened outputs [entries] of a flattened input x.
        """
        columns, inside = self._columns(entries)
        values = self.weight[self._channels(entries)] * inside
        rows = self.weight.new_zeros(len(entries), prod(self.inputs))
        return rows.scatter_add_(1, columns.flatten(1), values.flatten(1))

    def biases(self, entries: Tensor) -> Tensor:
        """Return what is added to chosen entries (p,)."""
        return self.bias[self._channels(entries)]

    def _channels(self, entries: Tensor) -> Tensor:
        return entries // prod(self.outputs[1:])

    def _columns(self, entries: Tensor) -> tuple[Tensor, Tensor]:
        """Return which input (p, in / groups, kh, kw) each weight meets, and whether it lies inside the map.

        Weights that meet the padding are given the nearest cell, so that their index is one; they count for nothing.
        """
        _, height, width = self.inputs
        outside, down, across = self.outputs
        tops = entries // across % down * self.stride[0] - self.padding[0]
        lefts = entries % across * self.stride[1] - self.padding[1]
        inner, tall, wide = (torch.arange(side, device=entries.device) for side in self.weight.shape[1:])
        ys, xs = tops[:, None] + tall * self.dilation[0], lefts[:, None] + wide * self.dilation[1]  # (p, kh), (p, kw)
        inside = ((ys >= 0) & (ys < height))[:, :, None] & ((xs >= 0) & (xs < width))[:, None, :]
        cells = ys.clamp(0, height - 1)[:, :, None] * width + xs.clamp(0, width - 1)[:, None, :]
        group = self._channels(entries) // (outside // self.groups)
        channels = group[:, None] * len(inner) + inner
        return channels[:, :, None, None] * (height * width) + cells[:, None], inside[:, None]


@dataclass(frozen=True, slots=True)
class Pool:
    """A max pooling without padding, so that all windows have as many cells."""

    kernel: Pair
    stride: Pair

    def outputs(self, inputs: Shape) -> Shape:
        """Return the shape of what it makes of a map."""
        channels, *sides = inputs
        down, across = (
            (side - kernel) // stride + 1 for side, kernel, stride in zip(sides, self.kernel, self.stride, strict=True)
        )
        return channels, down, across

    def groups(self, entries: Tensor, inputs: Shape) -> Tensor:
        """Return the entries (p, kh kw) of a flattened map whose largest is each chosen pooled entry (p,)."""
        _, height, width = inputs
        _, down, across = self.outputs(inputs)
        tops, lefts = entries // across % down * self.stride[0], entries % across * self.stride[1]
        tall, wide = (torch.arange(side, device=entries.device) for side in self.kernel)
        ys, xs = tops[:, None, None] + tall[:, None], lefts[:, None, None] + wide
        corners = entries // (down * across) * (height * width)
        return (corners[:, None, None] + ys * width + xs).flatten(1)


def affine_of(name: str, module: nn.Module, norm: nn.Module | None, inputs: Shape) -> Affine:
    """Return a layer and the batch normalisation behind it as one affine map, cut off from training.

    Args:
        name: for messages.
        module: a convolution or a fully connected layer.
        norm: None or an identity when there is none.
        inputs: shape of what it is given; a fully connected layer takes all of it as one vector.

    Raises:
        SetupError: it is another module, pads with something else than zeros, or has no running figures.
    """
    if type(module) is nn.Linear:
        layer = Affine(module.weight[:, :, None, None], _bias(module), (prod(inputs), 1, 1))
    elif type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        stride, padding, dilation = (_pair(value) for value in (module.stride, module.padding, module.dilation))
        layer = Affine(module.weight, _bias(module), inputs, stride, padding, dilation, module.groups)
    else:
        raise SetupError(
            f"{name} is {module}; only plain convolutions, padded with a number of zeros, and fully connected layers "
            "can be reduced: reduce before other stages replace layers, or begin behind this one"
        )
    weight, bias = layer.weight, layer.bias
    if isinstance(norm, NORMS):
        weight, bias = folded(name, weight, bias, norm)
    return replace(layer, weight=weight.detach(), bias=bias.detach())


def pool_of(name: str, module: nn.MaxPool2d) -> Pool:
    """Return a max pooling.

    Raises:
        SetupError: it is padded or dilated, or has windows that reach over the edge.
    """
    if _pair(module.padding) != (0, 0) or _pair(module.dilation) != (1, 1) or module.ceil_mode:
        raise SetupError(f"{name} is {module}; only poolings without padding can be reduced: begin behind it")
    return Pool(_pair(module.kernel_size), _pair(module.stride))


def folded(name: str, weight: Tensor, bias: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return weight (out, ...) and bias (out,) that do what layer and normalisation do in evaluation mode.

    Scale g / sqrt(v + eps), shift b - m g / sqrt(v + eps). A scale may be below 0, where the largest of several
    outputs becomes the smallest, so this comes before any pooling.

    Raises:
        SetupError: the normalisation keeps no running figures.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise SetupError(f"the normalisation of {name} keeps no running figures; train it with them to fold it")
    scale = (norm.running_var + norm.eps).rsqrt()
    shift = torch.zeros_like(scale)
    if norm.affine:
        scale, shift = scale * norm.weight, norm.bias
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), (bias - norm.running_mean) * scale + shift


def _bias(module: nn.Conv2d | nn.Linear) -> Tensor:
    return module.weight.new_zeros(len(module.weight)) if module.bias is None else module.bias


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
