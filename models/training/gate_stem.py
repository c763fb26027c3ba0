"""Teaches the gate's own stem: the features of the detector's first blocks, of the picture before noise came over it.

The student sees the noise and the teacher does not (Vincent et al. 2008, denoising autoencoders), so the features stay
where they are while a sensor flickers, and the gate can tell motion from it.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.detection.batches import Batch, Batches, held_samples, open_sources, shrunk_pictures
from models.detection.losses import map_loss
from models.nets.gate_stem import POOLED, GateStem
from models.nets.starter_weights import load_starter
from models.run import Plan
from models.starter.person import HALF_SIDE
from models.training.device import device

BGR_SHARES = (0.114, 0.587, 0.299)  # of luma
SIZE = (HALF_SIDE, HALF_SIDE)
HELD = 200  # pictures that judge
SENSOR, LARGEST_SENSOR = 0.35, 25.0  # share of the pictures with additive noise, its largest deviation in grey levels
SPECKLE, LARGEST_SPECKLE = 0.25, 0.3  # the same of noise that grows with the light, as a share of it


class Task:
    """Terms ``features``, 1 - the share of the teacher's variance explained, and ``direction``, 1 - the cosine."""

    def __init__(self, plan: Plan, runs: Path, cache: Path, folders: Sequence[Path]) -> None:
        """Make the student, open the teacher and the sets.

        Raises:
            SetupError: a set or the starter's package is missing.
        """
        torch.manual_seed(plan.seed)
        self._device = device()
        self.net: nn.Module = GateStem().to(self._device, memory_format=torch.channels_last)
        teacher = load_starter(cache).stem.requires_grad_(False)
        self._teacher = teacher.to(self._device, memory_format=torch.channels_last)
        sources = open_sources(plan.sets, folders)
        self._batches = Batches(sources, SIZE, plan.size, plan.batch, plan.seed)
        self._held = shrunk_pictures(held_samples(sources, HELD), SIZE)  # (n, 3, h, w) uint8
        self._seed = plan.seed

    def batches(self, first: int) -> Generator[tuple[int, Batch]]:
        """Yield batches from number `first` on, each with its number."""
        with closing(self._batches.stream(first)) as stream:
            yield from enumerate(stream, first)

    def losses(self, batch: tuple[int, Batch]) -> dict[str, Tensor]:
        """Return the terms."""
        number, drawn = batch
        return self._compared(self.net, drawn.pictures.float(), noise_of(self._seed, number))

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the share of the teacher's variance that is explained on pictures never trained on, under noise."""
        with torch.no_grad():
            terms = self._compared(net, self._held.float(), torch.Generator().manual_seed(0))
        return {"score": 1 - float(terms["features"]), "cosine": 1 - float(terms["direction"])}

    def _compared(self, net: nn.Module, clean: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        seen = luma(disturbed(clean, noise)).to(self._device)
        clean = clean.to(self._device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            teacher = functional.avg_pool2d(self._teacher(clean), POOLED)
        features = net(seen)
        direction = 1 - functional.cosine_similarity(features, teacher, dim=1)
        return {"features": map_loss(features, teacher), "direction": direction.mean()}


def noise_of(seed: int, number: int) -> torch.Generator:
    """Return what disturbs a batch: a function of seed and number, so a resumed run goes on as if nothing happened."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


def luma(pictures: Tensor) -> Tensor:
    """Return BGR pictures (n, 3, h, w) as grey (n, 1, h, w), by ITU-R BT.601 as cameras and OpenCV do."""
    return (pictures * torch.tensor(BGR_SHARES).view(1, 3, 1, 1)).sum(1, keepdim=True)


def disturbed(pictures: Tensor, noise: torch.Generator) -> Tensor:
    """Return pictures (n, 3, h, w), 0..255, some of them with noise of a strength of their own."""
    count = (len(pictures), 1, 1, 1)
    kind, strength = torch.rand(count, generator=noise), torch.rand(count, generator=noise)
    sensor = (kind < SENSOR) * strength * LARGEST_SENSOR
    speckle = ((kind >= SENSOR) & (kind < SENSOR + SPECKLE)) * strength * LARGEST_SPECKLE
    return (pictures + torch.randn(pictures.shape, generator=noise) * (sensor + speckle * pictures)).clamp(0, 255)
