"""Reduced-order nets: bases of outputs, and entries that are chosen of them."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from reducible_nets import distance  # noqa: E402
from torch import Tensor  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.bases import EXACT, Choice, basis, select  # noqa: E402


def _outputs(count: int, entries: int, dtype: Any = torch.float64) -> Tensor:
    """Return rectified outputs whose singular values fall."""
    random = torch.Generator().manual_seed(0)
    ways = torch.randn(30, entries, generator=random, dtype=dtype) * 0.7 ** torch.arange(30)[:, None]
    noise = torch.randn(count, entries, generator=random, dtype=dtype)
    outputs: Tensor = (torch.randn(count, 30, generator=random, dtype=dtype) @ ways + 0.05 * noise).relu()
    return outputs


def test_a_basis_holds_the_energy_with_as_few_vectors_as_can_be() -> None:
    outputs = _outputs(200, 80)
    values = torch.linalg.svdvals(outputs)
    for energy in (0.5, 0.9, 0.99):
        vectors = basis(outputs, energy)
        assert torch.allclose(vectors.T @ vectors, torch.eye(vectors.shape[1]).double())
        assert (outputs @ vectors).square().sum() >= energy * outputs.square().sum()
        assert values[: vectors.shape[1] - 1].square().sum() < energy * values.square().sum()


def test_a_basis_is_not_centred() -> None:
    outputs = torch.ones(20, 6, dtype=torch.float64) + 1e-3 * _outputs(20, 6)
    assert torch.allclose(basis(outputs, 0.9).abs(), torch.full((6, 1), 6**-0.5).double(), atol=1e-3)


def test_a_basis_has_no_more_vectors_than_the_outputs_have_ranks() -> None:
    outputs = _outputs(200, 5) @ _outputs(5, 40)
    assert basis(outputs, 1.0).shape == (40, 5)
    assert basis(outputs, 0.9, rank=3).shape == (40, 3)
    assert basis(outputs, 0.9, rank=90).shape == (40, 5)


def test_a_sketched_basis_is_as_good_as_an_exact_one() -> None:
    outputs = _outputs(400, 6000, torch.float32)
    assert outputs.numel() > EXACT
    state = torch.get_rng_state()
    vectors = basis(outputs, 0.99)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(basis(outputs, 0.99), vectors)
    held = torch.linalg.svdvals(outputs)[: vectors.shape[1]].square().sum()
    assert (outputs @ vectors).square().sum() >= 0.999 * held
    assert 2 < vectors.shape[1] < 200


@pytest.mark.parametrize("oversampling", [1.0, 1.5, 2.0])
def test_a_selection_keeps_to_its_bound(oversampling: float) -> None:
    outputs = _outputs(300, 60)
    selection = select("layer", outputs, Choice(rank=10, oversampling=oversampling))
    rebuilt = outputs[:, selection.entries] @ selection.lift.T
    projected = distance(outputs @ basis(outputs, 1, 10) @ basis(outputs, 1, 10).T, outputs)
    assert selection.error == pytest.approx(distance(rebuilt, outputs))
    assert projected <= selection.error <= selection.bound
    assert selection.energy == pytest.approx(1 - projected**2)
    assert selection.entries == sorted(set(selection.entries))
    assert selection.rank == 10 <= len(selection.entries) <= 10 * oversampling


def test_more_entries_make_a_smaller_error() -> None:
    square, longer = (select("layer", _outputs(300, 60), Choice(rank=10, oversampling=times)) for times in (1.0, 2.0))
    assert longer.error < square.error
    assert longer.bound < square.bound


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_outputs_without_a_basis(value: float) -> None:
    with pytest.raises(SetupError, match="outputs of layer are all zero, or no numbers"):
        select("layer", torch.full((5, 4), value), Choice())
