"""One run of compression: the base, the stages in their order, and what is kept of each.

The folder holds ``resolved.json`` with everything that decides the outcome, ``recipe.json`` and ``weights.pt`` from
which `load_net` makes the net again, ``net.onnx``, ``answers.npz`` with the classes told of the test pictures, and
``report.json``, which is written last; of a binary net also ``weights.bits``, from which `load_packed_net` makes it
again. Until then ``state.pt`` lets a run that was stopped go on behind its last epoch.
"""

import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from app.errors import SetupError
from models.compress.binary_file import packed_weights, take_weights
from models.compress.binary_size import size_of
from models.compress.export import exported, write
from models.compress.int8 import Int8
from models.compress.recipe import replay
from models.compress.report import COMPARED, measure, told, versions
from models.compress.run_file import RunFile, StagePlan, digest
from models.compress.stage import LOOKED_AT, Context, Edit, Stage
from models.compress.tasks import Task, normalised
from models.compress.training import Progress, Tuning, accuracy, train
from models.compress.work import EPOCHS, FINETUNE, Work, made, save
from models.nets.classifiers import NetPlan
from models.run import load

RESOLVED, RECIPE, WEIGHTS, NET, INT8_NET = "resolved.json", "recipe.json", "weights.pt", "net.onnx", "net.int8.onnx"
BITS, ANSWERS, REPORT, STATE = "weights.bits", "answers.npz", "report.json", "state.pt"
REPLAYED = 1e-6  # largest difference of a logit between a net and the one made from its recipe

Say = Callable[[str], None]


def compress(plan: RunFile, task: Task, folder: Path, bases: Path, say: Say) -> dict[str, Any]:
    """Do a run, or what is left of it; return its report.

    Args:
        plan: what is done.
        task: of the plan.
        folder: of the run; made when it does not exist.
        bases: folder of trained bases, which runs of the same base share.
        say: is told how far the work is.

    Raises:
        SetupError: the folder is of another run, or a stage cannot be done on this net.
    """
    begin(plan, folder)
    if (folder / REPORT).exists():
        return report_of(folder)
    return Compression(plan, task, folder, trained_base(plan, task, bases, say), say).run()


def begin(plan: RunFile, folder: Path) -> None:
    """Make the folder, or see that it is of this very run.

    Raises:
        SetupError: it is of another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, resolved = folder / RESOLVED, _json(plan.resolved())
    if path.exists() and path.read_text() != resolved:
        raise SetupError(f"{folder} holds another run; give this one another name, or remove the folder")
    path.write_text(resolved)


def trained_base(plan: RunFile, task: Task, bases: Path, say: Say) -> nn.Module:
    """Return the base in evaluation mode, trained or taken from the folder of bases."""
    folder = bases / digest(plan.resolved_base())
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    net = plan.net.build(len(task.classes)).eval()
    if (folder / WEIGHTS).exists():
        net.load_state_dict(load(folder / WEIGHTS))
        return net
    progress = Progress()
    if (folder / STATE).exists():
        state = load(folder / STATE)
        net.load_state_dict(state["net"])
        progress = Progress(**state["progress"])

    def done(progress: Progress) -> None:
        save({"net": net.state_dict(), "progress": vars(progress)}, folder / STATE)
        say(f"base {folder.name}: epoch {progress.epoch} of {plan.base.epochs}, loss {progress.losses[-1]:.4f}")

    train(net, task.train, plan.base, plan.base.epochs, plan.seed, Stage(), progress, done)
    (folder / RESOLVED).write_text(_json(plan.resolved_base()))
    save(net.state_dict(), folder / WEIGHTS)
    (folder / STATE).unlink(missing_ok=True)
    return net


def load_net(folder: Path) -> nn.Module:
    """Return the net of a finished run in evaluation mode, made from its recipe and its weights.

    Raises:
        SetupError: one of them is missing or damaged.
    """
    return made(*_structure(folder), load(folder / WEIGHTS))


def load_packed_net(folder: Path) -> nn.Module:
    """Return the net of a finished run as `load_net` does, but with the weights of its one-bit file.

    Raises:
        SetupError: one of them is missing or damaged, or the net is not binary, so there is no such file.
    """
    net, edits = _structure(folder)
    replay(net, edits)
    try:
        content = (folder / BITS).read_bytes()
    except OSError as error:
        raise SetupError(f"{folder} has no one-bit file ({error}); runs of binary nets leave one") from error
    take_weights(net, content)
    return net.eval()


def report_of(folder: Path) -> dict[str, Any]:
    """Return the report of a finished run.

    Raises:
        SetupError: it is missing or damaged.
    """
    try:
        report: dict[str, Any] = json.loads((folder / REPORT).read_text())
    except (OSError, ValueError) as error:
        raise SetupError(f"{folder / REPORT} cannot be read ({error}); remove the folder and run its file") from error
    return report


def _structure(folder: Path) -> tuple[nn.Module, list[Edit]]:
    """Return the fresh net of a finished run and the edits that it has to be given."""
    try:
        recipe = json.loads((folder / RECIPE).read_text())
        net = NetPlan(**recipe["net"]).build(len(recipe["classes"]))
        edits = [Edit(**edit) for edit in recipe["edits"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SetupError(f"{folder} holds no finished run ({error!r}); run its file again") from error
    return net, edits


class Compression:
    """The stages of one run."""

    def __init__(self, plan: RunFile, task: Task, folder: Path, base: nn.Module, say: Say) -> None:
        self._plan, self._task, self._folder, self._say = plan, task, folder, say
        self._base = measure(base, task)
        self._context = Context(normalised(task.train.pictures[:LOOKED_AT]), base, plan.seed)
        resumes = (folder / STATE).exists()
        self._work = Work.resumed(self._fresh(), folder / STATE) if resumes else Work(copy.deepcopy(base))

    def run(self) -> dict[str, Any]:
        """Do the stages that are left, or those up to one that loses more than is accepted; return the report.

        Raises:
            SetupError: a stage cannot be done on this net, or its recipe does not make the same net again.
        """
        failures = [failure for entry in self._work.entries for failure in self._failures(entry)]
        for number in range(len(self._work.entries), len(self._plan.stages)):
            if failures and self._plan.accept.on_fail == "stop":
                break
            self._stage(number)
            failures += self._failures(self._work.entries[-1])
        return self._finish(failures)

    def _stage(self, number: int) -> None:
        """Do what is left of a stage, measure what it left, and keep both."""
        self._began = time.monotonic()
        work, stage_plan = self._work, self._plan.stages[number]
        stage, edits = stage_plan.make(), sum(len(entry["edits"]) for entry in work.entries)
        self._turns(stage, stage_plan, number)
        self._check_replay()
        artefact = stage.artefact if isinstance(stage, Int8) else b""
        if artefact:
            write(artefact, self._folder / INT8_NET)
        measured = measure(work.net, self._task, artefact)
        before = work.entries[-1]["figures"] if work.entries else None
        entry = {
            **stage_plan.resolved(),
            "turns": work.turn,
            "trained_epochs": work.turn * (stage.epochs + stage.finetune),
            "seconds": self._seconds(),
            "edits": [asdict(edit) for edit in work.recipe[edits:]],
            "figures": told(measured, self._base, before, self._task),
        }
        work.entries.append(entry)
        work.answers.append(measured.answers.tolist())
        work.turn, work.seconds = 0, 0.0
        work.keep(self._folder / STATE)

    def _turns(self, stage: Stage, stage_plan: StagePlan, number: int) -> None:
        """Do what is left of a stage's turns, or those up to one that loses more than is accepted."""
        work, tuning, turns = self._work, stage_plan.tuning, stage.turns(self._work.net, self._context)
        for turn in range(work.turn, turns):
            seed = int(np.random.SeedSequence([self._plan.seed, number, turn]).generate_state(1)[0])
            if work.training == EPOCHS:
                self._shape(stage, tuning, turn, seed)
            done = partial(self._keep, None, f"{stage_plan.kind}, finetuned")
            train(work.net, self._task.train, tuning, stage.finetune, seed + 1, Stage(), work.progress, done)
            work.turn, work.training, work.progress = turn + 1, EPOCHS, Progress()
            if work.turn < turns and self._stops():
                break

    def _shape(self, stage: Stage, tuning: Tuning, turn: int, seed: int) -> None:
        """Do a turn up to `finish`; from its middle on, `prepare` is done again and kept weights are taken."""
        work, start = self._work, copy.deepcopy(self._work.net.state_dict())
        context = replace(self._context, turn=turn)
        torch.manual_seed(seed)
        edits = stage.prepare(work.net, context)
        if work.shaped is not None:
            work.net.load_state_dict(work.shaped)
            work.shaped = None
        done = partial(self._keep, start, type(stage).__name__)
        train(work.net, self._task.train, tuning, stage.epochs, seed, stage, work.progress, done)
        work.recipe += edits + stage.finish(work.net, context)
        work.training, work.progress = FINETUNE, Progress()

    def _seconds(self) -> float:
        """Return how long the stage took until now, what was done of it before a run was stopped included."""
        now = time.monotonic()
        self._work.seconds += now - self._began
        self._began = now
        return self._work.seconds

    def _keep(self, start: dict[str, Any] | None, doing: str, progress: Progress) -> None:
        self._seconds()
        self._work.keep(self._folder / STATE, start)
        place = f"stage {len(self._work.entries) + 1} of {len(self._plan.stages)}"
        self._say(f"{self._folder.name}: {place}, {doing}, epoch {progress.epoch}, loss {progress.losses[-1]:.4f}")

    def _stops(self) -> bool:
        """Say whether the net lost more than is accepted between two turns, so that the stage goes no farther."""
        accept = self._plan.accept
        if accept.on_fail != "stop" or accept.max_drop == 1:
            return False
        return not accept.allows(self._base.validation - accuracy(self._work.net, self._task.validation))

    def _failures(self, entry: dict[str, Any]) -> list[str]:
        """Say what a stage lost beyond what is accepted, if it did."""
        drop, accept = self._base.validation - entry["figures"]["validation_accuracy"], self._plan.accept
        if accept.allows(drop):
            return []
        lost = f"{entry['kind']} is {drop:.4f} below the base's validation accuracy"
        return [f"{lost}, more than max_drop {accept.max_drop}"]

    def _check_replay(self) -> None:
        """See that the recipe makes the same net again.

        Raises:
            SetupError: it does not.
        """
        again = made(self._fresh(), self._work.recipe, self._work.net.state_dict())
        pictures = normalised(self._task.validation.pictures[:COMPARED])
        with torch.no_grad():
            difference = float((again(pictures) - self._work.net.eval()(pictures)).abs().max())
        if not difference <= REPLAYED:
            last = f"{difference:.1e}; the kind of the last stage is at fault"
            raise SetupError(f"the net made again from its recipe answers otherwise, by {last}")

    def _finish(self, failures: list[str]) -> dict[str, Any]:
        """Write what is kept of a run, its report last."""
        work, plan, task, folder = self._work, self._plan, self._task, self._folder
        share = sum(value.numel() for value in work.net.parameters()) / self._base.counts.parameters
        if share > plan.accept.max_params < 1:
            failures = [*failures, f"{share:.4f} of the parameters are left, max_params is {plan.accept.max_params}"]
        recipe = {
            "net": asdict(plan.net),
            "classes": task.classes,
            "side": task.plan.side,
            "edits": [asdict(edit) for edit in work.recipe],
        }
        (folder / RECIPE).write_text(_json(recipe))
        save(work.net.state_dict(), folder / WEIGHTS)
        write(exported(work.net, normalised(task.test.pictures[:COMPARED])), folder / NET)
        if size_of(work.net).weight_bits:
            write(packed_weights(work.net), folder / BITS)
        answers = np.array([self._base.answers.tolist(), *work.answers], np.int64)  # (1 + stages, n)
        np.savez(folder / ANSWERS, labels=task.test.labels, answers=answers)
        report = self._report(failures)
        (folder / REPORT).write_text(_json(report))
        (folder / STATE).unlink(missing_ok=True)
        return report

    def _report(self, failures: list[str]) -> dict[str, Any]:
        plan, task, entries = self._plan, self._task, self._work.entries
        parts = {"train": len(task.train), "validation": len(task.validation), "test": len(task.test)}
        return {
            "hash": digest(plan.resolved()),
            "resolved": plan.resolved(),
            "data": {"digest": task.digest, **parts},
            "versions": versions(),
            "base": told(self._base, self._base, None, task),
            "stages": entries,
            "epochs": plan.base.epochs + sum(entry["trained_epochs"] for entry in entries),
            "accepted": not failures,
            "failures": failures,
        }

    def _fresh(self) -> nn.Module:
        return self._plan.net.build(len(self._task.classes))


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
