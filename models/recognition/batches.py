"""Batches of faces for distillation: drawn from sets of crops, damaged, with what the teacher saw before the damage.

Batch number k is a function of the seed and k alone, so a run that is resumed goes on as if nothing had happened.
"""

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.ahead import made_ahead
from app.types import Array
from models.detection.batches import THREADS
from models.recognition.augment import seen
from models.recognition.crops import CropSet


@dataclass(frozen=True, slots=True)
class Faces:
    """n faces and the vectors that are wanted of them."""

    number: int  # of the batch
    pictures: Tensor  # (n, 3, 112, 112) uint8 BGR
    vectors: Tensor  # (n, d) unit rows


@dataclass(frozen=True, slots=True)
class Source:
    """A set, the rows that are trained on, and its share of the faces drawn."""

    crops: CropSet
    vectors: Array  # (all rows, d) of the teachers
    rows: NDArray[np.int64]
    share: float


class FaceBatches:
    """Draws faces with replacement: a set by its weight, then a face of it."""

    def __init__(self, sources: Sequence[Source], count: int, seed: int) -> None:
        """Draw `count` faces a batch; the shares of the sources add up to 1."""
        self._sources, self.count, self._seed = sources, count, seed

    def batch(self, number: int) -> Faces:
        """Make one batch."""
        rng = np.random.default_rng([self._seed, number])
        pictures, vectors = [], []
        for chosen in rng.choice(len(self._sources), self.count, p=[source.share for source in self._sources]):
            source = self._sources[chosen]
            row = int(source.rows[rng.integers(len(source.rows))])
            pictures.append(seen(source.crops.crop(row), rng).transpose(2, 0, 1))
            vectors.append(source.vectors[row])
        return Faces(number, torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(vectors)))

    def stream(self, first: int) -> Generator[Faces]:
        """Yield batches from number `first` on, without end."""
        yield from (batch for _, batch in made_ahead(self.batch, itertools.count(first), THREADS))
