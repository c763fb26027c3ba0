"""The stage that binarises a net, and the nets in the shape for it."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.binary import BinaryConv2d, standardised  # noqa: E402
from models.compress.binary_stage import Binarise, input_figures  # noqa: E402
from models.compress.export import exported, logits_of  # noqa: E402
from models.compress.layers import Filter, layers_of  # noqa: E402
from models.compress.recipe import replay  # noqa: E402
from models.compress.stage import Context  # noqa: E402
from models.nets.binary_resnet import (  # noqa: E402
    ACTIVATIONS,
    BinaryMobileNetV2,
    BinaryResNet,
    DropPath,
    RPReLU,
    Unit,
    carried,
)
from models.nets.mobilenetv2 import MobileNetV2  # noqa: E402
from models.nets.resnet import ResNet  # noqa: E402

PICTURES = torch.randn(9, 3, 16, 16, generator=torch.Generator().manual_seed(1))
INNER = Filter(kernel_above=1, min_inputs=8)


def small(seed: int = 0, activation: str = "hardtanh") -> BinaryResNet:
    torch.manual_seed(seed)
    return BinaryResNet(8, 10, 8, activation=activation).eval()


def binarised(net: nn.Module, **fields: Any) -> Binarise:
    stage = Binarise(**({"filter": INNER} | fields))
    stage.prepare(net, Context(PICTURES, net, 0))
    return stage


def binary_layers(net: nn.Module) -> dict[str, BinaryConv2d]:
    return {name: module for name, module in net.named_modules() if isinstance(module, BinaryConv2d)}


def test_which_layers_are_replaced() -> None:
    net = small()
    edits = Binarise(filter=INNER, thresholds=2).prepare(net, Context(PICTURES, net, 0))
    assert [edit.layer for edit in edits] == [f"units.{place}.conv" for place in range(6)] == list(binary_layers(net))
    values = {"thresholds": 2, "estimator": "iee", "shared_weights": True, "combination": "sum", "shortcut": False}
    assert all(edit.form == "binary" and edit.values == values for edit in edits)
    both = small()
    binarised(both, filter=Filter(min_inputs=8))
    assert len(binary_layers(both)) == 8  # projections too


def test_a_filter_that_selects_nothing_changes_nothing() -> None:
    net = small()
    before, output = copy.deepcopy(net.state_dict()), net(PICTURES)
    stage = Binarise(filter=Filter(only=["none"]), epochs=2)
    assert stage.prepare(net, Context(PICTURES, net, 0)) == []
    stage.before_epoch(net, 1)
    assert stage.finish(net, Context(PICTURES, net, 0)) == []
    assert net(PICTURES).equal(output)
    assert net.state_dict().keys() == before.keys()
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("shared", [True, False])
def test_replayed_and_reloaded(shared: bool) -> None:
    net, fresh = small(0), small(5)
    stage = Binarise(filter=INNER, thresholds=3, shared_weights=shared, combination="scaled")
    edits = stage.prepare(net, Context(PICTURES, net, 0))
    stage.finish(net, Context(PICTURES, net, 0))
    replay(fresh, edits)
    assert not fresh(PICTURES).equal(net(PICTURES))
    fresh.load_state_dict(net.state_dict())
    assert fresh(PICTURES).equal(net(PICTURES))


def test_thresholds_begin_where_the_pictures_are() -> None:
    net = small()
    inputs: list[Tensor] = []
    conv = net.get_submodule("units.1.conv")
    with torch.no_grad(), conv.register_forward_pre_hook(lambda _, given: inputs.append(given[0])):
        net(PICTURES)
    figures = input_figures(net, ["units.1.conv"], PICTURES.repeat(20, 1, 1, 1))["units.1.conv"]
    expected = inputs[0].mean((0, 2, 3)), inputs[0].std((0, 2, 3), correction=0)
    torch.testing.assert_close(figures, tuple(value.double() for value in expected), rtol=1e-4, atol=1e-5)
    binarised(net)
    torch.testing.assert_close(binary_layers(net)["units.1.conv"].thresholds[0].detach(), expected[0])


def test_behind_a_relu_there_are_both_signs() -> None:
    torch.manual_seed(0)
    net = ResNet(8, 10, 8).eval()
    binarised(net, thresholds=2)
    layer = binary_layers(net)["stages.0.0.conv2"]
    maps: list[Tensor] = []
    layer.register_forward_pre_hook(lambda _, given: maps.append(layer.sign_maps(given[0])))
    with torch.no_grad():
        net(PICTURES)
    assert {tuple(signs.unique().tolist()) for signs in maps[0][..., 1:-1, 1:-1].unbind(2)} == {(-1, 1)}


def test_progress_follows_the_epochs_and_resumption_finds_it() -> None:
    def gradients(net: nn.Module) -> list[Tensor]:
        net.zero_grad()
        net(PICTURES).square().sum().backward()
        return [value.grad for value in net.parameters() if value.grad is not None]

    net, resumed = small(), small()
    stage = binarised(net, epochs=10)
    for epoch in range(8):
        stage.before_epoch(net, epoch)
    binarised(resumed, epochs=10).before_epoch(resumed, 7)
    assert [float(layer.progress) for layer in binary_layers(net).values()] == pytest.approx([0.7] * 6)
    for found, expected in zip(gradients(resumed), gradients(net), strict=True):
        assert found.equal(expected)
    first = gradients(net)
    stage.finish(net, Context(PICTURES, net, 0))
    assert {float(layer.progress) for layer in binary_layers(net).values()} == {1.0}
    assert not all(mine.equal(its) for mine, its in zip(gradients(net), first, strict=True))


def test_activations_first() -> None:
    net = small()
    stage = binarised(net, epochs=4, activations_first=2)
    layer = binary_layers(net)["units.0.conv"]
    signed = []
    for epoch in range(4):
        stage.before_epoch(net, epoch)
        signed.append(layer.kernels().unique().tolist() == [-1, 1])
    assert signed == [False, False, True, True]
    stage.before_epoch(net, 0)
    torch.testing.assert_close(layer.kernels(), standardised(layer.weights))
    stage.finish(net, Context(PICTURES, net, 0))
    assert layer.kernels().unique().tolist() == [-1, 1]


def test_layers_in_groups() -> None:
    net = BinaryMobileNetV2(10, 8).eval()
    named = "blocks.3.depthwise.0"
    with pytest.raises(SetupError, match=named):
        binarised(net, filter=Filter(only=[named], min_inputs=0))
    binarised(net, filter=Filter(min_inputs=0))
    assert binary_layers(net) and not any("depthwise" in name for name in binary_layers(net))


def test_a_layer_that_would_grow_is_left() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 64, 3), nn.Conv2d(64, 4, 1)).eval()
    names = ["1", "2"]
    for count, expected in ((3, names), (30, ["2"])):
        other = copy.deepcopy(net)
        binarised(other, thresholds=count, filter=Filter())
        assert list(binary_layers(other)) == expected


def test_shortcuts_where_they_fit() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3, 1, 1), nn.Conv2d(24, 48, 3, 2, 1), nn.Conv2d(48, 4, 1)
    )
    edits = Binarise(shortcut=True).prepare(net, Context(PICTURES, net, 0))
    assert [edit.values["shortcut"] for edit in edits] == [False, True]
    assert net(PICTURES).shape == (9, 4, 7, 7)


BAD = [
    ("rounds", {"rounds": 2}),
    ("activations_first", {"activations_first": 3, "epochs": 3}),
    ("activations_first", {"activations_first": -1}),
    ("thresholds", {"thresholds": 0}),
    ("estimator", {"estimator": "none"}),
    ("combination", {"combination": "mean"}),
]


@pytest.mark.parametrize(("field", "fields"), BAD)
def test_bad_values(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=field):
        Binarise(**fields)


def test_what_only_signs_count_of_is_not_decayed() -> None:
    net = small()
    binarised(net)
    marked = {name.rsplit(".", 1)[1] for name, value in net.named_parameters() if getattr(value, "no_decay", False)}
    assert marked == {"weights", "thresholds"}


def test_training_lowers_the_loss() -> None:
    net = small().train()
    stage = binarised(net, thresholds=2, epochs=12)
    labels, optimiser = torch.arange(9) % 3, torch.optim.Adam(net.parameters(), 0.01)
    losses = []
    for epoch in range(12):
        stage.before_epoch(net, epoch)
        loss = functional.cross_entropy(net(PICTURES), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.filterwarnings("ignore:Constant folding:UserWarning")  # of the sizes of a padding, which stay as they are
@pytest.mark.parametrize("make", [small, lambda: BinaryMobileNetV2(10, 8).eval()], ids=["resnet", "mobilenetv2"])
def test_the_exported_net_answers_alike(make: Callable[[], nn.Module]) -> None:
    net = make()
    binarised(net, thresholds=2, combination="scaled", shortcut=True, filter=Filter(min_inputs=8))
    logits = logits_of(exported(net, PICTURES), PICTURES)
    with torch.no_grad():
        np.testing.assert_allclose(logits, net(PICTURES).numpy(), atol=1e-4)


@pytest.mark.parametrize("stem", ["small", "large"])
@pytest.mark.parametrize("depth", [8, 18])
def test_as_many_weights_and_operations_as_a_resnet(depth: int, stem: str) -> None:
    mine, published = BinaryResNet(depth, 10, 8, stem), ResNet(depth, 10, 8, stem)
    assert sum(value.numel() for value in mine.parameters()) == sum(value.numel() for value in published.parameters())
    counts = [sum(layer.macs for layer in layers_of(net, PICTURES[:1])) for net in (mine, published)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("stem", ["small", "large"])
def test_as_many_weights_and_operations_as_a_mobilenetv2(stem: str) -> None:
    mine, published = BinaryMobileNetV2(10, 8, stem), MobileNetV2(10, 8, stem)
    assert sum(value.numel() for value in mine.parameters()) == sum(value.numel() for value in published.parameters())
    counts = [sum(layer.macs for layer in layers_of(net, PICTURES[:1])) for net in (mine, published)]
    assert counts[0] == counts[1]


def test_a_shortcut_around_every_unit() -> None:
    net = small()
    units = [unit for unit in net.modules() if isinstance(unit, Unit)]
    assert len(units) == 6 and all(unit.shortcut is not None for unit in units)
    inverted = [unit for unit in BinaryMobileNetV2(10).modules() if isinstance(unit, Unit)]
    assert (len(inverted), sum(unit.shortcut is None for unit in inverted)) == (34, 2)


def test_a_unit_without_its_branch_is_the_shortcut() -> None:
    unit = small().get_submodule("units.1")
    assert isinstance(unit, Unit)
    nn.init.zeros_(unit.norm.weight)
    cells = torch.linspace(-1, 1, 8 * 36).reshape(1, 8, 6, 6)
    assert unit(cells).equal(cells)


def test_carried() -> None:
    cells = torch.arange(2 * 4 * 9.0).reshape(2, 4, 3, 3)
    assert carried(cells, 4, 4, 1).equal(cells)
    twice = carried(cells, 4, 8, 1)
    assert twice[:, :4].equal(cells) and twice[:, 4:].equal(cells)
    assert carried(cells, 4, 2, 1).equal((cells[:, :2] + cells[:, 2:]) / 2)
    assert carried(twice, 8, 4, 1).equal(cells)  # fewer undoes more
    smaller = carried(cells, 4, 4, 2)
    assert smaller.shape == (2, 4, 2, 2)
    assert smaller[0, 0].tolist() == [[2, 3.5], [6.5, 8]]  # cells at an odd edge are averaged with what there is


def test_rprelu() -> None:
    layer = RPReLU(2)
    with torch.no_grad():
        layer.before.copy_(torch.tensor([1.0, 0.0]))
        layer.after.copy_(torch.tensor([0.0, 10.0]))
    cells = torch.tensor([[0.0, 3.0], [-4.0, 4.0]]).reshape(1, 2, 1, 2)
    assert layer(cells).flatten().tolist() == [-0.25, 2, 9, 14]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_reach_everything(activation: str) -> None:
    net = small(0, activation).train()
    binarised(net, thresholds=2, shared_weights=False, combination="scaled")
    net(PICTURES).square().sum().backward()
    assert [name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_drop_path() -> None:
    torch.manual_seed(0)
    layer, cells = DropPath(0.25), torch.ones(4000, 2, 1, 1)
    assert layer.eval()(cells).equal(cells)
    found = layer.train()(cells)
    assert found[:, 0].equal(found[:, 1]) and found.unique().tolist() == pytest.approx([0, 4 / 3])
    assert found.mean().item() == pytest.approx(1, abs=0.03)
    rates = [unit.rate for unit in BinaryResNet(8, 10, 8, drop_path=0.2).modules() if isinstance(unit, DropPath)]
    assert rates == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.2])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"depth": 9}, "depth"),
        ({"activation": "relu"}, "activation"),
        ({"stem": "none"}, "stem"),
        ({"drop_path": 1.0}, "drop_path"),
    ],
)
def test_what_a_net_refuses(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        BinaryResNet(**({"depth": 8, "classes": 10} | fields))
