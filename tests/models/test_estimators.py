"""The sign without a zero, and each estimator of its derivative against values worked out apart."""

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import Tensor  # noqa: E402

from models.compress.estimators import (  # noqa: E402
    ESTIMATORS,
    estimated_sign,
    iee_slope,
    narrow_iee_slope,
    polynomial_slope,
    sign,
    straight_slope,
    tanh_slope,
)


def wide(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_the_sign_of_zero_is_one() -> None:
    values = wide(-2.0, -1e-30, -0.0, 0.0, 1e-30, 3.0)
    assert sign(values).tolist() == [-1, -1, 1, 1, 1, 1]
    assert sign(values).dtype == torch.float64 and sign(values.half()).dtype == torch.float16
    assert torch.sign(values)[3] == 0  # why it is not used


@pytest.mark.parametrize(
    ("sharpness", "at_zero", "end", "area"),
    [
        (0.01, 1.732051, 115.470, 200),
        (0.1, 1.732051, 11.547, 20),
        (1.0, 1.732051, 1.154701, 2),
        (10, 17.320508, 0.11547, 2),
    ],
)
def test_iee(sharpness: float, at_zero: float, end: float, area: float) -> None:
    t = scalar(sharpness)
    assert iee_slope(wide(0), t).item() == pytest.approx(at_zero, abs=1e-6)
    assert end == pytest.approx(2 / (math.sqrt(3) * sharpness), rel=1e-5)
    assert iee_slope(wide(0.999 * end, -0.999 * end), t).min() > 0
    assert iee_slope(wide(1.001 * end, -1.001 * end), t).tolist() == [0, 0]
    values = torch.linspace(-1.1 * end, 1.1 * end, 20001, dtype=torch.float64)
    assert torch.trapezoid(iee_slope(values, t), values).item() == pytest.approx(area, rel=1e-6)


def test_iee_in_between() -> None:
    assert iee_slope(wide(0.5, 1), scalar(0.1)).tolist() == pytest.approx([1.657051, 1.582051], abs=1e-6)
    assert iee_slope(wide(0.5, 1), scalar(1.0)).tolist() == pytest.approx([0.982051, 0.232051], abs=1e-6)


def test_iee_of_activations_begins_at_one() -> None:
    values = torch.linspace(-2, 2, 101, dtype=torch.float64)
    torch.testing.assert_close(narrow_iee_slope(values, scalar(0.01)), iee_slope(values, scalar(1.0)))
    torch.testing.assert_close(narrow_iee_slope(values, scalar(4.0)), iee_slope(values, scalar(4.0)))


@pytest.mark.parametrize(("sharpness", "at_zero", "at_one"), [(0.1, 1, 0.990066), (1, 1, 0.419974), (10, 10, 0)])
def test_tanh(sharpness: float, at_zero: float, at_one: float) -> None:
    assert tanh_slope(wide(0, 1), scalar(sharpness)).tolist() == pytest.approx([at_zero, at_one], abs=1e-6)


def test_polynomial() -> None:
    one = scalar(1.0)
    assert polynomial_slope(wide(0, 0.5, -0.5, 1, -1, 2), one).tolist() == [2, 1, 1, 0, 0, 0]
    for end in (0.5, -0.5):  # the integral is ApproxSign
        values = torch.linspace(0, end, 101, dtype=torch.float64)
        assert torch.trapezoid(polynomial_slope(values, one), values).item() == pytest.approx(1.5 * end)


def test_straight() -> None:
    assert straight_slope(wide(0, 1, -1, 1.001, -7), scalar(1.0)).tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("iee", [0.01, 0.056234, 0.316228, 1.778279, 10]), ("tanh", [0.001, 0.01, 0.1, 1, 10]), ("straight", [1] * 5)],
)
def test_sharpness_at_each_hundredth_epoch_of_400(name: str, expected: list[float]) -> None:
    sharpness = [ESTIMATORS[name].sharpness(scalar(epoch / 400)).item() for epoch in (0, 100, 200, 300, 400)]
    assert sharpness == pytest.approx(expected, abs=1e-6)


ALL_SLOPES = {f"{name} of {which}": (name, which) for name in ESTIMATORS for which in ("weights", "activations")}


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
@pytest.mark.parametrize(("name", "which"), ALL_SLOPES.values(), ids=ALL_SLOPES)
def test_every_estimator(name: str, which: str, progress: float) -> None:
    estimator = ESTIMATORS[name]
    slope, t = getattr(estimator, which), estimator.sharpness(scalar(progress))
    values = torch.linspace(-30, 30, 601, dtype=torch.float64).requires_grad_()
    slopes = slope(values.detach(), t)
    torch.testing.assert_close(slopes, slopes.flip(0))
    assert bool((slopes >= 0).all()) and slopes.argmax() in range(290, 311)

    output = estimated_sign(values, slope, t)
    assert output.equal(sign(values.detach()))
    incoming = torch.linspace(-1, 2, 601, dtype=torch.float64)
    output.backward(incoming)
    assert values.grad is not None
    torch.testing.assert_close(values.grad, incoming * slopes)


@pytest.mark.parametrize(("name", "which"), ALL_SLOPES.values(), ids=ALL_SLOPES)
def test_the_area_is_the_height_of_the_step_once_sharpness_is_one(name: str, which: str) -> None:
    values = torch.linspace(-40, 40, 800001, dtype=torch.float64)
    for sharpness in (1.0, 3.0):
        slopes = getattr(ESTIMATORS[name], which)(values, scalar(sharpness))
        assert torch.trapezoid(slopes, values).item() == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize(("name", "which"), ALL_SLOPES.values(), ids=ALL_SLOPES)
def test_slopes_are_finite_at_the_ends(name: str, which: str) -> None:
    estimator = ESTIMATORS[name]
    for progress in (0.0, 1.0):
        t = estimator.sharpness(torch.tensor(progress))
        assert bool(getattr(estimator, which)(torch.tensor([0.0, 1e-30, 1e4, -1e4]), t).isfinite().all())


def test_without_a_gradient_it_is_the_plain_sign() -> None:
    values = wide(-1, 0, 1).requires_grad_()
    with torch.no_grad():
        assert estimated_sign(values, straight_slope, scalar(1.0)).grad_fn is None
    assert estimated_sign(values.detach(), straight_slope, scalar(1.0)).grad_fn is None
    assert estimated_sign(values, straight_slope, scalar(1.0)).grad_fn is not None
