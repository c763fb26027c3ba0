"""What a net that is to be compressed learns: labelled pictures in three parts.

A picture's part is decided by a hash of its person, or of itself where nobody knows the person, so it stays where it
is when a set grows, and a smaller part of a set is contained in a larger one. Nothing that is nearly identical to a
picture of the test part is in another part, and nothing nearly identical to one of the validation part is trained on.
"""

import hashlib
import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.errors import SetupError
from app.types import Image

TASKS = {  # name -> module and function (plan, folders): where its labelled pictures come from
    "digits": ("models.compress.digits", "digits"),
    "faces": ("models.compress.labelled_faces", "faces"),
    "identities": ("models.compress.labelled_faces", "identities"),
}
TEST, VALIDATION = 0.3, 0.15  # shares of the places 0 to 1, from below; the rest is trained on
SAME_BITS = 3  # of 128, up to which two pictures are nearly identical
BANDS = SAME_BITS + 1  # two hashes that differ in no more bits agree in one band of four at least
MIDDLE, SPAN = 127.5, 128.0  # a net sees (value - 127.5) / 128


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """What a run file says in ``[task]``."""

    name: str  # of `TASKS`
    side: int = 16  # of the pictures, pixels
    set: str = ""  # packed set of aligned faces; "digits" has its own
    label: str = "age"  # of "faces": a column of the set's table
    people: int = 0  # of "identities": so many of whom there are most pictures
    train: int = 0  # pictures of the part; 0 is all that there are
    validation: int = 0
    test: int = 0

    def __post_init__(self) -> None:
        if self.name not in TASKS:
            raise ValueError(f"name is {self.name!r}, none of {', '.join(TASKS)}")
        if self.side < 8:
            raise ValueError(f"side is {self.side}; nets need 8 pixels at least")
        if min(self.people, self.train, self.validation, self.test) < 0:
            raise ValueError("people, train, validation and test are numbers from 0 on")
        if (self.name == "digits") == bool(self.set):
            raise ValueError("set names the packed set of faces and identities, and is left out for digits")
        if (self.name == "identities") != (self.people > 1):
            raise ValueError("people is 2 at least for identities, and is left out elsewhere")


@dataclass(frozen=True, slots=True)
class Part:
    """One part's pictures."""

    pictures: NDArray[np.uint8]  # (n, 3, side, side) BGR
    labels: NDArray[np.int64]  # (n,) rows of the task's classes

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Task:
    """A task with its pictures."""

    plan: TaskPlan
    classes: tuple[str, ...]
    train: Part
    validation: Part
    test: Part
    digest: str  # of all pictures and labels, so that two reports can be told to be of the same

    @property
    def blank(self) -> Tensor:
        """A picture (1, 3, side, side) to count and export with."""
        return torch.zeros(1, 3, self.plan.side, self.plan.side)


@dataclass(frozen=True, slots=True)
class Source:
    """Where labelled pictures come from; row i of each list is picture i."""

    labels: Sequence[str]
    owners: Sequence[str]  # by whose hash the part is decided
    picture: Callable[[int], Image]  # of a row, BGR of any size


def open_task(plan: TaskPlan, folders: Sequence[Path]) -> Task:
    """Read a task's pictures.

    Raises:
        SetupError: a set or its table is missing or damaged, or has fewer pictures than a part is to have.
    """
    module, function = TASKS[plan.name]
    source: Source = getattr(importlib.import_module(module), function)(plan, folders)
    classes = tuple(sorted(set(source.labels), key=_order))
    if len(classes) < 2:
        raise SetupError(f"task {plan.name} finds {len(classes)} classes; look at label and at the set's table")
    places = [place(owner) for owner in source.owners]
    rows = sorted(range(len(places)), key=places.__getitem__)
    bounds = {"test": (0.0, TEST), "validation": (TEST, TEST + VALIDATION), "train": (TEST + VALIDATION, 1.0)}
    seen, parts = Seen(), {}
    for name, (low, high) in bounds.items():
        candidates = (row for row in rows if low <= places[row] < high)
        parts[name] = _part(source, classes, candidates, getattr(plan, name), plan.side, seen, name)
    return Task(plan, classes, parts["train"], parts["validation"], parts["test"], _digest(parts.values()))


def place(owner: str) -> float:
    """Return where a person or picture lies, 0 to 1."""
    return int(hashlib.sha256(owner.encode()).hexdigest()[:8], 16) / 2**32


class Seen:
    """Hashes of the pictures that lie in earlier parts."""

    def __init__(self) -> None:
        self._hashes: dict[tuple[int, int], list[int]] = {}  # by band and its bits

    def add(self, hashes: Iterable[int]) -> None:
        """Note pictures."""
        for value in hashes:
            for band in _bands(value):
                self._hashes.setdefault(band, []).append(value)

    def near(self, value: int) -> bool:
        """Say whether a picture is nearly identical to one that was noted."""
        return any(
            (value ^ other).bit_count() <= SAME_BITS for band in _bands(value) for other in self._hashes.get(band, ())
        )


def gradient_hash(image: Image) -> int:
    """Return 128 bits of a BGR picture: whether each of 8x8 cells is brighter than the one left of it, or above it."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    across = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(int)
    down = cv2.resize(grey, (8, 9), interpolation=cv2.INTER_AREA).astype(int)
    bits = np.concatenate([(np.diff(across, axis=1) > 0).ravel(), (np.diff(down, axis=0) > 0).ravel()])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def normalised(pictures: NDArray[np.uint8]) -> Tensor:
    """Return pictures (n, 3, h, w) as a net sees them, float32 of about -1 to 1."""
    return (torch.from_numpy(pictures).float() - MIDDLE) / SPAN


def _part(
    source: Source,
    classes: Sequence[str],
    candidates: Iterable[int],
    wanted: int,
    side: int,
    seen: Seen,
    name: str,
) -> Part:
    """Take the first of the candidates that are like nothing in an earlier part, and note them."""
    numbers = {label: number for number, label in enumerate(classes)}
    pictures, labels, hashes = [], [], []
    for row in candidates:
        image = source.picture(row)
        value = gradient_hash(image)
        if not seen.near(value):
            hashes.append(value)
            pictures.append(_sized(image, side).transpose(2, 0, 1))
            labels.append(numbers[source.labels[row]])
        if len(labels) == wanted > 0:
            break
    if len(labels) < max(wanted, 1):
        raise SetupError(f"the task has {len(labels)} pictures for {name}, {max(wanted, 1)} are wanted")
    seen.add(hashes)
    return Part(np.stack(pictures), np.array(labels, np.int64))


def _sized(image: Image, side: int) -> Image:
    shrinks = side < min(image.shape[:2])
    return np.asarray(
        cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8
    )


def _bands(value: int) -> list[tuple[int, int]]:
    width = 128 // BANDS
    return [(band, value >> band * width & (1 << width) - 1) for band in range(BANDS)]


def _order(label: str) -> tuple[float, str]:
    """Return what sorts labels: by the number that they begin with, words last; "more than 70" is above all numbers."""
    number = label.partition("-")[0]
    return (float(number), label) if number.isdigit() else (float("inf"), label)


def _digest(parts: Iterable[Part]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part.pictures.tobytes())
        total.update(part.labels.tobytes())
    return total.hexdigest()[:16]
