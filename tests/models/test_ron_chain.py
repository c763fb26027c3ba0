"""Reduced-order nets: what is read of a net, and a chain with chosen entries against figures worked out apart."""

import copy
from math import prod
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from reducible_nets import distance, drawn_pictures, resnet, vgg  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.bases import Selection, basis, given_to  # noqa: E402
from models.compress.layers import layers_of  # noqa: E402
from models.compress.ron import Ron, cheapest_start  # noqa: E402
from models.compress.ron import layers_of as sizes_of_layers  # noqa: E402
from models.compress.ron_chain import Chain, Unit, read, replace_units  # noqa: E402
from models.compress.ron_layers import Picked, Reduced, fill, macs_of  # noqa: E402
from models.compress.stage import Context  # noqa: E402


def _random(seed: int) -> Any:
    return np.random.RandomState(seed)  # its stream is frozen: the same numbers in every NumPy


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
    assert distance(net(inputs), expected) < 5e-15
    assert edit.values["error"] < 5e-15


@pytest.mark.parametrize(("oversampling", "entries", "error"), [(1.0, [20, 16], 0.3178), (2.0, [29, 20], 0.2364)])
def test_a_net_of_full_rank_on_new_inputs(oversampling: float, entries: list[int], error: float) -> None:
    net, inputs, others = _generic()
    expected = net(others)
    edit = Ron(first="0", ranks=[20, 16], oversampling=oversampling).finish(net, Context(inputs, net, 0))[0]
    assert [sizes["entries"] for sizes in edit.values["layers"]] == entries
    assert distance(net(others), expected) == pytest.approx(error, abs=5e-5)


def test_random_rows_are_useless_and_a_projection_is_the_best() -> None:
    net, inputs, others = _generic()
    chain = read(net, "0", inputs[:8])
    picked = []
    for module, rank in ((net[:2], 20), (net, 16)):
        vectors = basis(module(inputs).detach(), 1.0, rank)
        rows = [int(row) for row in _random(9).permutation(len(vectors))[:rank]]
        picked.append(Picked(_selected(vectors, rows)))
    expected = net(others).detach()
    assert distance(_reduced(net, chain, picked, inputs)(others), expected) == pytest.approx(537.9, abs=0.05)
    assert distance(expected @ vectors @ vectors.T, expected) == pytest.approx(0.1553, abs=5e-5)


def _all_entries(unit: Unit) -> Picked:
    inner = None if unit.inner is None else _everything(prod(unit.inner.outputs))
    return Picked(_everything(prod(unit.outputs)), inner)


NETS = {
    "VGG": (vgg, "0", [0, 1, 2, 3]),
    "VGG from its second convolution": (vgg, "3", [0]),
    "ResNet": (resnet, "stages", [0, 1, 2]),
    "ResNet's last stage": (resnet, "stages.2", [0]),
    "ResNet's stem too": (resnet, "stem", [0]),
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
    chain = read(vgg(), "3", drawn_pictures(8))
    assert [unit.names for unit in chain.units] == [
        ("3", "4", "5", "6"),
        ("7", "8", "9", "10", "11"),  # dropout and flattening change no entry in evaluation
        ("12", "13"),
    ]
    assert (chain.outputs, chain.averaged) == ((16,), False)
    chain = read(resnet(), "stages.1", drawn_pictures(8))
    assert [unit.names for unit in chain.units] == [("stages.1.0",), ("stages.2.0",)]
    assert (chain.outputs, chain.averaged) == ((16, 2, 2), True)  # the head averages them
    layers = layers_of(resnet(), drawn_pictures(1))
    assert sum(unit.macs for unit in chain.units) == sum(
        x.macs for x in layers if x.name[:8] in ("stages.1", "stages.2")
    )


def test_a_block_that_is_given_the_map_takes_its_shortcut_from_there() -> None:
    net, pictures = resnet(), drawn_pictures(8)
    chain = read(net, "stages.0", pictures)
    sizes = sizes_of_layers(chain.units, [_all_entries(unit) for unit in chain.units])
    assert [block["gathers"] for block in sizes] == [True, False, False]
    assert macs_of(sizes[0]) == 2 * 256 * 256
    assert macs_of(sizes[1]) == 2 * 256 * 128 + 128 * 128


def _first_entries(*counts: int) -> list[Picked]:
    return [Picked(Selection(list(range(count)), torch.empty(0), count, 0, 0, 0)) for count in counts]


@pytest.mark.parametrize(("entries", "start"), [(31, 0), (32, None)])
def test_a_part_pays_only_if_each_of_its_units_does(entries: int, start: int | None) -> None:
    chain = read(vgg(), "0", drawn_pictures(8))
    assert chain.units[-1].macs == 512  # 32 x 16, the entries of the last two units
    assert cheapest_start(chain, _first_entries(1, 1, entries, 16), growth=100.0) == start


@pytest.mark.parametrize(("entries", "start"), [(10, 0), (11, None)])
def test_leading_the_last_entries_back_counts(entries: int, start: int | None) -> None:
    chain = read(vgg(), "12", drawn_pictures(8))  # 32 inputs, 16 outputs
    assert cheapest_start(chain, _first_entries(entries), growth=100.0) == start  # 48 multiply-adds an entry


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
    assert [unit.names for unit in read(_Cut(shortcut=False), "first", drawn_pictures(8)).units] == [
        ("first.0", "first.1")
    ]


def test_a_shortcut_that_is_no_module_is_noticed() -> None:
    with pytest.raises(SetupError, match="does more than its modules"):
        read(_Cut(shortcut=True), "first", drawn_pictures(8))


def test_what_a_chain_cannot_begin_with() -> None:
    with pytest.raises(SetupError, match=r"first is 'layer3'; the net runs through 0, 1"):
        read(vgg(), "layer3", drawn_pictures(8))
    with pytest.raises(SetupError, match="14 begins with Linear"):
        read(vgg(), "14", drawn_pictures(8))
    net = vgg()
    net[2] = nn.PReLU()
    with pytest.raises(SetupError, match="0 begins with Conv2d, BatchNorm2d, PReLU"):
        read(net, "0", drawn_pictures(8))


def test_a_net_whose_input_has_no_fixed_size_is_refused() -> None:
    with pytest.raises(SetupError, match="takes pictures of any size"):
        read(vgg()[:7], "0", drawn_pictures(8))


def test_a_block_that_another_stage_has_changed_is_refused_by_name() -> None:
    net = resnet()
    net.get_submodule("stages.2.0").conv2 = nn.Sequential(nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 3, padding=1))
    with pytest.raises(SetupError, match=r"stages\.2\.0\.conv2 is Sequential"):
        read(net, "stages.2", drawn_pictures(8))
