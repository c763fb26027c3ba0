"""Teaches the lean detector: persons from the starter, which looks at the same picture, and from truth.

The starter's priors are ours, so it teaches without labels: its maps, its logits, its boxes.
"""

from collections.abc import Generator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.detection.batches import Batch, Batches, held_samples, open_sources, shrunk_pictures
from models.detection.finding import OVERLAPS, Finds, finds, precision
from models.detection.losses import box_loss, confidence_loss, imitation_loss, map_loss
from models.detection.priors import person_priors
from models.detection.samples import Sample
from models.nets.lean import LEAN, narrowed
from models.nets.ssdlite import SSDLite
from models.nets.starter_weights import load_starter
from models.run import Plan, load
from models.starter.person import SIDE
from models.training import PERSONS
from models.training.device import device, moved

SIZE = (SIDE, SIDE)
HELD = 300  # pictures that judge


class Task:
    """Terms ``person`` and ``person_boxes`` (truth), ``imitation``, its boxes, ``maps``."""

    def __init__(self, plan: Plan, runs: Path, cache: Path, folders: Sequence[Path]) -> None:
        """Make the net with its first weights, open the teacher and the sets.

        Raises:
            SetupError: a set, a run that is gone on from, or the starter's package is missing.
        """
        self._terms = frozenset(plan.losses)
        torch.manual_seed(plan.seed)
        teacher = load_starter(cache)
        detector = narrowed(teacher) if "starter" in plan.start else SSDLite(LEAN)
        for name in plan.start:
            if name != "starter":
                detector.load_state_dict(load(runs / name / "best.pt")["net"])
        self._device, lasting = device(), torch.channels_last
        self._detector = detector.to(self._device).to(memory_format=lasting)
        self._teacher = teacher.requires_grad_(False).to(self._device).to(memory_format=lasting)
        self.net: nn.Module = self._detector
        sources = open_sources(plan.sets, folders)
        self._batches = Batches(sources, SIZE, plan.size, plan.batch, plan.seed)
        self._held = held_samples(sources, HELD)

    def batches(self, first: int) -> Generator[Batch]:
        """Yield batches from number `first` on."""
        return self._batches.stream(first)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms that the plan weighs."""
        batch = moved(batch, self._device)
        pictures = batch.pictures.float().contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16):
            codes, logits, ends = self._detector.look(pictures)
            with torch.no_grad():
                taught_codes, taught_logits, seen = self._teacher.look(pictures)
        scores, boxes = imitation_loss(logits, codes, taught_logits, taught_codes)
        distances = [map_loss(mine.float(), theirs.float()) for mine, theirs in zip(ends, seen, strict=True)]
        terms = {"maps": torch.stack(distances).mean(), "imitation": scores, "imitation_boxes": boxes}
        if self._terms & set(PERSONS):
            terms["person"] = confidence_loss(logits, batch.persons.labels)
            terms["person_boxes"] = box_loss(codes, batch.persons)
        return {name: value for name, value in terms.items() if name in self._terms}

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the average precision of persons on held-out pictures, which is the ``score``."""
        value, truths = precision("person", predictions(net, self._held), self._held)
        return {"score": value, "person_truths": float(truths)}


def predictions(net: nn.Module, samples: Sequence[Sample]) -> list[Finds]:
    """Return the persons that a net in evaluation mode finds in each picture, in pixels of that picture."""
    priors, where = person_priors(*SIZE).boxes(), next(net.parameters()).device
    found = []
    for sample in samples:
        pictures = shrunk_pictures([sample], SIZE).to(where).float()
        with torch.no_grad():
            codes, logits = (value[0].cpu().numpy() for value in net(pictures))
        size = (sample.image.shape[1], sample.image.shape[0])
        found.append(finds(codes, logits, priors, OVERLAPS["person"], size))
    return found
