"""Nets in the shape that survives binarising: a shortcut in floats around every single convolution.

What a binary convolution loses its shortcut carries on, so each convolution has one of its own, not each block
(Bi-Real, Liu et al. 2018, section 3.1), and behind it a Hardtanh or an RPReLU, whose values have both signs; behind a
ReLU nearly every sign would be +1. Here all convolutions are in floats: the net is its own baseline and teacher, and
the stage `binarise` makes the other one of it. Normalised pictures (n, 3, h, w) in, logits (n, classes) out.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.mobilenetv2 import FIRST, LAST, SETTINGS, divisible
from models.nets.resnet import STAGES, STEMS


class RPReLU(nn.Module):
    """A PReLU whose origin is learned by channel: prelu(x - a) + b (ReActNet, Liu et al. 2020, equation 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.zeros(channels))
        self.after = nn.Parameter(torch.zeros(channels))
        self.slope = nn.PReLU(channels)

    def forward(self, cells: Tensor) -> Tensor:
        """Activate (n, channels, h, w)."""
        output: Tensor = self.slope(cells - self.before.reshape(-1, 1, 1))
        return output + self.after.reshape(-1, 1, 1)


ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {"hardtanh": lambda _: nn.Hardtanh(), "rprelu": RPReLU}


class DropPath(nn.Module):
    """Leaves out the whole branch of a picture now and then while training (Huang et al. 2016, stochastic depth)."""

    def __init__(self, rate: float) -> None:
        """Leave out that share of the pictures, 0 up to but not 1; the others count the more."""
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"drop_path {rate}: 0 up to but not 1")
        self.rate = rate

    def forward(self, cells: Tensor) -> Tensor:
        """Drop from (n, c, h, w)."""
        if not self.training or self.rate == 0:
            return cells
        kept = torch.rand(len(cells), 1, 1, 1, device=cells.device) >= self.rate
        return cells * kept / (1 - self.rate)


def carries(inputs: int, outputs: int) -> bool:
    """Say whether `carried` can lead so many channels to so many: one is a multiple of the other."""
    return outputs % inputs == 0 or inputs % outputs == 0


def carried(cells: Tensor, inputs: int, outputs: int, stride: int) -> Tensor:
    """Return a shortcut without weights, (n, inputs, h, w) to (n, outputs, ceil(h / stride), ceil(w / stride)).

    Cells are averaged by `stride`. Channel i becomes the channels i, inputs + i, ...; fewer channels are the means of
    those that would have become one. `carries` says which numbers of channels fit.
    """
    if stride > 1:
        cells = functional.avg_pool2d(cells, stride, ceil_mode=True)
    if outputs >= inputs:
        return cells.repeat(1, outputs // inputs, 1, 1)
    return cells.reshape(-1, inputs // outputs, outputs, *cells.shape[2:]).mean(1)


class Unit(nn.Module):
    """activation(drop(norm(conv(x))) + shortcut(x)), with any convolution and any shortcut or none."""

    def __init__(self, conv: nn.Conv2d, shortcut: nn.Module | None, activation: str, drop: float) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.out_channels)
        self.drop = DropPath(drop)
        self.shortcut = shortcut
        self.activation = ACTIVATIONS[activation](conv.out_channels)

    def forward(self, cells: Tensor) -> Tensor:
        """Run the unit."""
        branch = self.drop(self.norm(self.conv(cells)))
        output: Tensor = self.activation(branch if self.shortcut is None else branch + self.shortcut(cells))
        return output


class Projection(nn.Sequential):
    """The shortcut where the shape changes: averaged by the stride, then 1x1 in floats (ReActNet, figure 5)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(
            nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )


class Carried(nn.Module):
    """`carried` as a module."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs

    def forward(self, cells: Tensor) -> Tensor:
        """Carry (n, inputs, h, w) on."""
        return carried(cells, self.inputs, self.outputs, 1)


class BinaryResNet(nn.Module):
    """A ResNet with as many weights as the one of `models.nets.resnet`, and twice as many shortcuts."""

    def __init__(
        self,
        depth: int,
        classes: int,
        width: int = 64,
        stem: str = "small",
        activation: str = "hardtanh",
        drop_path: float = 0.0,
    ) -> None:
        """Build it.

        Args:
            depth: of `models.nets.resnet.STAGES`.
            classes: number of logits.
            width: channels of the first stage; each further one has twice as many.
            stem: "small" is 3x3 at stride 1, for pictures of a few dozen pixels; "large" is 7x7 at stride 2 and a
                pooling, for those of 224.
            activation: of `ACTIVATIONS`.
            drop_path: share of the last unit's branches that is left out in training; rises from 0 in a line.

        Raises:
            ValueError: there is no such depth, stem or activation, or nothing would be left of a branch.
        """
        super().__init__()
        _check(stem, activation)
        if depth not in STAGES:
            raise ValueError(f"depth {depth}: there are {sorted(STAGES)}")
        small = stem == "small"
        self.stem = nn.Sequential(
            *_first(width, 3 if small else 7, 1 if small else 2, activation),
            nn.Identity() if small else nn.MaxPool2d(3, 2, 1),
        )
        shapes = [  # inputs, outputs and stride of every 3x3
            (width * 2 ** (stage - (place == 0 and stage > 0)), width * 2**stage, 2 if place == 0 and stage else 1)
            for stage, blocks in enumerate(STAGES[depth])
            for place in range(2 * blocks)
        ]
        drops = _rising(drop_path, len(shapes))
        self.units = nn.Sequential(
            *(_convolving(*shape, activation, drop) for shape, drop in zip(shapes, drops, strict=True))
        )
        self.pool, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.linear = nn.Linear(shapes[-1][1], classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Classify them."""
        logits: Tensor = self.linear(self.flat(self.pool(self.units(self.stem(pictures)))))
        return logits


class InvertedResidual(nn.Module):
    """1x1 expansion and 1x1 projection as units around a depthwise 3x3; the input is added where the shape allows it.

    The depthwise layer is to stay in floats: of nine signs it could make ten different sums.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, activation: str, drop: float) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = _pointwise(inputs, hidden, activation, drop) if expansion > 1 else nn.Identity()
        self.depthwise = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            ACTIVATIONS[activation](hidden),
        )
        self.project = _pointwise(hidden, outputs, activation, drop)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, cells: Tensor) -> Tensor:
        """Run the block."""
        output: Tensor = self.project(self.depthwise(self.expand(cells)))
        return cells + output if self.adds else output


class BinaryMobileNetV2(nn.Module):
    """A MobileNetV2 with as many weights as the one of `models.nets.mobilenetv2` and a shortcut around each 1x1.

    Where neither number of channels is a multiple of the other there is none: at full width in 2 projections of 17.
    """

    def __init__(
        self,
        classes: int,
        width: int = FIRST,
        stem: str = "small",
        activation: str = "hardtanh",
        drop_path: float = 0.0,
    ) -> None:
        """Build it.

        Args:
            classes: number of logits.
            width: channels of the first layer; all others are in proportion, 32 being the published net.
            stem: "large" is for pictures of 224 pixels; "small" leaves out the strides of the first layer and of the
                second setting, for pictures of a few dozen.
            activation: of `ACTIVATIONS`.
            drop_path: share of the last block's branches that is left out in training; rises from 0 in a line.

        Raises:
            ValueError: there is no such stem or activation, or nothing would be left of a branch.
        """
        super().__init__()
        _check(stem, activation)
        small, share = stem == "small", width / FIRST
        self.stem = nn.Sequential(*_first(width, 3, 1 if small else 2, activation))
        drops = _rising(drop_path, sum(count for _, _, count, _ in SETTINGS))
        self.blocks, inputs = nn.Sequential(), width
        for number, (expansion, channels, count, stride) in enumerate(SETTINGS):
            outputs = divisible(channels * share)
            for place in range(count):
                step = stride if place == 0 and not (small and number == 1) else 1
                drop = drops[len(self.blocks)]
                self.blocks.append(InvertedResidual(inputs, outputs, expansion, step, activation, drop))
                inputs = outputs
        last = max(LAST, divisible(LAST * share))
        self.last = _pointwise(inputs, last, activation, 0.0)
        self.pool, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.linear = nn.Linear(last, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Classify them."""
        logits: Tensor = self.linear(self.flat(self.pool(self.last(self.blocks(self.stem(pictures))))))
        return logits


def _check(stem: str, activation: str) -> None:
    if stem not in STEMS:
        raise ValueError(f"stem {stem!r}: there are {', '.join(STEMS)}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation {activation!r}: there are {', '.join(ACTIVATIONS)}")


def _rising(last: float, count: int) -> list[float]:
    return [last * place / max(count - 1, 1) for place in range(count)]


def _first(width: int, kernel: int, stride: int, activation: str) -> list[nn.Module]:
    conv = nn.Conv2d(3, width, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(width), ACTIVATIONS[activation](width)]


def _convolving(inputs: int, outputs: int, stride: int, activation: str, drop: float) -> Unit:
    same = stride == 1 and inputs == outputs
    shortcut = nn.Identity() if same else Projection(inputs, outputs, stride)
    return Unit(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), shortcut, activation, drop)


def _pointwise(inputs: int, outputs: int, activation: str, drop: float) -> Unit:
    shortcut = Carried(inputs, outputs) if carries(inputs, outputs) else None
    return Unit(nn.Conv2d(inputs, outputs, 1, bias=False), shortcut, activation, drop)
