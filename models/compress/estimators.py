"""The sign that is never zero, and what takes the place of its derivative, which is zero nearly everywhere.

An estimator is a slope g'(x) that may narrow while training goes on: at sharpness t it is wide and every latent value
moves, at the end it is close to the sign itself. Slopes are for weights and for activations apart, as published.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

Slope = Callable[[Tensor, Tensor], Tensor]  # values of any shape and t, a scalar above 0, to slopes of that shape


def sign(values: Tensor) -> Tensor:
    """Return 1 where a value is 0 or more, else -1, in the values' own type.

    `torch.sign` has a third value, 0, which no bit can hold.
    """
    return (values >= 0).to(values.dtype) * 2 - 1


def iee_slope(values: Tensor, sharpness: Tensor) -> Tensor:
    """Return max(1/t, 1) max(0, sqrt(3) t - 3/2 t^2 |x|), the information-enhanced estimator (IE-Net, 2022).

    Nothing is left of it beyond |x| = 2 / (sqrt(3) t). Its area is 2, the height of the sign's step, from t = 1 on.
    """
    height = (1 / sharpness).clamp(min=1)
    return height * (math.sqrt(3) * sharpness - 1.5 * sharpness.square() * values.abs()).clamp(min=0)


def narrow_iee_slope(values: Tensor, sharpness: Tensor) -> Tensor:
    """Return `iee_slope` for activations, which begins at t = 1: wider, it would let everything through."""
    return iee_slope(values, sharpness.clamp(min=1))


def tanh_slope(values: Tensor, sharpness: Tensor) -> Tensor:
    """Return max(1/t, 1) t (1 - tanh^2(t x)) (IR-Net, Qin et al. 2020, equation 10)."""
    return (1 / sharpness).clamp(min=1) * sharpness * (1 - torch.tanh(sharpness * values).square())


def polynomial_slope(values: Tensor, sharpness: Tensor) -> Tensor:
    """Return max(0, 2 - 2 |x|) at every t (Bi-Real, Liu et al. 2018, equation 5: the derivative of ApproxSign)."""
    return (2 - 2 * values.abs()).clamp(min=0)


def straight_slope(values: Tensor, sharpness: Tensor) -> Tensor:
    """Return 1 where |x| is at most 1, else 0, at every t (the straight-through estimator, Hubara et al. 2016)."""
    return (values.abs() <= 1).to(values.dtype)


@dataclass(frozen=True, slots=True)
class Estimator:
    """Two slopes and the powers of ten between which t rises."""

    weights: Slope
    activations: Slope
    first: float
    last: float

    def sharpness(self, progress: Tensor) -> Tensor:
        """Return t = 10^(first + (last - first) p) of the progress p of training, 0 to 1."""
        return torch.pow(10.0, self.first + (self.last - self.first) * progress)


ESTIMATORS = {  # by the name that a run file gives
    "iee": Estimator(iee_slope, narrow_iee_slope, -2, 1),
    "tanh": Estimator(tanh_slope, tanh_slope, -3, 1),
    "polynomial": Estimator(straight_slope, polynomial_slope, 0, 0),
    "straight": Estimator(straight_slope, straight_slope, 0, 0),
}


def estimated_sign(values: Tensor, slope: Slope, sharpness: Tensor) -> Tensor:
    """Return `sign`, whose gradient is taken to be the slope at that sharpness.

    Where no gradient is wanted it is the plain sign, which exporters know.
    """
    if not (torch.is_grad_enabled() and values.requires_grad):
        return sign(values)
    return cast(Tensor, _EstimatedSign.apply(values, slope, sharpness))  # type: ignore[no-untyped-call]


class _EstimatedSign(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, slope: Slope, sharpness: Tensor) -> Tensor:
        context.save_for_backward(values, sharpness)
        context.slope = slope
        return sign(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        values, sharpness = context.saved_tensors
        return gradients[0] * context.slope(values, sharpness), None, None
