"""Layers in the place of one with a large weight: Tucker-2, CP and pairs, each a chain of plain layers.

Nothing comes between the factors, neither a norm nor an activation, so a chain equals one dense layer, and a batch norm
behind the old layer stays behind the chain. Stride, padding and dilation are where the kernel is. The bias is on the
last factor alone: in front of a zero padding it would be wrong at the borders.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from app.errors import SetupError
from models.compress.stage import Edit, module_at, replace_module
from models.nets.blocks import SameConv
from models.numerics.cp import Cp, cp3
from models.numerics.pairs import svd_pair
from models.numerics.tucker import Array, Tucker2, hooi

Dense = nn.Conv2d | nn.Linear
Plain = TypeVar("Plain", nn.Conv2d, nn.Linear)
PLAIN = (nn.Conv2d, SameConv, nn.Linear)  # exactly these: another subclass may do more than multiply by its weight


class Factorised(nn.Module, ABC):
    """A chain of factors; `from_conv` and `to_dense` lead from a dense layer to it and back."""

    form: ClassVar[str]  # of its edits
    factors: ClassVar[tuple[str, ...]]  # names of the modules in the order in which they run

    def __init__(self, layer: Dense, ranks: Sequence[int]) -> None:
        """Make the structure for a layer, whose weights stay where they are.

        Raises:
            SetupError: the layer is in groups or of a class of its own.
        """
        super().__init__()
        if type(layer) not in PLAIN:
            raise SetupError(f"a {type(layer).__name__} cannot be factorised; leave it out in the stage's filter")
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            raise SetupError(f"a convolution in {layer.groups} groups cannot be factorised; leave it out in the filter")
        self.ranks = tuple(ranks)
        self._build(layer)

    @abstractmethod
    def _build(self, layer: Dense) -> None:
        """Make the factors, whose ranks are set."""

    @abstractmethod
    def to_dense(self) -> Dense:
        """Return the layer that the chain equals."""

    @property
    def bias(self) -> Tensor | None:
        """The bias of the last factor."""
        return cast(Dense, self.get_submodule(self.factors[-1])).bias

    @property
    def intact(self) -> bool:
        """Whether all factors are the layers that they were made as; SVD training may leave two in the place of one."""
        return all(type(self.get_submodule(name)) in PLAIN for name in self.factors)

    def fill(self, *weights: Array, bias: Tensor | None) -> Self:
        """Take the weight of each factor in their order, in any shape, and the bias of the last."""
        with torch.no_grad():
            for name, weight in zip(self.factors, weights, strict=True):
                target = self.get_parameter(f"{name}.weight")
                target.copy_(torch.from_numpy(np.ascontiguousarray(weight)).view_as(target))
            if bias is not None:
                self.get_parameter(f"{self.factors[-1]}.bias").copy_(bias)
        return self

    def matrix(self, name: str) -> Array:
        """Return the weight of a factor as a matrix of one row for each output."""
        weight = self.get_parameter(f"{name}.weight")
        return array(weight).reshape(len(weight), -1)

    def forward(self, input: Tensor) -> Tensor:
        """Run the factors."""
        for name in self.factors:
            input = self.get_submodule(name)(input)
        return input


class Tucker2Conv(Factorised):
    """1x1, kernel, 1x1: a convolution as Tucker-2 of ranks (ro, ri) (Kim et al. 2016, section 3.1)."""

    form = "tucker2"
    factors = ("reduce", "core", "expand")

    def _build(self, layer: Dense) -> None:
        assert isinstance(layer, nn.Conv2d)
        outputs, inputs = self.ranks
        self.reduce = _pointwise(layer, layer.in_channels, inputs)
        self.core = _spatial(layer, inputs, outputs)
        self.expand = _pointwise(layer, outputs, layer.out_channels, bias=layer.bias is not None)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, ranks: Sequence[int]) -> Self:
        """Return the chain nearest to a convolution.

        Raises:
            SetupError: see `Factorised`.
            ValueError: the kernel cannot have these ranks.
        """
        outputs, inputs = ranks
        return cls(conv, ranks).take(hooi(array(conv.weight), (outputs, inputs)), conv.bias)

    def take(self, tucker: Tucker2, bias: Tensor | None) -> Self:
        """Take the factors as weights."""
        return self.fill(tucker.inputs.T, tucker.core, tucker.outputs, bias=bias)

    def tucker(self) -> Tucker2:
        """Return the weights as factors."""
        return Tucker2(array(self.core.weight), self.matrix("expand"), self.matrix("reduce").T)

    def to_dense(self) -> nn.Conv2d:
        """Return the convolution that the chain equals."""
        return _dense(self.core, self.tucker().dense(), self.bias)


class CpConv(Factorised):
    """1x1, depthwise kernel, 1x1: a convolution as a sum of rank-one terms (Lebedev et al. 2015, kernel kept whole)."""

    form = "cp"
    factors = ("reduce", "cells", "expand")

    def _build(self, layer: Dense) -> None:
        assert isinstance(layer, nn.Conv2d)
        (rank,) = self.ranks
        self.reduce = _pointwise(layer, layer.in_channels, rank)
        self.cells = _spatial(layer, rank, rank, groups=rank)
        self.expand = _pointwise(layer, rank, layer.out_channels, bias=layer.bias is not None)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, ranks: Sequence[int], seed: int = 0) -> Self:
        """Return a chain near a convolution, found from a random start.

        Raises:
            SetupError: see `Factorised`.
            ValueError: the rank is below 1.
        """
        (rank,) = ranks
        return cls(conv, ranks).take(cp3(array(conv.weight), rank, seed), conv.bias)

    def take(self, terms: Cp, bias: Tensor | None) -> Self:
        """Take the factors as weights."""
        return self.fill(terms.inputs.T, terms.cells.T, terms.outputs, bias=bias)

    def terms(self) -> Cp:
        """Return the weights as factors."""
        return Cp(self.matrix("expand"), self.matrix("reduce").T, self.matrix("cells").T)

    def to_dense(self) -> nn.Conv2d:
        """Return the convolution that the chain equals."""
        kernel = self.terms().dense()
        return _dense(self.cells, kernel.reshape(*kernel.shape[:2], *self.cells.kernel_size), self.bias)


class Pair(Factorised):
    """Two layers in the place of one whose weight is a matrix, of ranks (r,)."""

    form = "pair"
    factors = ("reduce", "expand")
    reduce: Dense
    expand: Dense

    def take(self, pair: tuple[Array, Array], bias: Tensor | None) -> Self:
        """Take a product (outputs, r) (r, inputs) as weights."""
        return self.fill(pair[1], pair[0], bias=bias)

    def pair(self) -> tuple[Array, Array]:
        """Return the weights as a product (outputs, r) (r, inputs)."""
        return self.matrix("expand"), self.matrix("reduce")


class PairLinear(Pair):
    """Two fully connected layers in the place of one."""

    def _build(self, layer: Dense) -> None:
        assert isinstance(layer, nn.Linear)
        (rank,) = self.ranks
        self.reduce = nn.Linear(layer.in_features, rank, bias=False, **_like(layer))
        self.expand = nn.Linear(rank, layer.out_features, bias=layer.bias is not None, **_like(layer))

    @classmethod
    def from_linear(cls, linear: nn.Linear, ranks: Sequence[int]) -> Self:
        """Return the pair nearest to a fully connected layer.

        Raises:
            ValueError: the weight cannot have this rank.
        """
        (rank,) = ranks
        return cls(linear, ranks).take(svd_pair(array(linear.weight), rank), linear.bias)

    def to_dense(self) -> nn.Linear:
        """Return the layer that the pair equals."""
        left, right = self.pair()
        bias = self.bias
        dense = nn.Linear(right.shape[1], left.shape[0], bias=bias is not None, **_like(self.expand))
        return _filled(dense, left @ right, bias)


class PairConv1x1(Pair):
    """Two 1x1 convolutions in the place of one; the first has the stride, so neither sees more cells than needed."""

    def _build(self, layer: Dense) -> None:
        assert isinstance(layer, nn.Conv2d)
        if layer.kernel_size != (1, 1):
            raise ValueError(f"a kernel of {layer.kernel_size} is no matrix; take Tucker-2")
        (rank,) = self.ranks
        self.reduce = _spatial(layer, layer.in_channels, rank)
        self.expand = _pointwise(layer, rank, layer.out_channels, bias=layer.bias is not None)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, ranks: Sequence[int]) -> Self:
        """Return the pair nearest to a 1x1 convolution.

        Raises:
            SetupError: see `Factorised`.
            ValueError: the kernel is larger, or cannot have this rank.
        """
        (rank,) = ranks
        return cls(conv, ranks).take(svd_pair(array(conv.weight).reshape(conv.out_channels, -1), rank), conv.bias)

    def to_dense(self) -> nn.Conv2d:
        """Return the convolution that the chain equals."""
        left, right = self.pair()
        assert isinstance(self.reduce, nn.Conv2d)
        return _dense(self.reduce, (left @ right)[:, :, None, None], self.bias)


def factorise(layer: Dense, form: str, ranks: Sequence[int], seed: int) -> Factorised:
    """Return the chain of a form in the place of a dense layer; only CP starts at random.

    Raises:
        KeyError: the form is unknown.
        SetupError, ValueError: see the chain's class.
    """
    if isinstance(layer, nn.Linear):
        return PairLinear.from_linear(layer, ranks)
    if form == CpConv.form:
        return CpConv.from_conv(layer, ranks, seed)
    return {"tucker2": Tucker2Conv.from_conv, "pair": PairConv1x1.from_conv}[form](layer, ranks)


def apply_chain(model: nn.Module, edit: Edit) -> None:
    """Put the chain of an edit in the place of a dense layer, or of a chain of larger ranks.

    Raises:
        AttributeError: there is no such layer.
    """
    old = module_at(model, edit.layer)
    layer = old.to_dense() if isinstance(old, Factorised) else old
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    pair = PairLinear if isinstance(layer, nn.Linear) else PairConv1x1
    kind: type[Factorised] = {"tucker2": Tucker2Conv, "cp": CpConv, "pair": pair}[edit.form]
    replace_module(model, edit.layer, kind(layer, edit.values["ranks"]))


apply_tucker2 = apply_cp = apply_pair = apply_chain  # the form is in the edit


def array(weight: Tensor) -> Array:
    """Return a weight in double precision, in which all decompositions are done."""
    values: Array = weight.detach().double().cpu().numpy()
    return values


def _like(layer: Dense) -> dict[str, Any]:
    return {"device": layer.weight.device, "dtype": layer.weight.dtype}


def _pointwise(conv: nn.Conv2d, inputs: int, outputs: int, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=bias, **_like(conv))


def _spatial(conv: nn.Conv2d, inputs: int, outputs: int, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """Return a convolution that moves over the picture as `conv` does, between other channels."""
    return type(conv)(
        inputs,
        outputs,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        groups,
        bias,
        conv.padding_mode,
        **_like(conv),
    )


def _dense(spatial: nn.Conv2d, kernel: Array, bias: Tensor | None) -> nn.Conv2d:
    outputs, inputs = kernel.shape[:2]
    return _filled(_spatial(spatial, inputs, outputs, bias=bias is not None), kernel, bias)


def _filled(layer: Plain, weight: Array, bias: Tensor | None) -> Plain:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        if bias is not None and layer.bias is not None:
            layer.bias.copy_(bias)
    return layer
