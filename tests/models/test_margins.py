"""Margin softmax against values worked out apart, its guards, and the margins that a teacher sets."""

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from models.recognition import margins as family  # noqa: E402
from models.recognition.margins import (  # noqa: E402
    Margin,
    clamped_margins,
    constant_margins,
    cosines,
    margin_logits,
    margin_loss,
    published_margins,
    shuffled_margins,
    target_cosines,
)

SIXTY_DEGREES = torch.tensor([0.5], dtype=torch.float64)
MARGINS = {  # 64 psi at 60 degrees
    "softmax": (family.SOFTMAX, 32.0),
    "SphereFace": (family.SPHEREFACE, 10.0118),
    "CosFace": (family.COSFACE, 9.6),
    "ArcFace": (family.ARCFACE, 1.5102),
    "combined": (family.COMBINED, 4.8858),
    "combined without a factor": (Margin(1.0, 0.3, 0.2), 1.3914),
}


@pytest.mark.parametrize(("margin", "expected"), MARGINS.values(), ids=MARGINS)
def test_a_target_at_60_degrees(margin: Margin, expected: float) -> None:
    assert 64 * target_cosines(SIXTY_DEGREES, margin).item() == pytest.approx(expected, abs=1e-4)


def test_psi_of_the_original_sphereface() -> None:
    angles = torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64)
    psi = target_cosines(angles.cos(), family.ORIGINAL_SPHEREFACE)
    assert psi.tolist() == pytest.approx([0.362358, -1.346356, -5.160929], abs=1e-6)


def test_the_guard_of_arcface() -> None:
    below, above = math.cos(math.pi - 0.5) - 1e-6, math.cos(math.pi - 0.5) + 1e-6
    assert above == pytest.approx(-0.877583, abs=2e-6)
    guarded = target_cosines(torch.tensor([below, above], dtype=torch.float64), family.ARCFACE)
    assert guarded.tolist() == pytest.approx([below - 0.239713, -1.0], abs=1e-5)


ALL_MARGINS = [margin for margin, _ in MARGINS.values()] + [family.ORIGINAL_SPHEREFACE, Margin(angle=0.2)]


@pytest.mark.parametrize("margin", ALL_MARGINS, ids=range(len(ALL_MARGINS)))
def test_guarded_targets_never_rise_with_the_angle(margin: Margin) -> None:
    angles = torch.linspace(0.001, math.pi - 0.001, 2000, dtype=torch.float64)
    assert bool((target_cosines(angles.cos(), margin).diff() < 0).all())


def test_without_a_guard_the_target_rises_again() -> None:
    angles = torch.tensor([math.pi - 0.5, math.pi - 0.001], dtype=torch.float64)
    first, last = target_cosines(angles.cos(), family.ARCFACE, guarded=False).tolist()
    assert last > first


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("margin", ALL_MARGINS, ids=range(len(ALL_MARGINS)))
def test_gradients_are_finite_at_the_edges_and_at_the_guards(margin: Margin, kind: torch.dtype) -> None:
    turn = (math.pi - margin.angle) / margin.factor
    own = torch.tensor([1.0, -1.0, 1 - 1e-8, math.cos(min(turn, math.pi))], dtype=kind, requires_grad=True)
    target_cosines(own, margin).sum().backward()
    assert own.grad is not None and bool(own.grad.isfinite().all())


def test_gradients_reach_vectors_that_lie_on_their_centre() -> None:
    vectors = torch.eye(3).requires_grad_()
    margin_loss(cosines(vectors, torch.eye(3)), torch.arange(3), family.ARCFACE).backward()
    assert vectors.grad is not None and bool(vectors.grad.isfinite().all())


def test_cosines_are_never_of_half_precision() -> None:
    vectors, centres = torch.randn(4, 8), torch.randn(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = cosines(vectors.bfloat16(), centres)
    assert found.dtype == torch.float32
    expected = torch.nn.functional.cosine_similarity(vectors.bfloat16().float()[:, None], centres, dim=2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


PAIRS = torch.tensor([[0.7, 0.2, -0.1], [0.1, 0.5, 0.3]], dtype=torch.float64)
LOSSES = [(family.SOFTMAX, 64, 6.400001), (family.SOFTMAX, 8, 0.918517)]
LOSSES += [(family.ARCFACE, 64, 22.215161), (family.ARCFACE, 8, 3.037306)]


@pytest.mark.parametrize(("margin", "scale", "expected"), LOSSES)
def test_cross_entropy(margin: Margin, scale: float, expected: float) -> None:
    assert margin_loss(PAIRS, torch.tensor([0, 2]), margin, scale).item() == pytest.approx(expected, abs=1e-6)


def test_the_original_sphereface_scales_by_the_length() -> None:
    logits = margin_logits(PAIRS, torch.tensor([0, 2]), family.ORIGINAL_SPHEREFACE, torch.tensor([[2.0], [3.0]]))
    psi = target_cosines(torch.tensor([0.7, 0.3], dtype=torch.float64), family.ORIGINAL_SPHEREFACE)
    assert logits[0].tolist() == pytest.approx([2 * psi[0].item(), 0.4, -0.2])
    assert logits[1].tolist() == pytest.approx([0.3, 1.5, 3 * psi[1].item()])


TEACHER = torch.tensor([0.9, 0.6, 0.3], dtype=torch.float64)
STUDENT = torch.tensor([[0.7, 0.2, -0.1], [0.1, 0.5, 0.3], [0.05, 0.15, 0.4]], dtype=torch.float64)


@pytest.mark.parametrize("guarded", [False, True])
def test_margin_distillation(guarded: bool) -> None:
    margins = published_margins(TEACHER)
    assert margins.tolist() == pytest.approx([0.5, 0.4, 0.3])
    labels = torch.arange(3)
    for scale, expected in ((64, 4.626540), (8, 1.116910)):
        loss = margin_loss(STUDENT, labels, Margin(angle=margins), scale, guarded)
        assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert margin_loss(STUDENT, labels, family.ARCFACE, 8).item() == pytest.approx(1.778792, abs=1e-6)


def test_published_margins_depend_on_the_batch_and_know_no_bounds() -> None:
    def one(*cosines: float) -> float:
        return published_margins(torch.tensor(cosines, dtype=torch.float64))[0].item()

    assert (one(0.6, 0.1), one(0.6, 0.9)) == pytest.approx((0.5, 0.4))
    assert one(-0.5, 0.9) == pytest.approx(0.0333, abs=1e-4) and one(-0.5, 0.01) == pytest.approx(-14.8)
    assert published_margins(torch.tensor([-0.2, -0.4])).tolist() == pytest.approx([0.5, 0.8])
    assert published_margins(torch.tensor([0.6, 0.9]), maximum=1.0).tolist() == pytest.approx([0.38, 0.47])


def test_clamped_margins_are_the_published_ones_inside_and_stay_there() -> None:
    torch.testing.assert_close(clamped_margins(TEACHER), published_margins(TEACHER))
    for strange in ([-0.5, 0.9, 0.3], [-0.5, 0.01, 0.0], [-0.2, -0.4, -1.0], [1.2, 0.9, 0.0]):
        margins = clamped_margins(torch.tensor(strange))
        assert margins.min() >= 0.2 and margins.max() <= 0.5
    assert clamped_margins(torch.tensor([-0.5, 0.3, 0.9])).tolist() == pytest.approx([0.2, 0.3, 0.5])
    assert clamped_margins(torch.tensor([-0.2, -0.4])).tolist() == pytest.approx([0.2, 0.2])
    assert clamped_margins(torch.tensor([0.6, 0.9]), 0.0, 0.65, maximum=1.0).tolist() == pytest.approx([0.39, 0.585])


def test_controls_keep_the_mean() -> None:
    margins = torch.linspace(0.2, 0.5, 64)
    shuffled = shuffled_margins(margins, torch.Generator().manual_seed(0))
    assert shuffled.sort().values.equal(margins) and not shuffled.equal(margins)
    assert constant_margins(margins).tolist() == pytest.approx([0.35] * 64)
