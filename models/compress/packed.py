"""The arithmetic that signs are for: 64 of them in a word, multiplied by XNOR and added by counting bits.

A reference in NumPy that proves what a binary layer computes can be computed so, bit by bit; it is no fast kernel, and
no speed is claimed of it. A bit is 1 for +1 and 0 for -1. Spatial padding has to be one of the two: a padded 0 would be
a third value, whose result is the mean of those of +1 and -1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Signs = NDArray[np.int8]
Words = NDArray[np.uint64]
Counts = NDArray[np.int64]

WORD = 64  # bits
PADDING_SIGN = 1


def pack(signs: Signs) -> Words:
    """Return signs (..., n) as words (..., ceil(n / 64)); sign i is bit i % 64 of word i // 64, bits to spare are 0.

    Raises:
        ValueError: a value is neither +1 nor -1.
    """
    if not np.all(np.abs(signs) == 1):
        raise ValueError("only +1 and -1 can be packed: a bit has no third value")
    spare = -signs.shape[-1] % WORD
    bits = np.concatenate([signs > 0, np.zeros((*signs.shape[:-1], spare), bool)], axis=-1)
    return np.packbits(bits, axis=-1, bitorder="little").view("<u8").astype(np.uint64)


def unpack(words: Words, count: int) -> Signs:
    """Return the signs (..., count) that `pack` made words (..., ceil(count / 64)) of."""
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), axis=-1, count=count, bitorder="little")
    return (2 * bits.astype(np.int8) - 1).astype(np.int8)


def dots(first: Words, second: Words, taps: int) -> Counts:
    """Return the sums of products of packed signs, n - 2 popcount(a xor b), over the words of the last axis.

    Args:
        first: (..., w) words of `pack`.
        second: words that go with them by the rules of broadcasting.
        taps: n, how many signs there are; the bits to spare are equal in both and count for nothing.
    """
    different: Counts = np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.int64)
    return taps - 2 * different


def patches(
    signs: Signs,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    value: int = PADDING_SIGN,
) -> Signs:
    """Return what a kernel sees at each place: signs (n, c, h, w) to (n, h', w', c kh kw), padded with `value`."""
    rows, columns = padding
    framed = np.pad(signs, ((0, 0), (0, 0), (rows, rows), (columns, columns)), constant_values=value)
    windows = sliding_window_view(framed, kernel, axis=(2, 3))[:, :, :: stride[0], :: stride[1]]
    seen = windows.transpose(0, 2, 3, 1, 4, 5)
    return seen.reshape(*seen.shape[:3], -1)


def pack_filters(weights: Signs) -> Words:
    """Return signs (..., outputs, inputs, kh, kw) as words (..., outputs, w), in the order of `patches`."""
    return pack(weights.reshape(*weights.shape[:-3], -1))


def convolve(
    signs: Signs,
    filters: Words,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    value: int = PADDING_SIGN,
) -> Counts:
    """Return the convolution of signs (n, c, h, w) with filters (o, words) as whole numbers (n, o, h', w')."""
    seen = patches(signs, kernel, stride, padding, value)
    return dots(pack(seen)[..., None, :], filters, seen.shape[-1]).transpose(0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """What has to be shipped of a binary convolution, and how it runs."""

    filters: Words  # (sets, outputs, words); one set for all thresholds or one for each
    thresholds: Floats  # (K, inputs)
    scales: Floats  # (outputs,) alpha
    factors: Floats  # (K,) of the K outputs
    bias: Floats  # (outputs,)
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def run(self, cells: Floats) -> Floats:
        """Return alpha sum_k f_k conv(b_w^k, b^k) + bias, (n, inputs, h, w) to (n, outputs, h', w'), in K passes."""
        total: Floats = np.zeros((), self.scales.dtype)
        for number, (thresholds, factor) in enumerate(zip(self.thresholds, self.factors, strict=True)):
            signs = np.where(cells >= thresholds[:, None, None], 1, -1).astype(np.int8)
            filters = self.filters[number % len(self.filters)]
            sums = convolve(signs, filters, self.kernel, self.stride, self.padding)
            total = total + factor * sums.astype(self.scales.dtype)
        return total * self.scales[:, None, None] + self.bias[:, None, None]
