"""Tucker-2, CP and pairs against values worked out apart, their bounds, and what training does to their factors."""

import numpy as np
import pytest

from models.numerics import cp
from models.numerics.cp import Cp, cp3
from models.numerics.pairs import middle, recompressed_pair, svd_pair
from models.numerics.tucker import (
    Array,
    Tucker2,
    capped_ranks,
    error_bound,
    hooi,
    hosvd,
    orthonormal,
    recompressed,
    relative_error,
    unfold,
)


def fixture(*shape: int) -> Array:
    return ((37 * np.arange(np.prod(shape)) + 11) % 101 / 50 - 1).reshape(shape)


def normal(seed: int, *shape: int) -> Array:
    return np.random.RandomState(seed).standard_normal(shape)


KERNEL = fixture(16, 12, 3, 3)
GOLDEN = {  # ranks -> relative errors of HOSVD and HOOI
    (8, 6): (0.3885142318, 0.3788504271),
    (4, 4): (0.4855888120, 0.4834108097),
    (12, 9): (0.2424056690, 0.2387352500),
}


def test_the_fixture() -> None:
    assert np.linalg.norm(KERNEL) == pytest.approx(24.2387788471, abs=1e-10)
    assert KERNEL.ravel()[:4].tolist() == pytest.approx([-0.78, -0.04, 0.70, -0.58])


@pytest.mark.parametrize(("ranks", "errors"), GOLDEN.items())
def test_errors_of_both_decompositions(ranks: tuple[int, int], errors: tuple[float, float]) -> None:
    first, best = hosvd(KERNEL, ranks), hooi(KERNEL, ranks, sweeps=100, settled=0.0)
    assert relative_error(first.dense(), KERNEL) == pytest.approx(errors[0], abs=1e-10)
    assert relative_error(best.dense(), KERNEL) == pytest.approx(errors[1], abs=1e-9)
    assert best.ranks == ranks and best.dense().shape == KERNEL.shape


def test_errors_on_noise() -> None:
    kernel = normal(0, 16, 12, 3, 3)
    assert relative_error(hosvd(kernel, (8, 6)).dense(), kernel) == pytest.approx(0.7566737125, abs=1e-10)
    assert relative_error(hooi(kernel, (8, 6), 100, 0.0).dense(), kernel) == pytest.approx(0.7294278511, abs=1e-9)


def test_hooi_agrees_with_tensorly() -> None:
    decomposition = pytest.importorskip("tensorly.decomposition", reason="an optional second opinion")
    (core, (outputs, inputs)), _ = decomposition.partial_tucker(
        KERNEL, rank=[8, 6], modes=[0, 1], init="svd", tol=0, n_iter_max=100
    )
    found = hooi(KERNEL, (8, 6), 100, 0.0)
    np.testing.assert_allclose(found.dense(), Tucker2(core, outputs, inputs).dense(), atol=1e-6)


@pytest.mark.parametrize("ranks", [(8, 6), (4, 4), (12, 9), (1, 1), (16, 1), (9, 1), (1, 9)])
@pytest.mark.parametrize("seed", range(3))
def test_hooi_is_no_worse_than_hosvd_and_both_keep_the_bound(ranks: tuple[int, int], seed: int) -> None:
    ranks = capped_ranks(ranks, (16, 12, 3, 3))
    kernel = normal(seed, 16, 12, 3, 3) * (1 / np.arange(1, 17))[:, None, None, None]
    first, best = (relative_error(found.dense(), kernel) for found in (hosvd(kernel, ranks), hooi(kernel, ranks)))
    assert best <= first + 1e-12 and first <= error_bound(kernel, ranks) + 1e-12


def test_the_bound() -> None:
    assert error_bound(KERNEL, (8, 6)) == pytest.approx(0.4549984196, abs=1e-10)


def test_full_ranks_lose_nothing_and_bases_are_orthonormal() -> None:
    for kernel in (KERNEL, normal(1, 5, 40, 1, 2)):
        found = hooi(kernel, capped_ranks((99, 99), kernel.shape))
        np.testing.assert_allclose(found.dense(), kernel, atol=1e-12)
        for basis in (found.outputs, found.inputs):
            np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-12)


def test_a_kernel_of_that_rank_is_found_again() -> None:
    kernel = Tucker2(normal(0, 3, 4, 3, 3), normal(1, 20, 3), normal(2, 15, 4)).dense()
    assert relative_error(hooi(kernel, (3, 4)).dense(), kernel) < 1e-10
    assert relative_error(hooi(kernel, (3, 3)).dense(), kernel) > 0.1


def test_a_kernel_of_zeros() -> None:
    zeros = np.zeros((6, 5, 3, 3))
    assert relative_error(hooi(zeros, (2, 2)).dense(), zeros) == 0


@pytest.mark.parametrize(
    ("ranks", "shape", "expected"),
    [
        ((136, 8), (64, 3, 7, 7), (64, 3)),
        ((8, 6), (16, 12, 3, 3), (8, 6)),
        ((20, 2), (64, 64, 3, 3), (18, 2)),
        ((2, 20), (64, 64, 3, 3), (2, 18)),
        ((8, 6), (16, 12, 1, 1), (6, 6)),
    ],
)
def test_ranks_that_a_kernel_can_have(
    ranks: tuple[int, int], shape: tuple[int, ...], expected: tuple[int, int]
) -> None:
    assert capped_ranks(ranks, shape) == expected


@pytest.mark.parametrize("ranks", [(17, 6), (8, 13), (0, 6), (10, 1)])
def test_other_ranks_are_refused(ranks: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot have ranks"):
        hosvd(KERNEL, ranks)


def trained_factors() -> tuple[Tucker2, np.random.RandomState]:
    """Return factors of ranks (16, 12) as training leaves them: not orthonormal."""
    random = np.random.RandomState(3)
    kernel = random.standard_normal((32, 24, 3, 3)) * (1 / np.arange(1, 33))[:, None, None, None]
    found = hosvd(kernel, (16, 12))
    outputs = found.outputs * _signs(found.outputs, kernel, 0) * np.linspace(2, 0.1, 16)
    inputs = found.inputs * _signs(found.inputs, kernel, 1) * np.linspace(0.1, 2, 12)
    core = found.core * _signs(found.outputs, kernel, 0)[:, None, None, None]
    core = core * _signs(found.inputs, kernel, 1)[None, :, None, None]
    outputs = outputs + 0.05 * random.standard_normal(outputs.shape)
    inputs = inputs + 0.05 * random.standard_normal(inputs.shape)
    return Tucker2(core + 0.02 * random.standard_normal(core.shape), outputs, inputs), random


def _signs(basis: Array, kernel: Array, axis: int) -> Array:
    """Return by what to multiply the columns so that they are those of LAPACK's SVD, whose signs the values need."""
    reference = np.linalg.svd(unfold(kernel, axis), full_matrices=False)[0][:, : basis.shape[1]]
    return np.sign((basis * reference).sum(0))


def test_recompression_is_as_good_as_the_whole_kernel_again() -> None:
    factors, _ = trained_factors()
    kernel = factors.dense()
    inner = hooi(factors.core, (8, 6), 20, 0.0)  # of the core alone, as published
    core_only = Tucker2(inner.core, factors.outputs @ inner.outputs, factors.inputs @ inner.inputs)
    whole = hooi(kernel, (8, 6), 20, 0.0)
    ours = relative_error(recompressed(factors, (8, 6)).dense(), kernel)
    assert relative_error(core_only.dense(), kernel) == pytest.approx(0.826791, abs=1e-6)
    assert relative_error(whole.dense(), kernel) == pytest.approx(0.539464, abs=1e-6)
    assert ours == pytest.approx(0.539464, abs=1e-4)


def test_the_core_between_orthonormal_bases_has_the_singular_values_of_the_kernel() -> None:
    factors, _ = trained_factors()
    upright = orthonormal(factors)
    np.testing.assert_allclose(upright.dense(), factors.dense(), atol=1e-12)
    for axis, rank in enumerate(factors.ranks):
        wanted, found = (np.linalg.svd(unfold(one, axis), compute_uv=False) for one in (factors.dense(), upright.core))
        np.testing.assert_allclose(found[:rank], wanted[:rank], atol=1e-10)


def test_recompressing_a_pair_is_optimal() -> None:
    _, random = trained_factors()
    left = random.standard_normal((40, 20)) @ np.diag(np.linspace(3, 0.05, 20))
    right = np.diag(np.linspace(0.05, 3, 20)) @ random.standard_normal((20, 30))
    matrix = left @ right
    small = svd_pair(left, 10)  # one factor alone, as published
    assert relative_error(small[0] @ (small[1] @ right), matrix) == pytest.approx(0.519181, abs=1e-6)
    for pair in (recompressed_pair(left, right, 10), svd_pair(matrix, 10)):
        assert relative_error(pair[0] @ pair[1], matrix) == pytest.approx(0.247618, abs=1e-6)


def test_a_pair() -> None:
    matrix = normal(0, 8, 20)
    left, right = svd_pair(matrix, 3)
    tail = np.linalg.svd(matrix, compute_uv=False)[3:]
    assert np.linalg.norm(left @ right - matrix) == pytest.approx(np.linalg.norm(tail))
    assert np.linalg.norm(left) == pytest.approx(np.linalg.norm(right))
    whole = svd_pair(matrix, 8)
    np.testing.assert_allclose(whole[0] @ whole[1], matrix, atol=1e-12)
    rows, inner, columns = middle(*whole)
    np.testing.assert_allclose(rows @ inner @ columns, matrix, atol=1e-12)


@pytest.mark.parametrize("rank", [0, 9])
def test_a_pair_of_another_rank_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=f"cannot have rank {rank}"):
        svd_pair(normal(0, 8, 20), rank)


def size(terms: Cp) -> float:
    return float(np.linalg.norm(terms.norms()))


def test_cp_finds_terms_that_are_there() -> None:
    kernel = Cp(normal(0, 16, 4), normal(1, 12, 4), normal(2, 9, 4)).dense()
    found = cp3(kernel.reshape(16, 12, 3, 3), 4, seed=0)
    assert relative_error(found.dense(), kernel) < 1e-2
    assert relative_error(cp3(kernel, 3, seed=0).dense(), kernel) > 0.1
    columns = [np.linalg.norm(factor, axis=0) for factor in (found.outputs, found.inputs, found.cells)]
    np.testing.assert_allclose(columns[0], columns[1])
    np.testing.assert_allclose(columns[0], columns[2])


def test_cp_does_not_diverge_where_there_is_no_best_sum() -> None:
    first, second = np.eye(2)
    places = [(first, first, second), (first, second, first), (second, first, first)]
    kernel = sum(np.einsum("o,i,k->oik", *place) for place in places)  # of rank 3, and as near to rank 2 as you like
    norm, errors = float(np.linalg.norm(kernel)), []
    for cap in (1.0, 1.5, 2.0):
        found = cp3(kernel, 2, seed=0, cap=cap)
        assert size(found) <= cap * norm * (1 + 1e-9)
        errors.append(relative_error(found.dense(), kernel))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.1
    assert size(cp3(kernel, 2, seed=0)) <= 1.5 * norm * (1 + 1e-9)


def test_calming_lowers_the_norms_and_not_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = normal(0, 8, 6, 9)
    calm = cp3(kernel, 12, seed=0, cap=3.0)
    monkeypatch.setattr(cp, "CALMING", 0)
    wild = cp3(kernel, 12, seed=0, cap=3.0)
    assert size(calm) < size(wild) * 0.8
    assert relative_error(calm.dense(), kernel) == pytest.approx(relative_error(wild.dense(), kernel), rel=1e-5)


def test_recompressing_cp_is_better_than_dropping_terms_and_as_good_as_the_whole_kernel_again() -> None:
    factors = Cp(normal(0, 40, 12), normal(1, 30, 12), normal(2, 9, 12) * np.linspace(2, 0.05, 12))
    largest = np.argsort(factors.norms())[::-1][:8]
    dropped = Cp(*(factor[:, largest] for factor in (factors.outputs, factors.inputs, factors.cells)))
    found = [dropped, cp.recompressed(factors, 8), cp3(factors.dense(), 8, seed=0)]
    without, ours, whole = (relative_error(one.dense(), factors.dense()) for one in found)
    assert ours < without - 0.003 and ours == pytest.approx(whole, abs=0.005)
    with pytest.raises(ValueError, match="no 0 terms"):
        cp.recompressed(factors, 0)


@pytest.mark.parametrize(
    ("kernel", "rank", "cap"), [(KERNEL, 0, 1.5), (KERNEL, 3, 0.5), (np.zeros((4, 4, 3, 3)), 2, 1.5)]
)
def test_cp_refuses_what_has_no_terms(kernel: Array, rank: int, cap: float) -> None:
    with pytest.raises(ValueError, match=r"1 and more|zeros"):
        cp3(kernel, rank, seed=0, cap=cap)
