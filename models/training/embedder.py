"""Teaches a MobileFaceNet what larger nets see in faces, without labels.

The teachers saw each face as it was photographed, the student sees it as an intercom would, so it learns to look
through the damage.
"""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.errors import SetupError
from app.types import Array
from models.commands import say
from models.detection.batches import set_path
from models.nets.mobilefacenet import Activation, Layer, MobileFaceNet
from models.nets.mobilefacenet_weights import load_starter_embedder
from models.recognition.batches import FaceBatches, Faces, Source
from models.recognition.crops import CropSet
from models.recognition.judging import Judges, choose_judges
from models.recognition.teachers import DIMENSION, SHARES, Teacher, joint_vectors, open_teachers
from models.run import Plan, load
from models.training.device import device

JUDGES = "celeba_wild"  # the set with identities that validates; none of its people is trained on
APART = 0.5  # cosine to one of its faces, as the teacher sees it, from which a face is left out
BEGIN = 128  # batches of faces from which the starter's normalisations take their figures, and the last layer is fitted
RIDGE = 0.1


class Task:
    """Term ``cosine``: 1 - the cosine between the student's vector and the teachers' joint one."""

    activation: Activation = "prelu"
    mixed = True  # convolutions compute in bfloat16

    def __init__(self, plan: Plan, runs: Path, cache: Path, folders: Sequence[Path]) -> None:
        """Open the sets, let the teachers look at them once, and make the student.

        Raises:
            SetupError: a set, a run that is gone on from, or a package is missing.
        """
        torch.manual_seed(plan.seed)
        self._device = device()
        teachers = open_teachers(cache)
        self._judges, known = open_judges(teachers, folders)
        self._batches = FaceBatches(_sources(plan.sets, folders, teachers, known), plan.batch, plan.seed)
        self._student = MobileFaceNet(DIMENSION, self.activation)
        for name in plan.start:
            if name == "starter":
                begin(self._student, self._batches, cache)
            else:
                self._student.load_state_dict(load(runs / name / "best.pt")["net"])
        self.net: nn.Module = self._student.to(self._device, memory_format=torch.channels_last)

    def batches(self, first: int) -> Generator[Faces]:
        """Yield batches from number `first` on."""
        return self._batches.stream(first)

    def losses(self, batch: Faces) -> dict[str, Tensor]:
        """Return the term."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.mixed):
            vectors = self.net(self._pictures(batch))
        alike = functional.cosine_similarity(vectors.float(), batch.vectors.to(self._device), dim=1)
        return {"cosine": (1 - alike).mean()}

    def _pictures(self, batch: Faces) -> Tensor:
        return batch.pictures.to(self._device).float().contiguous(memory_format=torch.channels_last)

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return what people never trained on say of it."""
        return self._judges.figures(net)


def open_judges(teachers: Sequence[Teacher], folders: Sequence[Path]) -> tuple[Judges, Array]:
    """Return who judges, and what the teachers see in all faces of their set, (n, d).

    Raises:
        SetupError: the set is missing, or has too few people.
    """
    judging = CropSet(set_path(JUDGES, folders))
    known = joint_vectors(judging, teachers, say)
    return choose_judges(judging, known), known


def begin(student: MobileFaceNet, batches: FaceBatches, cache: Path) -> None:
    """Give the student the starter's layers, and slopes of PReLUs only if it has some.

    The last layer speaks both teachers' languages. The starter's part of it is the starter's own; SFace's is fitted by
    ridge regression to what the starter makes of some thousand faces.

    Raises:
        SetupError: the starter's package cannot be fetched.
    """
    seen = [batches.batch(number) for number in range(BEGIN)]
    starter = load_starter_embedder(cache, torch.cat([batch.pictures for batch in seen[:4]]).float())
    own = student.state_dict()
    kept = {name: value for name, value in starter.state_dict().items() if name in own and "embed" not in name}
    student.load_state_dict(own | kept)
    with torch.no_grad():
        cells = torch.cat([starter.stages(batch.pictures.float())[-1].flatten(1) for batch in seen])
        fit_last(student.embed, cells, torch.cat([batch.vectors for batch in seen]))
        keep_part(student.embed, starter.embed, cells)


def fit_last(layer: Layer, cells: Tensor, wanted: Tensor) -> None:
    """Fit a 1x1 layer to turn cells (n, c) into vectors (n, d), by ridge regression."""
    mean, centre = cells.mean(0), wanted.mean(0)
    spread = (cells - mean).T @ (cells - mean)
    ridge = torch.eye(len(spread)) * spread.diagonal().mean() * RIDGE
    weight = torch.linalg.solve(spread + ridge, (cells - mean).T @ (wanted - centre)).T
    layer.conv.weight.copy_(weight[:, :, None, None])
    output, norm = cells @ weight.T, layer.norm
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(output.mean(0))
    norm.running_var.copy_(output.var(0))
    norm.weight.copy_((output.var(0) + norm.eps).sqrt())
    norm.bias.copy_(centre)


def keep_part(layer: Layer, own: Layer, cells: Tensor) -> None:
    """Make the last outputs of a layer those of a smaller one, as long as the teachers' joint vectors have them."""
    count = own.conv.out_channels
    layer.conv.weight[-count:].copy_(own.conv.weight)
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(layer.norm, name)[-count:].copy_(getattr(own.norm, name))
    longer = own(cells[:, :, None, None]).flatten(1).norm(dim=1).mean()
    for name in ("weight", "bias"):
        getattr(layer.norm, name)[-count:] *= SHARES["starter"] ** 0.5 / longer


def _sources(
    weights: Mapping[str, float], folders: Sequence[Path], teachers: Sequence[Teacher], judges: Array
) -> list[Source]:
    sources, total = [], sum(weights.values())
    for name, weight in weights.items():
        crops = CropSet(set_path(name, folders))
        vectors = joint_vectors(crops, teachers, say)
        alike = (vectors @ judges.T).max(axis=1, initial=-1)
        rows = np.flatnonzero(alike < APART)
        if not len(rows):
            raise SetupError(f"no face of {name} is for training; leave the set out")
        say(f"{name}: {len(rows)} of {len(crops)} faces; the others look like somebody who judges")
        sources.append(Source(crops, vectors, rows, weight / total))
    return sources
