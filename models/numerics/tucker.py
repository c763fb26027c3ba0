"""Tucker-2: a kernel as a small core between one basis of its outputs and one of its inputs.

W (o, i, ...) ~ G x_0 Uo x_1 Ui: the core G (ro, ri, ...) keeps the kernel's own axes, Uo is (o, ro), Ui is (i, ri).
Tucker 1966; Kim et al. 2016, Compression of Deep Convolutional Neural Networks, section 3.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SWEEPS = 20  # of HOOI at most
SETTLED = 1e-5  # a sweep that adds no larger share to the core's squared norm is the last one


@dataclass(frozen=True, slots=True)
class Tucker2:
    """The three factors of a kernel (o, i, ...)."""

    core: Array  # (ro, ri, ...)
    outputs: Array  # (o, ro)
    inputs: Array  # (i, ri)

    @property
    def ranks(self) -> tuple[int, int]:
        """Ranks (ro, ri)."""
        return self.core.shape[0], self.core.shape[1]

    def dense(self) -> Array:
        """Return the kernel that the factors stand for."""
        return multiply(multiply(self.core, self.outputs, 0), self.inputs, 1)


def unfold(tensor: Array, axis: int) -> Array:
    """Return the matrix whose rows run along `axis`, the other axes kept in order and flattened."""
    return np.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)


def multiply(tensor: Array, matrix: Array, axis: int) -> Array:
    """Return tensor x_axis matrix (m, n): every fibre (n,) along `axis` is mapped to (m,)."""
    return np.moveaxis(np.tensordot(matrix, tensor, (1, axis)), 0, axis)


def relative_error(found: Array, wanted: Array) -> float:
    """Return ||found - wanted|| / ||wanted||; 0 where both are nothing."""
    difference = float(np.linalg.norm(found - wanted))
    return difference and difference / float(np.linalg.norm(wanted))


def capped_ranks(ranks: tuple[int, int], shape: tuple[int, ...]) -> tuple[int, int]:
    """Return ranks that a kernel of this shape (o, i, ...) can have; what is cut off holds nothing.

    ro <= o, ri <= i, and of the cells k of the kernel: ro <= ri k and ri <= ro k.
    """
    cells = prod(shape[2:])
    outputs, inputs = min(ranks[0], shape[0]), min(ranks[1], shape[1])
    outputs = min(outputs, inputs * cells)
    return outputs, min(inputs, outputs * cells)


def error_bound(kernel: Array, ranks: tuple[int, int]) -> float:
    """Return sqrt(tail_0 + tail_1) / ||W||, which neither `hosvd` nor `hooi` exceeds.

    tail_m is the sum of the squared singular values of the unfolding along m behind its rank (De Lathauwer et al. 2000,
    A Multilinear Singular Value Decomposition, property 10).
    """
    tails = [np.square(np.linalg.svd(unfold(kernel, axis), compute_uv=False)[ranks[axis] :]).sum() for axis in (0, 1)]
    return float(np.sqrt(sum(tails)) / np.linalg.norm(kernel))


def hosvd(kernel: Array, ranks: tuple[int, int]) -> Tucker2:
    """Return Tucker-2 with the leading singular vectors of both unfoldings; both bases are orthonormal.

    Args:
        kernel: (o, i, ...).
        ranks: (ro, ri), 1 to (o, i).

    Raises:
        ValueError: the kernel cannot have these ranks.
    """
    if min(ranks) < 1 or capped_ranks(ranks, kernel.shape) != ranks:
        raise ValueError(f"a kernel of shape {kernel.shape} cannot have ranks {ranks}")
    return _projected(kernel, _leading(kernel, 0, ranks[0]), _leading(kernel, 1, ranks[1]))


def hooi(kernel: Array, ranks: tuple[int, int], sweeps: int = SWEEPS, settled: float = SETTLED) -> Tucker2:
    """Return Tucker-2 whose bases were fitted to each other; never worse than `hosvd`, from which it starts.

    Each half of a sweep projects on one basis and takes the other from what is left, so the core's norm never falls
    (De Lathauwer et al. 2000, On the Best Rank-(R1, ..., RN) Approximation, algorithm 4.2).

    Args:
        kernel: (o, i, ...).
        ranks: (ro, ri), 1 to (o, i).
        sweeps: at most so many.
        settled: see `SETTLED`.

    Raises:
        ValueError: the kernel cannot have these ranks.
    """
    found = hosvd(kernel, ranks)
    for _ in range(sweeps):
        before = np.square(found.core).sum()
        outputs = _leading(multiply(kernel, found.inputs.T, 1), 0, ranks[0])
        inputs = _leading(multiply(kernel, outputs.T, 0), 1, ranks[1])
        found = _projected(kernel, outputs, inputs)
        if np.square(found.core).sum() <= before * (1 + settled):
            break
    return found


def orthonormal(factors: Tucker2) -> Tucker2:
    """Return factors of the same kernel whose bases are orthonormal: QR of both, the triangles go into the core.

    The core's unfoldings then have the singular values of the kernel's. Training destroys that property of a Tucker-2.
    A basis wider than tall becomes square, so ranks may fall.
    """
    outputs, left = np.linalg.qr(factors.outputs)
    inputs, right = np.linalg.qr(factors.inputs)
    return Tucker2(multiply(multiply(factors.core, left, 0), right, 1), outputs, inputs)


def recompressed(factors: Tucker2, ranks: tuple[int, int]) -> Tucker2:
    """Return `hooi` of the kernel that the factors stand for, at the cost of their core.

    Raises:
        ValueError: the core cannot have these ranks.
    """
    upright = orthonormal(factors)
    small = hooi(upright.core, ranks)
    return Tucker2(small.core, upright.outputs @ small.outputs, upright.inputs @ small.inputs)


def _projected(kernel: Array, outputs: Array, inputs: Array) -> Tucker2:
    return Tucker2(multiply(multiply(kernel, outputs.T, 0), inputs.T, 1), outputs, inputs)


def _leading(tensor: Array, axis: int, rank: int) -> Array:
    """Return the first left singular vectors of an unfolding as columns.

    From the square of the matrix, ten times as fast for the usual wide one. Directions below 1e-8 of the largest
    singular value get lost in it; weights of 32 bits hold no such.
    """
    matrix = unfold(tensor, axis)
    vectors: Array = np.linalg.eigh(matrix @ matrix.T)[1]
    return vectors[:, ::-1][:, :rank]
