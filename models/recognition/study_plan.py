"""What a study's file says: the data, the student, the budget that every method has, and the methods.

A method is which last layer the student has, which margins its classes get and which terms make its loss; every
published rival is such a combination.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin

from app.errors import SetupError
from models.detection.splits import MEASURED
from models.recognition.margins import LARGEST, SMALLEST

HINTS_OF = "sface"  # the teacher whose maps are at hand
LAYERS = ("new", "copied", "frozen")  # of its own; the teacher's class centres, trained on or not
RULES = ("same", "published", "fixed_maximum", "clamped", "shuffled", "constant")  # of margins
TERMS = (  # of the loss, see `models.recognition.study_lesson`
    "margin",
    "hinton",
    "logits",
    "margin_temperature",
    "cosine",
    "angular",
    "triplet_l2",
    "triplet_cosine",
    "relation_distance",
    "relation_angle",
    "hint",
)


@dataclass(frozen=True, slots=True)
class Method:
    """One way to teach."""

    group: str  # methods that are shown together
    terms: dict[str, float]  # name of a term -> its weight
    final: dict[str, float] = field(default_factory=dict)  # weights at the end, which are reached in a line
    first: dict[str, float] = field(default_factory=dict)  # terms of the first part of the steps, instead
    first_share: float = 0.0  # of the steps
    layer: str = "new"  # of LAYERS
    rule: str = "same"  # of RULES
    margin: list[float] = field(default_factory=lambda: [1.0, 0.5, 0.0])  # factor, radians, cosine; for rule "same"
    smallest: float = SMALLEST  # radians, for the other rules
    largest: float = LARGEST

    def weights(self, done: float) -> dict[str, float]:
        """Return the weights of the terms when a share of the steps is done."""
        if done < self.first_share:
            return self.first
        part = (done - self.first_share) / (1 - self.first_share)
        ends = self.terms | self.final
        return {name: weight + part * (ends[name] - weight) for name, weight in self.terms.items()}

    def uses(self, term: str) -> bool:
        """Return whether a term is in the loss at any time."""
        return term in self.terms or term in self.first


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """A study. Every value has to be given, so that the file tells the whole experiment."""

    sets: dict[str, float]  # name of a packed set with identities -> share of its people who are held out
    teacher: str  # of `models.recognition.teachers`
    width: float  # of the student, a MobiFace with ReLUs
    seeds: list[int]
    least: int  # photographs that a person needs to be trained on
    people: int  # of a batch
    each: int  # photographs of each of them
    steps: int
    rate: float  # highest learning rate
    warmup: int  # steps in which the rate rises; afterwards it falls as a cosine
    decay: float  # weight decay
    compared: list[str]  # methods that all others are compared with
    methods: dict[str, Method]

    @staticmethod
    def read(path: Path) -> "StudyPlan":
        """Read a study's file.

        Raises:
            SetupError: it is unreadable, or a value is missing, unknown, or none that a study can be made with.
        """
        try:
            content = tomllib.loads(path.read_text())
            methods = content.get("methods", {})
            content["methods"] = {name: _method(name, values) for name, values in methods.items()}
            plan = StudyPlan(**content)
            plan.check()
        except (OSError, TypeError, ValueError, AttributeError) as error:
            raise SetupError(f"{path} is no study's file ({error}); models/runs/study.toml is an example") from error
        return plan

    def check(self) -> None:
        """Refuse what would fail late, or measure something else without a word.

        Raises:
            ValueError: names the field.
        """
        _check_kinds(self)
        if min(self.people, self.least) < 2 or min(self.steps, self.each) < 1:
            raise ValueError("people and least are 2 at least, steps and each 1")
        if not self.seeds or not self.methods:
            raise ValueError("seeds and methods: one at least")
        if unknown := [name for name in self.compared if name not in self.methods]:
            raise ValueError(f"compared: {', '.join(unknown)}; no such method")
        if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in self.sets.values()):
            raise ValueError("sets: a share is a number from 0 to 1")
        if trained := [name for name, share in self.sets.items() if name in MEASURED and share < 1]:
            raise ValueError(f"sets: {', '.join(trained)} is for measuring alone; its share can only be 1")
        if not any(self.sets.values()) or all(share == 1 for share in self.sets.values()):
            raise ValueError("sets: somebody is to be trained on, and somebody held out")
        for name, method in self.methods.items():
            _check_method(name, method)
            if method.uses("hint") and self.teacher != HINTS_OF:
                raise ValueError(f"methods.{name}: hint needs the teacher {HINTS_OF}")


def _method(name: str, values: Mapping[str, Any]) -> Method:
    try:
        return Method(**values)
    except TypeError as error:
        raise ValueError(f"methods.{name}: {error}") from error


def _check_method(name: str, method: Method) -> None:
    try:
        _check_kinds(method)
        if method.layer not in LAYERS:
            raise ValueError(f"layer is {method.layer!r}, none of {', '.join(LAYERS)}")
        if method.rule not in RULES:
            raise ValueError(f"rule is {method.rule!r}, none of {', '.join(RULES)}")
        if len(method.margin) != 3:
            raise ValueError("margin is a factor, radians and a cosine")
        if unknown := {*method.terms, *method.first} - set(TERMS):
            raise ValueError(f"terms: {', '.join(sorted(unknown))}; there are {', '.join(TERMS)}")
        if not method.terms or method.final.keys() - method.terms.keys():
            raise ValueError("terms: one at least, and what is in final")
        if not 0 <= method.first_share < 1 or bool(method.first_share) != bool(method.first):
            raise ValueError("first and first_share, 0 to 1, go together")
    except ValueError as error:
        raise ValueError(f"methods.{name}: {error}") from error


def _check_kinds(values: StudyPlan | Method) -> None:
    for known in fields(values):
        value = getattr(values, known.name)
        kind: Any = get_origin(known.type) or known.type
        if not isinstance(value, (int, float) if kind is float else kind):
            raise ValueError(f"{known.name} is {value!r}")
