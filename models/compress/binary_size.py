"""What a binary net takes, kept apart by kind, and how many operations it costs on paper.

Published figures differ in what they leave out, so nothing is merged here: bits of weights, thresholds, alpha,
normalisation and the rest in float32. One set of weights for all K thresholds and K sets are different nets: a ResNet18
of ten classes takes 2.03 MiB with one set and 4.65 with three. None of it is a claim about speed.
"""

from dataclasses import astuple, dataclass
from math import prod

from torch import Tensor, nn

from models.compress.binary import Binary, BinaryConv2d
from models.compress.layers import layers_of

FLOAT_BYTES = 4
WORD_BITS = 64  # binary multiply-adds that one XNOR and popcount does; the unit of operations (Bi-Real, section 4.4)
Norm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True, slots=True)
class Size:
    """Bits of signs, and numbers in float32 by kind."""

    weight_bits: int = 0
    thresholds: int = 0
    scales: int = 0  # alpha
    normalisation: int = 0  # a factor and an offset by channel, which is what is left of the running figures
    rest: int = 0  # of the layers in floats; biases, factors of branches, activations

    @property
    def bytes(self) -> float:
        """Return the bytes of all together."""
        return self.weight_bits / 8 + FLOAT_BYTES * (self.thresholds + self.scales + self.normalisation + self.rest)

    def __add__(self, other: "Size") -> "Size":
        return Size(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Operations:
    """Multiply-adds of one picture."""

    floats: int
    binary: int  # of all K passes

    @property
    def total(self) -> float:
        """Return OPs: those in floats, and a 64th of the binary ones."""
        return self.floats + self.binary / WORD_BITS


def layer_size(shape: tuple[int, ...], groups: int, binary: Binary) -> Size:
    """Return what a convolution without a bias takes once it is binary.

    Args:
        shape: of its weights, (outputs, inputs / groups, kh, kw).
        groups: of its channels; above 1 it is a figure on paper, since such layers stay in floats.
        binary: how it is made binary.
    """
    sets = 1 if binary.shared_weights else binary.thresholds
    return Size(
        weight_bits=sets * prod(shape),
        thresholds=binary.thresholds * shape[1] * groups,
        scales=shape[0],
        rest=binary.thresholds if binary.combination == "scaled" else 0,
    )


def size_of(model: nn.Module) -> Size:
    """Return what a net takes, binary or not."""
    size = Size()
    for module in model.modules():
        own = sum(value.numel() for value in module.parameters(recurse=False))
        if isinstance(module, BinaryConv2d):
            biases = 0 if module.bias is None else module.bias.numel()
            size += layer_size(tuple(module.weights.shape[1:]), 1, module.binary) + Size(rest=biases)
        elif isinstance(module, Norm):
            size += Size(normalisation=own)
        else:
            size += Size(rest=own)
    return size


def operations_of(model: nn.Module, picture: Tensor) -> Operations:
    """Return the multiply-adds of the net's layers on a picture (1, c, h, w); shortcuts without weights cost none.

    Raises:
        SetupError: see `models.compress.layers.layers_of`.
    """
    passes: list[int] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, BinaryConv2d)
        passes.append(module.binary.thresholds * output[0].numel() * prod(module.weights.shape[2:]))

    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, BinaryConv2d)]
    try:
        floats = sum(layer.macs for layer in layers_of(model, picture))
    finally:
        for hook in hooks:
            hook.remove()
    return Operations(floats, sum(passes))
