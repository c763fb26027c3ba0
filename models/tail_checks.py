"""What table and tail are worth on people whom they have not seen: fitted on some people, compared with the others."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.impostors import BIN, RATES, PairCounts
from models.tail import impostors_of

PARTS = {"half of the people": 2, "a tenth of the people": 10}
SPLITS = 100
COMPARED = tuple(rate for rate in (*RATES, 3e-7, 1e-7) if rate <= 1e-3)
WORTH = 2.0  # times what a tail promises; one that lets so many more in is not shipped
ENROLLED = 100  # people with one photograph each, or three quarters of those who are there
TARGETS = (1e-2, 1e-3)  # of false-positive identification


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a promised rate on other people, over SPLITS random splits."""

    fitted_on: str  # which part of the people
    promised: float
    past_table: float  # decades past the part's own table; 0 and less: read from the table
    times: float  # mean rate of the others, in multiples of the promised one
    low: float  # a tenth of the splits has less
    high: float  # a tenth has more


def kept_rates(pairs: PairCounts) -> list[Kept]:
    """Compare false-match rates; those of which the others would have less than one pair are left out."""
    return [row for name, part in PARTS.items() for row in _kept(pairs, name, part)]


def trusted(rows: list[Kept]) -> bool:
    """Return whether a tail that was fitted on half of the people keeps its promise on the other half."""
    return all(row.times <= WORTH for row in rows if row.past_table > 0 and row.fitted_on == next(iter(PARTS)))


def _kept(pairs: PairCounts, name: str, part: int) -> Iterator[Kept]:
    members = _members(pairs.people, part)
    rules, others = [impostors_of(counts) for counts in pairs.among(members)], pairs.among(~members)
    reaching = others[:, ::-1].cumsum(axis=1, dtype=np.float64)[:, ::-1]
    shares = np.append(reaching, np.zeros((SPLITS, 1)), axis=1) / reaching[:, :1]
    edges = np.arange(shares.shape[1]) * BIN
    for rate in COMPARED:
        if rate * reaching[:, 0].mean() < 1 or rate < max(rule.least_rate for rule in rules):
            continue
        reached = [np.interp(rule.similarity_at(rate), edges, row) for rule, row in zip(rules, shares, strict=True)]
        past = np.mean([np.log10(rule.rates[-1] / rate) for rule in rules])
        low, high = np.percentile(reached, (10, 90)) / rate
        yield Kept(name, rate, round(float(past), 1), *_rounded(np.mean(reached) / rate, low, high))


def kept_targets(vectors: np.ndarray, groups: np.ndarray, pairs: PairCounts) -> list[Kept]:
    """Compare what galleries promise, with searches: half of the people give table and tail, the others come.

    Of the others so many as `enrolled` says have one template, and all photographs of the rest are looked up.

    Args:
        vectors: (n, d) unit rows.
        groups: (n,) faces of different groups show different people.
        pairs: of the same faces.
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    templates = enrolled(pairs)
    generator = np.random.default_rng(0)
    found: list[list[float]] = []
    members = _members(pairs.people, 2)
    for inside, counts in zip(members, pairs.among(members), strict=True):
        rule, others = impostors_of(counts), generator.permutation(np.flatnonzero(~inside))
        gallery = [generator.choice(np.flatnonzero(numbers == person)) for person in others[:templates]]
        strangers = np.isin(numbers, others[templates:])
        best = (vectors[strangers] @ vectors[gallery].T).max(axis=1)
        found.append([float((best >= rule.similarity_at(target / templates)).mean()) for target in TARGETS])
    rows = zip(TARGETS, np.transpose(found), strict=True)
    return [
        Kept(
            next(iter(PARTS)), target, 0.0, *_rounded(np.mean(rates) / target, *np.percentile(rates, (10, 90)) / target)
        )
        for target, rates in rows
    ]


def enrolled(pairs: PairCounts) -> int:
    """Return how many people the galleries of `kept_targets` hold."""
    return min(ENROLLED, (pairs.people - pairs.people // 2) * 3 // 4)


def _members(people: int, part: int) -> np.ndarray:
    """Return (SPLITS, people) who belongs to the part, another random choice each time."""
    generator = np.random.default_rng(part)
    members = np.zeros((SPLITS, people), bool)
    for row in members:
        row[generator.permutation(people)[: people // part]] = True
    return members


def _rounded(*values: float) -> list[float]:
    return [round(float(value), 2) for value in values]
