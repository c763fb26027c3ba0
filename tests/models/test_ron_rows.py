"""Reduced-order nets: rows of convolutions, folded normalisations and pooled entries."""

from math import prod
from typing import Any, cast

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import Tensor, nn  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.conv_rows import Affine, Pool, affine_of, folded, pool_of  # noqa: E402

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "padded": {"padding": 1},
    "strided": {"stride": 2, "padding": (0, 1)},
    "dilated": {"dilation": (2, 1), "padding": 2},
    "in groups": {"groups": 2, "stride": (1, 2)},
    "depthwise": {"groups": 4, "padding": 1, "bias": False},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_chosen_rows_are_those_of_the_matrix(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6 if options.get("groups") != 4 else 8, (3, 2), dtype=torch.float64, **options)
    affine = affine_of("layer", layer, None, (4, 7, 5))
    whole = layer(torch.eye(140, dtype=torch.float64).reshape(-1, 4, 7, 5)) - layer(torch.zeros(1, 4, 7, 5).double())
    entries = torch.randperm(prod(affine.outputs), generator=torch.Generator().manual_seed(0))[:30]
    assert affine.outputs == tuple(whole.shape[1:])
    assert torch.allclose(affine.rows(entries), whole.flatten(1).T[entries])
    pictures = torch.randn(3, 4, 7, 5, dtype=torch.float64)
    rebuilt = pictures.flatten(1) @ affine.rows(entries).T + affine.biases(entries)
    assert torch.allclose(rebuilt, layer(pictures).flatten(1)[:, entries])
    assert torch.allclose(affine(pictures), layer(pictures))


def test_the_matrix_of_a_small_convolution_has_100_entries() -> None:
    affine = Affine(torch.ones(1, 1, 3, 3), torch.zeros(1), (1, 4, 4), padding=(1, 1))
    assert int(affine.rows(torch.arange(16)).count_nonzero()) == 100
    assert affine.macs == 144


def test_no_more_than_the_chosen_rows_of_a_large_convolution_are_made() -> None:
    torch.manual_seed(0)
    affine = affine_of("layer", nn.Conv2d(64, 64, 3, padding=1), None, (64, 32, 32))  # the whole matrix takes 16 GiB
    picture, entries = torch.randn(1, 64, 32, 32), torch.tensor([0, 31, 40_000, 65_535])
    rows = affine.rows(entries)
    assert rows.shape == (4, 65_536)
    expected = affine(picture).flatten()[entries]
    assert torch.allclose(rows @ picture.flatten() + affine.biases(entries), expected, atol=1e-4)


def test_a_fully_connected_layer_is_its_own_matrix() -> None:
    layer = nn.Linear(6, 4)
    affine = affine_of("layer", layer, None, (6, 1, 1))
    assert torch.equal(affine.rows(torch.tensor([2, 0])), layer.weight[[2, 0]])
    assert torch.equal(affine.biases(torch.tensor([2, 0])), layer.bias[[2, 0]])
    assert affine.macs == 24


def test_folding_a_normalisation() -> None:
    norm = nn.BatchNorm2d(1, eps=1e-5).double()
    for value, number in ((norm.weight, 2), (norm.bias, 1), (norm.running_mean, 0.5), (norm.running_var, 0.25)):
        nn.init.constant_(cast(Tensor, value), number)
    weight, bias = folded("layer", torch.ones(1, 1, 1, 1).double(), torch.zeros(1).double(), norm)
    assert weight.item() == pytest.approx(3.9999200024, abs=1e-10)
    assert bias.item() == pytest.approx(-0.9999600012, abs=1e-10)


@pytest.mark.parametrize("affine", [True, False])
def test_a_folded_normalisation_does_what_both_did(affine: bool) -> None:
    torch.manual_seed(0)
    layer, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=affine)
    norm(torch.randn(50, 4, 3, 3) * 2 + 1)
    pictures = torch.randn(2, 3, 6, 6)
    assert torch.allclose(affine_of("layer", layer, norm, (3, 6, 6))(pictures), norm.eval()(layer(pictures)), atol=1e-5)


def test_rows_behind_a_pooled_entry() -> None:
    assert Pool((2, 2), (2, 2)).groups(torch.tensor([6]), (2, 4, 4)).tolist() == [[24, 25, 28, 29]]


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), ((1, 3), (2, 1))])
def test_groups_of_a_pooling(kernel: Any, stride: Any) -> None:
    module = nn.MaxPool2d(kernel, stride)
    maps = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    pool, pooled = pool_of("pool", module), module(maps)
    assert pool.outputs((3, 7, 6)) == tuple(pooled.shape[1:])
    groups = pool.groups(torch.arange(prod(pooled.shape[1:])), (3, 7, 6))
    assert torch.equal(maps.flatten(1)[:, groups].amax(2), pooled.flatten(1))


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.ConvTranspose2d(3, 4, 3),
    ],
    ids=["reflected", "padded by a word", "transposed"],
)
def test_layers_that_cannot_be_read_are_named(module: nn.Module) -> None:
    with pytest.raises(SetupError, match=r"features\.3 is Conv"):
        affine_of("features.3", module, None, (3, 8, 8))


def test_what_else_cannot_be_read() -> None:
    with pytest.raises(SetupError, match="normalisation of layer keeps no running figures"):
        affine_of("layer", nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), (3, 8, 8))
    with pytest.raises(SetupError, match="pool is MaxPool2d"):
        pool_of("pool", nn.MaxPool2d(3, 2, padding=1))
