"""Where training computes: on the graphics card where there is one, else on the processor."""

import torch

from models.detection.batches import Batch
from models.detection.losses import Truth


def device() -> torch.device:
    """Return what nets, teachers and batches shall lie on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def moved(batch: Batch, where: torch.device) -> Batch:
    """Return a batch that lies there."""
    persons, faces = (
        Truth(truth.labels.to(where), truth.codes.to(where), truth.points.to(where))
        for truth in (batch.persons, batch.faces)
    )
    return Batch(batch.pictures.to(where), persons, faces)
