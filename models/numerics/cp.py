"""CP: a kernel as a sum of rank-one terms, by alternating least squares that cannot diverge.

W (o, i, ...) ~ sum over r of a_r (o,) x b_r (i,) x c_r (k,), the k cells of the kernel kept as one axis. A kernel may
have no best sum of R terms: plain alternating least squares then lets terms grow without end that cancel each other
(de Silva and Lim 2008), and such a net can be neither trained nor quantised. So the terms' norms are capped while the
error falls, and then lowered as far as the error allows (Phan et al. 2020, Stable Low-rank Tensor Decomposition for
Compression of Convolutional Neural Network, section 3). Both are the same regularised least squares with another
multiplier.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.numerics.tucker import Array, unfold

CAP = 1.5  # root of the sum of the terms' squared norms, in norms of the kernel; 2 to 5 gave no smaller error
SWEEPS = 200
SETTLED = 1e-6  # a sweep that lowers the squared error by no larger share of the kernel's is the last one
CALMING = 10  # sweeps that lower the norms
SLACK = 1e-6  # share of the squared error that calming may add, so that rounding does not forbid every step
SMALLEST, LARGEST = 1e-14, 1e4  # multipliers that are tried; the tensor and the columns have norm 1
HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Cp:
    """The three factors of a kernel (o, i, ...); a column of each makes a term."""

    outputs: Array  # (o, R)
    inputs: Array  # (i, R)
    cells: Array  # (k, R)

    def dense(self) -> Array:
        """Return the kernel (o, i, k) that the factors stand for."""
        return (self.outputs @ _columnwise(self.inputs, self.cells).T).reshape(
            len(self.outputs), len(self.inputs), len(self.cells)
        )

    def norms(self) -> Array:
        """Return the norm (R,) of each term."""
        outputs, inputs, cells = (np.linalg.norm(factor, axis=0) for factor in (self.outputs, self.inputs, self.cells))
        lengths: Array = outputs * inputs * cells
        return lengths

    def balanced(self) -> "Cp":
        """Return the same terms, the three columns of each of one length, so that one learning rate suits them all."""
        lengths = np.cbrt(self.norms())
        return Cp(*(_unit(factor) * lengths for factor in (self.outputs, self.inputs, self.cells)))


def cp3(kernel: Array, rank: int, seed: int, cap: float = CAP) -> Cp:
    """Return a sum of `rank` terms near a kernel; the root of their squared norms' sum is `cap` ||W|| at most.

    Args:
        kernel: (o, i, ...).
        rank: 1 and more.
        seed: of the random start.
        cap: 1 and more.

    Raises:
        ValueError: the rank or the cap is below 1, or the kernel is all 0.
    """
    if not kernel.any():
        raise ValueError("a kernel of zeros has no terms")
    if rank < 1 or cap < 1:
        raise ValueError(f"rank and cap are 1 and more, not {rank} and {cap}")
    tensor = kernel.reshape(*kernel.shape[:2], -1)
    random = np.random.default_rng(seed)
    return _fitted(tensor, [random.standard_normal((side, rank)) for side in tensor.shape], cap)


def recompressed(factors: Cp, rank: int) -> Cp:
    """Return fewer terms for the kernel that the factors stand for, fitted from its largest ones on.

    They are found in the smaller tensor that is left between QR of both sides, which has the same errors.

    Raises:
        ValueError: the rank is below 1, or the factors stand for 0.
    """
    norms = factors.norms()
    if rank < 1 or not norms.any():
        raise ValueError(f"there are no {rank} terms among norms of {norms}")
    largest = np.argsort(norms)[::-1][:rank]
    outputs, left = np.linalg.qr(factors.outputs)
    inputs, right = np.linalg.qr(factors.inputs)
    start = [factor[:, largest] for factor in (left, right, factors.cells)]
    small = _fitted(Cp(left, right, factors.cells).dense(), start, CAP)
    return Cp(outputs @ small.outputs, inputs @ small.inputs, small.cells)


def _fitted(tensor: Array, start: list[Array], cap: float) -> Cp:
    size = float(np.linalg.norm(tensor))
    fit = _Fit(tensor / size, start)
    fit.lower_error(cap)
    fit.lower_norms()
    outputs, inputs, cells = fit.factors
    return Cp(outputs, inputs, cells * size).balanced()


class _Fit:
    """A sum that is being fitted to a tensor of norm 1; the columns of the factor solved last carry the norms."""

    def __init__(self, tensor: Array, factors: list[Array]) -> None:
        self.factors = factors
        self._unfolded = [unfold(tensor, axis) for axis in range(3)]
        self._error = math.inf  # squared

    def lower_error(self, cap: float) -> None:
        """Fit with the norms within the cap; the error never rises, since what was found last stays allowed."""
        for _ in range(SWEEPS):
            before = self._error
            for axis in range(3):
                self._solve(axis, lambda squares: squares.within(cap))
            if before - self._error <= SETTLED:
                break

    def lower_norms(self) -> None:
        """Take the smallest norms that leave the error as it is."""
        allowed = self._error * (1 + SLACK)
        for _ in range(CALMING):
            for axis in range(3):
                self._solve(axis, lambda squares: squares.leaving(allowed))

    def _solve(self, axis: int, multiplier: "Callable[[_LeastSquares], float]") -> None:
        self.factors = [_unit(factor) for factor in self.factors]
        first, second = (factor for other, factor in enumerate(self.factors) if other != axis)
        gram = (first.T @ first) * (second.T @ second)
        squares = _LeastSquares(self._unfolded[axis] @ _columnwise(first, second), gram)
        chosen = multiplier(squares)
        self.factors[axis] = squares.solution(chosen)
        self._error = squares.error(chosen)


class _LeastSquares:
    """min ||Y - A Z^T||^2 + m ||A||^2 for every multiplier m at the price of one: Z^T Z is taken apart once."""

    def __init__(self, crossed: Array, gram: Array) -> None:
        """Take Y Z (n, R) and Z^T Z (R, R); ||Y|| is 1."""
        values, self._basis = np.linalg.eigh(gram)
        self._values = np.maximum(values, values[-1] * SMALLEST)
        self._turned = crossed @ self._basis
        self._shares = np.square(self._turned).sum(0)

    def solution(self, multiplier: float) -> Array:
        """Return A (n, R)."""
        found: Array = (self._turned / (self._values + multiplier)) @ self._basis.T
        return found

    def error(self, multiplier: float) -> float:
        """Return ||Y - A Z^T||^2, which rises with the multiplier."""
        weights = 1 / (self._values + multiplier)
        return max(float(1 - (self._shares * weights * (2 - self._values * weights)).sum()), 0.0)

    def within(self, cap: float) -> float:
        """Return the smallest multiplier with ||A|| <= cap."""

        def fits(multiplier: float) -> bool:
            return bool((self._shares / np.square(self._values + multiplier)).sum() <= cap**2)

        return 0.0 if fits(0.0) else _turn(lambda multiplier: not fits(multiplier))[1]

    def leaving(self, allowed: float) -> float:
        """Return the largest multiplier whose error is allowed."""
        return _turn(lambda multiplier: self.error(multiplier) <= allowed)[0]


def _turn(holds: Callable[[float], bool]) -> tuple[float, float]:
    """Return the multipliers between which a statement that holds for small ones ceases to."""
    low, high = math.log(SMALLEST), math.log(LARGEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(math.exp(middle)) else (low, middle)
    return math.exp(low), math.exp(high)


def _columnwise(first: Array, second: Array) -> Array:
    """Return the Kronecker product (m n, R) of each column of (m, R) with that of (n, R) (Khatri-Rao)."""
    product: Array = (first[:, None] * second[None]).reshape(-1, first.shape[1])
    return product


def _unit(factor: Array) -> Array:
    """Return columns of length 1; a column of nothing stays."""
    lengths = np.linalg.norm(factor, axis=0)
    unit: Array = factor / np.where(lengths > 0, lengths, 1)
    return unit
