"""Teaches the lean detector: persons from the starter, which looks at the same picture, and from truth; maybe faces.

The starter's priors are ours, so it teaches without labels: its maps, its logits, its boxes.
"""

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.calibration import calibration_pictures
from models.detection.batches import Batch, Batches, held_samples, open_sources, shrunk_pictures
from models.detection.finding import OVERLAPS, Finds, finds, precision
from models.detection.losses import box_loss, confidence_loss, imitation_loss, map_loss, point_loss
from models.detection.priors import face_priors, person_priors
from models.detection.samples import Sample
from models.nets.face_branch import LeanWithFaces
from models.nets.lean import LEAN, narrowed
from models.nets.lean_weights import unfolded
from models.nets.ssdlite import SSDLite
from models.nets.starter_weights import load_starter
from models.run import Plan, load
from models.starter.person import SIDE
from models.starter.recipes import TRAINED
from models.training import FACES, PERSONS, TAUGHT
from models.training.device import device, moved

SIZE = (SIDE, SIDE)
HELD = 300  # pictures that judge


class Task:
    """Terms ``person`` and ``face`` with ``_boxes`` and ``_points`` (truth), ``imitation``, its boxes, ``maps``."""

    def __init__(self, plan: Plan, runs: Path, cache: Path, folders: Sequence[Path]) -> None:
        """Make the net with its first weights, open the teacher and the sets.

        Raises:
            SetupError: a set, a run that is gone on from, or the starter's package is missing.
        """
        self._terms = frozenset(plan.losses)
        torch.manual_seed(plan.seed)
        self._device, lasting = device(), torch.channels_last
        teacher = load_starter(cache)
        self._detector = detector(plan.task)
        begin(self._detector, plan.start, runs, cache, teacher)
        self.net: nn.Module = self._detector.to(self._device).to(memory_format=lasting)
        self._teacher = teacher.requires_grad_(False).to(self._device).to(memory_format=lasting)
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
        terms: dict[str, Tensor] = {}
        with torch.autocast(self._device.type, torch.bfloat16):
            codes, logits, ends = self._detector.look(pictures)
            if self._terms & set(FACES):
                assert isinstance(self._detector, LeanWithFaces)
                terms |= _faces(self._detector.faces(ends[1:]), batch)
        if self._terms & set(TAUGHT):
            terms |= self._taught(pictures, codes, logits, ends)
        if self._terms & set(PERSONS):
            terms["person"] = confidence_loss(logits, batch.persons.labels)
            terms["person_boxes"] = box_loss(codes, batch.persons)
        return {name: value for name, value in terms.items() if name in self._terms}

    def _taught(self, pictures: Tensor, codes: Tensor, logits: Tensor, ends: Sequence[Tensor]) -> dict[str, Tensor]:
        with torch.no_grad(), torch.autocast(self._device.type, torch.bfloat16):
            taught_codes, taught_logits, seen = self._teacher.look(pictures)
        scores, boxes = imitation_loss(logits, codes, taught_logits, taught_codes)
        distances = [map_loss(mine.float(), theirs.float()) for mine, theirs in zip(ends, seen, strict=True)]
        return {"maps": torch.stack(distances).mean(), "imitation": scores, "imitation_boxes": boxes}

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the average precision of each class on held-out pictures; ``score`` is the mean of those with any."""
        figures: dict[str, float] = {}
        known = []
        for category, found in predictions(net, self._held).items():
            value, truths = precision(category, found, self._held)
            figures |= {f"{category}_ap": value, f"{category}_truths": float(truths)}
            known += [value] if truths else []
        return figures | {"score": float(np.mean(known)) if known else 0.0}


def _faces(found: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
    codes, logits, points = found
    return {
        "face": confidence_loss(logits, batch.faces.labels),
        "face_boxes": box_loss(codes, batch.faces),
        "face_points": point_loss(points, batch.faces),
    }


def detector(task: str) -> SSDLite:
    """Return the net that runs of a task train, with weights by chance."""
    return LeanWithFaces() if task == "detector" else SSDLite(LEAN)


def begin(net: SSDLite, start: Sequence[str], runs: Path, cache: Path, teacher: SSDLite) -> None:
    """Give the net its first weights: narrowed from the starter or from the lean net that is shipped, or of runs.

    A later name overrides. Weights that a run does not have, as a run of persons has none of faces, stay as they are.

    Raises:
        SetupError: a run has no best weights yet, or a package cannot be fetched.
    """
    for name in start:
        if name == "starter":
            weights = narrowed(teacher).state_dict()
        elif name == "shipped":
            weights = narrowed(unfolded(TRAINED / "persons", calibration_pictures(cache))).state_dict()
        else:
            weights = load(runs / name / "best.pt")["net"]
        net.load_state_dict(net.state_dict() | weights)


def predictions(net: nn.Module, samples: Sequence[Sample]) -> dict[str, list[Finds]]:
    """Return what a net in evaluation mode finds in each picture, by category, in pixels of that picture."""
    persons, faces = person_priors(*SIZE).boxes(), face_priors(*SIZE).boxes()
    where, found = next(net.parameters()).device, list[dict[str, Finds]]()
    for sample in samples:
        pictures = shrunk_pictures([sample], SIZE).to(where).float()
        with torch.no_grad():
            codes, logits, *branch = (value[0].cpu().numpy() for value in net(pictures))
        size = (sample.image.shape[1], sample.image.shape[0])
        seen = {"person": finds(codes, logits, persons, OVERLAPS["person"], size)}
        if branch:
            face_codes, face_logits, points = branch
            seen["face"] = finds(face_codes, face_logits, faces, OVERLAPS["face"], size, points)
        found.append(seen)
    return {category: [one[category] for one in found] for category in (found[0] if found else ())}
