"""MobiFace: aligned faces to identity vectors, and its larger variant with swish and squeeze-and-excitation.

Layers: Duong et al. 2018 (MobiFace), table 1; 462 million operations are quoted for it, which its rows give with a
depthwise 7x7 in the head and not with a linear layer on 7x7x512, as the table has it. The variant "x3, swish, SE" of
the MarginDistillation paper is nowhere defined; depth and width can be multiplied, and three times the residual blocks
fit the speed that is told of it best. Squeeze-and-excitation: Hu et al. 2018.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.mobilefacenet import SIDE, Activation, Bottleneck, Layer

GROUPS = ((64, 2), (128, 3), (256, 6))  # channels, residual blocks behind the one of stride 2
EXPANSION = 2
FIRST, LAST = 64, 512
EXCITED_BY = 16  # SE ratio of the variant


class SqueezeExcite(nn.Module):
    """Multiplies each channel by what the means of all channels say of it, 0 to 1."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        squeezed = max(1, channels // ratio)
        self.squeeze, self.excite = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, cells: Tensor) -> Tensor:
        """Weigh the channels of (n, c, h, w)."""
        means = cells.mean((2, 3), keepdim=True)
        return cells * torch.sigmoid(self.excite(functional.silu(self.squeeze(means))))


class Block(Bottleneck):
    """A bottleneck whose depthwise channels may be weighed."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, stride: int, activation: Activation, ratio: int | None
    ) -> None:
        super().__init__(inputs, hidden, outputs, stride, activation)
        self.weigh: nn.Module = SqueezeExcite(hidden, ratio) if ratio else nn.Identity()

    def forward(self, cells: Tensor) -> Tensor:
        """Run the block."""
        output: Tensor = self.project(self.weigh(self.depthwise(self.expand(cells))))
        return cells + output if self.adds else output


class MobiFace(nn.Module):
    """Faces (n, 3, 112, 112), BGR of 0..255, to vectors (n, dimension) of any length; n is 2 at least in training."""

    def __init__(
        self,
        dimension: int = 512,
        activation: Activation = "prelu",
        depth: int = 1,
        width: float = 1.0,
        ratio: int | None = None,
        depthwise_head: bool = True,
    ) -> None:
        """Build it.

        Args:
            dimension: of the vectors.
            activation: of all layers but the linear ones.
            depth: multiplies the residual blocks.
            width: multiplies all channels but the last 512.
            ratio: of squeeze-and-excitation; None for none.
            depthwise_head: False is the table's linear layer on 7x7x512.
        """
        super().__init__()
        channels = _wide(FIRST, width)
        self.first = Layer(3, channels, 3, 2, activation=activation)
        self.second = Layer(channels, channels, 3, groups=channels, activation=activation)
        blocks, hidden = [], EXPANSION * channels
        for rows, count in GROUPS:
            outputs = _wide(rows, width)
            blocks.append(Block(channels, hidden, outputs, 2, activation, ratio))
            inner = EXPANSION * outputs
            blocks += [Block(outputs, inner, outputs, 1, activation, ratio) for _ in range(count * depth)]
            channels, hidden = outputs, 2 * inner
        self.blocks = nn.Sequential(*blocks)
        self.last = Layer(channels, LAST, activation=activation)
        self.head = _depthwise_head(dimension) if depthwise_head else _linear_head(dimension)

    def forward(self, faces: Tensor) -> Tensor:
        """Embed them."""
        vectors: Tensor = self.head(self.maps(faces))
        return vectors

    def maps(self, faces: Tensor) -> Tensor:
        """Return the last maps (n, 512, 7, 7)."""
        maps: Tensor = self.last(self.blocks(self.second(self.first((faces - 127.5) / 128))))
        return maps


def mobiface_x3_swish_se(dimension: int = 512) -> MobiFace:
    """Return the larger variant: three times the residual blocks, swish, squeeze-and-excitation by 16."""
    return MobiFace(dimension, "swish", depth=3, ratio=EXCITED_BY)


def _wide(channels: int, width: float) -> int:
    return int(channels * width + 0.5)


def _depthwise_head(dimension: int) -> nn.Sequential:
    pool = Layer(LAST, LAST, SIDE // 16, groups=LAST, padded=False)
    return nn.Sequential(pool, Layer(LAST, dimension), nn.Flatten())


def _linear_head(dimension: int) -> nn.Sequential:
    linear = nn.Linear(LAST * (SIDE // 16) ** 2, dimension)
    return nn.Sequential(nn.Flatten(), linear, nn.BatchNorm1d(dimension))
