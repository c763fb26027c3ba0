"""EVBMF against values worked out apart, and that it does not mind which side is the longer."""

import math

import numpy as np
import pytest

from models.numerics.evbmf import edge, evbmf
from models.numerics.tucker import Array


def noisy(rows: int, columns: int, rank: int, noise: float, seed: int) -> Array:
    random = np.random.RandomState(seed)
    signal = random.standard_normal((rows, rank)) @ random.standard_normal((rank, columns)) if rank else 0.0
    return signal + noise * random.standard_normal((rows, columns))


GOLDEN = [  # matrix, rank, variance; the reference's minimiser stops within 1e-5 of the variance
    ((20, 50, 4, 0.1, 0), 4, 0.01001444),
    ((64, 576, 10, 0.05, 1), 10, 0.00251653),
    ((64, 576, 10, 1.0, 1), 10, 1.00621673),
    ((64, 64, 0, 1.0, 2), 0, 1.02469957),
]


@pytest.mark.parametrize(("given", "rank", "variance"), GOLDEN)
def test_ranks_and_variances(given: tuple[int, int, int, float, int], rank: int, variance: float) -> None:
    found = evbmf(noisy(*given))
    assert found.rank == len(found.shrunk) == rank
    assert found.variance == pytest.approx(variance, abs=1e-5)
    assert found.threshold == pytest.approx(math.sqrt(given[1] * variance * edge(given[0] / given[1])), rel=1e-3)


def test_threshold_and_shrunk_values() -> None:
    found = evbmf(noisy(20, 50, 4, 0.1, 0))
    assert found.threshold == pytest.approx(1.273904, abs=1e-4)
    assert found.shrunk[:2].tolist() == pytest.approx([46.321402, 31.311403], abs=1e-4)


def test_the_edge() -> None:
    assert edge(0.4) == pytest.approx(3.2409810323, abs=1e-10)
    assert 2.5129 * math.sqrt(0.4) == pytest.approx(1.5892975065, abs=1e-10)


def test_the_variance_has_the_least_free_energy() -> None:
    matrix = noisy(20, 50, 4, 0.1, 0)
    rows, columns = matrix.shape
    squares = np.square(np.linalg.svd(matrix, compute_uv=False))

    def energy(variance: float) -> float:
        """Return the published sum, written out one value after another."""
        total, ratio = 0.0, rows / columns
        for scaled in squares / (columns * variance):
            total += scaled - math.log(scaled)
            if scaled > edge(ratio):
                tau = (scaled - 1 - ratio + math.sqrt((scaled - 1 - ratio) ** 2 - 4 * ratio)) / 2
                total += math.log(tau + 1) + ratio * math.log(tau / ratio + 1) - tau
        return total

    found = evbmf(matrix).variance
    others = found * np.exp(np.linspace(-3, 3, 400))
    assert energy(found) <= min(energy(one) for one in [0.01001444, *others.tolist()])


@pytest.mark.parametrize("shape", [(64, 27), (64, 9), (128, 30), (50, 49)])
def test_a_tall_matrix_has_the_evidence_of_its_transpose(shape: tuple[int, int]) -> None:
    matrix = noisy(*shape, 5, 2.0, 1)
    tall, wide = evbmf(matrix), evbmf(matrix.T)
    assert tall.rank == wide.rank
    assert tall.variance == pytest.approx(wide.variance)


def test_short_side_first() -> None:
    assert evbmf(noisy(64, 27, 5, 2.0, 1)).rank == 4


def test_without_noise_the_rank_is_found() -> None:
    matrix = noisy(20, 50, 4, 0.0, 3)
    found = evbmf(matrix)
    assert found.rank == 4
    np.testing.assert_allclose(found.shrunk, np.linalg.svd(matrix, compute_uv=False)[:4])


@pytest.mark.parametrize("matrix", [np.zeros((5, 9)), np.ones((1, 1)), np.eye(2), np.ones((1, 7))])
def test_no_evidence(matrix: Array) -> None:
    assert evbmf(matrix).rank == 0


def test_an_empty_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(0, 3\) holds nothing"):
        evbmf(np.zeros((0, 3)))
