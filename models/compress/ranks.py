"""Rules that choose the ranks of layers, and the counts that they are judged by.

Every rule goes by what a layer is now: a second round cuts what the first one left. Whatever a rule says, no rank is
larger than the layer can have, and a layer whose weights or multiply-adds would not become fewer is left as it is.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from app.errors import SetupError
from models.compress.typed import built
from models.numerics.evbmf import evbmf
from models.numerics.tucker import Array, capped_ranks, unfold

Ranks = tuple[int, ...]
MEASURES = ("parameters", "macs")
WEAKENABLE = 21  # smaller ranks are left alone (Gusak et al. 2019, MUSCO)
ROUNDING = 1e-9  # 451 - .54 x 450, which is 208, must not be cut to 207, nor 22 x 22 / 1.1 / 44, which is 10, to 9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A layer that may get smaller ranks."""

    form: str  # that it has or gets: "tucker2", "cp" or "pair"
    shape: tuple[int, ...]  # of the dense weight: (out, in, kh, kw) or (out, in)
    seen: int  # cells of its input, as it runs on one picture
    cells: int  # of its output
    core: Array  # the dense weight, or of a factorised layer `models.compress.recompress.core_of`
    ranks: Ranks = ()  # that it has; none while it is dense

    def cost(self, by: str, ranks: Ranks) -> int:
        """Return weights ("parameters") or multiply-adds ("macs") at these ranks, dense without ranks, bias left out.

        The first factor of Tucker-2 and CP runs on the input's cells, everything else on the output's.
        """
        outputs, inputs, kernel = self.shape[0], self.shape[1], math.prod(self.shape[2:])
        first, last = (self.seen, self.cells) if by == "macs" else (1, 1)
        if not ranks:
            return last * outputs * inputs * kernel
        if self.form == "pair":
            return last * ranks[0] * (inputs + outputs)
        if self.form == "cp":
            return ranks[0] * (first * inputs + last * (kernel + outputs))
        return first * inputs * ranks[1] + last * ranks[0] * (kernel * ranks[1] + outputs)

    def unfoldings(self) -> list[Array]:
        """Return the matrix that each rank belongs to."""
        return [unfold(self.core, axis) for axis in range(2 if self.form == "tucker2" else 1)]

    def smaller(self, ranks: Ranks) -> Ranks | None:
        """Return ranks that the layer can have, or none if it would not become smaller by them.

        None, too, of a weight of zeros, in which there is nothing to be kept.
        """
        if min(ranks) < 1 or not self.core.any():
            return None
        if self.form == "tucker2":
            ranks = capped_ranks((ranks[0], ranks[1]), self.core.shape)
        elif self.form == "pair":
            ranks = (min(ranks[0], *self.core.shape),)
        return ranks if all(self.cost(by, ranks) < self.cost(by, self.ranks) for by in MEASURES) else None


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """How ranks are chosen; fields are what a run file may set."""

    forms: ClassVar[tuple[str, ...]] = ("tucker2", "pair")  # whose errors it can tell beforehand

    @abstractmethod
    def choose(self, candidates: Sequence[Candidate], others: int) -> list[Ranks | None]:
        """Return the ranks of each layer, none for a layer that stays.

        Args:
            candidates: the layers.
            others: multiply-adds of the rest of the net.
        """


@dataclass(frozen=True, kw_only=True)
class LayerRule(Rule):
    """A rule that looks at each layer by itself."""

    def choose(self, candidates: Sequence[Candidate], others: int) -> list[Ranks | None]:
        """See `Rule.choose`."""
        wanted = [self.wanted(candidate) for candidate in candidates]
        return [one and candidate.smaller(one) for one, candidate in zip(wanted, candidates, strict=True)]

    @abstractmethod
    def wanted(self, candidate: Candidate) -> Ranks | None:
        """Return the ranks of one layer, which it may be unable to have."""


@dataclass(frozen=True, kw_only=True)
class Cut(LayerRule):
    """The largest rank at which a layer costs at most 1 / `times` of what it does now.

    Of Tucker-2 the ranks have the ratio max(.8 out / in, 1), as the published code of MUSCO has it, unless one of them
    reaches its limit; then the other takes what is left.
    """

    forms = ("tucker2", "cp", "pair")
    times: float = 2.0
    by: str = "parameters"

    def __post_init__(self) -> None:
        if self.times <= 1:
            raise ValueError(f"times is {self.times}; it is above 1")
        if self.by not in MEASURES:
            raise ValueError(f"by is {self.by!r}, none of {', '.join(MEASURES)}")

    def wanted(self, candidate: Candidate) -> Ranks:
        """Return them by a closed form: a rank's cost is linear, that of two in a ratio quadratic."""
        limit = candidate.cost(self.by, candidate.ranks) / self.times
        if candidate.form != "tucker2":
            return (int(limit / candidate.cost(self.by, (1,)) + ROUNDING),)
        (outputs, inputs), most = candidate.shape[:2], candidate.core.shape
        expand, reduce = candidate.cost(self.by, (1, 0)), candidate.cost(self.by, (0, 1))
        between = candidate.cost(self.by, (1, 1)) - expand - reduce
        ratio = max(0.8 * outputs / inputs, 1.0)
        linear, square = reduce + ratio * expand, ratio * between
        inner = int((math.sqrt(linear**2 + 4 * square * limit) - linear) / (2 * square))
        outer = max(inner, 4 * outputs * inner // (5 * inputs))  # in whole numbers, so 32 never becomes 31
        if outer > most[0]:
            outer, inner = most[0], int((limit - expand * most[0]) / (reduce + between * most[0]))
        if inner > most[1]:
            outer, inner = int((limit - reduce * most[1]) / (expand + between * most[1])), most[1]
        return outer, inner


@dataclass(frozen=True, kw_only=True)
class WeakenedEvidence(LayerRule):
    """Rw = R - w (R - Re) of each rank R, where Re of it is more than noise by EVBMF (Gusak et al. 2019, MUSCO).

    A rank below `smallest` stays. A layer in which nothing is more than noise stays whole: there is no evidence of what
    it could do without.
    """

    weakening: float = 0.7  # w; .5 to .9 were published as good
    smallest: int = WEAKENABLE

    def __post_init__(self) -> None:
        if not 0 < self.weakening < 1:
            raise ValueError(f"weakening is {self.weakening}; it is between 0 and 1")
        if self.smallest < 1:
            raise ValueError(f"smallest is {self.smallest}; it is 1 at least")

    def wanted(self, candidate: Candidate) -> Ranks | None:
        """Return them, or none without evidence."""
        ranks = []
        for matrix in candidate.unfoldings():
            now = len(matrix) if candidate.form == "tucker2" else min(matrix.shape)
            if now >= self.smallest:
                evidence = evbmf(matrix).rank
                if not evidence:
                    return None
                now = weakened(now, evidence, self.weakening)
            ranks.append(now)
        return tuple(ranks)


@dataclass(frozen=True, kw_only=True)
class Energy(LayerRule):
    """The cheapest ranks that surely keep this share of a weight's squared norm."""

    keep: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1:
            raise ValueError(f"keep is {self.keep}; it is between 0 and 1")

    def wanted(self, candidate: Candidate) -> Ranks:
        """Return the last of `descent` that keeps enough."""
        return _last_within(candidate, 1 - self.keep)


@dataclass(frozen=True, kw_only=True)
class Error(LayerRule):
    """The cheapest ranks whose relative error ||found - W|| / ||W|| is surely no larger."""

    largest: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.largest < 1:
            raise ValueError(f"largest is {self.largest}; it is between 0 and 1")

    def wanted(self, candidate: Candidate) -> Ranks:
        """Return the last of `descent` that is within it."""
        return _last_within(candidate, self.largest**2)


@dataclass(frozen=True, slots=True)
class Step:
    """Ranks that a layer could have."""

    ranks: Ranks  # none: dense
    cost: int  # multiply-adds
    error: float  # bound of the relative squared error
    loss: float  # what it counts when layers are compared


@dataclass(frozen=True, kw_only=True)
class Budget(Rule):
    """The multiply-adds of the net, of which `macs` shall be left, shared out among its layers.

    Ranks fall where the loss of `descent` is least for what it saves, until the budget is kept.
    """

    macs: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.macs < 1:
            raise ValueError(f"macs is {self.macs}; it is between 0 and 1")

    def choose(self, candidates: Sequence[Candidate], others: int) -> list[Ranks | None]:
        """Return the ranks of each layer.

        Raises:
            SetupError: the layers cannot become so small.
        """
        ladders = [_ladder(candidate) for candidate in candidates]
        chosen = [ladder[0] for ladder in ladders]
        whole = left = others + sum(step.cost for step in chosen)
        for place, step in _cheapest_first([convex(ladder) for ladder in ladders]):
            if left <= self.macs * whole:
                break
            left -= chosen[place].cost
            enough = [one for one in ladders[place] if step.cost <= one.cost <= self.macs * whole - left]
            chosen[place] = enough[0] if enough else step  # no farther down the last way than needed
            left += chosen[place].cost
        if left > self.macs * whole:
            raise SetupError(
                f"the chosen layers cannot leave {self.macs} of the net's multiply-adds, {left / whole:.3f} at best; "
                "choose more layers in the filter or raise macs"
            )
        return [None if step is ladder[0] else step.ranks for step, ladder in zip(chosen, ladders, strict=True)]


RULES: Mapping[str, type[Rule]] = {
    "cut": Cut,
    "evbmf": WeakenedEvidence,
    "energy": Energy,
    "error": Error,
    "budget": Budget,
}


def rule_of(values: Mapping[str, Any]) -> Rule:
    """Return the rule that a table of a run file describes: its name as ``rule``, and the rule's fields.

    Raises:
        ValueError: there is no such rule, or a field of it is wrong.
    """
    given = dict(values)
    name = given.pop("rule", None)
    if not isinstance(name, str) or name not in RULES:
        raise ValueError(f"rank.rule is {name!r}, none of {', '.join(RULES)}")
    return built(RULES[name], given, "rank")


def weakened(rank: int, evidence: int, weakening: float) -> int:
    """Return rank - weakening (rank - evidence), cut to a whole number."""
    return int(rank - weakening * (rank - evidence) + ROUNDING)


def descent(candidate: Candidate) -> Iterator[Step]:
    """Yield ranks from the largest down, each time without what costs the least loss for a multiply-add saved.

    tail_m is the share of a weight's squared norm behind rank m in its unfolding. The error is tail_0 + tail_1, the
    bound of `models.numerics.tucker.error_bound`, of a pair exact. The loss is -ln((1 - tail_0)(1 - tail_1)), so that
    the sum over layers tells what comes through all of them in a row. By plain errors a few layers would be given up
    whole: a core costs the product of its ranks, so all would be taken from one rank, and near 1 no error can rise.
    """
    squares = [np.square(np.linalg.svd(matrix, compute_uv=False)) for matrix in candidate.unfoldings()]
    if not squares[0].any():
        return
    kept = [np.cumsum(values) / values.sum() for values in squares]  # of an unfolding by its first 1, 2, ... directions
    ranks = tuple(len(values) for values in squares)
    while True:
        shares = [float(share[rank - 1]) for share, rank in zip(kept, ranks, strict=True)]
        cost = candidate.cost("macs", ranks)
        yield Step(ranks, cost, sum(1 - share for share in shares), -sum(math.log(share) for share in shares))
        prices = {}
        for axis, rank in enumerate(ranks):
            if rank > 1:
                fewer = (*ranks[:axis], rank - 1, *ranks[axis + 1 :])
                loss = math.log(shares[axis] / kept[axis][rank - 2])
                prices[fewer] = loss / (cost - candidate.cost("macs", fewer))
        if not prices:
            return
        ranks = min(prices, key=lambda fewer: prices[fewer])


def convex(ladder: Sequence[Step]) -> list[Step]:
    """Return the steps, their costs falling, on the lower convex hull of loss over cost: each is dearer to reach."""
    corners: list[Step] = []
    for step in ladder:
        while len(corners) > 1 and _price(corners[-2], step) <= _price(corners[-2], corners[-1]):
            corners.pop()
        corners.append(step)
    return corners


def _price(before: Step, after: Step) -> float:
    return (after.loss - before.loss) / (before.cost - after.cost)


def _cheapest_first(ways: Sequence[Sequence[Step]]) -> list[tuple[int, Step]]:
    """Return the steps of all layers with their places, by the price of going there."""
    priced = [
        (_price(before, after), place, after) for place, way in enumerate(ways) for before, after in pairwise(way)
    ]
    return [(place, step) for _, place, step in sorted(priced, key=lambda one: one[:2])]


def _ladder(candidate: Candidate) -> list[Step]:
    """Return what a layer is now, and everything smaller that it could be."""
    now = Step(candidate.ranks, candidate.cost("macs", candidate.ranks), 0.0, 0.0)
    steps = [now]
    for step in descent(candidate):
        ranks = candidate.smaller(step.ranks)
        if ranks is not None and (cost := candidate.cost("macs", ranks)) < steps[-1].cost:
            steps.append(replace(step, ranks=ranks, cost=cost))
    return steps


def _last_within(candidate: Candidate, error: float) -> Ranks:
    within = candidate.core.shape[: len(candidate.unfoldings())]
    for step in descent(candidate):
        if step.error > error:
            break
        within = step.ranks
    return within
