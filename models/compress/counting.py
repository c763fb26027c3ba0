"""What a net costs: numbers, multiply-adds, bytes. A multiply-add counts as one; some of the literature counts two."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.compress.binary import BinaryConv2d
from models.compress.binary_size import operations_of, size_of

FLOAT_BYTES, INT8_BYTES, INDEX_BYTES = 4, 1, 4


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one net for pictures of one size."""

    parameters: int
    nonzero: int  # of them; zeros save nothing as long as they are stored and multiplied
    macs: int  # of one picture, as they ran
    operations: int  # the same with 64 multiply-adds of binary layers as one; no claim about speed


def counts(model: nn.Module, picture: Tensor) -> Counts:
    """Count a net that is shown a picture (1, c, h, w)."""
    values, ran = list(model.parameters()), macs(model, picture)
    return Counts(
        parameters=sum(value.numel() for value in values),
        nonzero=sum(int(value.count_nonzero()) for value in values),
        macs=ran,
        operations=round(operations_of(model, picture).total) if is_binary(model) else ran,
    )


def macs(model: nn.Module, picture: Tensor) -> int:
    """Return the multiply-adds of one pass over a picture (1, c, h, w).

    They are those of convolutions and matrix products as torch counts them while they run, so no layer is missed that
    has a module of its own kind; adding, normalising and rectifying count nothing. For a net of plain layers it is the
    sum over `models.compress.layers.layers_of`.
    """
    was_training = model.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.eval()(picture)
    finally:
        model.train(was_training)
    return int(counter.get_total_flops()) // 2


def theoretical_bytes(model: nn.Module) -> dict[str, int]:
    """Return the bytes of a net's parameters and running figures by how they could be kept.

    ``fp32``: everything as it is. ``int8``: weights of two axes or more as codes, with a float scale for each output
    channel, all else as it is. ``sparse``: only what is not zero, each value with an index of four bytes. ``signs``:
    binary layers at one bit a weight (`models.compress.binary_size`); only of nets that have some.
    """
    values = [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.is_floating_point())]
    coded = [value for value in values if value.ndim > 1]
    numbers = sum(value.numel() for value in values)
    codes, scales = sum(value.numel() for value in coded), sum(len(value) for value in coded)
    kept = sum(int(value.count_nonzero()) for value in values)
    signs = {"signs": math.ceil(size_of(model).bytes)} if is_binary(model) else {}
    return signs | {
        "fp32": FLOAT_BYTES * numbers,
        "int8": INT8_BYTES * codes + FLOAT_BYTES * (numbers - codes + scales),
        "sparse": (FLOAT_BYTES + INDEX_BYTES) * kept,
    }


def is_binary(model: nn.Module) -> bool:
    """Whether a net has layers of signs."""
    return any(isinstance(module, BinaryConv2d) for module in model.modules())
