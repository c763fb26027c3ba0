"""Reduced-order nets: the stage on whole nets."""

import copy
import importlib
import json
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from reducible_nets import distance, drawn_pictures, resnet, vgg  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.kinds import KINDS  # noqa: E402
from models.compress.layers import layers_of  # noqa: E402
from models.compress.recipe import replay  # noqa: E402
from models.compress.ron import Ron  # noqa: E402
from models.compress.ron_layers import macs_of  # noqa: E402
from models.compress.stage import Context  # noqa: E402
from models.nets.resnet import ResNet  # noqa: E402


@pytest.mark.parametrize(("make", "first"), [(vgg, "0"), (resnet, "stages")], ids=["VGG", "ResNet"])
def test_a_stage_saves_macs_on_pictures_that_differ_in_a_few_ways(make: Any, first: str) -> None:
    net, pictures = make(), drawn_pictures(400, freedoms=2)
    before, expected = layers_of(net, pictures[:1]), net(pictures)
    other = copy.deepcopy(net)
    [edit] = Ron(first=first, energy=0.99, growth=100.0, pictures=300).finish(other, Context(pictures, net, 0))
    after = layers_of(other, pictures[:1])
    assert sum(layer.macs for layer in after) < 0.3 * sum(layer.macs for layer in before)
    assert distance(other(pictures), expected) < 0.2
    assert 0 < edit.values["error"] < 0.2
    for sizes in edit.values["layers"]:
        assert sizes["energy"] >= 0.99
        assert sizes["error"] <= sizes["bound"]
    maps = [layer for layer in after if layer.name.startswith(edit.layer) and ".lift" not in layer.name]
    assert sum(layer.macs for layer in maps) == sum(macs_of(sizes) for sizes in edit.values["layers"])


def test_a_reduced_net_is_made_again_from_its_edit() -> None:
    net, pictures = resnet(), drawn_pictures(200)
    [edit] = Ron(first="stages", energy=0.95).finish(net, Context(pictures, net, 0))
    assert json.loads(json.dumps(edit.values)) == edit.values
    fresh = ResNet(8, 5, 4).eval()
    replay(fresh, [edit])
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(pictures), net(pictures))


@pytest.mark.parametrize(("make", "first"), [(vgg, "0"), (resnet, "stages")], ids=["VGG", "ResNet"])
def test_a_reduced_net_is_exported(make: Any, first: str) -> None:
    from models.compress.export import exported, logits_of

    net, pictures = make(), drawn_pictures(100, freedoms=2)
    assert Ron(first=first, energy=0.9).finish(net, Context(pictures, net, 0))
    logits = torch.from_numpy(logits_of(exported(net, pictures[:4]), pictures))
    assert torch.allclose(logits, net(pictures).detach(), rtol=0, atol=1e-4 * float(logits.abs().max()))


def test_the_same_seed_reduces_alike() -> None:
    nets = [vgg(), vgg()]
    edits = [Ron(first="0", pictures=100).finish(net, Context(drawn_pictures(200), net, 3)) for net in nets]
    assert edits[0] == edits[1]
    assert torch.equal(nets[0](drawn_pictures(5)), nets[1](drawn_pictures(5)))


def test_a_net_that_would_not_become_smaller_stays_as_it_is() -> None:
    net, pictures = resnet(), torch.randn(300, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before, expected = copy.deepcopy(net.state_dict()), net(pictures)
    assert Ron(first="stages", energy=1.0).finish(net, Context(pictures, net, 0)) == []
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(net(pictures), expected)


def test_a_part_that_does_not_pay_is_left_out() -> None:
    net, pictures = vgg(), torch.randn(400, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    [edit] = Ron(first="0", ranks=[200, 200, 5, 5], growth=100.0).finish(net, Context(pictures, net, 0))
    assert edit.layer == "7"
    assert isinstance(net[0], nn.Conv2d)
    assert all(sizes["entries"] <= 10 for sizes in edit.values["layers"])


def test_a_part_does_not_take_more_weights_than_it_had() -> None:
    pictures = drawn_pictures(200)
    nets = [resnet(), resnet()]
    before = sum(value.numel() for value in nets[0].parameters())
    for net, growth in zip(nets, (1.0, 100.0), strict=True):
        assert Ron(first="stages", energy=0.97, growth=growth).finish(net, Context(pictures, net, 0))
    first, second = (sum(value.numel() for value in net.parameters()) for net in nets)
    assert first < before < second
    macs = [sum(layer.macs for layer in layers_of(net, pictures[:1])) for net in nets]
    assert macs[0] > macs[1]


def test_ranks_are_one_or_one_for_each_selection() -> None:
    net, pictures = resnet(), drawn_pictures(50)
    with pytest.raises(SetupError, match="ranks has 2 numbers; give one, or one for each of 6 layers"):
        Ron(first="stages", ranks=[3, 4]).finish(net, Context(pictures, net, 0))
    [edit] = Ron(first="stages.2", ranks=[3], oversampling=1.0).finish(net, Context(pictures, net, 0))
    assert [sizes["entries"] for sizes in edit.values["layers"]] == [3]
    assert edit.values["layers"][0]["inner"]["entries"] == 3


def test_a_reduced_net_takes_one_size_only() -> None:
    net, pictures = resnet(), drawn_pictures(100)
    net(drawn_pictures(1, 16))
    Ron(first="stages", energy=0.9).finish(net, Context(pictures, net, 0))
    with pytest.raises(SetupError, match="the net was reduced for maps"):
        net(drawn_pictures(1, 16))


def test_finetuning_trains_the_linear_maps() -> None:
    net, pictures = resnet(), drawn_pictures(100)
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
        {"pictures": 4097},
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
