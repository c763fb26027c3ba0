"""The lean detector: its cost, what it keeps of the starter, and its files."""

import cv2
import numpy as np
import pytest
from fixtures_starter import take_or_skip

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from net_sizes import multiplications, parameter_count  # noqa: E402

from app.vision.artefact import Artefact, shipped  # noqa: E402
from app.vision.detector import Detector  # noqa: E402
from app.vision.picture import ArrayPicture  # noqa: E402
from models.detection.export import TOLERANCE, disagreement, written  # noqa: E402
from models.nets.blocks import Convolution  # noqa: E402
from models.nets.lean import LEAN, _largest, _sent, narrowed  # noqa: E402
from models.nets.lean_weights import unfolded  # noqa: E402
from models.nets.ssdlite import STARTER_WIDTHS, SSDLite  # noqa: E402
from models.nets.starter_weights import starter  # noqa: E402
from models.pictures import as_batch  # noqa: E402
from models.precisions import STEM, TAIL  # noqa: E402
from models.starter.graphdef import float_constants  # noqa: E402
from models.starter.recipes import PERSON, TRAINED, lean_nets  # noqa: E402


@pytest.fixture(scope="module")
def whole() -> SSDLite:
    return starter(float_constants(take_or_skip(PERSON.source)))


def test_size() -> None:
    lean = SSDLite(LEAN)
    assert parameter_count(lean) == 1_849_365  # of the starter's 3,028,773
    assert multiplications(lean, 1, 3, 300, 300) == 344_119_952  # of 615,462,896
    codes, logits = lean.eval()(torch.zeros(1, 3, 300, 300))
    assert codes.shape == (1, 1917, 4) and logits.shape == (1, 1917)


def test_what_a_channel_sends_on_is_the_mean_square_behind_its_rectifier() -> None:
    layer = Convolution(4, 4)
    with torch.no_grad():
        layer.norm.weight.copy_(torch.tensor([1.0, -0.5, 2.0, 0.3]))
        layer.norm.bias.copy_(torch.tensor([0.0, 0.4, -1.0, -0.9]))
    gain, shift = layer.norm.weight.detach(), layer.norm.bias.detach()
    drawn = torch.randn(400_000, 4, generator=torch.Generator().manual_seed(0)) * gain + shift
    expected = drawn.clamp(min=0).square().mean(0).sqrt()
    torch.testing.assert_close(_sent(layer).detach(), expected, rtol=0.03, atol=1e-3)


def test_the_largest_stay_in_their_order() -> None:
    assert _largest(torch.tensor([3.0, 9.0, 1.0, 5.0]), 3).tolist() == [0, 1, 3]


def test_at_full_width_it_is_the_starter(whole: SSDLite) -> None:
    picture = torch.rand(1, 3, 300, 300, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        for mine, theirs in zip(narrowed(whole, STARTER_WIDTHS).eval()(picture), whole(picture), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_what_is_kept_is_the_starters(whole: SSDLite) -> None:
    net = narrowed(whole)
    for mine, theirs in zip(net.trunk.blocks, whole.trunk.blocks, strict=True):
        rows = theirs.expand.conv.weight.flatten(1)
        assert all((rows == row).all(1).any() for row in mine.expand.conv.weight.flatten(1))
    assert torch.equal(net.persons.logits[2].pointwise.weight, whole.persons.logits[2].pointwise.weight)


def test_a_narrowed_net_says_more_of_the_starters_answer_than_one_cut_anywhere(whole: SSDLite) -> None:
    # The share of an inner map's energy that is kept, by the rule and by taking the first channels.
    block = whole.trunk.blocks[5]
    sent = _sent(block.depthwise) * block.project.conv.weight.flatten(1).norm(dim=0)
    kept = _largest(sent, len(sent) * 2 // 3)
    assert sent[kept].square().sum() > 0.85 * sent.square().sum() > sent[: len(kept)].square().sum()


def test_onnx_equals_torch_and_the_same_net_gives_the_same_bytes() -> None:
    torch.manual_seed(1)
    net = SSDLite(LEAN).train()
    net(torch.rand(2, 3, 300, 300) * 255)  # running figures that are not 0 and 1
    nets = written(net.eval())
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    assert disagreement(net, nets, [picture]) < TOLERANCE
    assert written(net) == nets and set(nets) == {STEM, TAIL}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_shipped_detector_is_a_lean_one(precision: str, starter_detector: Artefact) -> None:
    lean, full = Detector(shipped("detector"), precision=precision), Detector(starter_detector, precision=precision)
    picture = ArrayPicture(np.full((240, 320, 3), 90, np.uint8))
    glances = [detector.look(picture) for detector in (lean, full)]
    np.testing.assert_array_equal(glances[0].features, glances[1].features)  # the gate sees what it saw before
    assert len(lean.finish(glances[0])) == 0


def test_the_shipped_files_become_a_net_that_computes_the_same_and_normalises_what_it_sees() -> None:
    drawn = np.random.default_rng(0)
    pictures = [cv2.resize(drawn.integers(0, 256, (side, side, 3), np.uint8), (300, 300)) for side in (5, 12, 40, 150)]
    net = unfolded(TRAINED / "persons", pictures)
    assert disagreement(net, lean_nets(), pictures[:2]) < 1e-5
    assert torch.equal(narrowed(net).stem.first.conv.weight, net.stem.first.conv.weight)  # it is as wide as that
    given: list[torch.Tensor] = []
    norm = net.trunk.last.norm
    norm.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.no_grad():
        for picture in pictures:
            net(torch.from_numpy(as_batch(picture)))
    torch.testing.assert_close(norm.running_mean, torch.cat(given).mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.running_var, torch.cat(given).var((0, 2, 3), correction=0), rtol=1e-3, atol=1e-4)
