"""A run of training: its file, its folder, and what is kept there so that it can go on after a break.

The folder holds a copy of the run file, ``metrics.csv`` with a row for each look at the losses, ``last.pt`` with all
that resuming needs, and ``best.pt`` with the averaged weights that validated best.
"""

import csv
import shutil
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from app.errors import SetupError


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run file says. Every value has to be given, so that the file tells the whole experiment."""

    task: str  # of `models.training.TASKS`
    seed: int
    start: list[str]  # "starter", names of runs whose best weights are taken; a later one overrides
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
    frozen: list[str] = field(default_factory=list)  # first parts of names of parameters that stay as they are

    @property
    def size(self) -> tuple[int, int]:
        """The window's width and height."""
        width, height = self.window
        return width, height

    @staticmethod
    def read(path: Path) -> "Plan":
        """Read a run file.

        Raises:
            SetupError: it is unreadable, or a value is missing or unknown.
        """
        try:
            return Plan(**tomllib.loads(path.read_text()))
        except (OSError, TypeError, tomllib.TOMLDecodeError) as error:
            raise SetupError(f"{path} is no run file ({error}); see models/runs for examples") from error


class Run:
    """The folder of one run."""

    def __init__(self, file: Path, runs: Path, resume: bool) -> None:
        """Make the folder ``runs/NAME`` of the run file NAME.toml, or go on in it.

        Raises:
            SetupError: the folder exists and is not to be resumed, or does not and is, or was made by another file.
        """
        self.plan = Plan.read(file)
        self.folder = runs / file.stem
        copy = self.folder / "run.toml"
        if resume and not copy.exists():
            raise SetupError(f"{self.folder} holds no run to resume; start it without --resume")
        if resume and copy.read_text() != file.read_text():
            raise SetupError(f"{file} has changed since {self.folder} was made; give the changed file another name")
        if not resume:
            if self.folder.exists():
                raise SetupError(f"{self.folder} exists; resume it with --resume or remove it")
            self.folder.mkdir(parents=True)
            shutil.copyfile(file, copy)
        self._began = time.monotonic()

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
            _widen(path, columns)
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
    except (OSError, RuntimeError, ValueError) as error:
        raise SetupError(f"{path} cannot be read ({error}); train the run that it belongs to") from error
    return content


def _columns(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return next(csv.reader(file), [])


def _widen(path: Path, columns: list[str]) -> None:
    """Write the file again with more columns; validation adds some that the first rows do not have."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
