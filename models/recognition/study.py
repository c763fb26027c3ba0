"""The study: every method with every seed, the same budget for all, judged by people whom no student has seen.

A cell is one method with one seed; it is taught, judged and kept, so a study that was stopped goes on behind its last
finished cell. Nothing is chosen by the people who judge: the last weights count, and constants are the published ones.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from app.errors import SetupError
from models.recognition.hints import teacher_hints
from models.recognition.judging import unit_vectors
from models.recognition.study_lesson import Lesson
from models.recognition.study_people import People, gather
from models.recognition.study_plan import StudyPlan
from models.recognition.study_report import Cell, Report, load_cell, save_cell
from models.recognition.teachers import open_teachers

COPY = "study.toml"


class Study:
    """A study's folder: a copy of its file, a file for each finished cell, the table and the plot."""

    def __init__(self, file: Path, out: Path, resume: bool, only: Sequence[str] = ()) -> None:
        """Read the file.

        Args:
            file: says what is compared.
            out: the study's folder.
            resume: go on with what is there.
            only: methods that are taught now, none: all; two processes may share the work of one folder.

        Raises:
            SetupError: the folder exists and is not to be resumed, or does not and is, or was made by another file, or
                the file has no such method.
        """
        self.plan, self._file, self._out = StudyPlan.read(file), file, out
        self._only = only or list(self.plan.methods)
        if strange := [name for name in self._only if name not in self.plan.methods]:
            raise SetupError(f"{file} has no method {strange[0]!r}; it has {', '.join(self.plan.methods)}")
        copy = out / COPY
        if resume and not copy.exists():
            raise SetupError(f"{out} holds no study to resume; start it without --resume")
        if resume and copy.read_text() != file.read_text():
            raise SetupError(f"{file} has changed since {out} was made; give the changed study another folder")
        if not resume and out.exists():
            raise SetupError(f"{out} exists; resume it with --resume or remove it")

    def run(self, cache: Path, folders: Sequence[Path], say: Callable[[str], None]) -> None:
        """Teach and judge every cell that is not there yet; the report is written anew behind each.

        Args:
            cache: of packages.
            folders: of packed sets.
            say: is told how far the work is.

        Raises:
            SetupError: a set or the teacher's package is missing, or too few people are on one side.
        """
        teacher = next((one for one in open_teachers(cache) if one.name == self.plan.teacher), None)
        if teacher is None:
            raise SetupError(
                f"teacher is {self.plan.teacher!r}; see models/recognition/teachers.py for those there are"
            )
        people = gather(self.plan, teacher, folders, say)
        (self._out / "cells").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._file, self._out / COPY)
        done = {cell: load_cell(path) for cell in self._cells() if (path := self._path(*cell)).exists()}
        teacher_figures = {name: held.figures(held.teacher, held.teacher) for name, held in people.held.items()}
        report = Report(self.plan, people, teacher_figures)
        report.write(done, self._out)
        for name, seed in [cell for cell in self._cells() if cell[0] in self._only and cell not in done]:
            told = partial(_tell, say, f"{len(done) + 1} of {len(self._cells())}, {name} with seed {seed}")
            done[name, seed] = self._cell(name, seed, people, cache, told)
            report.write(done, self._out)

    def _cells(self) -> list[tuple[str, int]]:
        return [(name, seed) for seed in self.plan.seeds for name in self.plan.methods]

    def _path(self, name: str, seed: int) -> Path:
        return self._out / "cells" / f"{name}-{seed}.npz"

    def _cell(self, name: str, seed: int, people: People, cache: Path, say: Callable[[str], None]) -> Cell:
        """Teach and judge one student, and keep what came of it."""
        began, method = time.monotonic(), self.plan.methods[name]
        hints = None
        if method.uses("hint"):
            hints = teacher_hints(people.learners.faces, cache, self._out / "hints.npy", say)
        lesson = Lesson(method, self.plan, people.learners, hints, seed)
        loss = lesson.teach(say)
        own, one_space = {}, {}
        for held_set, held in people.held.items():
            vectors = unit_vectors(lesson.student.eval(), held.faces)
            own[held_set] = held.figures(vectors, vectors)
            one_space[held_set] = held.figures(held.teacher, vectors)
        cell = Cell(own, one_space, loss, time.monotonic() - began)
        save_cell(cell, self._path(name, seed))
        say(f"done in {cell.seconds:.0f} s")
        return cell


def _tell(say: Callable[[str], None], cell: str, text: str) -> None:
    say(f"{cell}: {text}")
