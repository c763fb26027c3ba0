"""The multibox loss and its parts."""

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from models.detection.losses import (  # noqa: E402
    Truth,
    box_loss,
    confidence_loss,
    hard_negatives,
    imitation_loss,
    map_loss,
    point_loss,
)

# Softmax logits (2, 0), (0, 3), (1, 1), (0, 1), (3, 0) of background and class, as one logit each.
LOGITS = torch.tensor([[-2.0, 3.0, 0.0, 1.0, -3.0]])
LABELS = torch.tensor([[0, 1, 0, 0, 0]], dtype=torch.int8)


def truth(labels: torch.Tensor, codes: torch.Tensor, points: torch.Tensor | None = None) -> Truth:
    return Truth(labels, codes, torch.full((*labels.shape, 10), torch.nan) if points is None else points)


def test_hard_negatives_are_those_of_the_largest_loss() -> None:
    losses = torch.nn.functional.softplus(LOGITS)
    torch.testing.assert_close(losses[0, [0, 2, 3, 4]], torch.tensor([0.126928, 0.693147, 1.313262, 0.048587]))
    assert hard_negatives(losses, LABELS).tolist() == [[True, False, True, True, False]]


def test_confidence() -> None:
    assert confidence_loss(LOGITS, LABELS).item() == pytest.approx(2.181924, abs=1e-6)


def test_priors_of_which_nothing_is_known_do_not_count() -> None:
    labels = torch.tensor([[-1, 1, -1, -1, -1]], dtype=torch.int8)
    assert confidence_loss(LOGITS, labels).item() == pytest.approx(math.log1p(math.exp(-3)), abs=1e-6)
    assert confidence_loss(LOGITS, torch.full_like(labels, -1)).item() == 0


def test_a_picture_without_truths_trains_and_divides_by_no_zero() -> None:
    labels = torch.zeros_like(LABELS)
    hardest = torch.nn.functional.softplus(LOGITS)[0].topk(3).values.sum().item()
    assert confidence_loss(LOGITS, labels).item() == pytest.approx(hardest)
    empty = truth(labels, torch.zeros(1, 5, 4))
    assert box_loss(torch.ones(1, 5, 4), empty).item() == 0
    assert point_loss(torch.ones(1, 5, 10), empty).item() == 0


def test_boxes_are_measured_by_smooth_l1() -> None:
    codes = torch.tensor([[[0.5, 2.0, 0.0, 0.0]] * 5])
    assert box_loss(codes, truth(LABELS, torch.zeros(1, 5, 4))).item() == pytest.approx(0.125 + 1.5)


def test_points_that_are_unknown_have_no_loss_and_no_gradient() -> None:
    known = torch.full((1, 5, 10), torch.nan)
    known[0, 1, :2] = 0
    points = torch.full((1, 5, 10), 0.5, requires_grad=True)
    loss = point_loss(points, truth(LABELS, torch.zeros(1, 5, 4), known))
    assert loss.item() == pytest.approx(2 * 0.125)
    loss.backward()
    assert points.grad is not None and points.grad.isfinite().all()
    assert points.grad[0, 1].tolist() == [0.5, 0.5] + [0] * 8


def test_who_says_what_the_teacher_says_is_not_corrected() -> None:
    codes = torch.rand(1, 5, 4)
    logits = LOGITS.clone().requires_grad_()
    scores, boxes = imitation_loss(logits, codes, LOGITS, codes)
    assert scores.item() == 0 and boxes.item() == 0
    scores.backward()
    assert logits.grad is not None and logits.grad.abs().max() == 0
    assert imitation_loss(LOGITS + 1, codes, LOGITS, codes)[0].item() > 0


def test_a_maps_loss_is_the_share_that_is_not_explained() -> None:
    noise = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    teacher = noise * torch.tensor([1, 10, 0.1]).view(3, 1, 1)
    mean = teacher.mean(dim=(0, 2, 3), keepdim=True).expand_as(teacher)
    assert map_loss(teacher, teacher).item() == 0
    assert map_loss(mean, teacher).item() == pytest.approx(1, abs=0.01)
