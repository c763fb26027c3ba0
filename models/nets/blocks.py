"""Building blocks of the detectors: convolutions padded as TensorFlow pads, inverted residuals, SSDLite predictors.

All activations are ReLU6 and nothing else, so that a net quantised to eight bits stays in integers from end to end
(the activation's range lies inside 0..6). Block shapes: Sandler et al. 2018 (MobileNetV2).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.starter.graph import same_padding

EPSILON = 1e-3  # of the batch normalisation, as the starter weights were trained
MOMENTUM = 0.03  # of its running figures: a few hundred steps follow a change of the weights


class SameConv(nn.Conv2d):
    """A convolution padded by TensorFlow's SAME rule, computed anew for each side of the input.

    At stride 2 an even side is padded (0, 1) and an odd one (1, 1), so one set of weights fits every size of picture.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (n, c, h, w)."""
        (top, bottom), (left, right) = (
            same_padding(side, kernel, stride)
            for side, kernel, stride in zip(input.shape[2:], self.kernel_size, self.stride, strict=True)
        )
        if (top, left) != (bottom, right):
            input, top, left = functional.pad(input, (left, right, top, bottom)), 0, 0
        return functional.conv2d(input, self.weight, self.bias, self.stride, (top, left), self.dilation, self.groups)


class Convolution(nn.Module):
    """Convolution, batch normalisation and, unless it is linear, ReLU6: (n, inputs, h, w) -> (n, outputs, h', w')."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = SameConv(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=EPSILON, momentum=MOMENTUM)
        self.linear = linear

    def forward(self, cells: Tensor) -> Tensor:
        """Convolve, normalise, activate."""
        cells = self.norm(self.conv(cells))
        return cells if self.linear else functional.relu6(cells)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1 projection; the input is added where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int = 1) -> None:
        """Build it with `expansion` times the inputs inside; with 1 there is no expansion."""
        super().__init__()
        hidden = inputs * expansion
        self.expand = Convolution(inputs, hidden) if expansion != 1 else nn.Identity()
        self.depthwise = Convolution(hidden, hidden, 3, stride, groups=hidden)
        self.project = Convolution(hidden, outputs, linear=True)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, cells: Tensor) -> Tensor:
        """Run the block."""
        return self.finish(cells, self.expand(cells))

    def finish(self, cells: Tensor, expanded: Tensor) -> Tensor:
        """Run what follows the expansion; a detector may branch off between the two."""
        output = self.project(self.depthwise(expanded))
        return cells + output if self.adds else output


class Squeeze(nn.Sequential):
    """An extra SSD layer: 1x1 to half the width, depthwise 3x3 at stride 2, 1x1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        half = outputs // 2
        super().__init__(
            Convolution(inputs, half), Convolution(half, half, 3, 2, groups=half), Convolution(half, outputs)
        )

    def forward(self, input: Tensor) -> Tensor:
        """Run the layer, in float32 always.

        In bfloat16 the gradient of a depthwise kernel on a map of a few cells is infinite now and then (torch 2.13 on a
        processor with AMX), and one such step is the end of a run.
        """
        with torch.autocast(input.device.type, enabled=False):
            output: Tensor = super().forward(input.float())
        return output


class Predictor(nn.Module):
    """An SSDLite predictor: depthwise 3x3, then 1x1 with a bias; (n, c, h, w) -> (n, h w k, values)."""

    def __init__(self, inputs: int, priors: int, values: int) -> None:
        """Predict `values` numbers for each of the `priors` boxes of a cell."""
        super().__init__()
        self.depthwise = Convolution(inputs, inputs, 3, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, priors * values, 1)
        self.values = values

    def forward(self, cells: Tensor) -> Tensor:
        """Return the values in the order of the priors: rows, columns, boxes of a cell; float32 as in `Squeeze`."""
        with torch.autocast(cells.device.type, enabled=False):
            output = self.pointwise(self.depthwise(cells.float()))
        return output.permute(0, 2, 3, 1).reshape(len(output), -1, self.values)
