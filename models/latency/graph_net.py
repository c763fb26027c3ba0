"""A graph convolutional predictor on a net's operators, after BRP-NAS (Dudziak et al. 2020).

BRP-NAS reads a global node, 4 layers of 600, that sees cells
of one shape. Here each operator's own time is read, from what it is and from what stands around it, and a net's time is
their sum: so nets with many more operators than those learned from can be predicted too.
"""

import base64
import copy
import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.latency.features import KINDS, Figures, Operator

LAYERS, WIDTH = 4, 64
RATE, DECAY = 2e-3, 5e-4  # of AdamW; BRP-NAS: 4e-4 with a batch of 1
BATCH = 16
EPOCHS, PLATEAU, STOP = 250, 10, 35  # at most; without progress until the rate is halved; until the end
VALIDATION = 0.1  # share of the nets
SMALLEST_SCALE = 0.1  # a kind that no net has is not divided by 0
NUMBERS = ("macs", "parameters", "read", "written", "channels_in", "channels_out")


@dataclass(frozen=True, slots=True)
class Graphs:
    """Operators of one net or several, n in all, and e connections between them, each in both directions."""

    operators: Tensor  # (n, c): see `operator_rows`
    ends: Tensor  # (2, e) from which operator to which; each leads to itself too
    owners: Tensor  # (n,) whose operator it is


class GraphConvolution(nn.Module):
    """h' = ReLU(LayerNorm(A h W + b)), A averaging over an operator and those that it is connected with."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, states: Tensor, graphs: Graphs) -> Tensor:
        """Return states (n, width) of states (n, width_in)."""
        return torch.relu(self.norm(averaged(self.linear(states), graphs)))


class OperatorTimes(nn.Module):
    """The logarithm of each net's time as that of the sum of its operators' times."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        numbers = len(KINDS) + len(NUMBERS)
        widths = [numbers] + [WIDTH] * LAYERS
        self.layers = nn.ModuleList(GraphConvolution(*pair) for pair in pairwise(widths))
        self.time = nn.Linear(WIDTH + numbers, 1)
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))

    def forward(self, graphs: Graphs) -> Tensor:
        """Return log milliseconds, one for each net."""
        given = (graphs.operators - self.mean) / self.scale
        states = given
        for layer in self.layers:
            states = layer(states, graphs)
        times: Tensor = self.time(torch.cat([states, given], 1))[:, 0].exp()
        return times.new_zeros(int(graphs.owners[-1]) + 1).index_add(0, graphs.owners, times).log()


Part = tuple[list[Graphs], Tensor]  # nets and their log milliseconds


class GraphNet:
    """The predictor; it learns on one thread, and so always the same."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self._net = OperatorTimes()

    def fit(self, nets: Sequence[Figures], milliseconds: NDArray[np.float64]) -> None:
        """Learn until a part that is held back gets no better; its best weights stay."""
        order = np.random.default_rng(0).permutation(len(nets))
        graphs = [graph(nets[place]) for place in order]
        targets = torch.tensor(np.log(milliseconds[order]), dtype=torch.float32)
        held = max(1, round(VALIDATION * len(nets)))
        self._standardise(torch.cat([each.operators for each in graphs[held:]]), targets[held:])
        with one_thread():
            train(self._net, (graphs[held:], targets[held:]), (graphs[:held], targets[:held]))

    def predict(self, nets: Sequence[Figures]) -> NDArray[np.float64]:
        """Return milliseconds (n,)."""
        with torch.inference_mode():
            times = self._net(joined([graph(net) for net in nets])).double().exp()
        return cast(NDArray[np.float64], times.numpy())

    def to_json(self) -> dict[str, Any]:
        """Return the weights: shape and little-endian float32 bytes in base64, by name."""
        return {
            name: [list(value.shape), base64.b64encode(value.numpy().astype("<f4").tobytes()).decode()]
            for name, value in self._net.state_dict().items()
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the predictor with these weights."""
        made = cls()
        made._net.load_state_dict(
            {
                name: torch.tensor(np.frombuffer(base64.b64decode(text), "<f4").reshape(shape))
                for name, (shape, text) in values.items()
            }
        )
        return made

    def _standardise(self, table: Tensor, targets: Tensor) -> None:
        """Take over what operators look like on average, and how long one takes."""
        self._net.mean = table.mean(0)
        self._net.scale = table.std(0).clamp(min=SMALLEST_SCALE)
        each = targets.mean() - math.log(len(table) / len(targets))
        nn.init.constant_(self._net.time.bias, float(each))


@contextmanager
def one_thread() -> Generator[None]:
    """Let torch compute on one thread: with several, the order of its sums depends on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train(net: OperatorTimes, learned: Part, held: Part) -> None:
    """Train in place; the loss is the mean absolute difference of logarithms."""
    random = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=PLATEAU)
    everything = joined(held[0])
    best, weights, since = float("inf"), copy.deepcopy(net.state_dict()), 0
    for _ in range(EPOCHS):
        order = torch.from_numpy(random.permutation(len(learned[0])))
        for chosen in torch.split(order, BATCH):
            optimiser.zero_grad()
            logs = net(joined([learned[0][place] for place in chosen]))
            functional.l1_loss(logs, learned[1][chosen]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            error = float(functional.l1_loss(net(everything), held[1]))
        plateau.step(error)
        since += 1
        if error < best:
            best, weights, since = error, copy.deepcopy(net.state_dict()), 0
        if since > STOP:
            break
    net.load_state_dict(weights)


def graph(net: Figures) -> Graphs:
    """Return one net as a graph."""
    pairs = [(source, place) for place, operator in enumerate(net.operators) for source in operator.sources]
    count = len(net.operators)
    ends = torch.tensor([*pairs, *((b, a) for a, b in pairs), *((each, each) for each in range(count))]).T
    return Graphs(operator_rows(net), ends, torch.zeros(count, dtype=torch.int64))


def joined(graphs: Sequence[Graphs]) -> Graphs:
    """Return several nets as one graph without connections between them."""
    counts = [len(each.operators) for each in graphs]
    starts = [sum(counts[:place]) for place in range(len(counts))]
    return Graphs(
        torch.cat([each.operators for each in graphs]),
        torch.cat([each.ends + start for each, start in zip(graphs, starts, strict=True)], 1),
        torch.repeat_interleave(torch.arange(len(graphs)), torch.tensor(counts)),
    )


def averaged(states: Tensor, graphs: Graphs) -> Tensor:
    """Return for each operator the mean of the states (n, d) of all from which a connection leads to it."""
    sources, targets = graphs.ends
    sums = torch.zeros_like(states).index_add(0, targets, states[sources])
    return torch.div(sums, targets.bincount()[:, None])


def operator_rows(net: Figures) -> Tensor:
    """Return what each operator is (n, c): its kind as ones and zeros, then `NUMBERS` as log(1 + x)."""
    kinds = torch.eye(len(KINDS))[[KINDS.index(operator.kind) for operator in net.operators]]
    numbers = torch.tensor([_numbers(operator) for operator in net.operators], dtype=torch.float64)
    return torch.cat([kinds, numbers.log1p().float()], 1)


def _numbers(operator: Operator) -> list[int]:
    return [getattr(operator, name) for name in NUMBERS]
