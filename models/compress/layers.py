"""What a net consists of: a record for each layer that has weights, and filters that choose among the records."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from math import prod

import torch
from torch import Tensor, nn

from app.errors import SetupError

SMALLEST_INPUTS = 16  # channels below which no layer is chosen unless a filter says otherwise


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or a fully connected layer, as it ran on one picture."""

    name: str  # dotted
    kind: str  # "conv" or "linear"
    shape: tuple[int, ...]  # of the weights: (out, in / groups, kh, kw) or (out, in)
    groups: int
    stride: tuple[int, int]
    inputs: tuple[int, ...]  # shape of what it is given, without the batch
    outputs: tuple[int, ...]
    parameters: int  # bias included
    macs: int  # multiply-adds of one picture, bias left out


@dataclass(frozen=True, slots=True)
class Filter:
    """Which layers a stage may touch; the defaults leave alone what hardly ever pays."""

    kind: str = ""  # "conv" or "linear"; both when empty
    kernel_above: int = 0  # smallest side of the kernel is larger than this
    min_parameters: int = 0
    min_inputs: int = SMALLEST_INPUTS
    only: list[str] = field(default_factory=list)  # patterns of names; all when empty
    leave: list[str] = field(default_factory=list)  # patterns of names
    first_and_last: bool = False  # whether the first convolution and the last layer may be chosen

    def chooses(self, layer: Layer) -> bool:
        """Say whether a layer is chosen, first and last apart. Layers in groups never are."""
        return (
            layer.groups == 1
            and self.kind in ("", layer.kind)
            and min(layer.shape[2:], default=1) > self.kernel_above
            and layer.parameters >= self.min_parameters
            and layer.shape[1] >= self.min_inputs
            and (not self.only or any(fnmatch(layer.name, pattern) for pattern in self.only))
            and not any(fnmatch(layer.name, pattern) for pattern in self.leave)
        )

    def chosen(self, layers: list[Layer]) -> list[Layer]:
        """Return the layers that may be touched, in the order in which they ran."""
        inner = layers if self.first_and_last else layers[1:-1]
        return [layer for layer in inner if self.chooses(layer)]


def layers_of(model: nn.Module, picture: Tensor) -> list[Layer]:
    """Return the records of all layers in the order in which they ran on a picture (1, c, h, w).

    Raises:
        SetupError: a layer ran more than once, so its record would be ambiguous.
    """
    found: dict[str, Layer] = {}

    def noting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            if name in found:
                raise SetupError(f"layer {name} runs more than once in a pass; it cannot be compressed")
            found[name] = _record(name, module, tuple(given[0].shape[1:]), tuple(output.shape[1:]))

        return note

    hooks = [
        module.register_forward_hook(noting(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(picture)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return list(found.values())


def _record(name: str, module: nn.Module, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Layer:
    assert isinstance(module, nn.Conv2d | nn.Linear)
    shape = tuple(module.weight.shape)
    convolution = isinstance(module, nn.Conv2d)
    return Layer(
        name=name,
        kind="conv" if convolution else "linear",
        shape=shape,
        groups=module.groups if isinstance(module, nn.Conv2d) else 1,
        stride=(module.stride[0], module.stride[1]) if isinstance(module, nn.Conv2d) else (1, 1),
        inputs=inputs,
        outputs=outputs,
        parameters=sum(value.numel() for value in module.parameters(recurse=False)),
        macs=prod(outputs) * prod(shape[1:]) if convolution else prod(shape) * prod(outputs[:-1]),
    )
