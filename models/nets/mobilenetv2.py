"""MobileNetV2 as a classifier (Sandler et al. 2018, table 2), of plain convolutions that compression knows.

The detectors' blocks (`models.nets.blocks`) pad as TensorFlow does, by the picture's size; here padding is part of the
layer. Normalised pictures in, logits out.
"""

from torch import Tensor, nn

SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FIRST, LAST = 32, 1280  # channels at full width
DIVISOR = 8  # of every number of channels
STEMS = ("small", "large")


class Layer(nn.Sequential):
    """Convolution, batch normalisation and, unless it is linear, ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.Identity() if linear else nn.ReLU6(),
        )


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1 projection; the input is added where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = Layer(inputs, hidden) if expansion > 1 else nn.Identity()
        self.depthwise = Layer(hidden, hidden, 3, stride, groups=hidden)
        self.project = Layer(hidden, outputs, linear=True)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, cells: Tensor) -> Tensor:
        """Run the block."""
        output: Tensor = self.project(self.depthwise(self.expand(cells)))
        return cells + output if self.adds else output


class MobileNetV2(nn.Module):
    """Pictures (n, 3, h, w) to logits (n, classes)."""

    def __init__(self, classes: int, width: int = FIRST, stem: str = "small") -> None:
        """Build it.

        Args:
            classes: number of logits.
            width: channels of the first layer; all others are in proportion, 32 being the published net.
            stem: "large" is the published net for pictures of 224 pixels; "small" leaves out the strides of the first
                layer and of the second setting, for pictures of a few dozen.

        Raises:
            ValueError: there is no such stem.
        """
        super().__init__()
        if stem not in STEMS:
            raise ValueError(f"stem {stem!r}: there are {', '.join(STEMS)}")
        small, share = stem == "small", width / FIRST
        self.stem = Layer(3, width, 3, 1 if small else 2)
        self.blocks, inputs = nn.Sequential(), width
        for number, (expansion, channels, count, stride) in enumerate(SETTINGS):
            outputs = divisible(channels * share)
            for place in range(count):
                first = place == 0 and not (small and number == 1)
                self.blocks.append(InvertedResidual(inputs, outputs, expansion, stride if first else 1))
                inputs = outputs
        last = max(LAST, divisible(LAST * share))
        self.last = Layer(inputs, last)
        self.pool, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.linear = nn.Linear(last, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Classify them."""
        logits: Tensor = self.linear(self.flat(self.pool(self.last(self.blocks(self.stem(pictures))))))
        return logits


def divisible(channels: float) -> int:
    """Return the nearest multiple of `DIVISOR`, at least one and never more than a tenth below `channels`."""
    nearest = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest + DIVISOR if nearest < 0.9 * channels else nearest
