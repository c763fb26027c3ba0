"""Batches for training: pictures drawn from sets, augmented, and matched with the priors, by threads ahead of the net.

Batch number k is a function of the seed and k alone, so a run that is resumed goes on as if nothing had happened.
"""

import itertools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.ahead import made_ahead
from app.errors import SetupError
from app.types import Array
from models.detection.augment import augmented, cut
from models.detection.labelled import LabelledPictures
from models.detection.losses import Truth
from models.detection.matching import Targets, targets
from models.detection.priors import face_priors, person_priors
from models.detection.samples import CATEGORIES, Sample
from models.detection.splits import TRAIN, VALIDATION, gradient_hash, splits
from models.pictures import shrunk

THREADS = 2  # that make batches ahead
PERSON_OVERLAP, FACE_OVERLAP = 0.5, 0.4  # IoU from which a prior answers for a truth


@dataclass(frozen=True, slots=True)
class Batch:
    """n pictures and what the priors of both classes should say of them."""

    pictures: Tensor  # (n, 3, h, w) uint8 BGR
    persons: Truth
    faces: Truth


@dataclass(frozen=True, slots=True)
class Source:
    """A set, which of its pictures are trained on and which validate, and its share of the pictures drawn."""

    pictures: LabelledPictures
    trained: list[int]
    held: list[int]
    share: float


def open_sources(weights: Mapping[str, float], folders: Sequence[Path]) -> list[Source]:
    """Open sets by name; a set with the weight 0 is not trained on.

    All pictures are looked at once, 5 ms each, so that near-duplicates do not lie on both sides.

    Raises:
        SetupError: a set lies in none of the folders, or has a weight and no picture to train on.
    """
    opened = [LabelledPictures(set_path(name, folders)) for name in weights]
    places = splits(
        {
            pictures.named(row): gradient_hash(pictures.pictures.image(pictures.entry(row)))
            for pictures in opened
            for row in range(len(pictures))
        }
    )
    sources, total = [], sum(weights.values())
    for pictures, weight in zip(opened, weights.values(), strict=True):
        sides = [places[pictures.named(row)] for row in range(len(pictures))]
        trained, held = ([row for row, side in enumerate(sides) if side == wanted] for wanted in (TRAIN, VALIDATION))
        if weight and not trained:
            raise SetupError(f"no picture of {pictures.name} is for training; give the set the weight 0")
        sources.append(Source(pictures, trained, held, weight / total))
    return sources


def set_path(name: str, folders: Sequence[Path]) -> Path:
    """Return the ZIP of a set.

    Raises:
        SetupError: it lies in none of the folders.
    """
    for folder in folders:
        if (folder / f"{name}.zip").exists():
            return folder / f"{name}.zip"
    raise SetupError(f"no {name}.zip in {', '.join(map(str, folders))}; pack it or name its folder with --sets")


def held_samples(sources: Sequence[Source], count: int) -> list[Sample]:
    """Return up to `count` whole pictures for validation, as evenly from all sets as they have them."""
    samples: list[Sample] = []
    for place, source in enumerate(sources):
        rows = source.held[: (count - len(samples)) // (len(sources) - place)]
        samples += [source.pictures.sample(row) for row in rows]
    return samples


def shrunk_pictures(samples: Sequence[Sample], size: tuple[int, int]) -> Tensor:
    """Return whole pictures resized to `size`, width and height: (n, 3, h, w) uint8."""
    return torch.from_numpy(np.stack([shrunk(sample.image, *size).transpose(2, 0, 1) for sample in samples]))


class Batches:
    """Draws pictures with replacement: a set by its weight, then a picture of it."""

    def __init__(
        self, sources: Sequence[Source], size: tuple[int, int], window: tuple[int, int], count: int, seed: int
    ) -> None:
        """Draw `count` pictures a batch, make them `size`, width and height in pixels, and take a `window` of each.

        A window holds what the convolutions see at a fraction of the time, but not the largest persons.
        """
        self._sources, self._size, self._window, self._count, self._seed = sources, size, window, count, seed
        self._priors = (face_priors(*window).boxes(), person_priors(*window).boxes())

    def batch(self, number: int) -> Batch:
        """Make one batch."""
        rng = np.random.default_rng([self._seed, number])
        samples = []
        for chosen in rng.choice(len(self._sources), self._count, p=[source.share for source in self._sources]):
            source = self._sources[chosen]
            row = source.trained[rng.integers(len(source.trained))]
            sample = augmented(source.pictures.sample(row), *self._size, rng)
            samples.append(sample if self._window == self._size else self._part(sample, rng))
        return stacked(samples, *self._priors)

    def _part(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return a window of a sample."""
        room = np.subtract(self._size, self._window)
        start = rng.integers(0, room + 1)
        return cut(sample, np.concatenate([start, start + self._window]).astype(np.float32), *self._window)

    def stream(self, first: int) -> Generator[Batch]:
        """Yield batches from number `first` on, without end."""
        yield from (batch for _, batch in made_ahead(self.batch, itertools.count(first), THREADS))


def stacked(samples: Sequence[Sample], faces: Array, persons: Array) -> Batch:
    """Join samples of one size and match their truths with the priors (p, 4) of both classes."""
    pictures = np.stack([sample.image.transpose(2, 0, 1) for sample in samples])
    return Batch(
        torch.from_numpy(pictures),
        _truth([_targets(sample, "person", persons, PERSON_OVERLAP) for sample in samples]),
        _truth([_targets(sample, "face", faces, FACE_OVERLAP) for sample in samples]),
    )


def _targets(sample: Sample, category: str, priors: Array, threshold: float) -> Targets:
    height, width = sample.image.shape[:2]
    size = np.array([width, height], np.float32)
    rows = sample.classes == CATEGORIES.index(category)
    boxes, ignored = sample.boxes[rows] / np.tile(size, 2), sample.ignored / np.tile(size, 2)
    return targets(boxes, sample.points[rows] / size, ignored, priors, threshold, category in sample.labelled)


def _truth(several: Sequence[Targets]) -> Truth:
    return Truth(
        torch.from_numpy(np.stack([one.labels for one in several])),
        torch.from_numpy(np.stack([one.codes for one in several])),
        torch.from_numpy(np.stack([one.points for one in several])),
    )
