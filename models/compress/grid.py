"""A grid of runs: a run file with every combination of values on named axes.

    run = "prune_sfp.toml"            # beside the grid's file
    [axes]                            # dotted places in the run file; a number counts its stages from 0
    seed = [0, 1, 2]
    "net.width" = [8, 16]
    "stage.0.ratio" = [0.2, 0.4]

Each run has a folder that is named by the hash of everything that decides it. Finished runs are skipped, stopped ones
go on, and one that fails is written down with its error and tried again next time.
"""

import copy
import itertools
import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import SetupError
from models.compress.run import REPORT, Say, compress, report_of
from models.compress.run_file import RunFile, digest, tables
from models.compress.tasks import Task, TaskPlan, open_task

SUMMARY, FAILURE, BASES = "grid.json", "failure.txt", "bases"
SHOWN = ("accuracy", "macro_f1", "parameters", "macs", "file_bytes")  # of the last stage, in the summary


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination."""

    values: Mapping[str, Any]  # by axis
    plan: RunFile

    @property
    def name(self) -> str:
        """Name of its folder."""
        return digest(self.plan.resolved())


def cells(path: Path) -> list[Cell]:
    """Return the combinations that a grid's file asks for; the last axis changes fastest.

    Raises:
        SetupError: the file cannot be read, an axis leads nowhere, or a combination cannot be run.
    """
    grid = tables(path)
    match grid:
        case {"run": str(run), "axes": dict(axes), **rest} if not rest and axes:
            pass
        case _:
            raise SetupError(f"{path} is no grid: it has run, the name of a run file, and [axes], and nothing else")
    for axis, values in axes.items():
        if not isinstance(values, list) or not values:
            raise SetupError(f"{path}: axis {axis} is {values!r}; it is a list of one value at least")
    base = tables(path.parent / run)
    found = []
    for combination in itertools.product(*axes.values()):
        chosen = dict(zip(axes, combination, strict=True))
        given = copy.deepcopy(base)
        for axis, value in chosen.items():
            _put(given, axis, value, path)
        found.append(Cell(chosen, RunFile.of(given, f"{path} with {_named(chosen)}")))
    return found


def run_grid(path: Path, out: Path, folders: Sequence[Path], say: Say) -> dict[str, Any]:
    """Do all runs of a grid that are not finished; return the summary, which is also written behind each run.

    Args:
        path: the grid's file.
        out: folder of the runs.
        folders: of packed sets.
        say: is told how far the work is.

    Raises:
        SetupError: see `cells`.
    """
    todo, tasks = cells(path), Tasks(folders)
    out.mkdir(parents=True, exist_ok=True)
    for number, cell in enumerate(todo, 1):
        if not (out / cell.name / REPORT).exists():
            say(f"{number} of {len(todo)}: {_named(cell.values)}")
            _attempt(cell, out, tasks, say)
        summary = _summary(todo, out)
        (out / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
    return summary


class Tasks:
    """Opens each task once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders, self._open = folders, dict[TaskPlan, Task]()

    def of(self, plan: TaskPlan) -> Task:
        """Return a task.

        Raises:
            SetupError: see `models.compress.tasks.open_task`.
        """
        if plan not in self._open:
            self._open[plan] = open_task(plan, self._folders)
        return self._open[plan]


def _attempt(cell: Cell, out: Path, tasks: Tasks, say: Say) -> None:
    """Do a run; what goes wrong is written into its folder, for one bad combination must not cost the others."""
    folder = out / cell.name
    (folder / FAILURE).unlink(missing_ok=True)
    try:
        compress(cell.plan, tasks.of(cell.plan.task), folder, out / BASES, say)
    except Exception as error:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILURE).write_text("".join(traceback.format_exception(error)))
        say(f"{cell.name} failed: {error}")


def _summary(todo: Sequence[Cell], out: Path) -> dict[str, Any]:
    rows = [{"folder": cell.name, **cell.values, **_outcome(out / cell.name)} for cell in todo]
    states = [row["state"] for row in rows]
    return {"states": {state: states.count(state) for state in sorted(set(states))}, "runs": rows}


def _outcome(folder: Path) -> dict[str, Any]:
    if (folder / REPORT).exists():
        report = report_of(folder)
        figures = report["stages"][-1]["figures"] if report["stages"] else report["base"]
        shown = {name: figures[name] for name in SHOWN}
        return {"state": "finished", "accepted": report["accepted"], **shown, "of_base": figures["of_base"]}
    if (folder / FAILURE).exists():
        return {"state": "failed", "error": (folder / FAILURE).read_text().strip().splitlines()[-1]}
    return {"state": "waiting"}


def _put(given: dict[str, Any], axis: str, value: Any, path: Path) -> None:
    """Set what stands at a dotted place.

    Raises:
        SetupError: there is no such place.
    """
    *way, last = axis.split(".")
    at: Any = given
    try:
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
        at[last] = value
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise SetupError(f"{path}: axis {axis} leads nowhere in the run file") from error


def _named(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{axis} {value}" for axis, value in values.items())
