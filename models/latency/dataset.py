"""Data sets of times: a file of JSON lines, as `models.latency.stand_alone` writes it on any device."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from models.latency.features import Figures
from models.latency.scores import ceiling
from models.latency.stand_alone import FORM


@dataclass(frozen=True, slots=True)
class Target:
    """What times hold for. A prediction for anything else would be a guess, so predictors refuse it."""

    device: str  # the processor's model
    runtime: str
    version: str  # of the runtime
    threads: int
    precision: str  # fp32 | int8
    clock: str  # wall | thread

    def require(self, **wanted: object) -> None:
        """Refuse what this target is not.

        Raises:
            SetupError: a value given differs; the message names all that do.
        """
        known = asdict(self)
        differing = [f"{name} {value!r}, not {known[name]!r}" for name, value in wanted.items() if known[name] != value]
        if differing:
            raise SetupError(f"asked for {'; '.join(differing)}: collect times for that and fit a predictor to them")

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Target":
        """Return the target among a file's values.

        Raises:
            KeyError: one is missing.
        """
        return Target(**{field.name: values[field.name] for field in fields(Target)})


@dataclass(frozen=True, slots=True)
class Timed:
    """A net and its times."""

    net: Figures
    cell: str  # fingerprint that isomorphic cells share
    runs: tuple[float, ...]  # the least milliseconds of each run

    @property
    def milliseconds(self) -> float:
        """The least of all: other programs only ever add time."""
        return min(self.runs)


@dataclass(frozen=True)
class DataSet:
    """Timed nets of one target."""

    target: Target
    nets: tuple[Timed, ...]

    @cached_property
    def figures(self) -> list[Figures]:
        """The nets without their times."""
        return [timed.net for timed in self.nets]

    @cached_property
    def milliseconds(self) -> NDArray[np.float64]:
        """(n,) the nets' times."""
        return np.array([timed.milliseconds for timed in self.nets])

    def split(self, training: int, seed: int = 0) -> tuple["DataSet", "DataSet"]:
        """Return a set for training with so many nets or a few more, and one of all others.

        Isomorphic cells stay together, whatever is around them, so that no cell is tested that was trained on.

        Raises:
            SetupError: nothing would be left to test on.
        """
        order = sorted({timed.cell for timed in self.nets}, key=lambda cell: _shuffled(cell, seed))
        sizes = dict.fromkeys(order, 0)
        for timed in self.nets:
            sizes[timed.cell] += 1
        ends = np.cumsum([sizes[cell] for cell in order])
        learned = set(order[: int(np.searchsorted(ends, training)) + 1])
        parts = [tuple(timed for timed in self.nets if (timed.cell in learned) == known) for known in (True, False)]
        if not all(parts):
            raise SetupError(f"{len(self.nets)} nets are too few to train on {training} and test on others")
        return DataSet(self.target, parts[0]), DataSet(self.target, parts[1])


def ceiling_of(data: DataSet) -> dict[str, Any] | None:
    """Return `models.latency.scores.ceiling` of all nets."""
    return ceiling([timed.runs for timed in data.nets])


def read(path: Path) -> DataSet:
    """Read a data set; nets that lack a run that others have are left out, as their last run was never finished.

    Raises:
        SetupError: it is missing, empty or damaged.
    """
    try:
        head, *lines = [json.loads(line) for line in path.read_text().splitlines()]
        if head["form"] != FORM:
            raise ValueError(f"form is {head['form']!r}, not {FORM!r}")
        target = Target.from_json(head)
        nets = {line["net"]["fingerprint"]: line["net"] for line in lines if line["run"] == 1}
        runs: dict[str, dict[int, float]] = {name: {} for name in nets}
        for line in lines:
            runs[line["net"]["fingerprint"]][line["run"]] = min(line["milliseconds"])
        full = max(map(len, runs.values()))
        timed = tuple(
            Timed(Figures.from_json(net), net["cell"], tuple(runs[name][run] for run in sorted(runs[name])))
            for name, net in nets.items()
            if len(runs[name]) == full
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{path} is no data set of times ({error!r}); make one with latency collect") from error
    return DataSet(target, timed)


def _shuffled(cell: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{cell}".encode()).hexdigest()
