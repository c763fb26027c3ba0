"""Teaches the early-exit stem to give the map that the starter's first blocks give, on pictures without labels."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.detection.batches import Batch
from models.detection.losses import map_loss
from models.nets.early_exit import HEIGHT, WIDTH, PatchStem
from models.run import Plan
from models.training.distilled import Distilled

HELD = 100  # pictures that judge


class Task(Distilled):
    """Term ``map``: the squared distance, each channel by the teacher's variance: 1 - the share explained."""

    def __init__(self, plan: Plan, runs: Path, cache: Path, folders: Sequence[Path]) -> None:
        """See `Distilled`."""
        torch.manual_seed(plan.seed)
        super().__init__(PatchStem(), (WIDTH, HEIGHT), HELD, plan, cache, folders)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the distance of the two maps."""
        return {"map": self._distance(self.net, batch.pictures)}

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the share of the teacher's variance that is explained on pictures never trained on."""
        with torch.no_grad():
            distances = [self._distance(net, pictures) for pictures in self._held.split(32)]
        return {"score": 1 - float(torch.stack(distances).mean())}

    def _distance(self, net: nn.Module, pictures: Tensor) -> Tensor:
        pictures = pictures.to(self._device).float().contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16):
            with torch.no_grad():
                teacher = self._teacher(pictures)
            cells = net(pictures)
        return map_loss(cells.float(), teacher.float())
