"""Sizes and operations of binary nets against published ones and against values worked out apart."""

from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import nn  # noqa: E402

from models.compress.binary import Binary, BinaryConv2d  # noqa: E402
from models.compress.binary_size import Operations, Size, layer_size, operations_of, size_of  # noqa: E402
from models.compress.binary_stage import Binarise  # noqa: E402
from models.compress.layers import Filter, layers_of  # noqa: E402
from models.compress.stage import Context  # noqa: E402
from models.nets.binary_resnet import BinaryMobileNetV2, BinaryResNet  # noqa: E402

MIB = 2**20
PICTURE = torch.zeros(1, 3, 32, 32)


@cache
def binary_resnet18(count: int, shared: bool) -> nn.Module:
    net = BinaryResNet(18, 10).eval()
    stage = Binarise(thresholds=count, shared_weights=shared, filter=Filter(kernel_above=1))
    assert len(stage.prepare(net, Context(PICTURE, net, 0))) == 16
    return net


def without(size: Size) -> float:
    """Return the MiB of signs, normalisation and floats: what published figures count."""
    return Size(weight_bits=size.weight_bits, normalisation=size.normalisation, rest=size.rest).bytes / MIB


def test_resnet18_in_floats() -> None:
    size = size_of(BinaryResNet(18, 10))
    assert size.bytes / MIB == pytest.approx(42.625, abs=1e-3)
    assert (size.weight_bits, size.thresholds, size.scales, size.normalisation) == (0, 0, 0, 9600)


@pytest.mark.parametrize(("shared", "expected", "times"), [(True, 2.029, 21.01), (False, 4.648, 9.17)])
def test_resnet18_with_three_thresholds(shared: bool, expected: float, times: float) -> None:
    size = size_of(binary_resnet18(3, shared))
    assert without(size) == pytest.approx(expected, abs=1e-3)
    assert 42.6253 / without(size) == pytest.approx(times, abs=0.01)
    assert size.weight_bits == 10_985_472 * (1 if shared else 3)
    assert (size.thresholds, size.scales) == (3 * 3392, 3840)
    assert 4 * size.thresholds / MIB == pytest.approx(0.0388, abs=1e-4)
    assert size.bytes / MIB == pytest.approx(without(size) + 4 * (3 * 3392 + 3840) / MIB)


@pytest.mark.parametrize(
    ("count", "millions", "times"), [(1, 16.618496, 33.42), (2, 25.170944, 22.07), (3, 33.723392, 16.47)]
)
def test_operations_of_resnet18(count: int, millions: float, times: float) -> None:
    found = operations_of(binary_resnet18(count, shared=True), PICTURE)
    assert found == Operations(555_422_720 - 547_356_672, count * 547_356_672)
    assert found.total == millions * 1e6
    assert 555_422_720 / found.total == pytest.approx(times, abs=0.01)
    assert operations_of(BinaryResNet(18, 10), PICTURE) == Operations(555_422_720, 0)


def on_paper(binary: Binary) -> Size:
    """Return the size of a MobileNetV2 in which everything but the ends is binary, depthwise layers too."""
    net = BinaryMobileNetV2(10)
    inner = layers_of(net, PICTURE)[1:-1]
    signs = sum((layer_size(layer.shape, layer.groups, binary) for layer in inner), Size())
    size = size_of(net)
    replaced = sum(layer.parameters for layer in inner)
    return signs + Size(normalisation=size.normalisation, rest=size.rest - replaced)


def test_mobilenetv2_on_paper() -> None:
    assert size_of(BinaryMobileNetV2(10)).bytes / MIB == pytest.approx(8.532, abs=1e-3)
    assert without(on_paper(Binary(thresholds=2))) == pytest.approx(0.443, abs=1e-3)
    size = on_paper(Binary(thresholds=2, shared_weights=False))
    assert without(size) == pytest.approx(0.704, abs=1e-3)
    assert without(size) + 4 * size.thresholds / MIB == pytest.approx(0.825, abs=1e-3)
    assert size.bytes / MIB == pytest.approx(0.889, abs=1e-3)


def test_mobilenetv2_with_depthwise_layers_in_floats() -> None:
    net = BinaryMobileNetV2(10).eval()
    before = size_of(net)
    edits = Binarise(thresholds=2, shared_weights=False).prepare(net, Context(PICTURE, net, 0))
    assert len(edits) == 34 and not any("depthwise" in edit.layer for edit in edits)
    size = size_of(net)
    depthwise = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1)
    assert size.rest == depthwise + 3 * 32 * 9 + 12810
    assert size.weight_bits == 2 * (before.rest - size.rest)
    assert size.normalisation == before.normalisation
    assert size.bytes / MIB == pytest.approx(1.0378, abs=1e-3)


def test_sizes_of_a_layer() -> None:
    separate = layer_size((8, 4, 3, 3), 1, Binary(thresholds=3, shared_weights=False, combination="scaled"))
    assert separate == Size(weight_bits=3 * 288, thresholds=12, scales=8, rest=3)
    assert layer_size((8, 4, 3, 3), 1, Binary(thresholds=3)) == Size(weight_bits=288, thresholds=12, scales=8)
    assert Size(8, 1, 2, 3, 4).bytes == 41
    assert Size(1, 2, 3, 4, 5) + Size(5, 4, 3, 2, 1) == Size(6, 6, 6, 6, 6)


@pytest.mark.parametrize("combination", ["sum", "scaled"])
@pytest.mark.parametrize("shared", [True, False])
def test_numbers_are_a_recount_of_the_parameters(shared: bool, combination: str) -> None:
    layer = BinaryConv2d(nn.Conv2d(16, 8, 3), Binary(3, "iee", shared, combination))
    size = size_of(nn.Sequential(layer, nn.BatchNorm2d(8), nn.PReLU(8)))
    assert size.weight_bits == layer.weights.numel()
    others = sum(value.numel() for value in layer.parameters()) - layer.weights.numel() + 16 + 8
    assert size.thresholds + size.scales + size.normalisation + size.rest == others
