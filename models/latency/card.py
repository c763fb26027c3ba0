"""A fitted predictor with what it is good for, as one JSON file: its target, its scores, and what it learned."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from models.latency.dataset import DataSet, Target, ceiling_of
from models.latency.features import Figures
from models.latency.predictors import PREDICTORS, Predictor, new_predictor, predictor_class
from models.latency.scores import scores

FORM = "cardea latency predictor 1"
TRAINING_SHARE = 0.7  # of the nets, unless their number is given


@dataclass(frozen=True, slots=True)
class Card:
    """A predictor that knows for what it predicts."""

    name: str  # of `PREDICTORS`
    target: Target
    training: int  # nets that it learned from
    scores: dict[str, Any]  # on the other nets
    ceiling: dict[str, Any] | None  # the same of repeated runs of all nets
    predictor: Predictor

    def predict(self, nets: Sequence[Figures]) -> NDArray[np.float64]:
        """Return milliseconds (n,) on the target.

        Raises:
            SetupError: a net is not in the target's precision.
        """
        for net in nets:
            self.target.require(precision=net.precision)
        return self.predictor.predict(nets)

    def save(self, path: Path) -> None:
        """Write the file."""
        values = {
            "form": FORM,
            "predictor": self.name,
            "target": asdict(self.target),
            "training": self.training,
            "scores": self.scores,
            "ceiling": self.ceiling,
            "learned": self.predictor.to_json(),
        }
        path.write_text(json.dumps(values) + "\n")

    @staticmethod
    def load(path: Path) -> "Card":
        """Read the file.

        Raises:
            SetupError: it is missing, damaged or of another form, or its predictor's library is not installed.
        """
        try:
            values = json.loads(path.read_text())
            if values["form"] != FORM:
                raise ValueError(f"form is {values['form']!r}, not {FORM!r}")
            name, target = values["predictor"], Target.from_json(values["target"])
            predictor = predictor_class(name).from_json(values["learned"])
            return Card(name, target, values["training"], values["scores"], values["ceiling"], predictor)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SetupError(f"{path} is no latency predictor ({error!r}); make one with latency fit") from error


def fitted(data: DataSet, name: str, training: int | None = None, features: str | None = None) -> Card:
    """Fit a predictor on a part of a data set, and score it on the rest; see `DataSet.split`.

    Raises:
        SetupError: the predictor takes no features, or too few nets are left to score it on.
    """
    learned, others = data.split(training or round(TRAINING_SHARE * len(data.nets)))
    if features is not None and "library" not in PREDICTORS[name][2]:
        raise SetupError(f"{name} has its own features; leave out --features")
    predictor = new_predictor(name, **({} if features is None else {"features": features}))
    predictor.fit(learned.figures, learned.milliseconds)
    found = scores(predictor.predict(others.figures), others.milliseconds)
    return Card(name, data.target, len(learned.nets), found, ceiling_of(data), predictor)
