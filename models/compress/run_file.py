"""What a run file of compression says: task, net, how the base is trained, stages in their order, and what is accepted.

seed = 0
[task]                      # models.compress.tasks.TaskPlan
name = "digits"
[net]                       # models.nets.classifiers.NetPlan
name = "resnet8"
[base]                      # epochs, and models.compress.training.Tuning
epochs = 10
rate = 0.1
[tuning]                    # of the stages, where it differs from the base's
rate = 0.01
[[stage]]                   # fields of the kind; in the order in which they are done
kind = "distil"             # of models.compress.kinds.KINDS
epochs = 5
tuning = { batch = 32 }     # of this stage, where it differs from the others'
[accept]
max_drop = 0.01
"""

import hashlib
import importlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatch
from itertools import combinations
from pathlib import Path
from typing import Any

from app.errors import SetupError
from models.compress.kinds import KINDS
from models.compress.stage import Stage
from models.compress.tasks import TaskPlan
from models.compress.training import Tuning
from models.compress.typed import built, table
from models.nets.classifiers import NetPlan

TABLES = ("seed", "task", "net", "base", "tuning", "stage", "accept")
ON_FAIL = ("stop", "go_on")
ROUNDING = 1e-9  # .95 - .94 is .010000000000000009 in floating point, and no more than .01
FACTORISED = "it leaves chains of layers, of which only the last is joined to a shortcut"
BINARY = "binary layers are neither pruned, nor factorised, nor folded, nor quantised"
ORDER = (  # of two kinds in a run the first is not followed by the second, and why
    ("factorise.*", "prune.*", FACTORISED),
    ("train.svd", "prune.*", FACTORISED),
    ("binarise", "prune.*", BINARY),
    ("binarise", "factorise.*", BINARY),
    ("binarise", "train.svd", BINARY),
    ("binarise", "reduce.*", BINARY),
    ("binarise", "quantise.*", BINARY),
    ("factorise.*", "binarise", "the factors of a layer are not made binary"),
    ("train.svd", "binarise", "the factors of a layer are not made binary"),
    ("reduce.*", "[!q]*", "it folds normalisations and fixes the selected rows, so only its own finetune trains on"),
    ("quantise.*", "*", "it is calibrated on the net as it is shipped, so it comes last"),
)


@dataclass(frozen=True, kw_only=True)
class Base(Tuning):
    """How the base is trained."""

    epochs: int  # 0 leaves it untrained, to count and time it

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 0:
            raise ValueError(f"epochs is {self.epochs}; it is 0 at least")


@dataclass(frozen=True, kw_only=True)
class Accept:
    """When a run may go on, and when its outcome is accepted."""

    max_drop: float = 1.0  # of the accuracy on the validation part, behind every stage and turn of one; .01 is a point
    max_params: float = 1.0  # share of the base's parameters that the outcome may have; 1 asks for nothing
    on_fail: str = "stop"  # before the next stage or turn; "go_on" only reports it

    def __post_init__(self) -> None:
        if not (0 <= self.max_drop <= 1 and 0 < self.max_params <= 1):
            raise ValueError("max_drop and max_params are shares from 0 to 1, max_params above 0")
        if self.on_fail not in ON_FAIL:
            raise ValueError(f"on_fail is {self.on_fail!r}, none of {', '.join(ON_FAIL)}")

    def allows(self, drop: float) -> bool:
        """Say whether a net may have lost so much of the validation accuracy."""
        return drop <= self.max_drop + ROUNDING


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One ``[[stage]]``."""

    kind: str
    values: Mapping[str, Any]  # of the kind's fields
    tuning: Tuning
    where: str  # what it is called in errors

    def make(self) -> Stage:
        """Return a new stage, with nothing done yet."""
        return built(_kind(self.kind, self.where), self.values, self.where)

    def resolved(self) -> dict[str, Any]:
        """Return everything about it, defaults included, as JSON can hold it."""
        stage = self.make()
        known = [one.name for one in fields(stage) if one.init]
        whole = {name: _plain(getattr(stage, name)) for name in known}
        return {"kind": self.kind, **whole, "tuning": asdict(self.tuning)}


@dataclass(frozen=True, slots=True)
class RunFile:
    """A run file. It is checked whole, every stage made once, when it is read."""

    seed: int
    task: TaskPlan
    net: NetPlan
    base: Base
    stages: tuple[StagePlan, ...]
    accept: Accept

    @staticmethod
    def read(path: Path) -> "RunFile":
        """Read a file.

        Raises:
            SetupError: it is unreadable, or says something that cannot be run; the field is named.
        """
        return RunFile.of(tables(path), str(path))

    @staticmethod
    def of(values: Mapping[str, Any], name: str) -> "RunFile":
        """Return what the tables of a file say, `name` being what it is called in errors.

        Raises:
            SetupError: they say something that cannot be run; the field is named.
        """
        try:
            return _run_file(values)
        except ValueError as error:
            raise SetupError(f"{name} cannot be run: {error}; see models/runs/compress for examples") from error

    def resolved(self) -> dict[str, Any]:
        """Return everything that decides the outcome, defaults included, as JSON can hold it."""
        return self.resolved_base() | {
            "stages": [stage.resolved() for stage in self.stages],
            "accept": asdict(self.accept),
        }

    def resolved_base(self) -> dict[str, Any]:
        """Return what decides the base."""
        return {
            "seed": self.seed,
            "task": asdict(self.task),
            "net": asdict(self.net),
            "base": asdict(self.base),
        }


def tables(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        SetupError: it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} cannot be read ({error}); see models/runs/compress for examples") from error


def digest(resolved: Mapping[str, Any]) -> str:
    """Return twelve hexadecimal digits that two configurations share only if they are the same."""
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()[:12]


def check_order(kinds: Sequence[str]) -> None:
    """Refuse stages in an order in which the later one would spoil or miss what the earlier one did.

    Raises:
        ValueError: names both and says why.
    """
    for first, second in combinations(kinds, 2):
        for earlier, later, reason in ORDER:
            if fnmatch(first, earlier) and fnmatch(second, later):
                raise ValueError(f"stage {second} cannot come behind {first}: {reason}")


def _run_file(values: Mapping[str, Any]) -> RunFile:
    given = dict(values)
    seed = given.pop("seed", None)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed is {seed!r}; it is a whole number from 0 on")
    task = built(TaskPlan, given.pop("task", {}), "task")
    net = built(NetPlan, given.pop("net", {}), "net")
    base_values = given.pop("base", {})
    base = built(Base, base_values, "base")
    tuning = table(given.pop("tuning", {}), "tuning")
    tuned = {name: value for name, value in base_values.items() if name != "epochs"} | dict(tuning)
    built(Tuning, tuned, "tuning")
    accept = built(Accept, given.pop("accept", {}), "accept")
    stages = given.pop("stage", [])
    if not isinstance(stages, list):
        raise ValueError("stage: write [[stage]], with two brackets")
    if given:
        raise ValueError(f"{', '.join(sorted(given))} is unknown; there are {', '.join(TABLES)}")
    plans = tuple(_stage(stage, tuned, f"stage {number}") for number, stage in enumerate(stages, 1))
    check_order([plan.kind for plan in plans])
    return RunFile(seed, task, net, base, plans, accept)


def _stage(values: object, tuned: Mapping[str, Any], where: str) -> StagePlan:
    given = dict(table(values, where))
    kind = given.pop("kind", "")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{where}: kind is {kind!r}, none of {', '.join(KINDS)}")
    where = f"{where} ({kind})"
    own = table(given.pop("tuning", {}), f"{where}.tuning")
    tuning = built(Tuning, {**tuned, **own}, f"{where}.tuning")
    plan = StagePlan(kind, given, tuning, where)
    stage = plan.make()
    if min(stage.epochs, stage.finetune) < 0 or stage.rounds < 1:
        raise ValueError(f"{where}: epochs and finetune are 0 at least, rounds is 1 at least")
    return plan


def _kind(name: str, where: str) -> type[Stage]:
    module, kind = KINDS[name]
    try:
        found: type[Stage] = getattr(importlib.import_module(module), kind)
    except ModuleNotFoundError as error:
        raise ValueError(f"{where}: {error.name} is missing; get it with: make .venv/.train") from error
    return found


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
