"""SVD training: regularisers, decompositions of weights, what is cut of a spectrum, and what is left in the net."""

import copy
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from models.compress.layers import Filter, layers_of  # noqa: E402
from models.compress.recipe import replay  # noqa: E402
from models.compress.regularisers import SPARSE, gram_error, hoyer, hoyer_square, l1, orthogonality  # noqa: E402
from models.compress.stage import Context, Edit  # noqa: E402
from models.compress.svd_training import (  # noqa: E402
    SHAPES,
    SvdTraining,
    apply_decomposed,
    break_even,
    decomposed_again,
    factors_of,
    fill,
    matrix_of,
    pays,
    rank_of,
    sides,
    weights_of,
)
from models.nets.resnet import ResNet  # noqa: E402
from models.nets.ssdlite import SSDLite  # noqa: E402

PICTURES = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8)


def fixture(*shape: int) -> Tensor:
    places = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return ((37 * places + 11) % 101 / 50 - 1).reshape(shape)


def context(net: nn.Module, pictures: Tensor = PICTURES) -> Context:
    return Context(pictures, copy.deepcopy(net).eval(), 0)


def net_of() -> ResNet:
    torch.manual_seed(0)
    return ResNet(8, 10, 16)


def answer(net: nn.Module, pictures: Tensor = PICTURES) -> Tensor:
    with torch.no_grad():
        outputs = net.eval()(pictures)
    return outputs if isinstance(outputs, Tensor) else outputs[0]


def thinned(net: nn.Module, names: list[str], rank: int) -> None:
    """Give layers weights of a rank."""
    with torch.no_grad():
        for name in names:
            weight = net.get_parameter(f"{name}.weight")
            left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
            weight.copy_((left[:, :rank] * values[:rank] @ right[:rank]).reshape(weight.shape))


def test_the_orthogonality_of_a_stretched_matrix() -> None:
    matrix = torch.diag(torch.tensor([1.0, 2.0]))
    assert gram_error(matrix) == 9 and orthogonality(matrix) == 2.25
    assert gram_error(matrix) / matrix.shape[1] == 4.5  # as others scale it; their weights are not ours


def test_orthonormal_columns_cost_nothing() -> None:
    matrix = torch.linalg.qr(fixture(12, 5)).Q
    assert gram_error(matrix) < 1e-28 and gram_error(matrix.T).item() == pytest.approx(7)


REGULARISED = [(l1, 7.0, [1.0, 1.0]), (hoyer, 1.4, [0.032, -0.024]), (hoyer_square, 1.96, [0.0896, -0.0672])]


@pytest.mark.parametrize(("regulariser", "value", "gradient"), REGULARISED)
def test_sparsity_of_three_and_four(
    regulariser: Callable[[Tensor], Tensor], value: float, gradient: list[float]
) -> None:
    values = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
    found = regulariser(values)
    found.backward()
    assert found.item() == pytest.approx(value) and values.grad is not None
    assert values.grad.tolist() == pytest.approx(gradient)


@pytest.mark.parametrize("regulariser", SPARSE.values(), ids=SPARSE)
@pytest.mark.parametrize("spectrum", [[0.0, 1.0], [0.0, 0.0], [-3.0, 0.0]])
def test_gradients_at_zero_are_numbers(regulariser: Callable[[Tensor], Tensor], spectrum: list[float]) -> None:
    values = torch.tensor(spectrum, requires_grad=True)
    regulariser(values).backward()
    assert values.grad is not None and bool(values.grad.isfinite().all())


def test_a_root_of_s_on_both_sides_would_have_no_gradient_at_zero_and_ours_has_one() -> None:
    values = torch.tensor([0.0, 1.0], requires_grad=True)
    values.abs().sqrt().sum().backward()
    assert values.grad is not None and bool(values.grad[0].isnan())
    layer = nn.Sequential(nn.Linear(2, 2, bias=False))
    apply_decomposed(layer, Edit("decomposed", "0", {"state": "composed", "shape": "channel"}))
    factors = factors_of(layer[0])
    with torch.no_grad():
        factors[1][0] = 0
    layer(torch.ones(1, 2)).sum().backward()
    assert all(factor.grad is not None and bool(factor.grad.isfinite().all()) for factor in factors)


@pytest.mark.parametrize(("energy", "kept"), [(0.7, 1), (0.9, 2), (0.95, 3), (0.99, 4), (0.999, 4), (1.0, 4)])
def test_what_is_kept_of_a_spectrum(energy: float, kept: int) -> None:
    values = torch.tensor([4, 2, 1, 0.5])
    assert rank_of(values, energy) == kept
    assert rank_of(values[[2, 0, 3, 1]] * torch.tensor([1, -1, -1, 1]), energy) == kept  # any order, any sign


def test_cumulative_energies_are_met_and_not_passed() -> None:
    values = torch.tensor([4, 2, 1, 0.5], dtype=torch.float64)
    for kept, share in enumerate([0.752941, 0.941176, 0.988235], start=1):
        assert (rank_of(values, share - 1e-6), rank_of(values, share + 1e-6)) == (kept, kept + 1)
    assert rank_of(torch.tensor([1.0, 1.0, 1.0, 1.0]), 0.5) == 2
    assert rank_of(torch.zeros(4), 0.9) == 1


BREAK_EVEN = [((64, 64, 3, 3), 57.60, 96), ((128, 64, 3, 3), 104.73, 128)]
BREAK_EVEN += [((512, 512, 3, 3), 460.80, 768), ((64, 3, 7, 7), 44.59, 20.06)]


@pytest.mark.parametrize(("weights", "channel", "spatial"), BREAK_EVEN)
def test_ranks_at_which_two_layers_are_as_large_as_one(
    weights: tuple[int, ...], channel: float, spatial: float
) -> None:
    assert break_even(weights, "channel") == pytest.approx(channel, abs=5e-3)
    assert break_even(weights, "spatial") == pytest.approx(spatial, abs=5e-3)


@pytest.mark.parametrize(
    ("weights", "shape", "share"),
    [((64, 64, 3, 3), "channel", 1.11), ((64, 3, 7, 7), "channel", 1.44), ((64, 64, 3, 3), "spatial", 2.0)],
)
def test_how_large_a_layer_is_while_it_trains(weights: tuple[int, ...], shape: str, share: float) -> None:
    conv = nn.Sequential(nn.Conv2d(weights[1], weights[0], weights[2], bias=False))
    before = conv[0].weight.numel()
    apply_decomposed(conv, Edit("decomposed", "0", {"state": "composed", "shape": shape}))
    assert sum(value.numel() for value in conv.parameters()) / before == pytest.approx(share, abs=0.01)
    rows, columns = sides(weights, shape)
    assert min(rows, columns) == len(factors_of(conv[0])[1])


SPECTRA = {
    "channel": ([5.905447, 5.598938, 3.382362, 2.802880], 8),
    "spatial": ([6.340322, 5.582041, 2.746710, 2.621193], 9),
}


@pytest.mark.parametrize(("shape", "first", "rank"), [(shape, *row) for shape, row in SPECTRA.items()])
def test_spectra_of_the_fixture(shape: str, first: list[float], rank: int) -> None:
    weights = fixture(8, 4, 3, 3)
    matrix = matrix_of(weights, shape)
    assert matrix.shape == sides((8, 4, 3, 3), shape) and weights_of(matrix, (8, 4, 3, 3), shape).equal(weights)
    spectrum = torch.linalg.svdvals(matrix)
    assert spectrum[:4].tolist() == pytest.approx(first, abs=1e-6) and int((spectrum > 1e-9).sum()) == rank


CHAINS = [{"stride": (1, 2), "padding": (1, 2), "dilation": (1, 2)}, {"stride": 2, "padding": 1}]
CHAINS += [{"padding": "same", "dilation": 2}, {"padding": 1, "padding_mode": "reflect"}]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("given", CHAINS)
def test_two_layers_of_full_rank_are_the_convolution(given: dict[str, object], shape: str) -> None:
    conv = nn.Conv2d(4, 8, 3, **given).double()
    with torch.no_grad():
        conv.weight.copy_(fixture(8, 4, 3, 3))
    net = nn.Sequential(conv)
    pictures = fixture(2, 4, 11, 10)
    expected = answer(net, pictures)
    two, composed = _two_layers(net, shape), copy.deepcopy(net)
    apply_decomposed(composed, Edit("decomposed", "0", {"state": "composed", "shape": shape}))
    assert (answer(composed, pictures) - expected).abs().max() < 1e-12
    assert (answer(two, pictures) - expected).abs().max() < 1e-12
    assert len(two[0]) == 2 and two[0][0].out_channels == min(sides((8, 4, 3, 3), shape))


def _two_layers(net: nn.Module, shape: str) -> nn.Module:
    """Return a net in whose place of rank 8 or 12 two layers were put, as `SvdTraining.finish` does."""
    two = copy.deepcopy(net)
    matrix = matrix_of(two.get_parameter("0.weight").detach(), shape)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    apply_decomposed(two, Edit("decomposed", "0", {"state": "pair", "shape": shape, "rank": len(values)}))
    fill(two.get_submodule("0"), left * values, right)
    return two


def test_trained_factors_are_decomposed_again_by_their_product() -> None:
    left, right = fixture(12, 5) + 1, fixture(5, 9).flip(0)
    values = torch.tensor([4.0, -3.0, 1.0, 0.5, 0.0], dtype=torch.float64)
    product = left * values @ right
    rows, spectrum, columns = decomposed_again(left, values, right)
    torch.testing.assert_close(rows * spectrum @ columns, product, rtol=0, atol=1e-12)
    torch.testing.assert_close(spectrum, torch.linalg.svdvals(product)[:5], rtol=0, atol=1e-12)
    assert gram_error(rows) < 1e-24 and gram_error(columns.T) < 1e-24 and bool((spectrum >= 0).all())


def test_a_negative_value_counts_by_its_magnitude() -> None:
    left, right = torch.eye(6, 4, dtype=torch.float64), torch.eye(4, 7, dtype=torch.float64)
    values = torch.tensor([4, -3, 1, 0.5], dtype=torch.float64)
    rows, spectrum, columns = decomposed_again(left, values, right)
    assert spectrum.tolist() == pytest.approx([4, 3, 1, 0.5])
    product = (rows * spectrum)[:, :2] @ columns[:2]
    assert product[1, 1].item() == pytest.approx(-3) and rank_of(values, 0.95) == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_composing_changes_no_output_and_a_whole_spectrum_leaves_one_layer(shape: str) -> None:
    net = net_of()
    before, names = answer(net), list(net.state_dict())
    stage = SvdTraining(shape=shape, energy=1.0)
    edits = stage.prepare(net, context(net))
    assert len(edits) == 8 and "stem.conv" not in [edit.layer for edit in edits]
    assert (answer(net) - before).abs().max() < 1e-5
    edits += stage.finish(net, context(net))
    assert (answer(net) - before).abs().max() < 1e-5 and list(net.state_dict()) == names
    assert {edit.values["state"] for edit in edits[8:]} == {"dense"}
    assert stage.extra_loss(net, PICTURES, LABELS) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_a_spectrum_is_cut_for_good_and_the_recipe_makes_the_same_net(shape: str) -> None:
    net = net_of()
    names = ["stages.1.0.conv2", "stages.2.0.conv2"]
    thinned(net, names, 4)
    before, numbers = answer(net), sum(value.numel() for value in net.parameters())
    stage = SvdTraining(shape=shape, energy=1 - 1e-10, filter=Filter(only=[*names, "stages.2.0.conv1"]))
    edits = stage.prepare(net, context(net)) + stage.finish(net, context(net))
    states = {edit.layer: edit.values for edit in edits}
    assert states["stages.2.0.conv1"] == {"state": "dense"}
    assert all(states[name]["state"] == "pair" for name in names)
    if shape == "channel":
        assert [states[name]["rank"] for name in names] == [4, 4]
    assert states[names[0]]["energy"] > 1 - 1e-9 and states[names[0]]["orthogonality"] < 1e-9
    assert (answer(net) - before).abs().max() < 1e-4 * before.abs().max()
    assert sum(value.numel() for value in net.parameters()) < numbers
    fresh = ResNet(8, 10, 16)
    replay(fresh, edits)
    fresh.load_state_dict(net.state_dict())
    assert answer(fresh).equal(answer(net))


def test_a_net_in_training_is_made_again_from_its_recipe() -> None:
    net = net_of()
    edits = SvdTraining().prepare(net, context(net))
    fresh = ResNet(8, 10, 16)
    replay(fresh, edits)
    fresh.load_state_dict(net.state_dict())
    assert answer(fresh).equal(answer(net))


@pytest.mark.parametrize("shape", SHAPES)
def test_layers_padded_by_the_size_of_their_input_stay_so(shape: str) -> None:
    torch.manual_seed(0)
    net = SSDLite()
    pictures = 255 * torch.rand(1, 3, 75, 50)
    names = ["trunk.blocks.4.expand.conv", "trunk.extras.0.0.conv", "stem.first.conv"]
    with torch.no_grad():
        for name in names[:2]:
            thin = net.get_parameter(f"{name}.weight")
            thin.copy_((thin.flatten(1)[:, :2] @ thin.flatten(1)[:2]).reshape(thin.shape))
        stem = net.get_parameter("stem.first.conv.weight")
        stem.copy_(stem[:1] * torch.linspace(-1, 1, 32)[:, None, None, None])
    before = answer(net, pictures)
    choice = Filter(only=names, first_and_last=True, min_inputs=0)
    stage = SvdTraining(shape=shape, energy=1 - 1e-9, filter=choice)
    edits = stage.prepare(net, context(net, pictures))
    assert (answer(net, pictures) - before).abs().max() < 1e-4 * before.abs().max()
    edits += stage.finish(net, context(net, pictures))
    assert sum(edit.values["state"] == "pair" for edit in edits) >= 2
    assert (answer(net, pictures) - before).abs().max() < 1e-4 * before.abs().max()


def test_two_layers_have_to_be_smaller_and_faster() -> None:
    net = nn.Sequential(nn.Conv2d(16, 64, 3, 2, 1), nn.Conv2d(64, 64, 3, 1, 1))
    strided, plain = layers_of(net, torch.zeros(1, 16, 16, 16))
    assert pays(plain, "channel", 57) and not pays(plain, "channel", 58)
    assert pays(plain, "spatial", 95) and not pays(plain, "spatial", 96)
    assert int(break_even(strided.shape, "spatial")) == 38  # but the first of the two works on twice the rows
    assert pays(strided, "spatial", 31) and not pays(strided, "spatial", 32)


def test_the_extra_loss_is_of_all_factors_and_spectra() -> None:
    net, names = net_of(), ["stages.1.0.conv2", "stages.2.0.conv2"]
    stage = SvdTraining(sparse=0.2, orthogonal=10.0, regulariser="l1", filter=Filter(only=names))
    stage.prepare(net, context(net))
    expected = torch.zeros(())
    with torch.no_grad():
        for name in names:
            left, values, right = factors_of(net.get_submodule(name))
            left.mul_(1.5)
            right.mul_(0.5)
            expected += 10 * (orthogonality(left) + orthogonality(right.T)) + 0.2 * values.abs().sum()
    torch.testing.assert_close(stage.extra_loss(net, PICTURES, LABELS), expected)


def trained(sparse: float, orthogonal: float) -> tuple[int, float]:
    """Return the ranks that 30 steps leave, summed up over all layers, and the worst orthogonality."""
    net = net_of()
    stage = SvdTraining(sparse=sparse, orthogonal=orthogonal)
    edits = stage.prepare(net, context(net))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    net.train()
    for _ in range(30):
        optimiser.zero_grad()
        outputs = net(PICTURES)
        extra = stage.extra_loss(net, PICTURES, outputs)
        assert extra is not None
        (functional.cross_entropy(outputs, LABELS) + extra).backward()
        optimiser.step()
    factors = [[factor.detach() for factor in factors_of(net.get_submodule(edit.layer))] for edit in edits]
    ranks = [rank_of(decomposed_again(*three)[1], 0.95) for three in factors]
    return sum(ranks), max(orthogonality(left).item() for left, _, _ in factors)


def test_the_regularisers_thin_spectra_and_keep_factors_orthonormal() -> None:
    (_, loose), (plain, _), (thin, tight) = trained(0.0, 0.0), trained(0.0, 10.0), trained(0.2, 10.0)
    assert thin < 0.95 * plain and tight < 0.1 * loose


def test_factors_are_excepted_from_weight_decay_also_after_weights_were_loaded() -> None:
    net = net_of()
    stage = SvdTraining(filter=Filter(only=["stages.1.0.conv2"]))
    stage.prepare(net, context(net))
    net.load_state_dict(net.state_dict())
    excepted = [name for name, value in net.named_parameters() if getattr(value, "no_decay", False)]
    assert excepted == [f"stages.1.0.conv2.parametrizations.weight.original{place}" for place in range(3)]


def test_what_nothing_is_chosen_of_keeps_its_bits() -> None:
    net = net_of()
    before = answer(net)
    stage = SvdTraining(filter=Filter(only=["nothing"]))
    assert stage.prepare(net, context(net)) == [] and stage.finish(net, context(net)) == []
    assert answer(net).equal(before)


def test_layers_that_no_rank_makes_smaller_are_left_alone() -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, (1, 1)), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3))
    stage = SvdTraining(filter=Filter(first_and_last=True, min_inputs=0))
    edits = stage.prepare(net, context(net, torch.rand(1, 1, 8, 8)))
    assert [edit.layer for edit in edits] == ["2"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("shape", "depth"), ("regulariser", "l2"), ("energy", 0.0), ("energy", 1.1), ("sparse", -1.0), ("orthogonal", -1)],
)
def test_bad_values_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        SvdTraining(**{field: value})
