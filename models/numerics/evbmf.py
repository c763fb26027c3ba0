"""How much of a matrix is more than noise: the global solution of empirical variational Bayesian matrix factorisation.

Nakajima et al. 2013, Global Analytic Solution of Fully-observed Variational Bayesian Matrix Factorization, section 4,
with the noise unknown. The factorisation is not symmetric in its sides, so the shorter one always counts as the rows.
"""

import math
from dataclasses import dataclass

import numpy as np

from models.numerics.tucker import Array

THRESHOLD = 2.5129  # times sqrt(rows / columns): the root of the paper's equation that has no closed form
EPSILON = float(np.finfo(np.float64).eps)
GRID = 400  # variances tried before the best one is refined; the objective may have several valleys
GOLDEN = (math.sqrt(5) - 1) / 2
REFINEMENTS = 60  # of the golden section: three hundred billion times as narrow


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is not noise in a matrix."""

    rank: int  # 0: nothing
    variance: float  # of the noise
    threshold: float  # singular values above it are kept
    shrunk: Array  # (rank,) kept values, less what noise added to them


def evbmf(matrix: Array) -> Evidence:
    """Return the evidence in a matrix (m, n), the same for its transpose.

    With L <= M the sides, a = L / M: tau = 2.5129 sqrt(a), xb = (1 + tau)(1 + a / tau). The variance v minimises the
    free energy of the singular values s; those above sqrt(M v xb) are kept.

    Raises:
        ValueError: the matrix is empty.
    """
    rows, columns = sorted(matrix.shape)
    if not rows:
        raise ValueError(f"a matrix of shape {matrix.shape} holds nothing")
    values = np.asarray(np.linalg.svd(matrix, compute_uv=False), np.float64)
    values[values <= values[0] * columns * EPSILON] = 0  # rounding is not the noise that is looked for
    if not values[0]:
        return Evidence(0, 0.0, 0.0, values[:0])
    variance = _variance(values, rows, columns)
    threshold = math.sqrt(columns * variance * edge(rows / columns))
    kept = values[values > threshold]
    return Evidence(len(kept), variance, threshold, _shrunk(kept, variance, rows, columns))


def edge(ratio: float) -> float:
    """Return xb of a ratio of the sides, 0 < ratio <= 1: s^2 / (M v) of the smallest value that is kept."""
    tau = THRESHOLD * math.sqrt(ratio)
    return (1 + tau) * (1 + ratio / tau)


def _variance(values: Array, rows: int, columns: int) -> float:
    """Return the noise's variance with the least free energy, between the bounds of the paper's theorem."""
    ratio = rows / columns
    first = min(math.ceil(rows / (1 + ratio)) - 1, rows)  # more values cannot be signal
    tail = np.square(values[first:])
    lowest = max(tail[0] / (columns * edge(ratio)), tail.mean() / columns)
    highest = float(np.square(values).sum()) / (rows * columns)
    lowest = max(lowest, highest * EPSILON**2)  # without noise the bound would be 0
    logarithms = np.linspace(math.log(lowest), math.log(highest), GRID)
    best = int(np.argmin(_free_energy(values, columns, ratio, logarithms)))
    low, high = logarithms[max(best - 1, 0)], logarithms[min(best + 1, GRID - 1)]
    for _ in range(REFINEMENTS):
        inner = np.array([high - GOLDEN * (high - low), low + GOLDEN * (high - low)])
        left, right = _free_energy(values, columns, ratio, inner)
        low, high = (low, inner[1]) if left <= right else (inner[0], high)
    return math.exp((low + high) / 2)


def _free_energy(values: Array, columns: int, ratio: float, logarithms: Array) -> Array:
    """Return the free energy (g,) at the logarithms (g,) of variances, but for what does not depend on them.

    Of noise x - ln x, of signal x - t + ln((t + 1) / x) + a ln(t / a + 1), x = s^2 / (M v). Both have -ln x, which is
    ln v and a constant; without the constant a value of 0 does no harm.
    """
    scaled = np.square(values) / (columns * np.exp(logarithms)[:, None])  # (g, L)
    signal = scaled > edge(ratio)
    middle = np.where(signal, scaled, edge(ratio)) - 1 - ratio
    tau = (middle + np.sqrt(np.square(middle) - 4 * ratio)) / 2
    change = np.log(tau + 1) + ratio * np.log(tau / ratio + 1) - tau
    energy: Array = (scaled + np.where(signal, change, 0)).sum(1) + len(values) * logarithms
    return energy


def _shrunk(kept: Array, variance: float, rows: int, columns: int) -> Array:
    squares = np.square(kept)
    share = 1 - (rows + columns) * variance / squares
    shrunk: Array = kept / 2 * (share + np.sqrt(np.square(share) - 4 * rows * columns * np.square(variance / squares)))
    return shrunk
