"""Binary nets in one bit a weight: a file of all numbers in float32 and, behind them, a row of bits with all signs.

It is as long as `models.compress.binary_size.size_of` says, to the byte, with one set of signs or with one for each
threshold. What the net is made of stands in ``recipe.json``, as it does for ``weights.pt``; this is weights alone.

Floats are little-endian, parameters in the order of the net without the latent weights of binary layers; of these the
signs follow in the same order, by `models.compress.packed.pack` as if they were one row, cut behind the last byte in
use. A batch normalisation is kept as a factor and an offset: those that torch's own code multiplies and adds, so that
not the last bit of an answer changes.
"""

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.errors import SetupError
from models.compress.binary import BinaryConv2d, standardised
from models.compress.binary_size import FLOAT_BYTES, Norm, size_of
from models.compress.estimators import sign
from models.compress.packed import WORD, pack, unpack

FLOAT, WORDS = "<f4", "<u8"


def packed_weights(net: nn.Module) -> bytes:
    """Return the file of a net in float32 on the CPU, whose training is over.

    Raises:
        SetupError: the net keeps something that the file has no place for.
    """
    settled = copy.deepcopy(net).eval()
    for name, module in settled.named_modules():
        _check(name, module)
        if isinstance(module, Norm):
            _settle(module, *_factor_and_offset(module))
    floats, latent = _kept(settled)
    row = [sign(standardised(weights)).flatten().to(torch.int8).numpy() for weights in latent]
    signs = np.concatenate([np.zeros(0, np.int8), *row])
    numbers = np.concatenate([np.zeros(0, FLOAT), *(value.flatten().numpy() for value in floats)])
    return numbers.astype(FLOAT).tobytes() + pack(signs).astype(WORDS).tobytes()[: math.ceil(len(signs) / 8)]


def take_weights(net: nn.Module, content: bytes) -> None:
    """Give a net of the same structure the weights of a file, in place; it then answers as the one that was written.

    Of latent weights and running figures it has only what answers need, so it is not to be trained on.

    Raises:
        SetupError: the file is of another net or cut off, or the net is one that cannot be written.
    """
    for name, module in net.named_modules():
        _check(name, module)
    floats, latent = _kept(net)
    expected = math.ceil(size_of(net).bytes)
    if len(content) != expected:
        raise SetupError(f"the file has {len(content)} bytes, and this net's signs and numbers take {expected}")
    numbers = sum(value.numel() for value in floats)
    bits = content[FLOAT_BYTES * numbers :]
    words = np.frombuffer(bits + bytes(-len(bits) % (WORD // 8)), WORDS)
    _fill(floats, np.frombuffer(content, FLOAT, numbers).astype(np.float32))
    # Standardised once more they are themselves: of a filter's weights the mean is never above the largest, so none is
    # of -1 alone, and one of +1 alone is zeros then, whose sign is +1.
    _fill(latent, unpack(words, sum(value.numel() for value in latent)).astype(np.float32))
    for module in net.modules():
        if isinstance(module, Norm):
            _settle(module, module.weight.detach(), module.bias.detach())


def _kept(net: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return what is kept as floats, and the latent weights that are kept as signs."""
    latent = [module.weights for module in net.modules() if isinstance(module, BinaryConv2d)]
    places = {id(value) for value in latent}
    floats = [value.detach() for value in net.parameters() if id(value) not in places]
    return floats, [value.detach() for value in latent]


def _check(name: str, module: nn.Module) -> None:
    """See that a module's parameters, and what this module knows of its buffers, are all that it answers by.

    Raises:
        SetupError: names it and says what is wrong.
    """
    if isinstance(module, BinaryConv2d):
        if not module.signed_weights:
            raise SetupError(f"the weights of {name} are not signs yet; train the stage to its end")
    elif isinstance(module, Norm):
        if not (module.affine and module.track_running_stats):
            raise SetupError(f"{name} has no factor and offset of its own, or no running figures, to be kept")
    elif next(module.buffers(recurse=False), None) is not None:
        raise SetupError(f"{name or 'the net'} keeps more than parameters; a one-bit file has no place for it")


def _factor_and_offset(norm: Norm) -> tuple[Tensor, Tensor]:
    """Return what a normalisation multiplies by and adds, (c,) each: its answers to 1 and to 0 with nothing to add."""
    probe, nothing = torch.zeros(1, norm.num_features, 1), torch.zeros(norm.num_features)
    mean, variance = norm.running_mean, norm.running_var
    with torch.no_grad():
        factor = functional.batch_norm(probe + 1, nothing, variance, norm.weight, nothing, eps=norm.eps)
        offset = functional.batch_norm(probe, mean, variance, norm.weight, norm.bias, eps=norm.eps)
    return factor.flatten(), offset.flatten()


def _settle(norm: Norm, factor: Tensor, offset: Tensor) -> None:
    """Let a normalisation do nothing but multiply and add."""
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        norm.weight.copy_(factor)
        norm.bias.copy_(offset)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)  # what is divided by is then 1


def _fill(places: Sequence[Tensor], values: np.ndarray) -> None:
    """Put values (n,) into tensors, one behind the other."""
    begin = 0
    for place in places:
        part = values[begin : begin + place.numel()]
        place.copy_(torch.from_numpy(part).reshape(place.shape))
        begin += place.numel()
