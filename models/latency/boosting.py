"""Gradient boosting on the logarithm of a net's time, by one of four libraries; what they learn is kept as text."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.latency.features import Figures
from models.latency.predictors import OperatorTable, library
from models.latency.vectors import rows

Rows = NDArray[np.float64]

TREES, DEPTH, RATE = 600, 4, 0.05  # one setting for all four
SHARE = 0.8  # of the nets that each tree sees; CatBoost draws in its own way, by default .8 from 100 nets on


class Engine(Protocol):
    """A library's boosting, from rows (n, d) to numbers (n,)."""

    def fit(self, table: Rows, targets: Rows) -> None:
        """Learn."""

    def predict(self, table: Rows) -> Rows:
        """Return one number a row."""

    def to_text(self) -> str:
        """Return what was learned."""

    def read_text(self, text: str) -> None:
        """Take over what `to_text` gave."""


class Sklearn:
    """scikit-learn's trees, walked through by ourselves: the library keeps them as code objects only."""

    def __init__(self) -> None:
        self._start = 0.0
        self._trees: list[tuple[NDArray[Any], ...]] = []  # left, right, feature, threshold, value of each node

    def fit(self, table: Rows, targets: Rows) -> None:
        """Learn."""
        model = library("sklearn.ensemble").GradientBoostingRegressor(
            n_estimators=TREES, max_depth=DEPTH, learning_rate=RATE, subsample=SHARE, random_state=0
        )
        model.fit(table, targets)
        trees = [stage[0].tree_ for stage in model.estimators_]
        self._start = float(targets.mean())
        self._trees = [
            (each.children_left, each.children_right, each.feature, each.threshold, RATE * each.value[:, 0, 0])
            for each in trees
        ]

    def predict(self, table: Rows) -> Rows:
        """Return one number a row."""
        single = table.astype(np.float32)  # thresholds were found between such
        total = np.full(len(table), self._start)
        everyone = np.arange(len(table))
        for left, right, feature, threshold, value in self._trees:
            node = np.zeros(len(table), np.int64)
            for _ in range(DEPTH):
                inner = left[node] >= 0
                below = single[everyone, feature[node]] <= threshold[node]
                node = np.where(inner, np.where(below, left[node], right[node]), node)
            total += value[node]
        return total

    def to_text(self) -> str:
        """Return the trees as JSON."""
        return json.dumps([self._start, [[part.tolist() for part in tree] for tree in self._trees]])

    def read_text(self, text: str) -> None:
        """Take over trees."""
        self._start, trees = json.loads(text)
        self._trees = [tuple(np.array(part) for part in tree) for tree in trees]


class Xgboost:
    """XGBoost (Chen and Guestrin 2016)."""

    def fit(self, table: Rows, targets: Rows) -> None:
        """Learn."""
        xgboost = library("xgboost")
        options = {"max_depth": DEPTH, "eta": RATE, "subsample": SHARE, "seed": 0, "nthread": 1}
        self._model = xgboost.train(options, xgboost.DMatrix(table, targets, nthread=1), TREES)

    def predict(self, table: Rows) -> Rows:
        """Return one number a row."""
        return np.asarray(self._model.predict(library("xgboost").DMatrix(table, nthread=1)), np.float64)

    def to_text(self) -> str:
        """Return XGBoost's own JSON."""
        return bytes(self._model.save_raw("json")).decode()

    def read_text(self, text: str) -> None:
        """Take over a model."""
        self._model = library("xgboost").Booster({"nthread": 1})
        self._model.load_model(bytearray(text.encode()))


class Lightgbm:
    """LightGBM (Ke et al. 2017)."""

    def fit(self, table: Rows, targets: Rows) -> None:
        """Learn."""
        options = {
            "num_leaves": 1 << DEPTH,
            "learning_rate": RATE,
            "bagging_fraction": SHARE,
            "bagging_freq": 1,
            "min_data_in_leaf": 5,
            "seed": 0,
            "num_threads": 1,
            "deterministic": True,
            "verbosity": -1,
        }
        lightgbm = library("lightgbm")
        self._model = lightgbm.train(options, lightgbm.Dataset(table, targets), TREES)

    def predict(self, table: Rows) -> Rows:
        """Return one number a row."""
        return np.asarray(self._model.predict(table, num_threads=1), np.float64)

    def to_text(self) -> str:
        """Return LightGBM's own text."""
        return str(self._model.model_to_string())

    def read_text(self, text: str) -> None:
        """Take over a model."""
        self._model = library("lightgbm").Booster(model_str=text)


class Catboost:
    """CatBoost (Prokhorenkova et al. 2018)."""

    def fit(self, table: Rows, targets: Rows) -> None:
        """Learn."""
        self._model = library("catboost").CatBoostRegressor(
            iterations=TREES,
            depth=DEPTH,
            learning_rate=RATE,
            random_seed=0,
            thread_count=1,
            verbose=False,
            allow_writing_files=False,
        )
        self._model.fit(table, targets)

    def predict(self, table: Rows) -> Rows:
        """Return one number a row."""
        return np.asarray(self._model.predict(table), np.float64)

    def to_text(self) -> str:
        """Return CatBoost's own JSON."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            self._model.save_model(str(path), format="json")
            return path.read_text()

    def read_text(self, text: str) -> None:
        """Take over a model."""
        self._model = library("catboost").CatBoostRegressor()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            path.write_text(text)
            self._model.load_model(str(path), format="json")


LIBRARIES: dict[str, type[Engine]] = {
    "sklearn": Sklearn,
    "xgboost": Xgboost,
    "lightgbm": Lightgbm,
    "catboost": Catboost,
}


class Boosting:
    """Boosted trees on a net's vector; the logarithm makes errors relative, and no prediction is below 0.

    Over the table, trees learn the logarithm of measured by tabled time: they cannot go beyond the times they have
    seen, a sum over operators can.
    """

    def __init__(self, library: str, over_table: bool = False, features: str = "graph") -> None:
        """Choose how to learn.

        Args:
            library: of `LIBRARIES`.
            over_table: correct an `OperatorTable` that is fitted to the same nets.
            features: of `models.latency.vectors.VECTORS`.
        """
        self._library, self._features = library, features
        self._engine = LIBRARIES[library]()
        self._table = OperatorTable() if over_table else None

    def fit(self, nets: Sequence[Figures], milliseconds: Rows) -> None:
        """Learn."""
        if self._table is not None:
            self._table.fit(nets, milliseconds)
        self._engine.fit(rows(nets, self._features), np.log(milliseconds) - self._tabled(nets))

    def predict(self, nets: Sequence[Figures]) -> Rows:
        """Return milliseconds (n,)."""
        return np.exp(self._engine.predict(rows(nets, self._features)) + self._tabled(nets))

    def to_json(self) -> dict[str, Any]:
        """Return the library's text, and the table."""
        table = None if self._table is None else self._table.to_json()
        names = {"library": self._library, "features": self._features}
        return names | {"text": self._engine.to_text(), "table": table}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the predictor."""
        made = cls(values["library"], features=values["features"])
        made._engine.read_text(values["text"])
        if values["table"] is not None:
            made._table = OperatorTable.from_json(values["table"])
        return made

    def _tabled(self, nets: Sequence[Figures]) -> Rows:
        """Return the logarithm of what the table says, 0 without one."""
        return np.zeros(len(nets)) if self._table is None else np.log(self._table.predict(nets))
