"""SVD training: weights are trained as U diag(s) V^T, most of s is driven to zero, and cut off.

Yang et al. 2020, Learning Low-rank Deep Neural Networks via Singular Vector Orthogonality Regularization and Singular
Value Sparsification. While it is trained a layer stays one layer, whose weights are composed anew at every use: that is
cheaper than two, and suits any padding. It becomes two layers only at the end, and only where those are smaller.

s stands whole between the factors. Split into roots of |s| on both sides, it would have a NaN for a gradient at 0.
"""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.compress.layers import Filter, Layer, layers_of
from models.compress.regularisers import SPARSE, orthogonality
from models.compress.stage import Context, Edit, Stage, module_at, replace_module
from models.numerics.pairs import middle

CHANNEL, SPATIAL = SHAPES = ("channel", "spatial")
COMPOSED, PAIR, DENSE = "composed", "pair", "dense"  # what an edit makes of a layer
ROUNDING = 1e-12  # of a share of energy


@dataclass(kw_only=True)
class SvdTraining(Stage):
    """Trains the chosen layers as U diag(s) V^T, prunes their spectra, and leaves two layers where that pays.

    Fine-tuning behind it trains the two layers as they are: what the regulariser of orthogonality was for, a spectrum
    that can be read off s, is over by then.

    Raises:
        ValueError: names the field.
    """

    shape: str = CHANNEL  # (outputs, inputs x kernel), or "spatial": (outputs x height, inputs x width)
    orthogonal: float = 1.0  # weight of `orthogonality`, summed up over all U and V
    sparse: float = 1e-3  # weight of the regulariser of s
    regulariser: str = "hoyer"  # of `SPARSE`
    energy: float = 0.99  # share of the squared singular values that a layer keeps at least
    filter: Filter = field(default_factory=Filter)

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"shape is {self.shape!r}, none of {', '.join(SHAPES)}")
        if self.regulariser not in SPARSE:
            raise ValueError(f"regulariser is {self.regulariser!r}, none of {', '.join(SPARSE)}")
        if min(self.orthogonal, self.sparse) < 0:
            raise ValueError("orthogonal and sparse are numbers from 0 on")
        if not 0 < self.energy <= 1:
            raise ValueError(f"energy is {self.energy}, not above 0 and up to 1")
        self._names: list[str] = []  # of layers that are composed now

    def prepare(self, model: nn.Module, context: Context) -> list[Edit]:
        """Compose the chosen layers' weights of all their singular vectors, which changes no output."""
        chosen = self.filter.chosen(layers_of(model, context.pictures[:1]))
        self._names = [
            layer.name
            for layer in chosen
            if break_even(layer.shape, self.shape) > 1 and _plain(module_at(model, layer.name))
        ]
        edits = [Edit("decomposed", name, {"state": COMPOSED, "shape": self.shape}) for name in self._names]
        for edit in edits:
            apply_decomposed(model, edit)
        return edits

    def extra_loss(self, model: nn.Module, inputs: Tensor, outputs: Tensor) -> Tensor | None:
        """Return the regularisers, None when nothing is composed."""
        terms = []
        for name in self._names:
            left, values, right = factors_of(module_at(model, name))
            terms.append(self.orthogonal * (orthogonality(left) + orthogonality(right.T)))
            terms.append(self.sparse * SPARSE[self.regulariser](values))
        return torch.stack(terms).sum() if terms else None

    def finish(self, model: nn.Module, context: Context) -> list[Edit]:
        """Cut the spectra, and leave two layers where they are smaller, the whole composed weights elsewhere."""
        records = {layer.name: layer for layer in layers_of(model, context.pictures[:1])}
        edits = [self._cut(model, records[name]) for name in self._names]
        self._names = []
        return edits

    def _cut(self, model: nn.Module, layer: Layer) -> Edit:
        left, values, right = (factor.detach() for factor in factors_of(module_at(model, layer.name)))
        spread = float(orthogonality(left) + orthogonality(right.T))  # above 0, s is no spectrum; for reports
        rows, spectrum, columns = decomposed_again(left, values, right)
        rank = rank_of(spectrum, self.energy)
        made: dict[str, Any] = {"state": DENSE}
        if pays(layer, self.shape, rank):
            held = float(spectrum[:rank].square().sum() / spectrum.square().sum())
            made = {"state": PAIR, "shape": self.shape, "rank": rank, "energy": held, "orthogonality": spread}
        edit = Edit("decomposed", layer.name, made)
        apply_decomposed(model, edit)
        if made["state"] == PAIR:
            fill(module_at(model, layer.name), rows[:, :rank] * spectrum[:rank], columns[:rank])
        return edit


class Composition(nn.Module):
    """Weights as left (m, r) diag(values) right (r, n), of all ranks."""

    def __init__(self, weights: tuple[int, ...], shape: str) -> None:
        super().__init__()
        self.weights, self.shape = weights, shape

    def forward(self, left: Tensor, values: Tensor, right: Tensor) -> Tensor:
        """Return the weights."""
        return weights_of(left @ (values[:, None] * right), self.weights, self.shape)

    def right_inverse(self, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the singular vectors and values, worked out in float64."""
        left, values, right = torch.linalg.svd(matrix_of(weights.double(), self.shape), full_matrices=False)
        return left.to(weights.dtype), values.to(weights.dtype), right.to(weights.dtype)


def apply_decomposed(model: nn.Module, edit: Edit) -> None:
    """Give a layer the state that the edit names: composed weights, two layers of a rank, or one layer as at first."""
    layer = module_at(model, edit.layer)
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    if parametrize.is_parametrized(layer, "weight"):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    if edit.values["state"] == COMPOSED:
        composition = Composition(tuple(layer.weight.shape), edit.values["shape"])
        parametrize.register_parametrization(layer, "weight", composition)
        for factor in factors_of(layer):
            factor.no_decay = True  # type: ignore[attr-defined]  # it would fight orthogonality
    elif edit.values["state"] == PAIR:
        replace_module(model, edit.layer, _pair(layer, edit.values["shape"], edit.values["rank"]))


def factors_of(layer: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return the trained U (m, r), s (r,) and V^T (r, n) of a layer with composed weights."""
    held: Any = layer.parametrizations
    return held.weight.original0, held.weight.original1, held.weight.original2


def matrix_of(weights: Tensor, shape: str) -> Tensor:
    """Return weights (o, i, h, w) as a matrix (o, i h w), or "spatial" (o h, i w); weights (o, i) stay as they are."""
    if shape == SPATIAL and weights.ndim == 4:
        return weights.transpose(1, 2).flatten(2).flatten(0, 1)
    return weights.flatten(1)


def weights_of(matrix: Tensor, weights: tuple[int, ...], shape: str) -> Tensor:
    """Return the weights of that shape from `matrix_of` them."""
    if shape == SPATIAL and len(weights) == 4:
        outputs, inputs, height, width = weights
        return matrix.reshape(outputs, height, inputs, width).transpose(1, 2)
    return matrix.reshape(weights)


def sides(weights: tuple[int, ...], shape: str) -> tuple[int, int]:
    """Return rows and columns of `matrix_of` weights of that shape."""
    if shape == SPATIAL and len(weights) == 4:
        outputs, inputs, height, width = weights
        return outputs * height, inputs * width
    return weights[0], prod(weights[1:])


def break_even(weights: tuple[int, ...], shape: str) -> float:
    """Return the rank m n / (m + n) at which two layers have as many weights as the one of weights (o, i, h, w)."""
    rows, columns = sides(weights, shape)
    return rows * columns / (rows + columns)


def pays(layer: Layer, shape: str, rank: int) -> bool:
    """Say whether two layers of that rank have fewer weights than the layer, and fewer multiply-adds."""
    smaller = rank < break_even(layer.shape, shape)
    if shape == CHANNEL or layer.kind != "conv":  # both layers run where the one did
        return smaller
    (outputs, inputs, height, width), across = layer.shape, layer.outputs[2]
    first = layer.inputs[1] * across * inputs * width  # not yet strided downwards
    second = layer.outputs[1] * across * outputs * height
    return smaller and rank * (first + second) < layer.macs


def decomposed_again(left: Tensor, values: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the singular value decomposition (m, r), (r,), (r, n) of left diag(values) right.

    Trained factors are never quite orthonormal, and then their values are not singular values; some are negative. The
    factors are orthonormalised (QR), and what is left between them is decomposed.
    """
    wide, tall, narrow = (factor.detach().cpu().double().numpy() for factor in (left, values, right))
    rows, inner, columns = middle(wide * tall, narrow)
    turned, spectrum, back = np.linalg.svd(inner, full_matrices=False)
    return torch.from_numpy(rows @ turned), torch.from_numpy(spectrum), torch.from_numpy(back @ columns)


def rank_of(values: Tensor, energy: float) -> int:
    """Return how many values (r,), the largest |s| first, hold that share of the sum of squares: 1 at least.

    Args:
        values: of any sign and order.
        energy: above 0, up to 1.
    """
    held = values.double().abs().sort(descending=True).values.square().cumsum(0)
    return int((held < energy * held[-1] * (1 - ROUNDING)).sum()) + 1


def fill(pair: nn.Module, left: Tensor, right: Tensor) -> None:
    """Give two layers the factors (m, r) and (r, n) of a matrix as in `matrix_of`, in place."""
    first, second = pair.get_parameter("0.weight"), pair.get_parameter("1.weight")
    outputs, rank = second.shape[:2]
    with torch.no_grad():
        first.copy_(right.reshape(first.shape))
        second.copy_(left.reshape(outputs, -1, rank).transpose(1, 2).reshape(second.shape))


def _pair(layer: nn.Conv2d | nn.Linear, shape: str, rank: int) -> nn.Sequential:
    """Return two layers in the place of one, their weights still to be filled; the bias is the layer's."""
    bias = layer.bias is not None
    first: nn.Conv2d | nn.Linear
    second: nn.Conv2d | nn.Linear
    if isinstance(layer, nn.Linear):
        first = nn.Linear(layer.in_features, rank, bias=False)
        second = nn.Linear(rank, layer.out_features, bias)
    elif shape == CHANNEL:
        first = _like(layer, layer.in_channels, rank, (True, True), bias=False)
        second = nn.Conv2d(rank, layer.out_channels, 1, bias=bias)
    else:
        first = _like(layer, layer.in_channels, rank, (False, True), bias=False)
        second = _like(layer, rank, layer.out_channels, (True, False), bias)
    if layer.bias is not None:
        second.bias = layer.bias
    return nn.Sequential(first, second).to(layer.weight.dtype)


def _like(layer: nn.Conv2d, inputs: int, outputs: int, axes: tuple[bool, bool], bias: bool) -> nn.Conv2d:
    """Return a convolution of the same class that does along some axes, downwards and across, what the layer does."""

    def along(values: Any, otherwise: int) -> Any:
        return tuple(value if done else otherwise for value, done in zip(values, axes, strict=True))

    padding = layer.padding if isinstance(layer.padding, str) else along(layer.padding, 0)
    return type(layer)(
        inputs,
        outputs,
        along(layer.kernel_size, 1),
        along(layer.stride, 1),
        padding,
        along(layer.dilation, 1),
        bias=bias,
        padding_mode=layer.padding_mode,
    )


def _plain(layer: nn.Module) -> bool:
    """Say whether a layer has weights and a bias and nothing else to learn."""
    return {name for name, _ in layer.named_parameters()} <= {"weight", "bias"}
