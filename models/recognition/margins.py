"""Margin softmax: a class is told from the others by the angle to its centre, and its own angle is made harder.

n vectors, k classes. One family covers the published losses: the target's logit is
scale (cos(factor t + angle) - cosine), where t is the angle between a vector and its class centre (Deng et al. 2019,
ArcFace, equation 4). Margins that a teacher sets for each sample: Svitov and Alyamkin 2020, MarginDistillation.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

EDGE = 1e-7  # cosines stay so far from 1 and -1, where the derivative of arccos is infinite
SCALE = 64.0  # of the logits, as published with ArcFace and CosFace
SMALLEST, LARGEST = 0.2, 0.5  # radians: the margins of MarginDistillation
LEAST_MAXIMUM = 0.1  # the clamped rule divides by no smaller cosine


@dataclass(frozen=True, slots=True)
class Margin:
    """How the target is made harder; the defaults leave it as it is (normalised softmax)."""

    factor: float = 1.0  # of the angle, 1 and more
    angle: float | Tensor = 0.0  # radians added to it; a tensor (n,) has one for each sample
    cosine: float = 0.0  # taken from the cosine


SOFTMAX = Margin()
ARCFACE = Margin(angle=0.5)
COSFACE = Margin(cosine=0.35)
SPHEREFACE = Margin(factor=1.35)
ORIGINAL_SPHEREFACE = Margin(factor=4.0)  # its scale is the vector's own length
COMBINED = Margin(0.9, 0.4, 0.15)


def cosines(vectors: Tensor, centres: Tensor) -> Tensor:
    """Return the cosine of each vector (n, d) to each class centre (k, d) as (n, k), in float32 at least."""
    with torch.autocast(vectors.device.type, enabled=False):
        return functional.linear(_unit(vectors), _unit(centres))


def target_cosines(own: Tensor, margin: Margin, guarded: bool = True) -> Tensor:
    """Return what takes the place of the cosines (n,) of samples to their own centres.

    cos(factor t + angle) - cosine, t = arccos(own). Behind t = (pi - angle) / factor that rises again, so a sample far
    from its centre would be pushed away. Guarded, it goes on falling: without a factor as cos t - angle sin(angle), the
    continuation of the public ArcFace code; with one as (-1)^k cos(factor t + angle) - 2 k,
    k = floor((factor t + angle) / pi), which is SphereFace's psi (Liu et al. 2017).

    Args:
        own: -1 to 1, float32 or float64.
        margin: see `Margin`.
        guarded: False is the published MXNet code of MarginDistillation, which has no guard.
    """
    angles = torch.arccos(own.clamp(EDGE - 1, 1 - EDGE))
    moved = margin.factor * angles + margin.angle
    if not guarded:
        return torch.cos(moved) - margin.cosine
    if margin.factor == 1:
        angle = torch.as_tensor(margin.angle, dtype=own.dtype, device=own.device)
        harder = torch.where(moved < math.pi, torch.cos(moved), own - angle * torch.sin(angle))
    else:
        turns = torch.floor(moved.detach() / math.pi)
        harder = torch.cos(moved) * (1 - 2 * turns.remainder(2)) - 2 * turns
    return harder - margin.cosine


def margin_logits(
    similarities: Tensor, labels: Tensor, margin: Margin, scale: float | Tensor = SCALE, guarded: bool = True
) -> Tensor:
    """Return the logits (n, k) of cosines (n, k): the target's with the margin, the others as they are, both scaled.

    Args:
        similarities: of `cosines`.
        labels: (n,) rows of the classes.
        margin: see `Margin`.
        scale: above 0; the original SphereFace takes the vectors' lengths (n, 1).
        guarded: see `target_cosines`.
    """
    columns = labels[:, None]
    harder = target_cosines(similarities.gather(1, columns)[:, 0], margin, guarded)
    return scale * similarities.scatter(1, columns, harder[:, None])


def margin_loss(
    similarities: Tensor, labels: Tensor, margin: Margin, scale: float | Tensor = SCALE, guarded: bool = True
) -> Tensor:
    """Return the cross-entropy of `margin_logits`, the mean of the samples."""
    return functional.cross_entropy(margin_logits(similarities, labels, margin, scale, guarded), labels)


def published_margins(
    own: Tensor, smallest: float = SMALLEST, largest: float = LARGEST, maximum: float | None = None
) -> Tensor:
    """Return the margins (n,) of MarginDistillation: smallest + (largest - smallest) c / D, as its code has it.

    D is the largest cosine of the batch, so a margin depends on the rest of the batch. Nothing is clamped: with a c
    below 0 a margin leaves the range, and in a batch of such the worst sample gets the largest one.

    Args:
        own: (n,) cosines c of the teacher's vectors to their class centres.
        smallest: radians, of a cosine of 0.
        largest: radians, of the largest cosine.
        maximum: takes the place of D where margins shall not depend on the batch.
    """
    return smallest + (largest - smallest) * own / (own.max() if maximum is None else maximum)


def clamped_margins(
    own: Tensor, smallest: float = SMALLEST, largest: float = LARGEST, maximum: float | None = None
) -> Tensor:
    """Return margins (n,) between smallest and largest: smallest + (largest - smallest) clip(c, 0, 1) / max(D, .1).

    Arguments as in `published_margins`; the same values where every cosine is above 0 and the largest above .1.
    """
    most = own.max() if maximum is None else own.new_tensor(maximum)
    return smallest + (largest - smallest) * (own.clamp(0, 1) / most.clamp(min=LEAST_MAXIMUM)).clamp(max=1)


def shuffled_margins(margins: Tensor, random: torch.Generator) -> Tensor:
    """Return the margins (n,) in another order: what is left when a sample's own margin does not matter."""
    return margins[torch.randperm(len(margins), generator=random)]


def constant_margins(margins: Tensor) -> Tensor:
    """Return the mean of the margins (n,) for every sample."""
    return margins.mean().expand_as(margins)


def _unit(rows: Tensor) -> Tensor:
    """Return rows (n, d) of length one, never in half precision."""
    wide = rows if rows.dtype == torch.float64 else rows.float()
    return functional.normalize(wide)
