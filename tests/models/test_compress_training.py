"""The loop that trains classifiers: its rate, its batches, and a training that is stopped."""

import io
import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")
pytest.importorskip("sklearn", reason="needs the train extra: pip install scikit-learn")

from torch import nn  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.stage import Stage  # noqa: E402
from models.compress.tasks import Part, normalised  # noqa: E402
from models.compress.training import Progress, Tuning, batches, rate, train  # noqa: E402
from models.nets.resnet import ResNet  # noqa: E402


def test_the_rate_rises_in_a_line_and_falls_as_half_a_cosine() -> None:
    tuning = Tuning(rate=0.1, warmup=0.2)
    assert rate(tuning, 0.1) == pytest.approx(0.05) and rate(tuning, 0.2) == pytest.approx(0.1)
    assert rate(tuning, 0.6) == pytest.approx(0.0505) and rate(tuning, 1.0) == pytest.approx(0.001)


def part_of(count: int, side: int = 8) -> Part:
    random = np.random.default_rng(0)
    return Part(random.integers(0, 256, (count, 3, side, side), dtype=np.uint8), random.integers(0, 4, count))


def test_an_epoch_shows_every_picture_once_moved_and_mirrored_by_its_seed_alone() -> None:
    part = part_of(20)
    still = list(batches(part, Tuning(rate=0.1, batch=8), 3))
    assert [len(labels) for _, labels in still] == [8, 8]  # four fill no batch
    shown = {picture.numpy().tobytes() for pictures, _ in still for picture in pictures}
    assert len(shown) == 16 and shown < {picture.numpy().tobytes() for picture in normalised(part.pictures)}
    tuning = Tuning(rate=0.1, batch=8, shift=2, mirror=True)
    first, again, other = ([pictures for pictures, _ in batches(part, tuning, seed)] for seed in (3, 3, 4))
    assert all(map(torch.equal, first, again)) and not all(map(torch.equal, first, other))
    assert not all(map(torch.equal, first, [pictures for pictures, _ in still]))


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return ResNet(8, 4, 4)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(optimiser: str) -> None:
    tuning, part = Tuning(rate=0.01, batch=8, shift=1, optimiser=optimiser), part_of(32)
    whole, stopped = small_net(), small_net()
    train(whole, part, tuning, 3, 7, Stage(), Progress(), lambda progress: None)
    kept: dict[str, Any] = {}

    def stop(progress: Progress) -> None:
        content = io.BytesIO()
        torch.save({"net": stopped.state_dict(), "progress": vars(progress)}, content)
        content.seek(0)
        kept.update(torch.load(content, weights_only=True))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train(stopped, part, tuning, 3, 7, Stage(), Progress(), stop)
    fresh = small_net()
    fresh.load_state_dict(kept["net"])
    train(fresh, part, tuning, 3, 7, Stage(), Progress(**kept["progress"]), lambda progress: None)
    assert all(
        torch.equal(one, other)
        for one, other in zip(fresh.state_dict().values(), whole.state_dict().values(), strict=True)
    )
    assert not whole.training


def test_what_no_weight_decay_is_meant_for_has_none() -> None:
    spared = nn.Linear(4, 4)
    spared.weight.no_decay = True  # type: ignore[attr-defined]
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), spared)
    for value in net.parameters():
        nn.init.ones_(value)
    part = Part(np.full((8, 3, 8, 8), 128, np.uint8), np.zeros(8, np.int64))
    before = [value.detach().clone() for value in net.parameters()]

    class Silent(Stage):  # takes the labels' loss away, so that decay alone moves the weights
        task_share = 0.0

    train(net, part, Tuning(rate=0.1, batch=8, decay=0.5), 1, 0, Silent(), Progress(), lambda progress: None)
    same = [torch.equal(value, one) for value, one in zip(net.parameters(), before, strict=True)]
    assert same == [False, True, True, True]


def test_labels_are_smoothed_by_the_share_that_is_asked_for() -> None:
    """Logits 2, 1, -1 of class 0 against values worked out apart: the loss of the only batch."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    nn.init.zeros_(net[1].weight)
    part = Part(np.zeros((2, 3, 8, 8), np.uint8), np.zeros(2, np.int64))
    for smoothing, expected in ((0.0, 0.3490122168), (0.1, 0.4823455502)):
        with torch.no_grad():
            net[1].bias.copy_(torch.tensor([2.0, 1.0, -1.0]))
            net[1].weight.zero_()
        progress = Progress()
        train(net, part, Tuning(rate=0.1, batch=2, smoothing=smoothing), 1, 0, Stage(), progress, lambda progress: None)
        assert progress.losses == [pytest.approx(expected, abs=1e-6)]


def test_a_loss_that_is_no_number_is_told() -> None:
    endless = nn.Linear(192, 4)
    nn.init.constant_(endless.weight, math.inf)
    net = nn.Sequential(nn.Flatten(), endless)
    with pytest.raises(SetupError, match=r"loss of epoch 0 is no number; lower rate, 0\.1 now"):
        train(net, part_of(8), Tuning(rate=0.1, batch=8), 1, 0, Stage(), Progress(), lambda progress: None)
