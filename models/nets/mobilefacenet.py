"""MobileFaceNet: aligned faces to identity vectors (Chen et al. 2018), with PReLU as published or ReLU for integers.

ONNX Runtime runs a PReLU in floats also between integer convolutions, at more than the convolutions' own cost; a ReLU
is part of the integer convolution before it.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from models.nets.blocks import SameConv

Activation = Literal["prelu", "relu", "swish"]

EPSILON = 1e-3  # of the batch normalisation
MOMENTUM = 0.05  # of its running figures

GROUPS = (  # hidden channels, channels, residual blocks behind the one of stride 2
    (128, 64, 4),
    (256, 128, 6),
    (512, 128, 2),
)
FIRST, LAST = 64, 512
RESIDUAL_HIDDEN = (128, 256, 256)  # of the residual blocks of each group
SIDE = 112


class SplitPReLU(nn.PReLU):
    """A PReLU per channel as ``a x + (1 - a) relu(x)``: on a processor a fraction of the time, forth and back."""

    def forward(self, input: Tensor) -> Tensor:
        """Activate (n, c, h, w)."""
        slopes = self.weight.to(input.dtype)[:, None, None]
        return input * slopes + functional.relu(input) * (1 - slopes)


class Layer(nn.Module):
    """Convolution, batch normalisation and, unless it is linear, the activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Activation | None = None,
        padded: bool = True,
    ) -> None:
        super().__init__()
        convolution = SameConv if padded else nn.Conv2d
        self.conv = convolution(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=EPSILON, momentum=MOMENTUM)
        kinds: dict[Activation | None, Callable[[int], nn.Module]] = {
            "prelu": SplitPReLU,
            "relu": lambda _: nn.ReLU(inplace=True),
            "swish": lambda _: nn.SiLU(inplace=True),
            None: lambda _: nn.Identity(),
        }
        self.activation: nn.Module = kinds[activation](outputs)
        self.padded, self.linear = padded, activation is None

    def forward(self, cells: Tensor) -> Tensor:
        """Convolve, normalise, activate."""
        output: Tensor = self.activation(self.norm(self.conv(cells)))
        return output

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weights and bias with the normalisation in them: w g / sqrt(v + e), and b - m g / sqrt(v + e)."""
        if not isinstance(self.norm, nn.BatchNorm2d):
            return self.conv.parametrizations.weight.original.detach(), self.conv.bias.detach()
        norm = self.norm
        assert norm.running_mean is not None and norm.running_var is not None
        factor = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        return self.conv.weight.detach() * factor[:, None, None, None], norm.bias.detach() - norm.running_mean * factor


class Bottleneck(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1; the input is added where the shape allows it."""

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.expand = Layer(inputs, hidden, activation=activation)
        self.depthwise = Layer(hidden, hidden, 3, stride, hidden, activation)
        self.project = Layer(hidden, outputs)
        self.adds = stride == 1 and inputs == outputs
        self.joined: nn.Module = nn.Identity()  # behind the sum

    def forward(self, cells: Tensor) -> Tensor:
        """Run the block."""
        output: Tensor = self.project(self.depthwise(self.expand(cells)))
        return self.joined(cells + output) if self.adds else output


class MobileFaceNet(nn.Module):
    """Faces (n, 3, 112, 112), BGR of 0..255, to vectors (n, dimension) of any length."""

    def __init__(self, dimension: int = 128, activation: Activation = "prelu") -> None:
        super().__init__()
        self.first = Layer(3, FIRST, 3, 2, activation=activation)
        self.second = Layer(FIRST, FIRST, 3, groups=FIRST, activation=activation)
        blocks, channels = [], FIRST
        for (hidden, outputs, count), inner in zip(GROUPS, RESIDUAL_HIDDEN, strict=True):
            blocks.append(Bottleneck(channels, hidden, outputs, 2, activation))
            blocks += [Bottleneck(outputs, inner, outputs, 1, activation) for _ in range(count)]
            channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = Layer(channels, LAST, activation=activation)
        self.pool = Layer(LAST, LAST, SIDE // 16, groups=LAST, padded=False)
        self.embed = Layer(LAST, dimension)

    def forward(self, faces: Tensor) -> Tensor:
        """Embed them."""
        vectors: Tensor = self.embed(self.stages(faces)[-1])
        return vectors.flatten(1)

    def stages(self, faces: Tensor) -> list[Tensor]:
        """Return the maps behind the second layer and each block, and what the last layer is given (n, 512, 1, 1)."""
        stages = [self.second(self.first((faces - 127.5) / 128))]
        for block in self.blocks:
            stages.append(block(stages[-1]))
        return [*stages, self.pool(self.last(stages[-1]))]

    def layers(self) -> list[Layer]:
        """Return the convolutions in the order in which they run."""
        return [module for module in self.modules() if isinstance(module, Layer)]
