"""Nets as rows of numbers, for predictors that learn from tables."""

from collections.abc import Callable, Sequence

import numpy as np

from app.errors import SetupError
from models.latency.cells import ACTIVATIONS, OPERATIONS, STEMS, Plan
from models.latency.features import KINDS, Figures, Operator

MOST_INNER = 6  # operations of a cell: five of NAS-Bench-101, six of NAS-Bench-201
BLOCK = 16  # channels that a vector unit takes at once; a remainder costs as much as a whole block


def graph_vector(net: Figures) -> np.ndarray:
    """Return whole-graph figures of any net, (4 + 6 * 11,): totals, then `_kind_figures` of each kind, as log(1 + x).

    Totals are MACs, parameters, peak bytes and the longest chain of operators.
    """
    totals = [net.macs, net.parameters, net.peak_bytes, _depth(net)]
    kinds = [_kind_figures([each for each in net.operators if each.kind == kind]) for kind in KINDS]
    return np.log1p(np.array([*totals, *(value for values in kinds for value in values)], np.float64))


def cell_vector(net: Figures) -> np.ndarray:
    """Return a net of cells as LETI does, (28 + 36 + 6 + 4 + 3 + 3 + 2,).

    The adjacency above the diagonal, spread over 8 vertices with the output as the last one; which operation each
    vertex has; how often each occurs; numbers of the configuration as logarithms, its names; log MACs and peak bytes.

    Raises:
        SetupError: the net is not one of cells.
    """
    if net.plan is None:
        raise SetupError("this predictor knows nets of cells alone; fit one with --features graph for other nets")
    cell, around = net.plan.cell, net.plan.configuration
    named = np.zeros((MOST_INNER, len(OPERATIONS)))
    for place, operation in enumerate(cell.operations):
        named[place, OPERATIONS.index(operation)] = 1
    numbers = np.log([around.size, around.channels, around.stages, around.cells, net.macs, net.peak_bytes])
    names = [around.stem == stem for stem in STEMS] + [around.activation == name for name in ACTIVATIONS]
    return np.concatenate([_spread(net.plan), named.ravel(), named.sum(0), numbers, names])


def both_vectors(net: Figures) -> np.ndarray:
    """Return `cell_vector` and `graph_vector` as one."""
    return np.concatenate([cell_vector(net), graph_vector(net)])


VECTORS: dict[str, Callable[[Figures], np.ndarray]] = {
    "graph": graph_vector,
    "cell": cell_vector,
    "both": both_vectors,
}


def rows(nets: Sequence[Figures], name: str) -> np.ndarray:
    """Return the vectors (n, d) of this name."""
    return np.stack([VECTORS[name](net) for net in nets])


def _kind_figures(operators: Sequence[Operator]) -> list[float]:
    """Return, of the operators of one kind: how many, MACs, parameters, values read and written, MACs in blocks."""
    return [
        len(operators),
        sum(each.macs for each in operators),
        sum(each.parameters for each in operators),
        sum(each.read for each in operators),
        sum(each.written for each in operators),
        sum(each.macs * _in_blocks(each) for each in operators),
    ]


def _in_blocks(operator: Operator) -> float:
    """Return by how much an operator's work grows when its channels are filled up to whole blocks."""
    return -(-operator.channels_out // BLOCK) * BLOCK / operator.channels_out


def _depth(net: Figures) -> int:
    """Return how many operators the longest chain has."""
    depths: list[int] = []
    for operator in net.operators:
        depths.append(1 + max((depths[source] for source in operator.sources), default=0))
    return max(depths, default=0)


def _spread(plan: Plan) -> np.ndarray:
    """Return the adjacency (28,) above the diagonal of a matrix of 8 vertices, with the output in the last column."""
    matrix = np.zeros((MOST_INNER + 2, MOST_INNER + 2))
    places = [*range(plan.cell.vertices - 1), MOST_INNER + 1]
    matrix[np.ix_(places, places)] = plan.cell.adjacency
    return matrix[np.triu_indices(MOST_INNER + 2, 1)]
