"""The embedders in torch: their size and cost as published, and how they behave in batches."""

import math
from collections.abc import Callable
from functools import partial

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from net_sizes import multiplications, parameter_count  # noqa: E402

from models.nets.iresnet import IResNet  # noqa: E402
from models.nets.mobiface import MobiFace, mobiface_x3_swish_se  # noqa: E402
from models.nets.mobilefacenet import MobileFaceNet  # noqa: E402

FACE = (1, 3, 112, 112)
BIAS = 512  # of the published student's last layer; ours has none, for the normalisation behind it takes it away

SIZES: dict[str, tuple[Callable[[], torch.nn.Module], int, int]] = {  # parameters, multiply-accumulates
    "MobileFaceNet 128": (partial(MobileFaceNet, 128), 1_003_136, 220_965_376),
    "MobileFaceNet 512, ReLU": (partial(MobileFaceNet, 512, "relu"), 1_193_472 - BIAS, 221_161_984),
    "MobileFaceNet 512": (partial(MobileFaceNet, 512), 1_200_512, 221_161_984),
    "MobiFace, the table's head": (partial(MobiFace, depthwise_head=False), 15_126_144, 244_532_736),
    "MobiFace": (MobiFace, 2_568_832, 231_974_912),
    "MobiFace, swish, SE": (partial(MobiFace, 512, "swish", ratio=16), 2_831_800, 232_243_200),
    "three times the blocks": (mobiface_x3_swish_se, 7_010_232, 524_316_672),
    "width sqrt 3": (partial(MobiFace, 512, "swish", width=math.sqrt(3), ratio=16), 7_635_048, 671_747_656),
    "width 3": (partial(MobiFace, 512, "swish", width=3, ratio=16), 21_910_824, 1_969_425_408),
}

REFERENCES: dict[str, tuple[Callable[[], torch.nn.Module], int, int]] = {
    "IResNet-18": (partial(IResNet, 18), 24_025_600, 2_610_000_000),
    "IResNet-34": (partial(IResNet, 34), 34_139_328, 4_460_000_000),
    "IResNet-50": (partial(IResNet, 50), 43_590_848, 6_310_000_000),
    "IResNet-100": (partial(IResNet, 100), 65_156_160, 12_089_606_144),
    "IResNet-100, half": (partial(IResNet, 100, width=math.sqrt(0.5)), 35_226_501, 6_026_890_338),
}
ROUNDED = 10_000_000  # costs told to two places of a thousand million


@pytest.mark.parametrize(("build", "parameters", "cost"), SIZES.values(), ids=SIZES)
def test_size_and_cost(build: Callable[[], torch.nn.Module], parameters: int, cost: int) -> None:
    net = build()
    assert (parameter_count(net), multiplications(net, *FACE)) == (parameters, cost)


@pytest.mark.parametrize(("build", "parameters", "cost"), REFERENCES.values(), ids=REFERENCES)
def test_size_and_cost_of_references(build: Callable[[], torch.nn.Module], parameters: int, cost: int) -> None:
    with torch.device("meta"):  # shapes without numbers: nothing is computed
        net = build()
    counted = multiplications(net, *FACE)
    assert parameter_count(net) == parameters
    assert counted == cost if cost % ROUNDED else abs(counted - cost) <= ROUNDED / 2


SMALL = {
    "MobileFaceNet": partial(MobileFaceNet, 64, "relu"),
    "MobiFace": partial(MobiFace, 64, width=0.25),
    "MobiFace, the table's head": partial(MobiFace, 64, width=0.25, depthwise_head=False),
    "MobiFace, swish, SE": partial(MobiFace, 64, "swish", width=0.25, ratio=16),
    "IResNet-18": partial(IResNet, 18, 64, 0.25),
}


@pytest.mark.parametrize("build", SMALL.values(), ids=SMALL)
def test_a_face_has_the_same_vector_in_every_batch(build: Callable[[], torch.nn.Module]) -> None:
    torch.manual_seed(0)
    net = build()
    faces = torch.randint(0, 256, (5, *FACE[1:])).float()
    net.train()(faces)  # running figures that are no zeros and ones
    with torch.no_grad():
        together = net.eval()(faces)
        alone = torch.cat([net(face[None]) for face in faces])
    assert together.shape == (5, 64)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("build", SMALL.values(), ids=SMALL)
def test_training_takes_two_faces_at_least(build: Callable[[], torch.nn.Module]) -> None:
    net = build().train()
    assert net(torch.zeros(2, *FACE[1:])).shape == (2, 64)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(torch.zeros(FACE))


def test_the_scale_of_the_last_normalisation_stays() -> None:
    net = IResNet(18, 8, 0.25)
    assert [name for name, value in net.named_parameters() if not value.requires_grad] == ["norm.weight"]
    assert bool((net.norm.weight == 1).all())
