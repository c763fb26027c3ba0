"""Lets a MobileFaceNet learn under 8-bit arithmetic: normalisations folded in, weights and maps rounded.

Weights are signed with a scale per channel, maps unsigned with one scale each, as `models.quantise` makes them; the
gradient passes the rounding as if it were not there, inside the range (Jacob et al. 2018; Bengio et al. 2013).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.nets.mobilefacenet import Bottleneck, MobileFaceNet

LARGEST_WEIGHT, LARGEST_CODE = 127, 255
SMALLEST = 1e-8  # no scale is smaller


class RoundedWeights(nn.Module):
    """Rounds a kernel (out, in, k, k) to 255 values per output channel."""

    def forward(self, weights: Tensor) -> Tensor:
        """Round."""
        largest = weights.detach().abs().amax((1, 2, 3)).clamp(min=SMALLEST)
        zeros = torch.zeros(len(weights), dtype=torch.int32, device=weights.device)
        return torch.fake_quantize_per_channel_affine(
            weights, largest / LARGEST_WEIGHT, zeros, 0, -LARGEST_WEIGHT, LARGEST_WEIGHT
        )


class RoundedMap(nn.Module):
    """Rounds maps to 256 values between the ends that were seen while `watching`."""

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.watching = False
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, cells: Tensor) -> Tensor:
        """Round, or watch."""
        if self.watching:
            self.low.copy_(torch.minimum(self.low, cells.detach().amin()))
            self.high.copy_(torch.maximum(self.high, cells.detach().amax()))
            return cells
        scale = ((self.high - self.low) / LARGEST_CODE).clamp(min=SMALLEST).item()
        return torch.fake_quantize_per_tensor_affine(cells, scale, round(-self.low.item() / scale), 0, LARGEST_CODE)


def round_everything(net: MobileFaceNet) -> None:
    """Fold the normalisations of a net in evaluation mode and let it round; the ends of its maps are still unknown."""
    for layer in net.layers():
        weights, bias = layer.folded()
        layer.conv.weight = nn.Parameter(weights)
        layer.conv.bias = nn.Parameter(bias)
        parametrize.register_parametrization(layer.conv, "weight", RoundedWeights())
        layer.norm = nn.Identity()
        layer.activation = nn.Sequential(nn.Identity() if layer.linear else nn.ReLU(), RoundedMap())
    for block in net.blocks:
        assert isinstance(block, Bottleneck)
        if block.adds:
            block.joined = RoundedMap()


def watch(net: MobileFaceNet, batches: Iterable[Tensor]) -> None:
    """Note the ends of all maps on batches of faces (n, 3, 112, 112)."""
    roundings = [module for module in net.modules() if isinstance(module, RoundedMap)]
    for rounding in roundings:
        rounding.watching = True
    with torch.no_grad():
        for batch in batches:
            net(batch)
    for rounding in roundings:
        rounding.watching = False
