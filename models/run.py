"""A run of training: its file, its folder, and what is kept there so that it can go on after a break.

The folder holds a copy of the run file, ``metrics.csv`` with a row for each look at the losses, ``last.pt`` with all
that resuming needs, ``best.pt`` with the averaged weights that validated best, and ``start.pt`` with those before the
first step.
"""

import csv
import pickle
import shutil
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin

import torch

from app.errors import SetupError
from models.detection.splits import MEASURED
from models.training import TASKS

# What torch raises for files that are cut off, overwritten or something else.
DAMAGES = (OSError, EOFError, LookupError, RuntimeError, ValueError, pickle.UnpicklingError)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run file says. Every value has to be given, so that the file tells the whole experiment."""

    task: str  # of `models.training.TASKS`
    seed: int
    start: list[str]  # "starter", "shipped", names of runs whose best weights are taken; a later one overrides
    steps: int
    batch: int  # pictures
    window: list[int]  # width and height in pixels of the part of each picture that is trained on
    rate: float  # highest learning rate
    warmup: int  # steps in which the rate rises; afterwards it falls as a cosine
    decay: float  # weight decay
    average: float  # share of the old weights in the running average, a step
    validate_every: int  # steps
    sets: dict[str, float]  # name of a set -> its share of the pictures
    losses: dict[str, float]  # name of a term -> its weight; a term that is not named is not computed
    frozen: list[str] = field(default_factory=list)  # patterns of parameters that stay as they are: "stem.*"

    @property
    def size(self) -> tuple[int, int]:
        """The window's width and height."""
        width, height = self.window
        return width, height

    @staticmethod
    def read(path: Path) -> "Plan":
        """Read a run file.

        Raises:
            SetupError: it is unreadable, or a value is missing, unknown, or none that can be trained with.
        """
        try:
            plan = Plan(**tomllib.loads(path.read_text()))
            plan.check()
        except (OSError, TypeError, ValueError) as error:
            raise SetupError(f"{path} is no run file ({error}); see models/runs for examples") from error
        return plan

    def check(self) -> None:
        """Refuse what would fail late, or train something else without a word.

        Raises:
            ValueError: names the field.
        """
        for known in fields(self):
            value = getattr(self, known.name)
            kind: Any = get_origin(known.type) or known.type
            if not isinstance(value, (int, float) if kind is float else kind):
                raise ValueError(f"{known.name} is {value!r}")
        if self.task not in TASKS:
            raise ValueError(f"task is {self.task!r}, none of {', '.join(TASKS)}")
        if min(self.steps, self.batch, self.validate_every) < 1:
            raise ValueError("steps, batch and validate_every are 1 at least")
        widest, highest = TASKS[self.task].size
        match self.window:
            case [int(width), int(height)] if 0 < width <= widest and 0 < height <= highest:
                pass
            case _:
                raise ValueError(f"window is {self.window}, not width and height up to [{widest}, {highest}]")
        self._check_weights()

    def _check_weights(self) -> None:
        for name, weights in (("sets", self.sets), ("losses", self.losses)):
            if not all(isinstance(weight, int | float) and weight >= 0 for weight in weights.values()):
                raise ValueError(f"{name}: a weight is a number from 0 on")
            if not any(weights.values()):
                raise ValueError(f"{name}: one at least needs a weight above 0")
        measuring = [name for name, weight in self.sets.items() if weight and name in MEASURED]
        if measuring:
            raise ValueError(f"sets: {', '.join(measuring)} is for measuring alone; its weight can only be 0")
        terms = TASKS[self.task].terms
        unknown = [name for name in self.losses if name not in terms]
        if unknown:
            raise ValueError(f"losses: {', '.join(unknown)}; the terms of a {self.task} are {', '.join(terms)}")


class Run:
    """The folder of one run."""

    def __init__(self, file: Path, runs: Path, resume: bool) -> None:
        """Read the run file NAME.toml, whose folder is ``runs/NAME``; `begin` makes it.

        Raises:
            SetupError: the folder exists and is not to be resumed, or does not and is, or was made by another file.
        """
        self.plan = Plan.read(file)
        self.folder = runs / file.stem
        self._file, self._began = file, time.monotonic()
        copy = self.folder / "run.toml"
        if resume and not copy.exists():
            raise SetupError(f"{self.folder} holds no run to resume; start it without --resume")
        if resume and copy.read_text() != file.read_text():
            raise SetupError(f"{file} has changed since {self.folder} was made; give the changed file another name")
        if not resume and self.folder.exists():
            raise SetupError(f"{self.folder} exists; resume it with --resume or remove it")

    def begin(self, step: int) -> None:
        """Make the folder, or go on behind step `step`: metrics.csv loses what is done again, and its clock goes on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._file, self.folder / "run.toml")
        path = self.folder / "metrics.csv"
        rows = [row for row in _rows(path) if int(row["step"]) <= step]
        if path.exists():
            _rewrite(path, _columns(path), rows)
        self._began = time.monotonic() - (float(rows[-1]["seconds"]) if rows else 0.0)

    def save(self, name: str, state: Mapping[str, Any]) -> None:
        """Write ``NAME.pt``, whole or not at all."""
        path = self.folder / f"{name}.pt"
        torch.save(dict(state), path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, name: str) -> dict[str, Any] | None:
        """Return what ``NAME.pt`` holds, None when it was never written."""
        path = self.folder / f"{name}.pt"
        return load(path) if path.exists() else None

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a row to metrics.csv and rewrite the progress line."""
        row = {"step": step, "seconds": round(time.monotonic() - self._began, 1)}
        row |= {name: float(f"{value:.6g}") for name, value in figures.items()}
        path = self.folder / "metrics.csv"
        known = _columns(path)
        columns = [*known, *(name for name in row if name not in known)]
        if columns != known and known:
            _rewrite(path, columns, _rows(path))
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns)
            if not known:
                writer.writeheader()
            writer.writerow(row)
        words = " ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "step")
        print(f"{self.folder.name} {step}/{self.plan.steps} {words}", file=sys.stderr, flush=True)


def load(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint.

    Raises:
        SetupError: it is missing or damaged.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGES as error:
        raise SetupError(f"{path} cannot be read ({error!r}); train the run that it belongs to") from error
    return content


def _columns(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return next(csv.reader(file), [])


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _rewrite(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Write the file again with fewer rows, or more columns: validation adds some that the first rows do not have."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
