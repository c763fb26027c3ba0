"""Terms that keep factors of weights orthonormal and their spectra sparse (Yang et al. 2020, SVD training)."""

import torch
from torch import Tensor

SMALLEST = 1e-12  # norm by which a spectrum is divided: one of zeros is as sparse as can be, not a NaN


def gram_error(matrix: Tensor) -> Tensor:
    """Return ||M^T M - I||^2, the squared Frobenius norm, of a matrix (m, r); 0 for orthonormal columns."""
    unit = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    return (matrix.T @ matrix - unit).square().sum()


def orthogonality(matrix: Tensor) -> Tensor:
    """Return `gram_error` of a matrix (m, r) divided by r^2, as the paper has it (equation 3)."""
    return gram_error(matrix) / matrix.shape[1] ** 2


def l1(values: Tensor) -> Tensor:
    """Return the sum of the absolute values (r,); the gradient at 0 is 0."""
    return values.abs().sum()


def hoyer(values: Tensor) -> Tensor:
    """Return ||s||_1 / ||s||_2 of values (r,): 1 for a single one, sqrt(r) for equal ones, the same at every scale."""
    length: Tensor = torch.linalg.vector_norm(values)
    return l1(values) / length.clamp(min=SMALLEST)


def hoyer_square(values: Tensor) -> Tensor:
    """Return the square of `hoyer`: 1 to r."""
    return hoyer(values).square()


SPARSE = {"l1": l1, "hoyer": hoyer, "hoyer_square": hoyer_square}
