"""Cells: small graphs of operations that random nets are made of, and which of them are the same graph.

Vertex 0 is the cell's input, the last one its output, and each one between is an operation on the sum of what leads to
it. Spaces: NAS-Bench-101 (Ying et al. 2019), NAS-Bench-201 (Dong and Yang 2020), and one with the operations of small
nets for faces and persons.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, groupby, permutations, product
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

Edges = tuple[tuple[int, int], ...]

OPERATIONS = ("conv3x3", "conv1x1", "depthwise3x3", "inverted3x3", "maxpool3x3", "avgpool3x3")
STEMS = {"plain": 1, "halving": 2, "patch": 4}  # name -> stride of the first convolution
ACTIVATIONS = ("relu", "relu6", "prelu")
SIZES = (24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224)  # side of the square input in pixels
CHANNELS = (8, 16, 24, 32, 48, 64)
LEAST_WORK, MOST_WORK = 1 << 17, 1 << 23  # pixels of a map times its channels squared: some .05 to 30 ms of one core
MOST_CHANNELS = 512
LEAST_SIDE = 3  # pixels of the last stage's maps

BENCH201_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
BENCH201_OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3")


@dataclass(frozen=True, slots=True)
class Cell:
    """Operations and the edges between the vertices, source before target.

    Raises:
        ValueError: an edge runs backwards or twice, or a vertex lies on no path from the input to the output.
    """

    operations: tuple[str, ...]  # of the vertices 1 to n - 2
    edges: Edges

    def __post_init__(self) -> None:
        unknown = set(self.operations).difference(OPERATIONS)
        if unknown:
            raise ValueError(f"operations: {', '.join(sorted(unknown))}; known are {', '.join(OPERATIONS)}")
        if any(not 0 <= source < target < self.vertices for source, target in self.edges):
            raise ValueError(f"edges: {self.edges} do not all lead from a vertex to a later one of {self.vertices}")
        if len(set(self.edges)) < len(self.edges):
            raise ValueError(f"edges: {self.edges} has one twice")
        if len(on_paths(self.vertices, self.edges)) < self.vertices:
            raise ValueError(f"edges: {self.edges} leave a vertex off every path from 0 to {self.vertices - 1}")

    @property
    def vertices(self) -> int:
        """How many, with the input and the output."""
        return len(self.operations) + 2

    @property
    def adjacency(self) -> NDArray[np.int8]:
        """(n, n): 1 at (source, target) of each edge, so strictly upper triangular."""
        matrix = np.zeros((self.vertices, self.vertices), np.int8)
        for source, target in self.edges:
            matrix[source, target] = 1
        return matrix

    def sources(self, vertex: int) -> list[int]:
        """Return the vertices that lead to this one."""
        return [source for source, target in self.edges if target == vertex]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is around the cells. Each stage but the first begins by halving the map; its cells have twice the channels.

    Raises:
        ValueError: a value is not to be built, or the net would be too large.
    """

    size: int  # side of the square input in pixels
    stem: str  # of `STEMS`
    channels: int  # of the first stage
    stages: int
    cells: int  # a stage
    activation: str  # of `ACTIVATIONS`

    def __post_init__(self) -> None:
        if self.stem not in STEMS:
            raise ValueError(f"stem is {self.stem!r}, none of {', '.join(STEMS)}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation is {self.activation!r}, none of {', '.join(ACTIVATIONS)}")
        if min(self.channels, self.stages, self.cells) < 1:
            raise ValueError("channels, stages and cells are 1 at least")
        if self.side >> (self.stages - 1) < LEAST_SIDE:
            raise ValueError(f"size: {self.size} leaves fewer than {LEAST_SIDE} pixels after {self.stages} stages")
        if not LEAST_WORK <= (self.side * self.channels) ** 2 <= MOST_WORK:
            raise ValueError(f"channels: {self.channels} at {self.side} pixels are too little or too much work")
        if self.channels << (self.stages - 1) > MOST_CHANNELS:
            raise ValueError(f"channels: {self.channels} grow above {MOST_CHANNELS} in {self.stages} stages")

    @property
    def side(self) -> int:
        """Rows and columns of the first stage's maps."""
        return -(-self.size // STEMS[self.stem])


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a random net is built from."""

    cell: Cell
    configuration: Configuration

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: the same for two plans exactly where cells are isomorphic and the rest is equal."""
        return _digest([canonical(self.cell), asdict(self.configuration)])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; `from_json` is the inverse."""
        return {"operations": self.cell.operations, "edges": self.cell.edges} | asdict(self.configuration)

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Plan":
        """Return the plan that `to_json` described.

        Raises:
            ValueError: the values describe none.
        """
        rest = dict(values)
        try:
            cell = Cell(tuple(rest.pop("operations")), tuple((a, b) for a, b in rest.pop("edges")))
            return Plan(cell, Configuration(**rest))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{values} is no plan of a net ({error})") from error


class Space(Protocol):
    """A family of cells."""

    def draw(self, random: np.random.Generator) -> Cell:
        """Return a random cell."""


@dataclass(frozen=True, slots=True)
class VertexSpace:
    """Cells whose vertices are operations, as in NAS-Bench-101."""

    operations: tuple[str, ...]
    fewest: int = 3  # vertices, with the input and the output
    most: int = 7
    edges: int = 9  # at most

    def draw(self, random: np.random.Generator) -> Cell:
        """Return a cell: each possible edge with a probability of one half, drawn again until it is a cell."""
        while True:
            vertices = int(random.integers(self.fewest, self.most + 1))
            pairs = list(combinations(range(vertices), 2))
            edges = tuple(pair for pair, taken in zip(pairs, random.random(len(pairs)) < 0.5, strict=True) if taken)
            if len(edges) <= self.edges and len(on_paths(vertices, edges)) == vertices:
                return Cell(tuple(str(name) for name in random.choice(self.operations, vertices - 2)), edges)


@dataclass(frozen=True, slots=True)
class EdgeSpace:
    """Cells of four nodes whose six edges are operations, as in NAS-Bench-201; see `from_bench201`."""

    def draw(self, random: np.random.Generator) -> Cell:
        """Return a cell, each operation equally likely, drawn again until its output depends on its input."""
        while True:
            cell = from_bench201(cast(list[str], random.choice(BENCH201_OPERATIONS, 6).tolist()))
            if cell is not None:
                return cell


SPACES: dict[str, Space] = {
    "mobile": VertexSpace(OPERATIONS),
    "bench101": VertexSpace(("conv3x3", "conv1x1", "maxpool3x3")),
    "bench201": EdgeSpace(),
}


def drawn_plans(space: Space, seed: int) -> Iterator[Plan]:
    """Yield random plans without end, none twice up to isomorphism; the same seed gives the same ones."""
    random = np.random.default_rng(seed)
    seen: set[str] = set()
    while True:
        plan = Plan(space.draw(random), _drawn_configuration(random))
        if plan.fingerprint not in seen:
            seen.add(plan.fingerprint)
            yield plan


def on_paths(vertices: int, edges: Iterable[tuple[int, int]]) -> set[int]:
    """Return the vertices that lie on a path from vertex 0 to the last one."""
    ascending = sorted(edges)
    reached, leading = {0}, {vertices - 1}
    for source, target in ascending:
        if source in reached:
            reached.add(target)
    for source, target in reversed(ascending):
        if target in leading:
            leading.add(source)
    return reached & leading


def canonical(cell: Cell) -> tuple[tuple[str, ...], Edges]:
    """Return sorted operations and the smallest list of edges that a renumbering of equal operations leads to.

    Two cells have one canonical form exactly where a renumbering of the inner vertices makes one of the other.
    """
    inner = sorted(range(1, cell.vertices - 1), key=lambda vertex: cell.operations[vertex - 1])
    groups = [list(group) for _, group in groupby(inner, key=lambda vertex: cell.operations[vertex - 1])]

    def renumbered(orders: Sequence[Sequence[int]]) -> Edges:
        order = [0, *(vertex for group in orders for vertex in group), cell.vertices - 1]
        place = {vertex: number for number, vertex in enumerate(order)}
        return tuple(sorted((place[source], place[target]) for source, target in cell.edges))

    smallest = min(renumbered(orders) for orders in product(*(permutations(group) for group in groups)))
    return tuple(sorted(cell.operations)), smallest


def cell_fingerprint(cell: Cell) -> str:
    """Return 16 hexadecimal digits that isomorphic cells share."""
    return _digest(canonical(cell))


def every_cell(vertices: int, edges: int, operations: Sequence[str]) -> Iterator[Cell]:
    """Yield all cells with so many vertices and at most so many edges, isomorphic ones too."""
    pairs = list(combinations(range(vertices), 2))
    for count in range(1, min(edges, len(pairs)) + 1):
        for chosen in combinations(pairs, count):
            if len(on_paths(vertices, chosen)) == vertices:
                for named in product(operations, repeat=vertices - 2):
                    yield Cell(named, chosen)


def from_bench201(operations: Sequence[str]) -> Cell | None:
    """Return the cell of six operations on `BENCH201_EDGES`, None where no path leads from the input to the output.

    Operations become vertices; "none" goes, "skip" joins its two ends, and so does what then lies on no path
    (Dudziak et al. 2020, BRP-NAS). That a map may be added to itself through two skips is not kept.
    """
    real = [number for number, name in enumerate(operations) if name not in ("none", "skip")]
    joined = _skipping([edge for edge, name in zip(BENCH201_EDGES, operations, strict=True) if name == "skip"])
    ends = [(0, 0), *(BENCH201_EDGES[number] for number in real), (3, 3)]
    last = len(ends) - 1
    order = sorted(range(len(ends)), key=lambda vertex: (vertex == last, ends[vertex]))
    edges = [
        (place, later)
        for place, later in combinations(range(len(order)), 2)
        if (ends[order[place]][1], ends[order[later]][0]) in joined
    ]
    kept = sorted(on_paths(len(ends), edges))
    if not {0, last} <= set(kept):
        return None
    number = {vertex: place for place, vertex in enumerate(kept)}
    inner = [operations[real[order[vertex] - 1]] for vertex in kept[1:-1]]
    return Cell(tuple(inner), tuple((number[a], number[b]) for a, b in edges if a in number and b in number))


def _skipping(skips: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the pairs of nodes of which the second is reached from the first by skips alone, by none at all too."""
    joined = {(node, node) for node in range(4)}
    for source, target in sorted(skips):
        joined |= {(before, target) for before, node in joined if node == source}
    return joined


def _drawn_configuration(random: np.random.Generator) -> Configuration:
    """Return a random configuration, drawn again until it can be built."""
    while True:
        size, channels = int(random.choice(SIZES)), int(random.choice(CHANNELS))
        stem, activation = str(random.choice(list(STEMS))), str(random.choice(ACTIVATIONS))
        stages, cells = int(random.integers(1, 5)), int(random.integers(1, 4))
        try:
            return Configuration(size, stem, channels, stages, cells, activation)
        except ValueError:
            continue


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
