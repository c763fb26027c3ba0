"""What a study found: a table with means, seeds and intervals, and a plot.

Intervals come from drawing people and seeds again. Two methods are compared by their difference on the same draws of
people and the same seeds, which are alike in first weights and batches.
"""

import json
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from app.errors import SetupError
from models.evaluate.forest import Group, Interval, forest
from models.evaluate.recognition_metrics import DRAWS, Scores, interval, rounded
from models.recognition.held_out import FALLING, FIGURES
from models.recognition.study_people import People
from models.recognition.study_plan import StudyPlan

TABLE, PLOT = "study.json", "study.svg"
PLOTTED = "tar_at_far_1e-3"
TEACHER = "teacher"
POWER = 2.8  # standard errors: a true difference of so many is found in 80 % of studies, at 5 % (two-sided)
OWN, ONE_SPACE = "own", "one_space"

Figures = Mapping[str, Scores]  # by held-out set: (1 + DRAWS, f) of `FIGURES`, as they are and by draws of people


@dataclass(frozen=True, slots=True)
class Cell:
    """One method with one seed."""

    own: Figures  # gallery and probes by the student
    one_space: Figures  # gallery by the teacher, probes by the student
    loss: float  # mean of the last steps
    seconds: float


class Report:
    """Writes the table and the plot of the cells that there are."""

    def __init__(self, plan: StudyPlan, people: People, teacher: Figures) -> None:
        self._plan, self._people, self._teacher = plan, people, teacher

    def write(self, cells: Mapping[tuple[str, int], Cell], out: Path) -> None:
        """Write both into a folder."""
        methods = {name: self._of(name, cells) for name in self._plan.methods if self._seeds(cells, name)}
        table = {
            "interval": f"95 %, bootstrap over people and seeds, {DRAWS} draws",
            "detectable": "the difference that a study like this one finds in 80 % of cases",
            "trained_on": self._trained_on(),
            "held_out": {name: _told_people(self._people, name) for name in self._people.held},
            "teacher": {name: _told([figures]) for name, figures in self._teacher.items()},
            "methods": {name: self._told(name, own, cells) for name, own in methods.items()},
        }
        (out / TABLE).write_text(json.dumps(table, indent=2) + "\n")
        (out / PLOT).write_text(self._drawn(table))

    def _of(self, name: str, cells: Mapping[tuple[str, int], Cell]) -> list[Cell]:
        return [cells[name, seed] for seed in self._seeds(cells, name)]

    def _seeds(self, cells: Mapping[tuple[str, int], Cell], *names: str) -> list[int]:
        """Return the seeds with which all of these methods are done."""
        return [seed for seed in self._plan.seeds if all((name, seed) in cells for name in names)]

    def _trained_on(self) -> dict[str, int]:
        learners = self._people.learners
        return {
            "people": learners.classes,
            "photographs": len(learners.labels),
            "people_left_out_as_alike": self._people.alike,
        }

    def _told(self, name: str, mine: Sequence[Cell], cells: Mapping[tuple[str, int], Cell]) -> dict[str, Any]:
        sets = list(self._people.held)
        versus = {}
        for other in self._plan.compared:
            seeds = self._seeds(cells, name, other)
            if other != name and seeds:
                pairs = [(cells[name, seed].own, cells[other, seed].own) for seed in seeds]
                versus[other] = {
                    held: difference([mine[held] - theirs[held] for mine, theirs in pairs]) for held in sets
                }
        return {
            "group": self._plan.methods[name].group,
            "seeds": self._seeds(cells, name),
            "loss": rounded(fmean(cell.loss for cell in mine)),
            "seconds": rounded(fmean(cell.seconds for cell in mine)),
            "figures": {held: _told([cell.own[held] for cell in mine]) for held in sets},
            "minus": versus,
            "teacher_gallery": {held: _told([cell.one_space[held] for cell in mine]) for held in sets},
            "teacher_gallery_minus_own": {
                held: difference([cell.one_space[held] - cell.own[held] for cell in mine]) for held in sets
            },
        }

    def _drawn(self, table: Mapping[str, Any]) -> str:
        """Return the plot: a row for each method, a column for each held-out set."""
        groups: dict[str, list[str]] = defaultdict(list)
        for name, method in table["methods"].items():
            groups[method["group"]].append(name)
        columns = {}
        for held in self._people.held:
            told = {TEACHER: table["teacher"][held]}
            told |= {name: method["figures"][held] for name, method in table["methods"].items()}
            figures = {name: _shown(figure[PLOTTED]) for name, figure in told.items()}
            columns[f"{PLOTTED}, {held}"] = {name: shown for name, shown in figures.items() if shown}
        rows = [Group("the teacher itself", [TEACHER]), *(Group(title, names) for title, names in groups.items())]
        return forest(rows, columns, next(iter(self._plan.compared), None))


def save_cell(cell: Cell, path: Path) -> None:
    """Write a cell, whole or not at all."""
    arrays = {f"{OWN}/{name}": figures for name, figures in cell.own.items()}
    arrays |= {f"{ONE_SPACE}/{name}": figures for name, figures in cell.one_space.items()}
    unfinished = path.with_suffix(".new.npz")
    arrays |= {"loss": np.array(cell.loss), "seconds": np.array(cell.seconds)}
    np.savez(unfinished, allow_pickle=False, **arrays)
    unfinished.replace(path)


def load_cell(path: Path) -> Cell:
    """Return a cell that was written.

    Raises:
        SetupError: the file is damaged.
    """
    try:
        with np.load(path) as arrays:
            parts = {
                kind: {name.partition("/")[2]: arrays[name] for name in arrays if name.startswith(f"{kind}/")}
                for kind in (OWN, ONE_SPACE)
            }
            return Cell(parts[OWN], parts[ONE_SPACE], float(arrays["loss"]), float(arrays["seconds"]))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise SetupError(f"{path} cannot be read ({error!r}); remove it, and it is done again") from error


def _told_people(people: People, name: str) -> dict[str, int]:
    held = people.held[name]
    return {
        "people": int(held.people.max()) + 1,
        "photographs": len(held.people),
        "genuine_pairs": len(held.genuine),
        "impostor_pairs": len(held.impostors),
    }


def _told(seeds: Sequence[Scores]) -> dict[str, dict[str, Any]]:
    """Return mean, seeds and interval of each figure."""
    values, drawn = _over_seeds(seeds)
    return {
        figure: {
            "mean": rounded(values[:, column].mean()),
            "seeds": [rounded(value) for value in values[:, column]],
            "interval": interval(drawn[:, column]),
        }
        for column, figure in enumerate(FIGURES)
    }


def difference(seeds: Sequence[Scores]) -> dict[str, dict[str, Any]]:
    """Return each figure's difference with its interval, and what that is worth."""
    values, drawn = _over_seeds(seeds)
    return {
        figure: {
            "difference": rounded(values[:, column].mean()),
            "interval": (bounds := interval(drawn[:, column])),
            "detectable": rounded(POWER * float(drawn[:, column].std())),
            "verdict": _verdict(bounds, figure in FALLING),
        }
        for column, figure in enumerate(FIGURES)
    }


def _over_seeds(seeds: Sequence[Scores]) -> tuple[Scores, Scores]:
    """Return the figures (s, f) of each seed, and drawn means (DRAWS, f) of seeds drawn with replacement."""
    everything = np.stack(seeds)  # (s, 1 + DRAWS, f)
    draws = everything.shape[1] - 1
    picks = np.random.default_rng(0).integers(len(seeds), size=(draws, len(seeds)))
    return everything[:, 0], everything[:, 1:][picks, np.arange(draws)[:, None]].mean(axis=1)


def _verdict(bounds: Sequence[float] | None, falling: bool) -> str:
    if bounds is None:
        return "not measured"
    low, high = bounds
    if low <= 0 <= high:
        return "no difference"
    return "better" if (low > 0) is not falling else "worse"


def _shown(figure: Mapping[str, Any]) -> Interval | None:
    if figure["mean"] is None or figure["interval"] is None:
        return None
    return Interval(figure["mean"], *figure["interval"])
