"""How large a net in torch is and what it costs; figures that others published for the same layers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

COUNTED = (nn.Conv2d, nn.Linear)


def parameter_count(net: nn.Module) -> int:
    """Return the number of trained values; running figures of normalisations are not among them."""
    return sum(value.numel() for value in net.parameters())


def multiplications(net: nn.Module, *shape: int) -> int:
    """Return the multiply-accumulate operations of convolutions and linear layers for an input (1, c, h, w)."""
    total = 0

    def count(module: nn.Module, _: Sequence[Tensor], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, COUNTED)
        total += output[0].numel() * module.weight[0].numel()

    hooks = [module.register_forward_hook(count) for module in net.modules() if isinstance(module, COUNTED)]
    with torch.no_grad():
        net.eval()(torch.zeros(shape, device=next(net.parameters()).device))
    for hook in hooks:
        hook.remove()
    return total
