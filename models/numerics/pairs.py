"""A matrix as the product of two thin ones: the SVD pair, and a smaller pair in the place of a trained one."""

import numpy as np

from models.numerics.tucker import Array


def svd_pair(matrix: Array, rank: int) -> tuple[Array, Array]:
    """Return U sqrt(S) (m, r) and sqrt(S) V^T (r, n) of a matrix (m, n): the best product of that rank.

    Both have the same norm, so that one learning rate suits both (Eckart and Young 1936 for the optimum).

    Raises:
        ValueError: the rank is not between 1 and the shorter side.
    """
    if not 1 <= rank <= min(matrix.shape):
        raise ValueError(f"a matrix of shape {matrix.shape} cannot have rank {rank}")
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    roots = np.sqrt(values[:rank])
    return left[:, :rank] * roots, roots[:, None] * right[:rank]


def middle(left: Array, right: Array) -> tuple[Array, Array, Array]:
    """Return Q (m, k), M (k, l) and P (l, n) with Q M P = left (m, r) right (r, n); Q and P^T are orthonormal.

    M, of r rows and columns at most, has the singular values of the product.
    """
    rows, upper = np.linalg.qr(left)
    columns, lower = np.linalg.qr(right.T)
    return rows, upper @ lower.T, columns.T


def recompressed_pair(left: Array, right: Array, rank: int) -> tuple[Array, Array]:
    """Return `svd_pair` of the product left (m, r) right (r, n), without working it out.

    Raises:
        ValueError: the rank is not between 1 and what the product can have.
    """
    rows, inner, columns = middle(left, right)
    smaller, larger = svd_pair(inner, rank)
    return rows @ smaller, larger @ columns
