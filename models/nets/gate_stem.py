"""The gate's own stem: a cheap net that gives what the detector's first blocks would give at half size, without noise.

The first blocks of MobileNetV2 spend their time on maps of the picture's own resolution. Patches of 8x8 pixels, every
fourth one, skip them; and what moves does so in the luma, which a decoder hands over as it is.
"""

from torch import Tensor, nn
from torch.nn import functional

from models.nets.blocks import Convolution

PATCH, STRIDE = 8, 4  # pixels of the side of the first kernel, and from one to the next
PATCHES = 48  # channels of the first convolution
POOLED = 2  # cells a side that are averaged
FEATURES = 24  # channels of the detector's map


class GateStem(nn.Module):
    """Grey 0..255 (n, 1, h, w) -> the gate's features (n, 24, h / 8, w / 8), sides rounded up."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Convolution(1, PATCHES, PATCH, STRIDE)
        self.depthwise = Convolution(PATCHES, PATCHES, 3, groups=PATCHES)
        self.pointwise = nn.Conv2d(PATCHES, FEATURES, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the features. Pixels are only scaled, so the padding is a black border and folds into the weights."""
        cells = self.depthwise(self.first(picture / 128))
        features: Tensor = self.pointwise(functional.avg_pool2d(cells, POOLED, ceil_mode=True))
        return features
