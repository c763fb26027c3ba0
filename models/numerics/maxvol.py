"""Rows of a tall matrix from which all its rows can be rebuilt without blowing errors up: MaxVol.

Goreinov et al. 2010 (How to find a good submatrix) for as many rows as columns, Mikhalev and Oseledets 2018
(Rectangular maximum-volume submatrices) for more. The volume of a submatrix B is sqrt(det(B^T B)).
"""

import math

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

TOLERANCE = 1.05  # a swap has to win 5 % of volume, so that there are few
LARGEST_NORM = 1.0  # of a row's coefficients, beyond which the row is chosen too


def maxvol(matrix: Matrix, tolerance: float = TOLERANCE) -> tuple[list[int], Matrix]:
    """Return r rows of locally largest volume, and the coefficients that rebuild the matrix A from them.

    Identities: A = C A[rows], C[rows] is the identity, and no entry of C is larger than the tolerance: a swap of the
    row j of the choice for the row i of the matrix multiplies the volume by |C[i, j]|. It ends, because each swap
    makes a bounded volume larger.

    Args:
        matrix: A, (n, r) of rank r.
        tolerance: above 1; how large an entry of C may stay.

    Returns:
        r rows, in the order of the columns of C, and C (n, r).

    Raises:
        ValueError: the tolerance is 1 or less, or the rank is below r.
    """
    if tolerance <= 1:
        raise ValueError(f"tolerance is {tolerance}, not above 1")
    rows = _pivots(matrix)
    coefficients = _coefficients(matrix, rows)
    while True:
        row, column = np.unravel_index(int(np.abs(coefficients).argmax()), coefficients.shape)
        largest = coefficients[row, column]
        if abs(largest) <= tolerance:
            return rows, _coefficients(matrix, rows)  # anew: updates gather rounding errors
        rows[column] = int(row)
        change = coefficients[row].copy()
        change[column] -= 1
        coefficients -= np.outer(coefficients[:, column], change / largest)


def rectangular_maxvol(
    matrix: Matrix,
    max_rows: int | None = None,
    tolerance: float = TOLERANCE,
    largest_norm: float = LARGEST_NORM,
) -> tuple[list[int], Matrix]:
    """Return r rows of `maxvol` and those that are still badly rebuilt, the worst first, and all coefficients.

    Identities: A = C A[rows] with C = A A[rows]^+, and unless `max_rows` stopped it no row of C that is not chosen
    has a norm above `largest_norm`. A further row i multiplies the volume by sqrt(1 + ||C[i]||^2).

    Args:
        matrix: A, (n, r) of rank r.
        max_rows: r to n; n when None.
        tolerance: of `maxvol`.
        largest_norm: above 0. With 1 there are seldom more than 2 r rows.

    Returns:
        p rows, r <= p <= max_rows, in the order of the columns of C, and C (n, p).

    Raises:
        ValueError: as in `maxvol`, or fewer rows than columns are allowed.
    """
    count, rank = matrix.shape
    most = count if max_rows is None else min(max_rows, count)
    if most < rank:
        raise ValueError(f"max_rows is {max_rows}, but {rank} columns need as many rows")
    rows, square = maxvol(matrix, tolerance)
    inverse = np.eye(rank)  # of B^T B, B = square[rows], so that C = square inverse B^T
    norms = np.square(square).sum(1)  # of the rows of C
    norms[rows] = 0
    while len(rows) < most and norms.max() > largest_norm**2:
        row = int(norms.argmax())
        step = inverse @ square[row]
        longer = 1 + square[row] @ step
        norms -= np.square(square @ step) / longer
        inverse -= np.outer(step, step / longer)
        rows.append(row)
        norms[rows] = 0
    return rows, square @ (inverse @ square[rows].T)


def selection_norm(matrix: Matrix, rows: list[int]) -> float:
    """Return ||A[rows]^+||_2: by how much rebuilding from the rows multiplies the error of a projection on A's columns.

    For orthonormal A, (n, r), and any z: ||z - A A[rows]^+ z[rows]|| <= this ||z - A A^T z||.
    """
    return float(1 / np.linalg.svd(matrix[rows], compute_uv=False)[-1])


def selection_bound(count: int, rank: int, tolerance: float = TOLERANCE) -> float:
    """Return what `selection_norm` never exceeds for orthonormal (n, r) and rows of `maxvol`: sqrt(1 + t^2 r (n - r)).

    The norm is that of C, whose chosen rows are an identity and whose n - r others hold entries up to t.
    """
    return math.sqrt(1 + tolerance**2 * rank * (count - rank))


def _pivots(matrix: Matrix) -> list[int]:
    """Return the rows (r,) that elimination with row pivoting takes, in the order of the columns."""
    count, rank = matrix.shape
    left, order = matrix.copy(), np.arange(count)
    smallest = np.finfo(matrix.dtype).eps * count * np.abs(matrix).max(initial=0)
    for column in range(rank):
        best = column + int(np.abs(left[column:, column]).argmax()) if column < count else column
        if column >= count or abs(left[best, column]) <= smallest:
            raise ValueError(f"the matrix {count} x {rank} has rank {column} only")
        left[[column, best]] = left[[best, column]]
        order[[column, best]] = order[[best, column]]
        shares = left[column + 1 :, column] / left[column, column]
        left[column + 1 :, column + 1 :] -= np.outer(shares, left[column, column + 1 :])
    return [int(row) for row in order[:rank]]


def _coefficients(matrix: Matrix, rows: list[int]) -> Matrix:
    """Return C (n, r) with A = C A[rows]."""
    return np.asarray(np.linalg.solve(matrix[rows].T, matrix.T).T, dtype=np.float64)
