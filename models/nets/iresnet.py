"""IResNet: the residual nets that ArcFace is published with, here as what a small embedder's cost is compared with.

Pre-activated blocks of two 3x3 convolutions, and a first convolution of stride 1 because faces are small (Deng et al.
2019, ArcFace, section 3.2). The head is batch normalisation, dropout, a linear layer and a normalisation whose scale
stays 1. The normalisation in front of a padded convolution cannot be folded into it: the border is zero behind it.
"""

import itertools

from torch import Tensor, nn

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}  # by depth, of the four stages
CHANNELS = (64, 64, 128, 256, 512)  # of the first convolution and the stages
SIDE = 112
DROPOUT = 0.4


class Block(nn.Module):
    """Normalise, 3x3, normalise, PReLU, 3x3 with the stride, normalise; the input is added."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, cells: Tensor) -> Tensor:
        """Run the block."""
        output: Tensor = self.body(cells) + self.shortcut(cells)
        return output


class IResNet(nn.Module):
    """Faces (n, 3, 112, 112), BGR of 0..255, to vectors (n, dimension) of any length; n is 2 at least in training."""

    def __init__(self, depth: int, dimension: int = 512, width: float = 1.0) -> None:
        """Build one of the depths in `BLOCKS`, its channels multiplied by `width` and rounded down."""
        super().__init__()
        widths = [int(channels * width) for channels in CHANNELS]
        convolution = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.first = nn.Sequential(convolution, nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0]))
        blocks = []
        for (inputs, outputs), count in zip(itertools.pairwise(widths), BLOCKS[depth], strict=True):
            blocks += [Block(inputs, outputs, 2)] + [Block(outputs, outputs, 1) for _ in range(count - 1)]
        self.blocks = nn.Sequential(*blocks)
        cells = widths[-1] * (SIDE // 16) ** 2
        self.head = nn.Sequential(
            nn.BatchNorm2d(widths[-1]), nn.Dropout(DROPOUT), nn.Flatten(), nn.Linear(cells, dimension)
        )
        self.norm = nn.BatchNorm1d(dimension)
        self.norm.weight.requires_grad_(False)

    def forward(self, faces: Tensor) -> Tensor:
        """Embed them."""
        vectors: Tensor = self.norm(self.head(self.blocks(self.first((faces - 127.5) / 128))))
        return vectors
