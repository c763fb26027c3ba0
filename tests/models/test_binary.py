"""The binary convolution: its parts against values worked out apart, its gradients, and what it refuses."""

import copy
import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional, grad  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.binary import (  # noqa: E402
    Binary,
    BinaryConv2d,
    apply_binary,
    check,
    fits_shortcut,
    magnitudes,
    standardised,
    starting_thresholds,
)
from models.compress.estimators import ESTIMATORS, sign  # noqa: E402
from models.compress.stage import Edit  # noqa: E402
from models.nets.binary_resnet import carried  # noqa: E402
from models.nets.blocks import SameConv  # noqa: E402


def fixture(*shape: int) -> Tensor:
    count = torch.arange(math.prod(shape), dtype=torch.float64)
    values: Tensor = ((37 * count + 11) % 101) / 50 - 1
    return values.reshape(shape)


def filters(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1)


def layer_of(binary: Binary, stride: int = 1, bias: bool = False) -> BinaryConv2d:
    conv = nn.Conv2d(4, 6, 3, stride, 1, bias=bias).double()
    with torch.no_grad():
        conv.weight.copy_(fixture(6, 4, 3, 3))
    return BinaryConv2d(conv, binary)


CELLS = 1.3 * fixture(2, 4, 7, 7)


def test_standardised_weights() -> None:
    found = standardised(filters(1, 2, 3, 6))
    assert found.flatten().tolist() == pytest.approx([-0.92582, -0.46291, 0, 1.38873], abs=1e-5)
    assert (found * math.sqrt(4 / 3)).flatten()[0].item() == pytest.approx(-1.069045, abs=1e-5)  # biased variance
    assert magnitudes(found).item() == pytest.approx(0.694365, abs=1e-5)
    assert 2 ** torch.log2(magnitudes(found)).round().item() == 0.5  # the shift that IR-Net scales by


def test_the_best_scale() -> None:
    weights = filters(1, -2, 3, -4)
    scale = magnitudes(weights).item()
    error = (weights - scale * sign(weights)).square().sum().item()
    assert (scale, error) == (2.5, 5.0)
    assert error == weights.square().sum().item() - 4 * scale**2
    others = [(weights - other * sign(weights)).square().sum().item() for other in (2.4, 2.6)]
    assert min(others) > error


def test_centred_weights_have_more_information() -> None:
    def entropy(weights: Tensor) -> float:
        share = (sign(weights) > 0).double().mean().item()
        return -sum(part * math.log2(part) for part in (share, 1 - share))

    weights = fixture(4, 3, 3, 3) + 0.6
    assert entropy(weights) == pytest.approx(0.7107, abs=1e-4)
    assert entropy(standardised(weights)) == pytest.approx(1.0, abs=1e-4)


def test_a_dead_filter_is_no_nan() -> None:
    conv = nn.Conv2d(4, 6, 3, padding=1)
    with torch.no_grad():
        conv.weight[0], conv.weight[1] = 0.0, 0.7
    layer = BinaryConv2d(conv, Binary())
    output = layer(CELLS.float())
    output.sum().backward()
    assert output.isfinite().all() and layer.weights.grad is not None and layer.weights.grad.isfinite().all()
    assert layer.kernels()[0, 0].unique().tolist() == [1]


def test_sums_of_three_thresholds() -> None:
    layer = BinaryConv2d(nn.Conv2d(1, 1, 2), Binary(thresholds=3))
    with torch.no_grad():
        layer.thresholds.copy_(torch.tensor([[-0.5], [0.0], [0.5]]))
        maps = layer.sign_maps(torch.tensor([-0.9, -0.2, 0.1, 0.4, 1.2]).reshape(1, 1, 1, 5))
    assert maps.sum(1).flatten().tolist() == [-3, -1, 1, 1, 3]


def test_a_value_at_the_threshold_is_above_it() -> None:
    layer = layer_of(Binary())
    cells = layer.thresholds[0].detach()[None, :, None, None].expand(1, 4, 5, 5)
    assert layer.sign_maps(cells).unique().tolist() == [1]


def test_shared_weights_are_one_convolution_of_the_summed_maps() -> None:
    layer = layer_of(Binary(thresholds=3)).float()
    with torch.no_grad():
        maps, kernels = layer.sign_maps(CELLS.float()), layer.kernels()
        each = [functional.conv2d(maps[:, place], kernels[0]) for place in range(3)]
        assert torch.stack(each).sum(0).equal(functional.conv2d(maps.sum(1), kernels[0]))
        assert layer(CELLS.float()).equal(torch.stack(each).sum(0) * layer.scales[:, None, None])


@pytest.mark.parametrize("combination", ["sum", "scaled"])
@pytest.mark.parametrize("shared", [True, False])
def test_the_output_is_the_sum_of_the_branches(shared: bool, combination: str) -> None:
    layer = layer_of(Binary(thresholds=3, shared_weights=shared, combination=combination), stride=2, bias=True)
    with torch.no_grad():
        layer.weights.add_(torch.randn(layer.weights.shape, generator=torch.Generator().manual_seed(0)))
        maps, kernels = layer.sign_maps(CELLS), layer.kernels()
        assert len(kernels) == (1 if shared else 3)
        factors = torch.ones(3) if layer.factors is None else layer.factors
        each = [
            factors[place] * functional.conv2d(maps[:, place], kernels[place % len(kernels)], None, 2)
            for place in range(3)
        ]
        assert layer.bias is not None
        expected = torch.stack(each).sum(0) * layer.scales[:, None, None] + layer.bias[:, None, None]
        torch.testing.assert_close(layer(CELLS), expected)


def test_the_first_branch_begins_alone_when_they_are_scaled() -> None:
    layer = layer_of(Binary(thresholds=3, combination="scaled"))
    assert layer.factors is not None
    assert layer.factors.tolist() == pytest.approx([1, 0.0005, 0.0005])
    assert layer_of(Binary(thresholds=3)).factors is None


def test_the_bias_is_added_once_and_not_scaled() -> None:
    layer = layer_of(Binary(thresholds=3), bias=True)
    with torch.no_grad():
        layer.scales.zero_()
    assert layer.bias is not None
    assert layer(CELLS).equal(layer.bias[:, None, None].expand(2, 6, 7, 7))


def test_alpha_begins_with_the_weights_whose_signs_it_scales() -> None:
    layer = layer_of(Binary())
    torch.testing.assert_close(layer.scales.detach(), magnitudes(standardised(layer.weights[0].detach())))


def test_it_is_a_plain_convolution_where_everything_is_a_sign() -> None:
    conv = nn.Conv2d(4, 6, 3, padding=1, bias=False).double()
    weights = sign(fixture(6, 2, 3, 3))
    with torch.no_grad():
        conv.weight.copy_(torch.cat([weights, -weights], 1))  # mean 0
    layer = BinaryConv2d(conv, Binary())
    with torch.no_grad():
        layer.scales.fill_(1.0)
        signs = sign(CELLS)
        assert layer(signs).equal(functional.conv2d(functional.pad(signs, (1, 1, 1, 1), value=1.0), conv.weight))
        assert layer(7 * CELLS).equal(layer(signs))


def test_starting_thresholds_cut_equal_shares() -> None:
    found = starting_thresholds(torch.tensor([0.0, 2.0, 5.0]), torch.tensor([1.0, 0.5, 0.0]), 3)
    assert found[:, 0].tolist() == pytest.approx([-0.67449, 0, 0.67449], abs=1e-5)
    assert found[:, 1].tolist() == pytest.approx([2 - 0.337245, 2, 2.337245], abs=1e-5)
    assert found[:, 2].diff().min() > 0
    assert starting_thresholds(torch.tensor([0.3]), torch.tensor([2.0]), 1).tolist() == [[pytest.approx(0.3)]]


def test_thresholds_part_only_if_they_begin_apart() -> None:
    for together in (True, False):
        layer = layer_of(Binary(thresholds=2))
        if together:
            with torch.no_grad():
                layer.thresholds.zero_()
        layer(CELLS).square().sum().backward()
        gradient = layer.thresholds.grad
        assert gradient is not None and gradient.abs().min() > 0
        assert torch.allclose(gradient[0], gradient[1]) == together


@pytest.mark.parametrize("name", ESTIMATORS)
def test_gradients(name: str) -> None:
    """Follow the chain rule by hand, with the slope in the place of each sign's derivative."""
    layer = layer_of(Binary(thresholds=2, estimator=name))
    layer.progress.fill_(0.8)
    cells, estimator = CELLS.clone().requires_grad_(), ESTIMATORS[name]
    incoming = fixture(2, 6, 7, 7)
    layer(cells).backward(incoming)

    t = estimator.sharpness(layer.progress)
    maps = layer.sign_maps(CELLS).detach()
    kernel, scaled = layer.kernels()[0].detach(), incoming * layer.scales.detach()[:, None, None]
    summed = functional.conv2d(maps.sum(1), kernel)
    to_maps = grad.conv2d_input(maps.sum(1).shape, kernel, scaled)[:, :, 1:-1, 1:-1]
    above = CELLS[:, None] - layer.thresholds.detach()[:, :, None, None]
    to_values = to_maps[:, None] * estimator.activations(above, t)
    latent = standardised(layer.weights.detach()).requires_grad_()
    to_signs = grad.conv2d_weight(maps.sum(1), kernel.shape, scaled)
    weights = layer.weights.detach().clone().requires_grad_()
    standardised(weights).backward(to_signs[None] * estimator.weights(latent.detach(), t))

    for found, expected in (
        (cells.grad, to_values.sum(1)),
        (layer.thresholds.grad, -to_values.sum((0, 3, 4))),
        (layer.scales.grad, (incoming * summed).sum((0, 2, 3))),
        (layer.weights.grad, weights.grad),
    ):
        assert found is not None and found.abs().max() > 0
        torch.testing.assert_close(found, expected)


def test_weights_in_floats_for_the_first_step() -> None:
    layer = layer_of(Binary())
    signs = layer(CELLS)
    layer.signed_weights.fill_(False)
    maps = layer.sign_maps(CELLS)[:, 0]
    expected = functional.conv2d(maps, standardised(layer.weights)[0]) * layer.scales[:, None, None]
    torch.testing.assert_close(layer(CELLS), expected)
    assert not torch.allclose(layer(CELLS), signs)


def test_progress_travels_with_copies_and_checkpoints() -> None:
    layer, other = layer_of(Binary()), layer_of(Binary())
    assert layer.progress == 1 and bool(layer.signed_weights)
    layer.progress.fill_(0.25)
    layer.signed_weights.fill_(False)
    other.load_state_dict(layer.state_dict())
    for found in (other, copy.deepcopy(layer)):
        assert found.progress == 0.25 and not bool(found.signed_weights)


def test_nothing_is_bound_to_a_device() -> None:
    layer = layer_of(Binary(thresholds=2, combination="scaled", shortcut=False), bias=True).to("meta")
    assert layer(CELLS.to("meta")).shape == (2, 6, 7, 7)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 8, 2), (8, 4, 1), (4, 12, 1)])
def test_a_shortcut_adds_the_input(inputs: int, outputs: int, stride: int) -> None:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1)
    assert fits_shortcut(conv)
    cells = torch.randn(2, inputs, 5, 5)
    with torch.no_grad():
        plain, added = BinaryConv2d(conv, Binary())(cells), BinaryConv2d(conv, Binary(shortcut=True))(cells)
    torch.testing.assert_close(added - plain, carried(cells, inputs, outputs, stride))


@pytest.mark.parametrize(
    "conv", [nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, (2, 1), 1)], ids=range(3)
)
def test_where_no_shortcut_fits(conv: nn.Conv2d) -> None:
    assert not fits_shortcut(conv)


def test_applied_to_a_fresh_net() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, 2, 1)).eval()
    values = {"thresholds": 2, "estimator": "tanh", "shared_weights": False, "combination": "scaled", "shortcut": False}
    apply_binary(net, Edit("binary", "1", values))
    layer = net[1]
    assert isinstance(layer, BinaryConv2d) and layer.binary == Binary(**values) and not layer.training
    assert layer.weights.shape == (2, 6, 4, 3, 3) and layer.thresholds.shape == (2, 4)
    assert net(torch.randn(1, 3, 9, 9)).shape == (1, 6, 4, 4)


REFUSED = {
    "groups": (nn.Conv2d(4, 4, 3, groups=4), "4 groups"),
    "another class": (SameConv(4, 4, 3), "SameConv"),
    "fully connected": (nn.Linear(4, 4), "Linear"),
    "reflected": (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "zeros"),
    "padded by name": (nn.Conv2d(4, 4, 3, padding="same"), "zeros"),
    "dilated": (nn.Conv2d(4, 4, 3, dilation=2), "dilated"),
    "one weight": (nn.Conv2d(1, 4, 1), "single weight"),
}


@pytest.mark.parametrize(("module", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_by_name(module: nn.Module, reason: str) -> None:
    with pytest.raises(SetupError, match=rf"layer inner\.0.*{reason}"):
        check("inner.0", module)


@pytest.mark.parametrize("fields", [{"thresholds": 0}, {"estimator": "sigmoid"}, {"combination": "product"}])
def test_bad_values(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        Binary(**fields)
