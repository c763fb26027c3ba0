"""Faces with five points beside persons: a branch on the lean detector's own maps.

Faces are smaller than persons: they are found on strides 8, 16 and 32, joined from above (Lin et al. 2017, Feature
Pyramid Networks). They have prior boxes like persons, not the free cells of YuNet: so both classes share matching,
coding, losses and the runtime's decoding, and two square priors a cell cover 10 to 200 pixels.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.blocks import Convolution
from models.nets.lean import LEAN
from models.nets.ssdlite import STAGES, SSDLite

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

    def forward(self, ends: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes (n, m, 4), logits (n, m) and points (n, m, 10) of all priors, finest map first; float32."""
        fine, middle, coarse = (across(end) for across, end in zip(self.across, ends, strict=True))
        middle = self.smooth[1](middle + _enlarged(coarse, middle))
        fine = self.smooth[0](fine + _enlarged(middle, fine))
        levels = [predictor(cells) for predictor, cells in zip(self.predictors, (fine, middle, coarse), strict=True)]
        codes, logits, points = (torch.cat(parts, 1).float() for parts in zip(*levels, strict=True))
        return codes, logits.squeeze(2), points


class LeanWithFaces(SSDLite):
    """The lean detector and the branch; without the branch's weights it is the lean detector."""

    def __init__(self) -> None:
        super().__init__(LEAN)
        self.faces = FaceBranch()

    def forward(self, picture: Tensor) -> Found:
        """Run on pictures (n, 3, h, w), BGR 0..255."""
        codes, logits, ends = self.look(picture)
        return Found(codes, logits, *self.faces(ends[1:]))


def _enlarged(cells: Tensor, like: Tensor) -> Tensor:
    """Return a map enlarged to the rows and columns of another by repeating cells; odd sides lose their last ones."""
    return functional.interpolate(cells, scale_factor=2.0, mode="nearest")[:, :, : like.shape[2], : like.shape[3]]
