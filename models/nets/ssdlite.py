"""SSDLite on MobileNetV2: the starter net as it was trained elsewhere, in parts that other nets build on.

The trunk begins behind block b02 (24 channels at a quarter of the picture's side) and gives the six maps of an SSD.
Layer shapes: Sandler et al. 2018 (MobileNetV2), Liu et al. 2016 (SSD); the order and the number of the priors are those
of the TensorFlow detection library.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.nets.blocks import Convolution, InvertedResidual, Predictor, Squeeze

STEM_CHANNELS, STEM_STRIDE = 24, 4  # of the map between stem and trunk
FIRST_BLOCK = 3  # behind the stem
BRANCH_BLOCK = 13  # the first SSD map is the expansion of this block
ENDS = (5, 12, 16)  # last blocks of strides 8, 16 and 32
STAGES = (  # blocks behind the stem: outputs, blocks, stride of the first
    (32, 3, 2),
    (64, 4, 2),
    (96, 3, 1),
    (160, 3, 2),
    (320, 1, 1),
)
EXTRAS = (512, 256, 256, 128)
PRIORS = (3, 6, 6, 6, 6, 6)  # boxes of a cell by map


@dataclass(frozen=True, slots=True)
class Widths:
    """How wide a net is where it may be narrowed; the defaults are the starter's."""

    first: int = 32  # channels of the first convolution
    stem_expansion: int = 6
    expansion: int = 6  # of all the trunk's blocks but ...
    branch: int = 6  # ... the one that the first map branches off from
    last: int = 1280  # channels of the last convolution


STARTER_WIDTHS = Widths()


class StarterStem(nn.Module):
    """First convolution and blocks b00 to b02: BGR 0..255 (n, 3, h, w) -> (n, 24, h / 4, w / 4)."""

    def __init__(self, wide: Widths = STARTER_WIDTHS) -> None:
        super().__init__()
        self.first = Convolution(3, wide.first, 3, 2)
        self.blocks = nn.Sequential(
            InvertedResidual(wide.first, 16, 1),
            InvertedResidual(16, 24, wide.stem_expansion, 2),
            InvertedResidual(24, STEM_CHANNELS, wide.stem_expansion),
        )

    def forward(self, picture: Tensor) -> Tensor:
        """Return the map of block b02."""
        cells: Tensor = self.blocks(self.first(picture * (2 / 255) - 1))
        return cells


class Trunk(nn.Module):
    """Blocks b03 to b16, the last convolution and the extra layers."""

    def __init__(self, wide: Widths = STARTER_WIDTHS) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        channels = STEM_CHANNELS
        for outputs, count, stride in STAGES:
            for index in range(count):
                branches = len(self.blocks) + FIRST_BLOCK == BRANCH_BLOCK
                expansion = wide.branch if branches else wide.expansion
                self.blocks.append(InvertedResidual(channels, outputs, expansion, stride if index == 0 else 1))
                channels = outputs
        self.last = Convolution(channels, wide.last)
        widths = (wide.last, *EXTRAS)
        self.extras = nn.ModuleList(Squeeze(*pair) for pair in itertools.pairwise(widths))
        self.widths = (STAGES[2][0] * wide.branch, *widths)  # channels of the six maps

    def forward(self, cells: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the SSD maps, strides 16, 32, 64 ..., and the ends of strides 8, 16 and 32 for a finer branch.

        Args:
            cells: (n, 24, h, w) of a stem, h and w a quarter of the picture's.
        """
        maps: list[Tensor] = []
        ends: list[Tensor] = []
        for index, block in enumerate(self.blocks, start=FIRST_BLOCK):
            expanded = block.expand(cells)
            if index == BRANCH_BLOCK:
                maps.append(expanded)
            cells = block.finish(cells, expanded)
            if index in ENDS:
                ends.append(cells)
        cells = self.last(cells)
        maps.append(cells)
        for extra in self.extras:
            cells = extra(cells)
            maps.append(cells)
        return maps, ends


class Heads(nn.Module):
    """Two predictors on each map: codes of boxes and one logit."""

    def __init__(self, widths: Sequence[int], priors: Sequence[int] = PRIORS) -> None:
        super().__init__()
        self.codes = nn.ModuleList(Predictor(width, count, 4) for width, count in zip(widths, priors, strict=True))
        self.logits = nn.ModuleList(Predictor(width, count, 1) for width, count in zip(widths, priors, strict=True))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return codes (n, priors, 4) as ty tx th tw and logits (n, priors)."""
        codes = [predictor(cells) for predictor, cells in zip(self.codes, maps, strict=True)]
        logits = [predictor(cells) for predictor, cells in zip(self.logits, maps, strict=True)]
        return torch.cat(codes, 1), torch.cat(logits, 1).squeeze(2)


class SSDLite(nn.Module):
    """The starter net, or a narrower one: persons in 300x300 pixels, or any other size with the priors of its grids."""

    def __init__(self, wide: Widths = STARTER_WIDTHS) -> None:
        super().__init__()
        self.stem = StarterStem(wide)
        self.trunk = Trunk(wide)
        self.persons = Heads(self.trunk.widths)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes (n, priors, 4) and person logits (n, priors) of pictures (n, 3, h, w), BGR 0..255."""
        codes, logits, _ = self.look(picture)
        return codes, logits

    def look(self, picture: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return codes, logits and what narrow nets are led by: the stem's map and the ends of strides 8, 16 and 32."""
        cells = self.stem(picture)
        maps, ends = self.trunk(cells)
        codes, logits = self.persons(maps)
        return codes, logits, [cells, *ends]
