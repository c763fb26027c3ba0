"""What a layer's outputs have in common on training pictures: a basis, and the entries that all others follow from.

N pictures, n entries of a layer, z = V V^T z nearly for all outputs z, V (n, r) orthonormal. The p chosen entries c of
z give z = V V[rows]^+ c nearly, too. The basis is not centred, since zero is where a rectifier cuts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from app.errors import SetupError
from models.numerics.maxvol import TOLERANCE, maxvol, rectangular_maxvol, selection_norm

BATCH = 128  # pictures that run at once
EXACT = 2_000_000  # largest number of outputs whose basis is computed exactly
FIRST_COLUMNS = 64  # of a sketch; twice as many follow until they hold the energy
SPARE_COLUMNS = 10  # of a sketch beyond the rank (Halko et al. 2011, section 4.2)
POWERS = 2  # of the sketch: spectra of activations fall slowly
ROUNDING = 100  # units in the last place that sums over thousands of entries may be off


@dataclass(frozen=True, slots=True)
class Choice:
    """How many entries of a layer are taken."""

    energy: float = 0.99  # share of the squared outputs that the basis holds
    rank: int = 0  # of the basis; by energy when 0
    oversampling: float = 2.0  # most entries by rank; 1 is MaxVol, more the rectangular one
    tolerance: float = TOLERANCE  # of MaxVol
    seed: int = 0  # of the sketch


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen entries of one layer."""

    entries: list[int]
    lift: Tensor  # (n, p) leads them back to all
    rank: int
    energy: float  # share of the squared outputs that the basis holds
    error: float  # ||Z - lifted Z|| / ||Z|| on the training pictures
    bound: float  # of the error: ||V[rows]^+||_2 times that of the basis


def given_to(model: nn.Module, name: str, pictures: Tensor) -> Tensor:
    """Return what the module of that name is given (N, ...) when the net runs on pictures (N, ...) in evaluation."""
    found: list[Tensor] = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, given: found.append(given[0].clone()))
    was_training = model.training
    try:
        in_batches(model.eval(), pictures)
    finally:
        model.train(was_training)
        hook.remove()
    return torch.cat(found)


def in_batches(function: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
    """Return function(given) of (N, ...), a batch at a time, without derivatives."""
    with torch.no_grad():
        return torch.cat([function(batch) for batch in torch.split(given, BATCH)])


def basis(outputs: Tensor, energy: float, rank: int = 0, seed: int = 0) -> Tensor:
    """Return the first right singular vectors (n, r) of outputs Z (N, n).

    r is the rank if that is given, else the least for which ||Z V||^2 >= energy ||Z||^2; never more than what Z has.
    Large Z are sketched (Halko et al. 2011, algorithm 4.4), which costs N n r instead of N n min(N, n).

    Args:
        outputs: not centred, not all zero.
        energy: above 0, to 1.
        rank: 0 takes the energy.
        seed: of the sketch.
    """
    most = min(outputs.shape)
    total = outputs.square().sum()
    columns = rank or FIRST_COLUMNS
    while True:
        values, vectors = _singular(outputs, columns if outputs.numel() > EXACT else most, seed)
        held = values.square().cumsum(0) / total
        real = int((values > values[:1] * max(outputs.shape) * torch.finfo(values.dtype).eps).sum())
        needed = rank or int((held < energy).sum()) + 1
        if needed <= len(values) or len(values) == most:
            return vectors[:, : min(needed, real)]
        columns *= 2


def select(name: str, outputs: Tensor, choice: Choice) -> Selection:
    """Return the entries of a layer's outputs (N, n) from which the others follow.

    Args:
        name: of the layer, for messages.
        outputs: on training pictures.
        choice: how many entries.

    Raises:
        SetupError: the outputs are all zero, or no numbers, or the selection misses its error bound.
    """
    if not outputs.any() or not outputs.isfinite().all():
        raise SetupError(
            f"the outputs of {name} are all zero, or no numbers, on training pictures; train the net first"
        )
    vectors = basis(outputs, choice.energy, choice.rank, choice.seed)
    wide = vectors.double().cpu().numpy()
    rank = wide.shape[1]
    if choice.oversampling > 1:
        rows, coefficients = rectangular_maxvol(wide, math.floor(choice.oversampling * rank), choice.tolerance)
    else:
        rows, coefficients = maxvol(wide, choice.tolerance)
    order = np.argsort(rows)
    lift = torch.from_numpy(coefficients[:, order]).to(outputs)
    return _checked(name, outputs, vectors, sorted(rows), lift, selection_norm(wide, rows))


def _checked(name: str, outputs: Tensor, vectors: Tensor, entries: list[int], lift: Tensor, norm: float) -> Selection:
    whole = outputs.norm()
    left = float((outputs - outputs @ vectors @ vectors.T).norm() / whole)
    error = float((outputs - outputs[:, entries] @ lift.T).norm() / whole)
    rounding = ROUNDING * torch.finfo(outputs.dtype).eps
    bound = norm * (left + rounding)
    if error > bound:
        raise SetupError(f"chosen entries rebuild {name} to {error:.3g}, more than {bound:.3g}; take a lower energy")
    return Selection(entries, lift, vectors.shape[1], 1 - left**2, error, bound)


def _singular(outputs: Tensor, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return singular values (q,), falling, and right singular vectors (n, q); all of them when that costs no more."""
    if 2 * (columns + SPARE_COLUMNS) >= min(outputs.shape):
        _, values, rows = torch.linalg.svd(outputs, full_matrices=False)
        return values, rows.T
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, values, vectors = torch.svd_lowrank(outputs, columns + SPARE_COLUMNS, POWERS)
    return values[:columns], vectors[:, :columns]
