"""Predictors of a net's time, behind one interface: lines on its work, and a table of what operators cost.

FLOP lines and clusters by memory: LETI (Ponomarev 2023). The robust line: RANSAC (Fischler and Bolles 1981).
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from models.latency.features import KINDS, Figures, Operator

Times = NDArray[np.float64]

MEGA = 1e6
DRAWN = 2  # nets through which RANSAC lays a line; a cluster of fewer has none that is robust
RATES = 24  # entries of the table for each kind of operator: one for each doubling of its work
FIRST = 8  # log2 of the work of the first entry
SMOOTHNESS = 0.03  # weight of neighbouring entries' difference beside a relative error; .003 to .3 score alike


class Predictor(Protocol):
    """Learns times of nets, and predicts those of others."""

    def fit(self, nets: Sequence[Figures], milliseconds: Times) -> None:
        """Learn from nets and their times (n,), each above 0."""

    def predict(self, nets: Sequence[Figures]) -> Times:
        """Return milliseconds (n,), each above 0."""

    def to_json(self) -> dict[str, Any]:
        """Return what was learned as plain values."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the predictor that `to_json` described; it predicts the same."""


LINES, BOOSTING = "models.latency.predictors", "models.latency.boosting"
PREDICTORS: dict[str, tuple[str, str, dict[str, Any]]] = {  # name -> module, class and its options, a `Predictor`
    "flops": (LINES, "FlopLines", {"robust": False, "clusters": 1}),
    "flops.robust": (LINES, "FlopLines", {"robust": True, "clusters": 1}),
    "flops.memory": (LINES, "FlopLines", {"robust": True, "clusters": 2}),
    "table": (LINES, "OperatorTable", {}),
    "boosting.sklearn": (BOOSTING, "Boosting", {"library": "sklearn"}),
    "boosting.xgboost": (BOOSTING, "Boosting", {"library": "xgboost"}),
    "boosting.lightgbm": (BOOSTING, "Boosting", {"library": "lightgbm"}),
    "boosting.catboost": (BOOSTING, "Boosting", {"library": "catboost"}),
    "table+sklearn": (BOOSTING, "Boosting", {"library": "sklearn", "over_table": True}),
    "table+xgboost": (BOOSTING, "Boosting", {"library": "xgboost", "over_table": True}),
    "table+lightgbm": (BOOSTING, "Boosting", {"library": "lightgbm", "over_table": True}),
    "table+catboost": (BOOSTING, "Boosting", {"library": "catboost", "over_table": True}),
    "graph": ("models.latency.graph_net", "GraphNet", {}),
}


def predictor_class(name: str) -> type[Predictor]:
    """Return the class of a predictor of `PREDICTORS`."""
    module, kind, _ = PREDICTORS[name]
    found: type[Predictor] = getattr(importlib.import_module(module), kind)
    return found


def new_predictor(name: str, **options: Any) -> Predictor:
    """Return a predictor of `PREDICTORS` that has learned nothing; options come on top of the table's."""
    return predictor_class(name)(**PREDICTORS[name][2], **options)


def library(name: str) -> Any:
    """Return an optional library.

    Raises:
        SetupError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = {"sklearn": "scikit-learn"}.get(name.partition(".")[0], name.partition(".")[0])
        raise SetupError(f"{package} is missing; install it, or choose another predictor") from error


@dataclass(slots=True)
class Line:
    """Milliseconds as slope times mega-MACs plus intercept, for nets whose peak memory is near a centre."""

    centre: float  # log bytes
    slope: float
    intercept: float
    kept: int  # nets that RANSAC took for no outliers


class FlopLines:
    """A line on a net's MACs, or one for each cluster of nets by the logarithm of their peak memory."""

    def __init__(self, robust: bool, clusters: int, residual: float | None = None) -> None:
        """Choose how lines are fitted.

        Args:
            robust: by RANSAC, else by least squares.
            clusters: of k-means, 1 and more.
            residual: milliseconds beyond which RANSAC takes a net for an outlier; None is the times' median absolute
                deviation.
        """
        self._robust, self._clusters, self._residual = robust, clusters, residual
        self.lines: list[Line] = []
        self._least = 0.0

    def fit(self, nets: Sequence[Figures], milliseconds: Times) -> None:
        """Find clusters and their lines."""
        memory, work = _memory(nets), _work(nets)
        kmeans = library("sklearn.cluster").KMeans(self._clusters, n_init=10, random_state=0).fit(memory[:, None])
        self._least = float(milliseconds.min())
        self.lines = []
        for cluster, (centre,) in enumerate(kmeans.cluster_centers_.tolist()):
            chosen = kmeans.labels_ == cluster
            self.lines.append(self._line(centre, work[chosen], milliseconds[chosen]))

    def predict(self, nets: Sequence[Figures]) -> Times:
        """Follow the line of the nearest cluster, but never below the fastest net that was learned from."""
        memory, work = _memory(nets), _work(nets)
        nearest = np.abs(memory[:, None] - np.array([line.centre for line in self.lines])).argmin(1)
        slopes, intercepts = np.array([(line.slope, line.intercept) for line in self.lines]).T
        followed: Times = slopes[nearest] * work + intercepts[nearest]
        return followed.clip(self._least)

    def to_json(self) -> dict[str, Any]:
        """Return the lines."""
        lines = [[line.centre, line.slope, line.intercept, line.kept] for line in self.lines]
        return {"robust": self._robust, "least": self._least, "lines": lines}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the lines."""
        made = cls(values["robust"], len(values["lines"]))
        made.lines, made._least = [Line(*line) for line in values["lines"]], values["least"]
        return made

    def _line(self, centre: float, work: Times, milliseconds: Times) -> Line:
        linear = library("sklearn.linear_model")
        model = linear.LinearRegression()
        if not self._robust or len(work) < DRAWN:
            model.fit(work[:, None], milliseconds)
            return Line(centre, float(model.coef_[0]), float(model.intercept_), len(work))
        ransac = linear.RANSACRegressor(model, residual_threshold=self._residual, random_state=0)
        ransac.fit(work[:, None], milliseconds)
        found = ransac.estimator_
        return Line(centre, float(found.coef_[0]), float(found.intercept_), int(ransac.inlier_mask_.sum()))


class OperatorTable:
    """What a unit of work costs in operators of each kind, by how much of it one operator has; times are sums.

    Work is MACs where there are any, else values read and written. The table is not measured operator by operator,
    which would count what a lone one needs to start; it is what explains the times of whole nets best: rates >= 0 that
    minimise the squared relative errors plus the squared differences of neighbouring rates (non-negative least
    squares; Lawson and Hanson 1974). Between two entries rates are interpolated on log2 of the work.
    """

    def __init__(self) -> None:
        self._rates = np.zeros((len(KINDS), RATES))  # nanoseconds a unit
        self._start = 0.0  # milliseconds of a pass without operators
        self._least = 0.0  # milliseconds of the fastest net that was learned from

    def fit(self, nets: Sequence[Figures], milliseconds: Times) -> None:
        """Find the rates."""
        entries = np.stack([_entries(net).ravel() for net in nets])
        columns = np.concatenate([entries, np.ones((len(nets), 1))], 1) / milliseconds[:, None]
        steps = np.kron(np.eye(len(KINDS)), np.diff(np.eye(RATES), axis=0))
        steps = np.concatenate([steps, np.zeros((len(steps), 1))], 1)
        weight = SMOOTHNESS * np.sqrt(len(nets))
        targets = np.concatenate([np.ones(len(nets)), np.zeros(len(steps))])
        found, _ = library("scipy.optimize").nnls(np.concatenate([columns, weight * steps]), targets)
        self._rates, self._start = found[:-1].reshape(len(KINDS), RATES), float(found[-1])
        self._least = float(milliseconds.min())

    def predict(self, nets: Sequence[Figures]) -> Times:
        """Add up the operators' times, but never to less than the fastest net that was learned from."""
        sums = np.array([float(np.sum(_entries(net) * self._rates)) + self._start for net in nets])
        return sums.clip(self._least)

    def to_json(self) -> dict[str, Any]:
        """Return the table."""
        return {
            "start": self._start,
            "least": self._least,
            "rates": dict(zip(KINDS, self._rates.tolist(), strict=True)),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the table."""
        made = cls()
        made._start, made._least = values["start"], values["least"]
        made._rates = np.array([values["rates"][kind] for kind in KINDS])
        return made


def _entries(net: Figures) -> NDArray[np.float64]:
    """Return by how many mega-units each entry (kinds, rates) of the table is asked for."""
    asked = np.zeros((len(KINDS), RATES))
    for operator in net.operators:
        work = _operator_work(operator)
        place = min(max(np.log2(max(work, 1)) - FIRST, 0), RATES - 1)
        below = min(int(place), RATES - 2)
        kind = KINDS.index(operator.kind)
        asked[kind, below] += (1 - (place - below)) * work / MEGA
        asked[kind, below + 1] += (place - below) * work / MEGA
    return asked


def _operator_work(operator: Operator) -> int:
    return operator.macs or operator.read + operator.written


def _work(nets: Sequence[Figures]) -> Times:
    return np.array([net.macs / MEGA for net in nets])


def _memory(nets: Sequence[Figures]) -> Times:
    return np.log([net.peak_bytes for net in nets])
