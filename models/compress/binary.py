"""A convolution of signs: weights and activations are +1 or -1, and K thresholds let K sign maps of one input through.

K sign maps of a channel say between which thresholds a value lies, so one bit becomes K + 1 levels. With shared weights
the sum of K convolutions is one convolution of the summed maps, which is how it is computed here; a kernel of XNOR and
popcount still needs K passes. The latent weights stay in floats for training; their signs are what is shipped.
"""

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.errors import SetupError
from models.compress.estimators import ESTIMATORS, estimated_sign, sign
from models.compress.packed import PADDING_SIGN, PackedLayer, pack_filters
from models.compress.stage import Edit, module_at, replace_module
from models.nets.binary_resnet import carried, carries

COMBINATIONS = ("sum", "scaled")  # of the K outputs
LATER_FACTOR = 0.0005  # of every branch but the first when "scaled": the mean of what IE-Net draws, 0 to .001
EPSILON = 1e-5  # added to variances: a filter whose weights are all alike must not become a NaN
SMALLEST_SPREAD = 0.01  # thresholds that begin in one place get one gradient and never part
FILTER_AXES = (-3, -2, -1)  # inputs, rows and columns of weights (..., outputs, inputs, kh, kw)


@dataclass(frozen=True, slots=True)
class Binary:
    """How convolutions are made binary."""

    thresholds: int = 1  # K, for each input channel
    estimator: str = "iee"  # of `models.compress.estimators.ESTIMATORS`
    shared_weights: bool = True  # one set of weights for all K sign maps; else each has its own
    combination: str = "sum"  # of the K outputs; "scaled" multiplies each by a learned factor before
    shortcut: bool = False  # whether the input is added to the output, by `models.nets.binary_resnet.carried`

    def __post_init__(self) -> None:
        if self.thresholds < 1:
            raise ValueError(f"thresholds {self.thresholds}: 1 at least")
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"estimator {self.estimator!r}: there are {', '.join(ESTIMATORS)}")
        if self.combination not in COMBINATIONS:
            raise ValueError(f"combination {self.combination!r}: there are {', '.join(COMBINATIONS)}")


def standardised(weights: Tensor) -> Tensor:
    """Return (w - mean) / std of each filter of weights (..., outputs, inputs, kh, kw).

    About half of a filter's signs are then +1, which carries the most information (IR-Net, Qin et al. 2020, section
    3.2). The variance is the unbiased one; a filter has two weights at least.
    """
    variances, means = torch.var_mean(weights, FILTER_AXES, keepdim=True)
    return (weights - means) / (variances + EPSILON).sqrt()


def magnitudes(weights: Tensor) -> Tensor:
    """Return mean |w| (..., outputs) of each filter of weights (..., outputs, inputs, kh, kw).

    Of all alpha it is the one for which alpha sign(w) is nearest to w, at the squared distance ||w||^2 - n alpha^2
    (Rastegari et al. 2016, XNOR-Net, equation 6).
    """
    return weights.abs().mean(FILTER_AXES)


def starting_thresholds(means: Tensor, deviations: Tensor, count: int) -> Tensor:
    """Return thresholds (count, c) that cut a normal distribution of each channel into equal shares.

    Args:
        means: (c,) of the channels' values; one threshold is the mean itself.
        deviations: (c,) standard deviations, 0 and more.
        count: K, 1 and more.
    """
    quantiles = [NormalDist().inv_cdf((place + 1) / (count + 1)) for place in range(count)]
    return means + means.new_tensor(quantiles)[:, None] * deviations.clamp(min=SMALLEST_SPREAD)


class BinaryConv2d(nn.Module):
    """alpha sum_k f_k conv(b_w^k, b^k) + bias: (n, inputs, h, w) to (n, outputs, h', w').

    b^k is +1 where an input is at or above threshold k of its channel, b_w the sign of the standardised weights; all
    b_w^k are one if the weights are shared, and all f_k are 1 unless the combination is "scaled". Sign maps are padded
    with `PADDING_SIGN`. Thresholds, f, alpha and bias are in floats and learned by the task's loss alone.

    `progress` and `signed_weights` say how far training is. They are buffers, so an average of the net and a checkpoint
    have them too; a new layer is one whose training is over.
    """

    progress: Tensor
    signed_weights: Tensor

    def __init__(self, conv: nn.Conv2d, binary: Binary) -> None:
        """Take over the weights of a plain convolution; `check` says which can be."""
        super().__init__()
        self.binary = binary
        self.stride, self.padding = (conv.stride[0], conv.stride[1]), _sides(conv)
        self.inputs, self.outputs = conv.in_channels, conv.out_channels
        self.sets = 1 if binary.shared_weights else binary.thresholds
        latent = conv.weight.detach()
        self.weights = nn.Parameter(latent.repeat(self.sets, 1, 1, 1, 1))  # (sets, outputs, inputs, kh, kw)
        self.scales = nn.Parameter(magnitudes(standardised(latent)))  # alpha
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())
        nothing = latent.new_zeros(conv.in_channels)
        self.thresholds = nn.Parameter(starting_thresholds(nothing, nothing + 1, binary.thresholds))
        factors = latent.new_full((binary.thresholds,), LATER_FACTOR)
        factors[0] = 1.0
        self.factors = nn.Parameter(factors) if binary.combination == "scaled" else None
        for kept in (self.weights, self.thresholds):  # decay would pull neither to where it is better
            kept.no_decay = True  # type: ignore[attr-defined]
        self.register_buffer("progress", latent.new_ones(()))
        self.register_buffer("signed_weights", torch.ones((), dtype=torch.bool, device=latent.device))

    def forward(self, cells: Tensor) -> Tensor:
        """Convolve."""
        maps = self.sign_maps(cells)
        if self.factors is not None:
            maps = maps * self.factors.reshape(-1, 1, 1, 1)
        merged = maps.sum(1) if self.sets == 1 else maps.flatten(1, 2)  # (n, inputs or K inputs, ...)
        kernels = self.kernels().transpose(0, 1).flatten(1, 2)  # (outputs, inputs or K inputs, kh, kw)
        output = functional.conv2d(merged, kernels, None, self.stride)
        output = output * self.scales.reshape(-1, 1, 1)
        if self.bias is not None:
            output = output + self.bias.reshape(-1, 1, 1)
        return output + carried(cells, self.inputs, self.outputs, self.stride[0]) if self.binary.shortcut else output

    def sign_maps(self, cells: Tensor) -> Tensor:
        """Return the padded sign maps (n, K, inputs, h + 2 top, w + 2 left) of cells (n, inputs, h, w)."""
        estimator = ESTIMATORS[self.binary.estimator]
        above = cells.unsqueeze(1) - self.thresholds.unsqueeze(-1).unsqueeze(-1)
        maps = estimated_sign(above, estimator.activations, estimator.sharpness(self.progress))
        top, left = self.padding
        return functional.pad(maps, (left, left, top, top), value=PADDING_SIGN)

    def kernels(self) -> Tensor:
        """Return the weights (sets, outputs, inputs, kh, kw) as they are convolved with, signs unless held back."""
        estimator = ESTIMATORS[self.binary.estimator]
        latent = standardised(self.weights)
        signs = estimated_sign(latent, estimator.weights, estimator.sharpness(self.progress))
        return torch.where(self.signed_weights, signs, latent)

    def extra_repr(self) -> str:
        """Say what it is, for the printed net."""
        return f"{self.inputs}, {self.outputs}, kernel_size={tuple(self.weights.shape[3:])}, {self.binary}"


def check(name: str, conv: nn.Module) -> nn.Conv2d:
    """Return a layer that can be made binary.

    Raises:
        SetupError: it is not a plain convolution, has groups, is dilated, pads with something else than zeros, or its
            filters have one weight only, whose standard deviation is not defined.
    """
    if type(conv) is not nn.Conv2d:
        raise SetupError(
            f"layer {name} is a {type(conv).__name__}; only a plain Conv2d can be made binary: leave it out"
        )
    if conv.groups > 1:
        raise SetupError(
            f"layer {name} has {conv.groups} groups; convolutions in groups stay in floats, since the few signs of a "
            "filter make too few different sums: leave it out"
        )
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str) or conv.dilation != (1, 1):
        raise SetupError(f"layer {name}, {conv}, is dilated, or not padded by a number of zeros: leave it out")
    if conv.weight[0].numel() < 2:
        raise SetupError(f"layer {name} has filters of a single weight: leave it out")
    return conv


def fits_shortcut(conv: nn.Conv2d) -> bool:
    """Say whether a convolution's input, carried on without weights, has the shape of its output."""
    (top, left), (rows, columns) = _sides(conv), conv.kernel_size
    return (
        (2 * top, 2 * left) == (rows - 1, columns - 1)
        and conv.stride[0] == conv.stride[1]
        and carries(conv.in_channels, conv.out_channels)
    )


def apply_binary(model: nn.Module, edit: Edit) -> None:
    """Put a `BinaryConv2d` in the place of a convolution; the edit's values are the fields of `Binary`.

    Raises:
        SetupError: see `check`.
        ValueError: see `Binary`.
    """
    conv = check(edit.layer, module_at(model, edit.layer))
    replace_module(model, edit.layer, BinaryConv2d(conv, Binary(**edit.values)))


def packed(conv: BinaryConv2d) -> PackedLayer:
    """Return what has to be shipped of a layer; a shortcut around it is not in it."""
    signs = sign(standardised(conv.weights.detach()))
    thresholds = conv.thresholds.detach()
    factors = thresholds.new_ones(len(thresholds)) if conv.factors is None else conv.factors.detach()
    bias = thresholds.new_zeros(conv.outputs) if conv.bias is None else conv.bias.detach()
    return PackedLayer(
        filters=pack_filters(signs.to(torch.int8).cpu().numpy()),
        thresholds=thresholds.cpu().numpy(),
        scales=conv.scales.detach().cpu().numpy(),
        factors=factors.cpu().numpy(),
        bias=bias.cpu().numpy(),
        kernel=(conv.weights.shape[3], conv.weights.shape[4]),
        stride=conv.stride,
        padding=conv.padding,
    )


def _sides(conv: nn.Conv2d) -> tuple[int, int]:
    """Return how many rows and columns are padded on each side."""
    assert not isinstance(conv.padding, str)
    return conv.padding[0], conv.padding[1]
