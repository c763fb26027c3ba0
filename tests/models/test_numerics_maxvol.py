"""MaxVol against all subsets, and the identities that its rows and coefficients obey."""

import itertools

import numpy as np
import pytest

from models.numerics.maxvol import Matrix, maxvol, rectangular_maxvol, selection_bound, selection_norm

SIX_ROWS = np.array([[1, 0], [0, 1], [2, 1], [1, 3], [-1, 2], [1, 1]], dtype=float)


def _volume(matrix: Matrix, rows: tuple[int, ...] | list[int]) -> float:
    return abs(float(np.linalg.det(matrix[list(rows)])))


def _best(matrix: Matrix) -> tuple[int, ...]:
    return max(itertools.combinations(range(len(matrix)), matrix.shape[1]), key=lambda rows: _volume(matrix, rows))


def _fixture() -> Matrix:
    """Return a 30 x 4 matrix in closed form."""
    return (((37 * np.arange(120) + 11) % 101) / 50 - 1).reshape(30, 4) + 0.5 * np.eye(30, 4)


def _orthonormal(count: int, rank: int) -> Matrix:
    return np.linalg.qr(np.random.RandomState(count).standard_normal((count, rank)))[0]


def test_the_best_pair_of_six_rows() -> None:
    rows, coefficients = maxvol(SIX_ROWS)
    assert _best(SIX_ROWS) == tuple(sorted(rows)) == (2, 3)
    assert _volume(SIX_ROWS, rows) == pytest.approx(5)
    assert np.abs(coefficients).max() == pytest.approx(1)


def test_the_best_of_27405_subsets() -> None:
    rows, _ = maxvol(_fixture(), 1 + 1e-9)
    volumes = np.abs(np.linalg.det(_fixture()[list(itertools.combinations(range(30), 4))]))
    assert sorted(rows) == [1, 2, 4, 21]
    assert _volume(_fixture(), rows) == pytest.approx(volumes.max()) == pytest.approx(2.88769392, abs=1e-8)


def test_more_rows_make_a_better_condition() -> None:
    matrix = _fixture()
    square, _ = maxvol(matrix)
    rows, coefficients = rectangular_maxvol(matrix)
    assert [*sorted(square), 24] == [*sorted(rows[:4]), *rows[4:]] == [1, 2, 4, 21, 24]
    others = np.delete(coefficients, rows, axis=0)
    assert np.linalg.norm(coefficients, axis=1).max() == pytest.approx(0.994228, abs=1e-6)
    assert np.linalg.norm(others, axis=1).max() <= 1
    assert np.linalg.cond(matrix[square]) == pytest.approx(2.6555, abs=1e-4)
    assert np.linalg.cond(matrix[rows]) == pytest.approx(1.9508, abs=1e-4)


@pytest.mark.parametrize("count", [8, 40, 300])
@pytest.mark.parametrize("tolerance", [1.001, 1.05, 1.5])
def test_chosen_rows_rebuild_the_matrix(count: int, tolerance: float) -> None:
    matrix = np.random.RandomState(count).standard_normal((count, 7))
    rows, coefficients = maxvol(matrix, tolerance)
    assert np.allclose(coefficients @ matrix[rows], matrix, rtol=0, atol=1e-12)
    assert np.allclose(coefficients[rows], np.eye(7), rtol=0, atol=1e-12)
    assert np.abs(coefficients).max() <= tolerance + 1e-12
    assert len(set(rows)) == 7


@pytest.mark.parametrize("count", [8, 40, 300])
def test_coefficients_of_more_rows_are_those_of_the_pseudoinverse(count: int) -> None:
    matrix = np.random.RandomState(count).standard_normal((count, 7))
    rows, coefficients = rectangular_maxvol(matrix)
    assert np.allclose(coefficients, matrix @ np.linalg.pinv(matrix[rows]), rtol=0, atol=1e-12)
    assert np.linalg.norm(np.delete(coefficients, rows, axis=0), axis=1).max(initial=0) <= 1 + 1e-12
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("largest", [0.8, 1.0, 1.2])
def test_rows_are_added_until_none_is_above_the_norm_that_is_asked_for(largest: float) -> None:
    matrix = _orthonormal(60, 7)

    def worst(rows: list[int]) -> float:
        others = np.delete(matrix @ np.linalg.pinv(matrix[rows]), rows, axis=0)
        return float(np.linalg.norm(others, axis=1).max())

    rows, _ = rectangular_maxvol(matrix, largest_norm=largest)
    assert worst(rows) <= largest < worst(rows[:-1]) and len(rows) > 7


def test_the_number_of_rows_is_kept_to() -> None:
    matrix = _orthonormal(300, 7)
    unlimited, _ = rectangular_maxvol(matrix)
    assert len(unlimited) > 9
    for most in (7, 9):
        rows, coefficients = rectangular_maxvol(matrix, max_rows=most)
        assert rows == unlimited[:most]
        assert coefficients.shape == (300, most)
    with pytest.raises(ValueError, match="max_rows is 6"):
        rectangular_maxvol(matrix, max_rows=6)


@pytest.mark.parametrize(("count", "rank"), [(30, 4), (200, 12)])
def test_selection_multiplies_the_error_of_the_projection_by_no_more_than_its_norm(count: int, rank: int) -> None:
    matrix = _orthonormal(count, rank)
    rows, coefficients = maxvol(matrix)
    norm = selection_norm(matrix, rows)
    assert 1 <= norm == pytest.approx(np.linalg.norm(np.linalg.pinv(matrix[rows]), 2))
    assert norm <= selection_bound(count, rank)
    assert selection_norm(matrix, rectangular_maxvol(matrix)[0]) <= norm
    vectors = np.random.RandomState(1).standard_normal((count, 50))
    errors = np.linalg.norm(vectors - coefficients @ vectors[rows], axis=0)
    projected = np.linalg.norm(vectors - matrix @ (matrix.T @ vectors), axis=0)
    assert (errors <= norm * projected + 1e-12).all()
    assert (errors > projected).all()


def test_the_bound() -> None:
    assert selection_bound(30, 4, 1.0) == pytest.approx(105**0.5)
    assert selection_bound(4, 4) == 1


def test_all_rows_of_a_square_matrix() -> None:
    rows, coefficients = rectangular_maxvol(_orthonormal(6, 6))
    assert sorted(rows) == list(range(6))
    assert np.allclose(np.abs(coefficients[rows]), np.eye(6))


@pytest.mark.parametrize(
    ("matrix", "tolerance", "message"),
    [
        (np.ones((5, 2)), 1.05, "5 x 2 has rank 1"),
        (np.zeros((5, 2)), 1.05, "5 x 2 has rank 0"),
        (np.eye(2, 3), 1.05, "2 x 3 has rank 2"),
        (np.eye(3), 1.0, "tolerance is 1.0"),
    ],
)
def test_what_has_no_choice_of_rows(matrix: Matrix, tolerance: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        maxvol(matrix, tolerance)
