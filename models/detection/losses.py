"""What a detector is punished for: the multibox loss of an SSD, and what a teacher says instead of truth.

n pictures, p priors of one class. A class has one logit a prior, which is the softmax over background and class with
the background's logit taken away from both.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.detection.matching import NEGATIVE, POSITIVE

HARD = 3  # negatives that count for each positive (Liu et al. 2016, SSD, section 2.2) ...
HARD_WITHOUT = 3  # ... and in a picture without truths, so that empty pictures train too


@dataclass(frozen=True, slots=True)
class Truth:
    """`matching.Targets` of n pictures as tensors."""

    labels: Tensor  # (n, p) POSITIVE, NEGATIVE or UNKNOWN
    codes: Tensor  # (n, p, 4)
    points: Tensor  # (n, p, 10), NaN where unknown


def hard_negatives(losses: Tensor, labels: Tensor) -> Tensor:
    """Return which negatives (n, p) count: those of the largest loss, by picture, `HARD` for each positive."""
    allowed = (HARD * (labels == POSITIVE).sum(1)).clamp(min=HARD_WITHOUT)
    ranked = torch.where(labels == NEGATIVE, losses.detach(), -torch.inf)
    ranked = ranked.argsort(dim=1, descending=True, stable=True)
    places = torch.empty_like(ranked)
    places.scatter_(1, ranked, torch.arange(ranked.shape[1], device=ranked.device).expand_as(ranked))
    return (places < allowed[:, None]) & (labels == NEGATIVE)


def confidence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of positives and hard negatives, divided by the positives of all n pictures."""
    positive = labels == POSITIVE
    losses = functional.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    counted = positive | hard_negatives(losses, labels)
    return (losses * counted).sum() / _positives(labels)


def box_loss(codes: Tensor, truth: Truth) -> Tensor:
    """Return the smooth L1 distance of the positives' codes, summed over the four and divided by the positives."""
    distances = functional.smooth_l1_loss(codes, truth.codes, reduction="none").sum(2)
    return (distances * (truth.labels == POSITIVE)).sum() / _positives(truth.labels)


def point_loss(points: Tensor, truth: Truth) -> Tensor:
    """Return the smooth L1 distance of the positives' points that are known, divided by the positives with any."""
    known = ~truth.points.isnan() & (truth.labels == POSITIVE)[:, :, None]
    distances = functional.smooth_l1_loss(points, torch.where(known, truth.points, points.detach()), reduction="none")
    return (distances * known).sum() / known.any(2).sum().clamp(min=1)


def imitation_loss(
    logits: Tensor, codes: Tensor, teacher_logits: Tensor, teacher_codes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return how far logits (n, p) and codes (n, p, 4) are from a teacher's on the same priors.

    Confidence: cross-entropy against the teacher's score t, weighted by (s - t)^2 so that the many priors on which both
    agree weigh nothing (quality focal loss, Li et al. 2020, equation 6). Codes: smooth L1, weighted by t. Both are
    divided by the sum of t.
    """
    scores = teacher_logits.sigmoid()
    total = scores.sum().clamp(min=1)
    losses = functional.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    weighted = (losses * (logits.sigmoid() - scores).square()).sum() / total
    distances = functional.smooth_l1_loss(codes, teacher_codes, reduction="none").sum(2)
    return weighted, (distances * scores).sum() / total


def map_loss(cells: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared distance of two maps (n, c, h, w), each channel divided by the teacher's variance in it."""
    variance = teacher.var(dim=(0, 2, 3), keepdim=True).clamp(min=1e-4)
    return ((cells - teacher).square() / variance).mean()


def _positives(labels: Tensor) -> Tensor:
    return (labels == POSITIVE).sum().clamp(min=1)
