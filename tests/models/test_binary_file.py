"""Binary nets in one bit a weight: as long as the accounts say, and the same answers to the last bit."""

from collections.abc import Callable
from math import ceil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import nn  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.binary import BinaryConv2d  # noqa: E402
from models.compress.binary_file import packed_weights, take_weights  # noqa: E402
from models.compress.binary_size import size_of  # noqa: E402
from models.compress.binary_stage import Binarise  # noqa: E402
from models.compress.layers import Filter  # noqa: E402
from models.compress.packed import pack, unpack  # noqa: E402
from models.compress.recipe import replay  # noqa: E402
from models.compress.stage import Context, Edit  # noqa: E402
from models.nets.binary_resnet import BinaryMobileNetV2, BinaryResNet  # noqa: E402
from models.nets.resnet import ResNet  # noqa: E402

PICTURES = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
NETS: dict[str, Callable[[], nn.Module]] = {
    "ResNet": lambda: ResNet(8, 10, 9),  # 81 weights in a filter: no whole bytes
    "binary ResNet": lambda: BinaryResNet(8, 10, 8, activation="rprelu"),
    "MobileNetV2": lambda: BinaryMobileNetV2(10, 8),
}
WAYS = {"shared": {}, "three sets, scaled": {"shared_weights": False, "combination": "scaled"}}


def disturb(net: nn.Module) -> None:
    """Do to parameters and running figures what training does."""
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point() and not name.endswith("progress"):
                value.add_(0.3 * torch.rand(value.shape, generator=random))


def binary(make: Callable[[], nn.Module], **fields: object) -> tuple[nn.Module, list[Edit]]:
    torch.manual_seed(0)
    net = make().eval()
    stage = Binarise(thresholds=3, filter=Filter(min_inputs=8), **fields)
    edits = stage.prepare(net, Context(PICTURES, net, 0))
    assert edits
    disturb(net)
    return net.eval(), edits


def again(make: Callable[[], nn.Module], edits: list[Edit], content: bytes) -> nn.Module:
    fresh = make().eval()
    replay(fresh, edits)
    take_weights(fresh, content)
    return fresh.eval()


@pytest.mark.parametrize("fields", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_a_net_from_its_file_answers_the_same_to_the_last_bit(
    make: Callable[[], nn.Module], fields: dict[str, object]
) -> None:
    net, edits = binary(make, **fields)
    content = packed_weights(net)
    read = again(make, edits, content)
    with torch.no_grad():
        assert torch.equal(read(PICTURES), net(PICTURES))
    assert packed_weights(read) == content


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_a_file_is_as_long_as_the_accounts_say(make: Callable[[], nn.Module]) -> None:
    lengths = []
    for fields in WAYS.values():
        net, _ = binary(make, **fields)
        size, floats = size_of(net), sum(value.numel() for value in net.parameters())
        lengths.append(len(packed_weights(net)))
        assert lengths[-1] == ceil(size.bytes) == ceil(size.weight_bits / 8) + 4 * (floats - size.weight_bits)
    shared = sum(module.weights.numel() for module in net.modules() if isinstance(module, BinaryConv2d)) // 3
    factors = 4 * 3 * sum(isinstance(module, BinaryConv2d) for module in net.modules())
    assert lengths[1] - lengths[0] == pytest.approx(2 * shared / 8 + factors, abs=1)  # two more sets of signs


def test_writing_leaves_the_net_as_it_is() -> None:
    net, _ = binary(NETS["binary ResNet"])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    packed_weights(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_bits_begin_with_the_lowest() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[[[3.0, -1, -1, -1]]], [[[-2.0, 1, -2, 3]]]]).reshape(2, 1, 2, 2))
    replay(net, [Edit("binary", "0", {})])
    content = packed_weights(net)
    assert len(content) == 4 * (1 + 2) + 1  # one threshold, two alphas, eight signs
    assert content[-1] == 0b10100001  # +1 -1 -1 -1, -1 +1 -1 +1, the first in the lowest bit


@pytest.mark.parametrize("count", [0, 1, 63, 64, 70, 128])
def test_unpacking_undoes_packing(count: int) -> None:
    signs = (np.random.RandomState(count).randint(0, 2, (3, count)) * 2 - 1).astype(np.int8)
    assert np.array_equal(unpack(pack(signs), count), signs)


def test_a_file_of_another_length_is_refused() -> None:
    net, edits = binary(NETS["ResNet"])
    content = packed_weights(net)
    with pytest.raises(SetupError, match=rf"{len(content) - 1} bytes, .* take {len(content)}"):
        again(NETS["ResNet"], edits, content[:-1])
    with pytest.raises(SetupError, match="bytes"):
        take_weights(NETS["ResNet"](), content)


def unsigned() -> nn.Module:
    net, _ = binary(NETS["ResNet"])
    for module in net.modules():
        if isinstance(module, BinaryConv2d):
            module.signed_weights.fill_(False)
    return net


def with_buffer() -> nn.Module:
    net = nn.Sequential(nn.Identity())
    net[0].register_buffer("mean", torch.zeros(3))
    return net


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (unsigned, "are not signs yet"),
        (lambda: nn.Sequential(nn.BatchNorm2d(3, affine=False)), "0 has no factor"),
        (lambda: nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), "no running figures"),
        (with_buffer, "0 keeps more than parameters"),
    ],
)
def test_what_the_file_has_no_place_for_is_refused(make: Callable[[], nn.Module], told: str) -> None:
    with pytest.raises(SetupError, match=told):
        packed_weights(make())
    with pytest.raises(SetupError, match=told):
        take_weights(make(), b"")


@pytest.mark.parametrize("epsilon", [1e-5, 1e-3, 0.0])
def test_normalisations_are_kept_as_torch_computes_them(epsilon: float) -> None:
    torch.manual_seed(0)
    net, fresh = (nn.Sequential(nn.BatchNorm2d(64, eps=epsilon)).eval() for _ in range(2))
    disturb(net)
    take_weights(fresh, packed_weights(net))
    cells = torch.randn(4, 64, 7, 5)
    assert torch.equal(fresh(cells), net(cells)) and len(packed_weights(net)) == 4 * 2 * 64
