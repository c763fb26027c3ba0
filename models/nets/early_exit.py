"""The early-exit detector: persons and faces with five points, out of one pass that may stop behind its stem.

The stem looks at the picture in patches of 8x8 pixels, every fourth one, and gives the 24-channel map of a quarter of
the side that the starter net needs three blocks at half the side for; its 4x4 averages are what the gate judges. Trunk
and person heads are the starter's. Faces are smaller than persons: they are found on strides 8, 16 and 32, joined from
above (Lin et al. 2017, Feature Pyramid Networks).

Faces have prior boxes like persons, not the free cells of YuNet: so both classes share matching, coding, losses and the
runtime's decoding, and two square priors a cell cover 10 to 200 pixels.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.blocks import Convolution, InvertedResidual
from models.nets.ssdlite import STAGES, STEM_CHANNELS, STEM_STRIDE, Heads, Trunk

WIDTH, HEIGHT = 320, 240  # of the picture in pixels
PATCH = 8  # side of the first kernel: two strides, so that neighbouring patches overlap by half
PATCHES = 32  # channels of the first convolution
GATE_CELLS = 4  # the gate sees averages of so many cells a side: 16 pixels, as with the starter net
FACE_CHANNELS = 48
FACE_PRIORS = 2  # boxes of a cell
POINTS = 5


class Found(NamedTuple):
    """What the net says of n pictures; k person priors, m face priors."""

    person_codes: Tensor  # (n, k, 4) ty tx th tw
    person_logits: Tensor  # (n, k)
    face_codes: Tensor  # (n, m, 4)
    face_logits: Tensor  # (n, m)
    face_points: Tensor  # (n, m, 10) x y of the five points, coded like the centres of boxes


class PatchStem(nn.Module):
    """The stem: BGR 0..255 (n, 3, h, w) -> (n, 24, h / 4, w / 4), h and w multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Convolution(3, PATCHES, PATCH, STEM_STRIDE)
        self.block = InvertedResidual(PATCHES, STEM_CHANNELS, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the map. Pixels are only scaled, so the padding is a black border and folds into the weights."""
        cells: Tensor = self.block(self.first(picture / 128))
        return cells


class FacePredictor(nn.Module):
    """Logit, box and points of each prior of a cell, from one depthwise convolution."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.depthwise = Convolution(inputs, inputs, 3, groups=inputs)
        self.pointwise = nn.ModuleList(nn.Conv2d(inputs, FACE_PRIORS * values, 1) for values in (4, 1, 2 * POINTS))

    def forward(self, cells: Tensor) -> list[Tensor]:
        """Return codes (n, priors, 4), logits (n, priors, 1) and points (n, priors, 10) of a map."""
        cells = self.depthwise(cells)
        outputs = [pointwise(cells).permute(0, 2, 3, 1) for pointwise in self.pointwise]
        return [
            output.reshape(len(output), -1, values) for output, values in zip(outputs, (4, 1, 2 * POINTS), strict=True)
        ]


class FaceBranch(nn.Module):
    """Joins the ends of strides 8, 16 and 32 from above and looks for faces on each."""

    def __init__(self, channels: int = FACE_CHANNELS) -> None:
        super().__init__()
        inputs = (STAGES[0][0], STAGES[2][0], STAGES[4][0])
        self.across = nn.ModuleList(Convolution(width, channels) for width in inputs)
        self.smooth = nn.ModuleList(Convolution(channels, channels, 3, groups=channels) for _ in inputs[:2])
        self.predictors = nn.ModuleList(FacePredictor(channels) for _ in inputs)

    def forward(self, ends: list[Tensor]) -> list[Tensor]:
        """Return codes, logits and points of all priors, from the finest map to the coarsest."""
        fine, middle, coarse = (across(end) for across, end in zip(self.across, ends, strict=True))
        middle = self.smooth[1](middle + _enlarged(coarse, middle))
        fine = self.smooth[0](fine + _enlarged(middle, fine))
        levels = [predictor(cells) for predictor, cells in zip(self.predictors, (fine, middle, coarse), strict=True)]
        return [torch.cat(parts, 1) for parts in zip(*levels, strict=True)]


class EarlyExitDetector(nn.Module):
    """Stem, trunk, person heads and face branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = PatchStem()
        self.tail = Tail()

    def forward(self, picture: Tensor) -> Found:
        """Run the whole net on pictures (n, 3, h, w), BGR 0..255."""
        found: Found = self.tail(self.stem(picture))
        return found


class Tail(nn.Module):
    """Everything behind the stem."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.persons = Heads(self.trunk.widths)
        self.faces = FaceBranch()

    def forward(self, cells: Tensor) -> Found:
        """Run on the stem's map (n, 24, h / 4, w / 4)."""
        return self.predicted(*self.trunk(cells))

    def predicted(self, maps: list[Tensor], ends: list[Tensor]) -> Found:
        """Run the predictors alone on what the trunk gave."""
        codes, logits = self.persons(maps)
        face_codes, face_logits, face_points = self.faces(ends)
        return Found(codes, logits, face_codes, face_logits.squeeze(2), face_points)


def gate_features(cells: Tensor) -> Tensor:
    """Return what the gate judges: averages (n, 24, h / 16, w / 16) of the stem's map."""
    return functional.avg_pool2d(cells, GATE_CELLS)


def _enlarged(cells: Tensor, like: Tensor) -> Tensor:
    """Return a map enlarged to the rows and columns of another by repeating cells; odd sides lose their last ones."""
    return functional.interpolate(cells, scale_factor=2.0, mode="nearest")[:, :, : like.shape[2], : like.shape[3]]
