"""Teaches an embedder whose activations are ReLUs, block by block what the starter's PReLUs did.

ReLUs are part of the integer convolution before them, PReLUs are not. Half of the starter's slopes are negative and a
tenth below -1.5, so this is no small change: the blocks have to learn anew (Romero et al. 2015, FitNets).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from models.detection.losses import map_loss
from models.nets.mobilefacenet_weights import load_starter_embedder
from models.recognition.batches import Faces
from models.run import Plan
from models.training import embedder

BEGIN = 4  # batches from which the starter's normalisations take their figures


class Task(embedder.Task):
    """Terms ``cosine``, see `embedder.Task`, and ``maps``: the mean distance of the maps behind each block."""

    activation = "relu"

    def __init__(self, plan: Plan, runs: Path, cache: Path, folders: Sequence[Path]) -> None:
        """See `embedder.Task`."""
        super().__init__(plan, runs, cache, folders)
        faces = torch.cat([self._batches.batch(number).pictures for number in range(BEGIN)])
        starter = load_starter_embedder(cache, faces.float()).requires_grad_(False)
        self._starter = starter.to(self._device, memory_format=torch.channels_last)

    def losses(self, batch: Faces) -> dict[str, Tensor]:
        """Return both terms."""
        pictures = self._pictures(batch)
        with torch.autocast(self._device.type, torch.bfloat16):
            stages = self._student.stages(pictures)
            vectors = self._student.embed(stages[-1]).flatten(1)
            with torch.no_grad():
                wanted = self._starter.stages(pictures)
        pairs = zip(stages, wanted, strict=True)
        alike = functional.cosine_similarity(vectors.float(), batch.vectors.to(self._device), dim=1)
        maps = torch.stack([map_loss(mine.float(), theirs.float()) for mine, theirs in pairs])
        return {"cosine": (1 - alike).mean(), "maps": maps.mean()}
