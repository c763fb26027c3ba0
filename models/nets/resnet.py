"""Residual classifiers: the nets that compression is published on, and what our own study shrinks.

CIFAR ResNets have three stages and 6n + 2 layers (He et al. 2016, section 4.2), ResNet18 has four stages of two blocks.
Every change of shape has a 1x1 projection with batch normalisation, also in the CIFAR nets, whose paper pads with zeros
instead: a projection is a layer that compression and export know. Normalised pictures in, logits out.
"""

from collections import OrderedDict

from torch import Tensor, nn

CIFAR_DEPTHS = (8, 20, 32, 56, 110)
STAGES = {18: (2, 2, 2, 2)} | {depth: ((depth - 2) // 6,) * 3 for depth in CIFAR_DEPTHS}  # blocks, by depth
STEMS = ("small", "large")


class Block(nn.Module):
    """3x3 with the stride, normalise, rectify, 3x3, normalise; the input is added, and the sum rectified."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = _named(conv=nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm=nn.BatchNorm2d(outputs))
        self.relu2 = nn.ReLU()

    def forward(self, cells: Tensor) -> Tensor:
        """Run the block, (n, inputs, h, w) to (n, outputs, ceil(h / stride), ceil(w / stride))."""
        inside = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(cells)))))
        output: Tensor = self.relu2(inside + self.shortcut(cells))
        return output


class ResNet(nn.Module):
    """Pictures (n, 3, h, w) to logits (n, classes)."""

    def __init__(self, depth: int, classes: int, width: int = 64, stem: str = "small") -> None:
        """Build one of the depths in `STAGES`.

        Args:
            depth: number of layers with weights, projections apart.
            classes: number of logits.
            width: channels of the first stage; each further one has twice as many.
            stem: "small" is 3x3 at stride 1, for pictures of a few dozen pixels; "large" is 7x7 at stride 2 and a
                pooling, for those of 224.

        Raises:
            ValueError: depth or stem is none of these.
        """
        super().__init__()
        if depth not in STAGES or stem not in STEMS:
            raise ValueError(f"depth {depth} and stem {stem!r}: there are {sorted(STAGES)} and {', '.join(STEMS)}")
        small = stem == "small"
        self.stem = _named(
            conv=nn.Conv2d(3, width, 3, 1, 1, bias=False) if small else nn.Conv2d(3, width, 7, 2, 3, bias=False),
            norm=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
            pool=nn.Identity() if small else nn.MaxPool2d(3, 2, 1),
        )
        self.stages, inputs = nn.Sequential(), width
        for stage, count in enumerate(STAGES[depth]):
            outputs = width * 2**stage
            blocks = [Block(inputs, outputs, 2 if stage else 1)]
            blocks += [Block(outputs, outputs, 1) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.head = _named(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), linear=nn.Linear(inputs, classes))
        _initialise(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """Classify them."""
        logits: Tensor = self.head(self.stages(self.stem(pictures)))
        return logits


def _named(**modules: nn.Module) -> nn.Sequential:
    """Return a sequence whose members have names."""
    return nn.Sequential(OrderedDict(modules))


def _initialise(net: nn.Module) -> None:
    """Draw the convolutions' weights for rectifiers (He et al. 2015, equation 14), by the number of outputs."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
