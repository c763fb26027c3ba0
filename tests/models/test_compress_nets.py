"""Nets of classifiers and what they cost, against published figures."""

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")
pytest.importorskip("sklearn", reason="needs the train extra: pip install scikit-learn")

from torch import nn  # noqa: E402

from models.compress.counting import counts, macs, theoretical_bytes  # noqa: E402
from models.compress.layers import layers_of  # noqa: E402
from models.nets.classifiers import NETS, NetPlan  # noqa: E402
from models.nets.mobilenetv2 import MobileNetV2  # noqa: E402
from models.nets.resnet import ResNet  # noqa: E402


def parameters(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


PUBLISHED: dict[str, tuple[Callable[[], nn.Module], int, int, int | None]] = {
    "ResNet18 of 1000 classes": (lambda: ResNet(18, 1000, 64, "large"), 224, 11_689_512, 1_814_073_344),
    "ResNet18 of 10 classes": (lambda: ResNet(18, 10, 64, "large"), 32, 11_181_642, None),
    "ResNet18 with a small stem": (lambda: ResNet(18, 10), 32, 11_173_962, 555_422_720),
    "ResNet18 of the study": (lambda: ResNet(18, 10, 16), 32, 701_466, None),
    "ResNet8 of the study": (lambda: ResNet(8, 10, 16), 32, 78_042, None),
    "ResNet20 of the study": (lambda: ResNet(20, 10, 16), 32, 272_474, None),
    "MobileNetV2 of 1000 classes": (lambda: MobileNetV2(1000, stem="large"), 224, 3_504_872, 300_774_272),
    "MobileNetV2 of 10 classes": (lambda: MobileNetV2(10), 32, 2_236_682, None),
}


@pytest.mark.parametrize(("build", "side", "numbers", "products"), PUBLISHED.values(), ids=PUBLISHED)
def test_nets_have_the_published_sizes(
    build: Callable[[], nn.Module], side: int, numbers: int, products: int | None
) -> None:
    with torch.device("meta"):  # shapes alone, nothing is computed
        net, picture = build(), torch.zeros(1, 3, side, side)
        assert parameters(net) == numbers
        if products is not None:
            assert macs(net, picture) == products


@pytest.mark.parametrize(("depth", "millions"), [(20, 40.550), (32, 68.862), (56, 125.485), (110, 252.887)])
def test_cifar_nets_have_the_published_macs_of_their_3x3_convolutions(depth: int, millions: float) -> None:
    with torch.device("meta"):
        layers = layers_of(ResNet(depth, 10, 16), torch.zeros(1, 3, 32, 32))
    counted = sum(layer.macs for layer in layers if layer.shape[2:] == (3, 3))
    assert counted / 1e6 == pytest.approx(millions, abs=6e-4)


def test_a_net_of_no_known_depth_or_stem_is_refused() -> None:
    for depth, stem in ((9, "small"), (20, "middle")):
        with pytest.raises(ValueError, match="there are"):
            ResNet(depth, 10, 16, stem)


@pytest.mark.parametrize("name", NETS)
def test_multiply_adds_as_they_ran_are_those_of_the_layers(name: str) -> None:
    with torch.device("meta"):
        net, picture = NetPlan(name=name, width=8).build(5), torch.zeros(1, 3, 16, 16)
        assert macs(net, picture) == sum(layer.macs for layer in layers_of(net, picture)) and net.training


def test_a_fully_connected_layer_is_counted_at_every_place_where_it_runs() -> None:
    net, picture = nn.Sequential(nn.Linear(16, 8), nn.Flatten(), nn.Linear(384, 4)), torch.zeros(1, 3, 16, 16)
    assert [layer.macs for layer in layers_of(net, picture)] == [48 * 16 * 8, 384 * 4]
    assert macs(net, picture) == 48 * 16 * 8 + 384 * 4


def test_running_figures_are_kept_too() -> None:
    assert theoretical_bytes(nn.BatchNorm2d(5))["fp32"] == 4 * 4 * 5  # the count of batches is no figure


def test_bytes_by_how_parameters_are_kept() -> None:
    net = nn.Linear(3, 2)  # six weights, two biases
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]))
        net.bias.copy_(torch.tensor([0.5, 0.0]))
    assert theoretical_bytes(net) == {"fp32": 32, "int8": 6 + 4 * (2 + 2), "sparse": 8 * 4}
    assert counts(net, torch.zeros(1, 3)).nonzero == 4
