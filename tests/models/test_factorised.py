"""Chains of factors: each equals its dense layer, moves over the picture as that did, and is made again by an edit."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.factorised import (  # noqa: E402
    CpConv,
    Factorised,
    PairConv1x1,
    PairLinear,
    Tucker2Conv,
    array,
    factorise,
)
from models.compress.recipe import replay  # noqa: E402
from models.compress.recompress import core_of, recompressed  # noqa: E402
from models.compress.stage import Edit  # noqa: E402
from models.nets.blocks import SameConv  # noqa: E402
from models.numerics.tucker import relative_error, unfold  # noqa: E402


def fixture(*shape: int) -> Tensor:
    return torch.from_numpy(((37 * np.arange(np.prod(shape)) + 11) % 101 / 50 - 1).reshape(shape))


def convolution(bias: bool = True, **how: object) -> nn.Conv2d:
    """Return a convolution of 12 to 16 channels in double precision."""
    conv = nn.Conv2d(12, 16, bias=bias, **({"kernel_size": 3} | how), dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(fixture(*conv.weight.shape))
        if conv.bias is not None:
            conv.bias.copy_(fixture(16))
    return conv


def linear(inputs: int = 20, outputs: int = 12) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, dtype=torch.float64)


CASES = {  # name -> dense layer, form, full ranks, smaller ranks
    "tucker2": (convolution(), "tucker2", (16, 12), (8, 6)),
    "cp": (convolution(), "cp", (60,), (10,)),
    "pair of 1x1": (convolution(kernel_size=1), "pair", (12,), (5,)),
    "pair of linear": (linear(), "pair", (12,), (5,)),
}
MAPS = fixture(2, 12, 9, 9)
INPUTS = {name: fixture(2, 20) if isinstance(case[0], nn.Linear) else MAPS for name, case in CASES.items()}
EVERY_FORM = pytest.mark.parametrize("name", CASES)


def made(name: str) -> tuple[nn.Conv2d | nn.Linear, Factorised]:
    layer, form, _, ranks = CASES[name]
    return layer, factorise(layer, form, ranks, seed=0)


MOVES = [{"stride": 1, "padding": 1}, {"stride": 2, "padding": 1}, {"padding": 2, "dilation": 2}, {"stride": 2}]
MOVES += [{"padding": 1, "padding_mode": mode} for mode in ("reflect", "replicate", "circular")]
MOVES += [{"padding": "same"}, {"kernel_size": (1, 3), "padding": (0, 1), "stride": (2, 1)}]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("move", MOVES, ids=str)
def test_tucker_of_full_ranks_is_the_convolution(move: dict[str, object], bias: bool) -> None:
    conv = convolution(bias, **move)
    chain = Tucker2Conv.from_conv(conv, (16, 12))
    expected = conv(MAPS)
    assert chain(MAPS).shape == expected.shape
    torch.testing.assert_close(chain(MAPS), expected, rtol=0, atol=1e-12)
    assert (chain.bias is None) == (not bias)


@pytest.mark.parametrize("move", MOVES, ids=str)
@pytest.mark.parametrize(("form", "ranks"), [("tucker2", (7, 5)), ("cp", (5,))])
def test_a_chain_is_the_convolution_that_it_says(form: str, ranks: tuple[int, ...], move: dict[str, object]) -> None:
    chain = factorise(convolution(**move), form, ranks, seed=0)
    torch.testing.assert_close(chain(MAPS), chain.to_dense()(MAPS), rtol=0, atol=1e-11)


def test_dilation_is_kept() -> None:
    conv = convolution(padding=2, dilation=2)
    assert Tucker2Conv.from_conv(conv, (8, 6))(MAPS).shape == conv(MAPS).shape == (2, 16, 9, 9)


@EVERY_FORM
def test_every_form_equals_its_dense_layer_and_comes_near_the_old_one(name: str) -> None:
    layer, chain = made(name)
    dense = chain.to_dense()
    assert type(dense) is type(layer) and dense.weight.shape == layer.weight.shape
    torch.testing.assert_close(chain(INPUTS[name]), dense(INPUTS[name]), rtol=0, atol=1e-11)
    assert dense.bias.equal(layer.bias)
    assert 0.01 < relative_error(array(dense.weight), array(layer.weight)) < 0.7
    assert sum(value.numel() for value in chain.parameters()) < sum(value.numel() for value in layer.parameters())


@EVERY_FORM
def test_at_full_rank_nothing_changes(name: str) -> None:
    layer, form, full, _ = CASES[name]
    chain = factorise(layer, form, full, seed=0)
    worst = (chain(INPUTS[name]) - layer(INPUTS[name])).abs().max()
    scale = layer(INPUTS[name]).abs().max()
    assert worst <= (0.05 if form == "cp" else 1e-12) * scale  # CP of enough terms is only nearly exact


@EVERY_FORM
def test_the_bias_is_on_the_last_factor_alone(name: str) -> None:
    _, chain = made(name)
    biases = [chain.get_submodule(factor).bias is not None for factor in chain.factors]
    assert biases == [False] * (len(biases) - 1) + [True]


def test_a_bias_in_front_of_a_padding_would_be_wrong_at_the_borders() -> None:
    chain = Tucker2Conv.from_conv(convolution(bias=False, padding=1), (16, 12))
    reduced = chain.reduce(MAPS)
    core = chain.core.weight
    early = functional.conv2d(reduced + 1, core, padding=1)
    late = functional.conv2d(reduced, core, padding=1) + core.sum((1, 2, 3))[:, None, None]
    difference = (early - late).abs().amax((0, 1))
    assert difference[1:-1, 1:-1].max() < 1e-12 and difference.max() > 1


@EVERY_FORM
def test_kind_and_mode_are_those_of_the_layer(name: str) -> None:
    layer, form, _, ranks = CASES[name]
    single = factorise(layer.to(torch.float32), form, ranks, seed=0)
    layer.to(torch.float64)
    assert {value.dtype for value in single.parameters()} == {torch.float32}
    assert all(value.requires_grad for value in single.parameters())


def test_the_stride_of_a_pair_is_on_the_first() -> None:
    conv = nn.Conv2d(64, 128, 1, stride=2, bias=False)
    chain = PairConv1x1.from_conv(conv, (21,))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        chain(torch.zeros(1, 64, 32, 32))
    assert counter.get_total_flops() // 2 == 1_032_192
    whole = PairConv1x1.from_conv(conv, (64,))
    pictures = torch.randn(2, 64, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(whole(pictures), conv(pictures), rtol=0, atol=1e-5)


def test_a_convolution_padded_by_its_own_rule_keeps_it() -> None:
    torch.manual_seed(0)
    conv = SameConv(12, 16, 3, stride=2, dtype=torch.float64)
    chain = Tucker2Conv.from_conv(conv, (16, 12))
    for side in (8, 9):
        pictures = fixture(1, 12, side, side)
        torch.testing.assert_close(chain(pictures), conv(pictures), rtol=0, atol=1e-12)
    assert type(chain.to_dense()) is SameConv


class OwnConv(nn.Conv2d):
    """A convolution that may do anything."""


@pytest.mark.parametrize(
    ("layer", "form", "message"),
    [
        (nn.Conv2d(12, 12, 3, groups=12), "tucker2", "in 12 groups"),
        (nn.Conv2d(12, 12, 3, groups=2), "cp", "in 2 groups"),
        (nn.Conv2d(12, 12, 1, groups=3), "pair", "in 3 groups"),
        (OwnConv(12, 12, 3), "tucker2", "a OwnConv cannot be factorised"),
    ],
)
def test_what_is_more_than_one_matrix_product_is_refused(layer: nn.Conv2d, form: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        factorise(layer, form, (4, 4) if form == "tucker2" else (4,), seed=0)


def test_a_pair_of_a_larger_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="is no matrix"):
        PairConv1x1.from_conv(convolution(), (4,))


@EVERY_FORM
def test_an_edit_makes_the_same_structure_again(name: str) -> None:
    layer, chain = made(name)
    edits = [
        Edit(chain.form, "layer", {"ranks": list(chain.ranks)}),
        Edit(chain.form, "layer", {"ranks": [rank - 1 for rank in chain.ranks]}),  # of the chain that is there by then
    ]
    smaller = recompressed(chain, edits[1].values["ranks"])
    for upto, expected in ((1, chain), (2, smaller)):
        fresh = nn.ModuleDict({"layer": type(layer)(*_sizes(layer), dtype=torch.float64)})
        replay(fresh, edits[:upto])
        fresh["layer"].load_state_dict(expected.state_dict())
        assert fresh["layer"](INPUTS[name]).equal(expected(INPUTS[name]))


def _sizes(layer: nn.Conv2d | nn.Linear) -> tuple[object, ...]:
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels, layer.kernel_size


@EVERY_FORM
def test_recompression_after_training_equals_the_dense_weight_again(name: str) -> None:
    _, chain = made(name)
    torch.manual_seed(0)
    with torch.no_grad():
        for value in chain.parameters():
            value.add_(0.2 * torch.randn_like(value))
    dense = chain.to_dense()
    ranks = tuple(rank // 2 for rank in chain.ranks)
    ours = recompressed(chain, ranks)
    again = factorise(dense, chain.form, ranks, seed=0)
    errors = [relative_error(array(one.to_dense().weight), array(dense.weight)) for one in (ours, again)]
    assert errors[0] == pytest.approx(errors[1], abs=0.03 if name == "cp" else 1e-3)
    assert ours.ranks == ranks and ours.bias.equal(chain.bias)


@pytest.mark.parametrize("name", ["tucker2", "pair of 1x1", "pair of linear"])
def test_the_core_has_the_singular_values_of_the_dense_weight(name: str) -> None:
    _, chain = made(name)
    core, dense = core_of(chain), array(chain.to_dense().weight)
    for axis, rank in enumerate(chain.ranks):
        found, wanted = (np.linalg.svd(unfold(one, axis), compute_uv=False)[:rank] for one in (core, dense))
        np.testing.assert_allclose(found, wanted, atol=1e-10)


@EVERY_FORM
def test_a_chain_trains(name: str) -> None:
    layer, chain = made(name)
    optimiser = torch.optim.Adam(chain.parameters(), 3e-3)
    wanted = layer(INPUTS[name]).detach()
    losses = []
    for _ in range(30):
        loss = (chain(INPUTS[name]) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] * 0.9


def test_forms_by_name() -> None:
    kinds = {name: type(made(name)[1]) for name in CASES}
    assert list(kinds.values()) == [Tucker2Conv, CpConv, PairConv1x1, PairLinear]
