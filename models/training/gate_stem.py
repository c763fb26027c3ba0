"""Teaches the gate's own stem: the features of the detector's first blocks, of the picture before noise came over it.

The student sees the noise and the teacher does not (Vincent et al. 2008, denoising autoencoders), so the features stay
where they are while a sensor flickers, and the gate can tell motion from it.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.detection.batches import Batch
from models.detection.losses import map_loss
from models.nets.gate_stem import POOLED, GateStem
from models.run import Plan
from models.starter.person import HALF_SIDE
from models.training.distilled import Distilled

SIZE = (HALF_SIDE, HALF_SIDE)
HELD = 200  # pictures that judge
SENSOR, LARGEST_SENSOR = 0.35, 25.0  # share of the pictures with additive noise, its largest deviation in grey levels
SPECKLE, LARGEST_SPECKLE = 0.25, 0.3  # the same of noise that grows with the light, as a share of it


class Task(Distilled):
    """Terms ``features``, 1 - the share of the teacher's variance explained, and ``direction``, 1 - the cosine."""

    def __init__(self, plan: Plan, runs: Path, cache: Path, folders: Sequence[Path]) -> None:
        """See `Distilled`."""
        torch.manual_seed(plan.seed)
        super().__init__(GateStem(), SIZE, HELD, plan, cache, folders)
        self._noise = torch.Generator().manual_seed(plan.seed)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms."""
        return self._compared(self.net, batch.pictures.float(), self._noise)

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the share of the teacher's variance that is explained on pictures never trained on, under noise."""
        with torch.no_grad():
            terms = self._compared(net, self._held.float(), torch.Generator().manual_seed(0))
        return {"score": 1 - float(terms["features"]), "cosine": 1 - float(terms["direction"])}

    def _compared(self, net: nn.Module, clean: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        seen = disturbed(clean, noise).to(self._device).contiguous(memory_format=torch.channels_last)
        clean = clean.to(self._device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            teacher = functional.avg_pool2d(self._teacher(clean), POOLED)
        features = net(seen)
        direction = 1 - functional.cosine_similarity(features, teacher, dim=1)
        return {"features": map_loss(features, teacher), "direction": direction.mean()}


def disturbed(pictures: Tensor, noise: torch.Generator) -> Tensor:
    """Return pictures (n, 3, h, w), 0..255, some of them with noise of a strength of their own."""
    count = (len(pictures), 1, 1, 1)
    kind, strength = torch.rand(count, generator=noise), torch.rand(count, generator=noise)
    sensor = (kind < SENSOR) * strength * LARGEST_SENSOR
    speckle = ((kind >= SENSOR) & (kind < SENSOR + SPECKLE)) * strength * LARGEST_SPECKLE
    return (pictures + torch.randn(pictures.shape, generator=noise) * (sensor + speckle * pictures)).clamp(0, 255)
