"""Reduced-order nets: rows of convolutions, bases, figures worked out apart, and whole nets with chosen entries."""

import copy
import importlib
import json
from math import prod
from typing import Any, cast

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.bases import EXACT, Choice, Selection, basis, given_to, select  # noqa: E402
from models.compress.conv_rows import Affine, Pool, affine_of, folded, pool_of  # noqa: E402
from models.compress.kinds import KINDS  # noqa: E402
from models.compress.layers import layers_of  # noqa: E402
from models.compress.recipe import replay  # noqa: E402
from models.compress.ron import Ron  # noqa: E402
from models.compress.ron import layers_of as sizes_of_layers  # noqa: E402
from models.compress.ron_chain import Chain, Unit, read, replace_units  # noqa: E402
from models.compress.ron_layers import Picked, Reduced, fill, macs_of  # noqa: E402
from models.compress.stage import Context  # noqa: E402
from models.nets.resnet import ResNet  # noqa: E402

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "padded": {"padding": 1},
    "strided": {"stride": 2, "padding": (0, 1)},
    "dilated": {"dilation": (2, 1), "padding": 2},
    "in groups": {"groups": 2, "stride": (1, 2)},
    "depthwise": {"groups": 4, "padding": 1, "bias": False},
}


def _random(seed: int) -> Any:
    return np.random.RandomState(seed)  # its stream is frozen: the same numbers in every NumPy


def _distance(first: Tensor, second: Tensor) -> float:
    return float((first - second).detach().norm() / second.detach().norm())


def _draw_norms(net: nn.Module) -> None:
    """Give normalisations something to do; some scales are below zero."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(cast(Tensor, module.running_mean), 0, 0.2)
            nn.init.normal_(module.weight, 0.5, 0.7)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.uniform_(cast(Tensor, module.running_var), 0.5, 2)


def _vgg(side: int = 8, width: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.Conv2d(width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        *(nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Flatten(), nn.Linear(2 * width * (side // 4) ** 2, 16), nn.ReLU(), nn.Linear(16, 5)),
    )
    _draw_norms(net)
    return net.eval()


def _resnet(width: int = 4) -> ResNet:
    torch.manual_seed(0)
    net = ResNet(8, 5, width)
    _draw_norms(net)
    return net.eval()


def _pictures(count: int, side: int = 8, freedoms: int = 4) -> Tensor:
    """Return pictures (count, 3, side, side) that differ in a few ways only."""
    random = torch.Generator().manual_seed(1)
    ways = torch.randn(freedoms, 3 * side * side, generator=random)
    pictures: Tensor = (torch.randn(count, freedoms, generator=random) @ ways).reshape(count, 3, side, side)
    return pictures


def _perceptron(*weights: Any) -> nn.Sequential:
    """Return fully connected layers without biases, each with a rectifier, in float64."""
    net = nn.Sequential()
    for weight in weights:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
        net.extend([layer, nn.ReLU()])
    return net.eval()


def _selected(vectors: Tensor, rows: list[int]) -> Selection:
    return Selection(rows, vectors @ torch.linalg.pinv(vectors[rows]), vectors.shape[1], 0, 0, 0)


def _everything(count: int) -> Selection:
    """Return a selection of all entries, in another order."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(count)).tolist()
    return _selected(torch.eye(count), order)


def _reduced(net: nn.Module, chain: Chain, picked: list[Picked], pictures: Tensor, start: int = 0) -> nn.Module:
    """Return a copy of the net whose chain is reduced from a unit on, whether that pays or not."""
    units = chain.units[start:]
    given = given_to(net, units[0].names[0], pictures)
    sizes = sizes_of_layers(units, picked[start:])
    part = Reduced(
        {"inputs": given.shape[1:], "outputs": chain.outputs, "averaged": chain.averaged, "layers": sizes}
    ).to(given)
    fill(part, units, picked[start:])
    other = copy.deepcopy(net)
    replace_units(other, [name for unit in units for name in unit.names], part)
    return other


# Rows of layers


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


# Bases and selections


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
    projected = _distance(outputs @ basis(outputs, 1, 10) @ basis(outputs, 1, 10).T, outputs)
    assert selection.error == pytest.approx(_distance(rebuilt, outputs))
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


# Figures worked out apart


def _generic() -> tuple[nn.Sequential, Tensor, Tensor]:
    """Return a net 20-60-40 of full rank, and training and further inputs."""
    random = _random(5)
    for shape in ((60, 5), (5, 20), (40, 4), (4, 60)):  # draws of the net of low rank come first
        random.standard_normal(shape)
    inputs = np.abs(random.standard_normal((200, 20)))
    net = _perceptron(random.standard_normal((60, 20)), random.standard_normal((40, 60)) / 8)
    return net, torch.from_numpy(inputs), torch.from_numpy(np.abs(_random(55).standard_normal((200, 20))))


def test_a_net_of_low_rank_is_reduced_without_error() -> None:
    random = _random(5)
    first = np.abs(random.standard_normal((60, 5))) @ np.abs(random.standard_normal((5, 20)))
    second = np.abs(random.standard_normal((40, 4))) @ np.abs(random.standard_normal((4, 60)))
    inputs = torch.from_numpy(np.abs(random.standard_normal((200, 20))))
    net = _perceptron(first, second)
    expected = net(inputs)
    edit = Ron(first="0", energy=1.0, oversampling=1.0).finish(net, Context(inputs, net, 0))[0]
    assert [sizes["entries"] for sizes in edit.values["layers"]] == [5, 4]
    assert _distance(net(inputs), expected) < 5e-15
    assert edit.values["error"] < 5e-15


@pytest.mark.parametrize(("oversampling", "entries", "error"), [(1.0, [20, 16], 0.3178), (2.0, [29, 20], 0.2364)])
def test_a_net_of_full_rank_on_new_inputs(oversampling: float, entries: list[int], error: float) -> None:
    net, inputs, others = _generic()
    expected = net(others)
    edit = Ron(first="0", ranks=[20, 16], oversampling=oversampling).finish(net, Context(inputs, net, 0))[0]
    assert [sizes["entries"] for sizes in edit.values["layers"]] == entries
    assert _distance(net(others), expected) == pytest.approx(error, abs=5e-5)


def test_random_rows_are_useless_and_a_projection_is_the_best() -> None:
    net, inputs, others = _generic()
    chain = read(net, "0", inputs[:8])
    picked = []
    for module, rank in ((net[:2], 20), (net, 16)):
        vectors = basis(module(inputs).detach(), 1.0, rank)
        rows = [int(row) for row in _random(9).permutation(len(vectors))[:rank]]
        picked.append(Picked(_selected(vectors, rows)))
    expected = net(others).detach()
    assert _distance(_reduced(net, chain, picked, inputs)(others), expected) == pytest.approx(537.9, abs=0.05)
    assert _distance(expected @ vectors @ vectors.T, expected) == pytest.approx(0.1553, abs=5e-5)


# Whole nets


def _all_entries(unit: Unit) -> Picked:
    inner = None if unit.inner is None else _everything(prod(unit.inner.outputs))
    return Picked(_everything(prod(unit.outputs)), inner)


NETS = {
    "VGG": (_vgg, "0", [0, 1, 2, 3]),
    "VGG from its second convolution": (_vgg, "3", [0]),
    "ResNet": (_resnet, "stages", [0, 1, 2]),
    "ResNet's last stage": (_resnet, "stages.2", [0]),
    "ResNet's stem too": (_resnet, "stem", [0]),
}


@pytest.mark.parametrize(("make", "first", "starts"), NETS.values(), ids=NETS)
def test_with_all_entries_a_net_does_what_it_did(make: Any, first: str, starts: list[int]) -> None:
    net, pictures = make(), torch.randn(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    chain = read(net, first, pictures[:8])
    expected = net(pictures).detach()
    picked = [_all_entries(unit) for unit in chain.units]
    for start in starts:
        other = _reduced(net, chain, picked, pictures, start)
        assert torch.allclose(other(pictures), expected, atol=1e-4 * float(expected.abs().max()))


def test_what_is_read_of_a_net() -> None:
    chain = read(_vgg(), "3", _pictures(8))
    assert [unit.names for unit in chain.units] == [
        ("3", "4", "5", "6"),
        ("7", "8", "9", "10", "11"),  # dropout and flattening change no entry in evaluation
        ("12", "13"),
    ]
    assert (chain.outputs, chain.averaged) == ((16,), False)
    chain = read(_resnet(), "stages.1", _pictures(8))
    assert [unit.names for unit in chain.units] == [("stages.1.0",), ("stages.2.0",)]
    assert (chain.outputs, chain.averaged) == ((16, 2, 2), True)  # the head averages them
    layers = layers_of(_resnet(), _pictures(1))
    assert sum(unit.macs for unit in chain.units) == sum(
        x.macs for x in layers if x.name[:8] in ("stages.1", "stages.2")
    )


def test_a_block_that_is_given_the_map_takes_its_shortcut_from_there() -> None:
    net, pictures = _resnet(), _pictures(8)
    chain = read(net, "stages.0", pictures)
    sizes = sizes_of_layers(chain.units, [_all_entries(unit) for unit in chain.units])
    assert [block["gathers"] for block in sizes] == [True, False, False]
    assert macs_of(sizes[0]) == 2 * 256 * 256
    assert macs_of(sizes[1]) == 2 * 256 * 128 + 128 * 128


class _Cut(nn.Module):
    """A net that does something between its layers."""

    def __init__(self, shortcut: bool) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Identity(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 2)
        self.shortcut = shortcut

    def forward(self, pictures: Tensor) -> Tensor:
        cells = self.first(pictures)
        cells = self.second(cells) + cells if self.shortcut else self.second(cells * 2)
        logits: Tensor = self.head(cells.mean((2, 3)))
        return logits


def test_a_chain_ends_where_the_net_does_something_between_its_modules() -> None:
    assert [unit.names for unit in read(_Cut(shortcut=False), "first", _pictures(8)).units] == [("first.0", "first.1")]


def test_a_shortcut_that_is_no_module_is_noticed() -> None:
    with pytest.raises(SetupError, match="does more than its modules"):
        read(_Cut(shortcut=True), "first", _pictures(8))


def test_what_a_chain_cannot_begin_with() -> None:
    with pytest.raises(SetupError, match=r"first is 'layer3'; the net runs through 0, 1"):
        read(_vgg(), "layer3", _pictures(8))
    with pytest.raises(SetupError, match="14 begins with Linear"):
        read(_vgg(), "14", _pictures(8))
    net = _vgg()
    net[2] = nn.PReLU()
    with pytest.raises(SetupError, match="0 begins with Conv2d, BatchNorm2d, PReLU"):
        read(net, "0", _pictures(8))


def test_a_net_whose_input_has_no_fixed_size_is_refused() -> None:
    with pytest.raises(SetupError, match="takes pictures of any size"):
        read(_vgg()[:7], "0", _pictures(8))


def test_a_block_that_another_stage_has_changed_is_refused_by_name() -> None:
    net = _resnet()
    net.get_submodule("stages.2.0").conv2 = nn.Sequential(nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 3, padding=1))
    with pytest.raises(SetupError, match=r"stages\.2\.0\.conv2 is Sequential"):
        read(net, "stages.2", _pictures(8))


# The stage


@pytest.mark.parametrize(("make", "first"), [(_vgg, "0"), (_resnet, "stages")], ids=["VGG", "ResNet"])
def test_a_stage_saves_macs_on_pictures_that_differ_in_a_few_ways(make: Any, first: str) -> None:
    net, pictures = make(), _pictures(400, freedoms=2)
    before, expected = layers_of(net, pictures[:1]), net(pictures)
    other = copy.deepcopy(net)
    [edit] = Ron(first=first, energy=0.99, growth=100.0, pictures=300).finish(other, Context(pictures, net, 0))
    after = layers_of(other, pictures[:1])
    assert sum(layer.macs for layer in after) < 0.3 * sum(layer.macs for layer in before)
    assert _distance(other(pictures), expected) < 0.2
    assert 0 < edit.values["error"] < 0.2
    for sizes in edit.values["layers"]:
        assert sizes["energy"] >= 0.99
        assert sizes["error"] <= sizes["bound"]
    maps = [layer for layer in after if layer.name.startswith(edit.layer) and ".lift" not in layer.name]
    assert sum(layer.macs for layer in maps) == sum(macs_of(sizes) for sizes in edit.values["layers"])


def test_a_reduced_net_is_made_again_from_its_edit() -> None:
    net, pictures = _resnet(), _pictures(200)
    [edit] = Ron(first="stages", energy=0.95).finish(net, Context(pictures, net, 0))
    assert json.loads(json.dumps(edit.values)) == edit.values
    fresh = ResNet(8, 5, 4).eval()
    replay(fresh, [edit])
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(pictures), net(pictures))


@pytest.mark.parametrize(("make", "first"), [(_vgg, "0"), (_resnet, "stages")], ids=["VGG", "ResNet"])
def test_a_reduced_net_is_exported(make: Any, first: str) -> None:
    from models.compress.export import exported, logits_of

    net, pictures = make(), _pictures(100, freedoms=2)
    assert Ron(first=first, energy=0.9).finish(net, Context(pictures, net, 0))
    logits = torch.from_numpy(logits_of(exported(net, pictures[:4]), pictures))
    assert torch.allclose(logits, net(pictures).detach(), rtol=0, atol=1e-4 * float(logits.abs().max()))


def test_the_same_seed_reduces_alike() -> None:
    nets = [_vgg(), _vgg()]
    edits = [Ron(first="0", pictures=100).finish(net, Context(_pictures(200), net, 3)) for net in nets]
    assert edits[0] == edits[1]
    assert torch.equal(nets[0](_pictures(5)), nets[1](_pictures(5)))


def test_a_net_that_would_not_become_smaller_stays_as_it_is() -> None:
    net, pictures = _resnet(), torch.randn(300, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before, expected = copy.deepcopy(net.state_dict()), net(pictures)
    assert Ron(first="stages", energy=1.0).finish(net, Context(pictures, net, 0)) == []
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(net(pictures), expected)


def test_a_part_that_does_not_pay_is_left_out() -> None:
    net, pictures = _vgg(), torch.randn(400, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    [edit] = Ron(first="0", ranks=[200, 200, 5, 5], growth=100.0).finish(net, Context(pictures, net, 0))
    assert edit.layer == "7"
    assert isinstance(net[0], nn.Conv2d)
    assert all(sizes["entries"] <= 10 for sizes in edit.values["layers"])


def test_a_part_does_not_take_more_weights_than_it_had() -> None:
    pictures = _pictures(200)
    nets = [_resnet(), _resnet()]
    before = sum(value.numel() for value in nets[0].parameters())
    for net, growth in zip(nets, (1.0, 100.0), strict=True):
        assert Ron(first="stages", energy=0.97, growth=growth).finish(net, Context(pictures, net, 0))
    first, second = (sum(value.numel() for value in net.parameters()) for net in nets)
    assert first < before < second
    macs = [sum(layer.macs for layer in layers_of(net, pictures[:1])) for net in nets]
    assert macs[0] > macs[1]


def test_ranks_are_one_or_one_for_each_selection() -> None:
    net, pictures = _resnet(), _pictures(50)
    with pytest.raises(SetupError, match="ranks has 2 numbers; give one, or one for each of 6 layers"):
        Ron(first="stages", ranks=[3, 4]).finish(net, Context(pictures, net, 0))
    [edit] = Ron(first="stages.2", ranks=[3], oversampling=1.0).finish(net, Context(pictures, net, 0))
    assert [sizes["entries"] for sizes in edit.values["layers"]] == [3]
    assert edit.values["layers"][0]["inner"]["entries"] == 3


def test_a_reduced_net_takes_one_size_only() -> None:
    net, pictures = _resnet(), _pictures(100)
    net(_pictures(1, 16))
    Ron(first="stages", energy=0.9).finish(net, Context(pictures, net, 0))
    with pytest.raises(SetupError, match="the net was reduced for maps"):
        net(_pictures(1, 16))


def test_finetuning_trains_the_linear_maps() -> None:
    net, pictures = _resnet(), _pictures(100)
    expected = net(pictures).detach()
    [edit] = Ron(first="stages", energy=0.7, finetune=1).finish(net, Context(pictures, net, 0))
    maps = [value for name, value in net.named_parameters() if name.startswith(edit.layer)]
    before = [value.detach().clone() for value in maps]
    optimiser, losses = torch.optim.Adam(maps, 1e-3), []
    for _ in range(20):
        loss = functional.mse_loss(net(pictures), expected)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(not torch.equal(value, old) for value, old in zip(maps, before, strict=True))


@pytest.mark.parametrize(
    "values",
    [
        {"first": ""},
        {"energy": 0.0},
        {"energy": 1.1},
        {"ranks": [4, 0]},
        {"oversampling": 0.5},
        {"growth": 0.0},
        {"tolerance": 1.0},
        {"pictures": 0},
        {"rounds": 2},
    ],
    ids=str,
)
def test_values_that_cannot_be_meant(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(values))} is "):
        Ron(**{"first": "stages", **values})


def test_the_kind_is_listed() -> None:
    module, name = KINDS["reduce.ron"]
    assert getattr(importlib.import_module(module), name) is Ron
