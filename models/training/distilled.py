"""What the lessons of both stems share: a teacher, unlabelled pictures, and some of them kept back to judge."""

from collections.abc import Generator, Sequence
from pathlib import Path

import torch
from torch import nn

from models.detection.batches import Batch, Batches, held_samples, open_sources, shrunk_pictures
from models.nets.starter_weights import load_starter
from models.run import Plan
from models.training.device import device


class Distilled:
    """A net taught by the starter's first blocks on pictures of one size."""

    def __init__(
        self, net: nn.Module, size: tuple[int, int], held: int, plan: Plan, cache: Path, folders: Sequence[Path]
    ) -> None:
        """Open the teacher and the sets.

        Args:
            net: the student, with the first weights of `plan.seed`.
            size: width and height in pixels of the whole pictures.
            held: pictures that judge.

        Raises:
            SetupError: a set or the starter's package is missing.
        """
        self._device = device()
        self.net = net.to(self._device, memory_format=torch.channels_last)
        teacher = load_starter(cache).stem.requires_grad_(False)
        self._teacher = teacher.to(self._device, memory_format=torch.channels_last)
        sources = open_sources(plan.sets, folders)
        self._batches = Batches(sources, size, plan.size, plan.batch, plan.seed)
        self._held = shrunk_pictures(held_samples(sources, held), size)  # (n, 3, h, w) uint8

    def batches(self, first: int) -> Generator[Batch]:
        """Yield batches from number `first` on."""
        return self._batches.stream(first)
