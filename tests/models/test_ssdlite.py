"""The starter net in torch: its size, its padding, and that it is the shipped one."""

import numpy as np
import pytest
from fixtures_starter import take_or_skip

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from net_sizes import multiplications, parameter_count  # noqa: E402

from app.vision.artefact import Artefact  # noqa: E402
from models.nets.blocks import SameConv  # noqa: E402
from models.nets.ssdlite import PRIORS, SSDLite, StarterStem, Trunk  # noqa: E402
from models.nets.starter_weights import starter  # noqa: E402
from models.starter.graphdef import float_constants  # noqa: E402
from models.starter.recipes import PERSON  # noqa: E402

BACKGROUND = 3 * 576 + 6 * (1280 + 512 + 256 + 256 + 128) + 33  # parameters of the logits that nobody needs


def test_size() -> None:
    # With background and person the net has 3,045,126 parameters and 616,952,240 multiplications at 300x300.
    net = SSDLite()
    cells = [19 * 19, 10 * 10, 5 * 5, 3 * 3, 2 * 2, 1]
    spared = sum(n * count * width for n, count, width in zip(cells, PRIORS, net.trunk.widths, strict=True))
    assert parameter_count(net) == 3_045_126 - BACKGROUND
    assert multiplications(net, 1, 3, 300, 300) == 616_952_240 - spared


def test_priors_of_the_starter() -> None:
    codes, logits = SSDLite().eval()(torch.zeros(1, 3, 300, 300))
    assert codes.shape == (1, 1917, 4) and logits.shape == (1, 1917)


def test_padding_goes_by_the_side() -> None:
    # A kernel that sees its first row and column alone shows where the window begins.
    conv = SameConv(1, 1, 3, 2, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0, 0, 0] = 1
        even, odd = conv(torch.ones(1, 1, 4, 4)), conv(torch.ones(1, 1, 5, 5))
    assert even.tolist() == [[[[1, 1], [1, 1]]]]  # (0, 1)
    assert odd.tolist() == [[[[0, 0, 0], [0, 1, 1], [0, 1, 1]]]]  # (1, 1)


def test_equals_the_starter_as_it_is_built(starter_detector: Artefact) -> None:
    net, artefact = starter(float_constants(take_or_skip(PERSON.source))), starter_detector
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 300, 300)).astype(np.float32)
    cells = artefact.open("stem.onnx").run(picture)[0]
    codes, logits = artefact.open("tail.onnx").run(cells)
    with torch.no_grad():
        mine = [net.stem(torch.from_numpy(picture)), *net(torch.from_numpy(picture))]
    for value, expected in zip(mine, (cells, codes, logits), strict=True):
        np.testing.assert_allclose(value.numpy(), expected, atol=1e-4)


def test_the_trunk_gives_six_maps_and_three_ends() -> None:
    stem, trunk = StarterStem().eval(), Trunk().eval()
    maps, ends = trunk(stem(torch.zeros(1, 3, 240, 320)))
    assert [tuple(cells.shape[1:]) for cells in ends] == [(32, 30, 40), (96, 15, 20), (320, 8, 10)]
    assert [tuple(cells.shape[2:]) for cells in maps] == [(15, 20), (8, 10), (4, 5), (2, 3), (1, 2), (1, 1)]
    assert [cells.shape[1] for cells in maps] == list(trunk.widths)
