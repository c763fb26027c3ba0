"""`cardea models evaluate fusion`: how several templates of one person should be made one similarity.

Everybody with enough photographs is enrolled with `ENROLLED` of them that pass the quality gate; the others search, as
they are and as a door's camera may see them. Each search is also a stranger's: against the gallery without its person.
A threshold lets `FPIRS` of these in, or is the product's own for `TARGET_FPIR`; missed is who is not the first
candidate or stays below it (FNIR). Rules are compared on one half of the people, the other half is there to judge the
one that was chosen.

The product's threshold depends on how many templates a person counts as. Nearest of k are k. The middle of k is one,
but a little more like strangers than a single photograph: `inflation` is by how much at which cosine.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from app.fusion import counted
from app.types import Array
from app.vision.artefact import shipped
from app.vision.embedder import Embedder
from models.commands import say
from models.evaluate import quality
from models.evaluate.quality_faces import MEASURES, KnownFaces, Look
from models.evaluate.recognition_metrics import (
    DRAWS,
    Flags,
    Scores,
    accepted,
    drawn,
    fnir,
    interval,
    rounded,
    threshold_at,
)

ENROLLED = 3
TARGET_FPIR = 1e-3
COSINES = (0.55, 0.58, 0.61, 0.64)  # at which `inflation` is told
FPIRS = {"0.01": 0.01, "0.001": 0.001}
SEED = 0
MIDDLES, ROUNDS = 4, 8  # photographs of the largest middle; draws of them
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Templates:
    """`ENROLLED` templates of each of g people."""

    vectors: Scores  # (g, e, d) unit rows
    qualities: Scores  # (g, e)


@dataclass(frozen=True, slots=True)
class Searches:
    """p searches among g people, by one rule."""

    people: Index  # (p,) who searches: a row of the gallery
    mates: Scores  # (p,) similarity of the person who searches
    others: Scores  # (p,) of the most similar other person


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    quality.add_photographs(parser)


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure.

    Raises:
        ArtefactError: a shipped net is damaged.
        SetupError: see `quality.observed`; or too few people have enough photographs.
    """
    return figures(quality.observed(arguments)) | {"embedder": shipped("embedder").card.id}


def best(cosines: Scores, templates: Templates, probes: Scores) -> Scores:
    """Return the similarity to the nearest template."""
    return np.asarray(cosines.max(axis=2))


def mean_of_two(cosines: Scores, templates: Templates, probes: Scores) -> Scores:
    """Return the mean of the two highest."""
    return np.asarray(np.sort(cosines, axis=2)[..., -2:].mean(axis=2))


def mean_of_all(cosines: Scores, templates: Templates, probes: Scores) -> Scores:
    """Return the mean of all."""
    return np.asarray(cosines.mean(axis=2))


def mean_template(cosines: Scores, templates: Templates, probes: Scores) -> Scores:
    """Return the similarity to one template in the middle of all: what the product does."""
    return _to_middle(templates, probes, np.ones_like(templates.qualities))


def weighted_template(cosines: Scores, templates: Templates, probes: Scores) -> Scores:
    """Return the same, each template as heavy as its photograph is good."""
    return _to_middle(templates, probes, templates.qualities)


def best_or_middle(cosines: Scores, templates: Templates, probes: Scores) -> Scores:
    """Return the similarity to the nearest template, the one in the middle among them."""
    return np.maximum(best(cosines, templates, probes), mean_template(cosines, templates, probes))


def _as_middle(enrolled: int) -> float:
    return counted([enrolled])


Rule = Callable[[Scores, Templates, Scores], Scores]
# Each takes cosines (p, g, e), the templates and the probes (p, d), and returns similarities (p, g); with it, how many
# templates a person of e counts as.
RULES: dict[str, tuple[Rule, Callable[[int], float]]] = {
    "best": (best, float),
    "mean_of_two": (mean_of_two, float),
    "mean_of_all": (mean_of_all, float),
    "mean_template": (mean_template, _as_middle),
    "weighted_template": (weighted_template, _as_middle),
    "best_or_middle": (best_or_middle, lambda enrolled: enrolled + _as_middle(enrolled)),
}


def figures(faces: KnownFaces) -> dict[str, Any]:
    """Return what is told: both looks and both halves, every rule.

    Raises:
        SetupError: too few people have enough photographs.
    """
    enrolled, searching = roles(faces)
    people = np.unique(faces.people[enrolled])
    if len(people) < 4:
        raise SetupError(f"{len(people)} people have more than {ENROLLED} usable photographs; four are needed")
    told: dict[str, Any] = {"people": len(people), "enrolled": ENROLLED, "inflation": inflation(faces, people)}
    for half, chosen in (("first_half", people[::2]), ("second_half", people[1::2])):
        told[half] = {"people": len(chosen)}
        for name, looks in (("plain", (faces.plain,)), ("door", (faces.door,)), ("both", (faces.plain, faces.door))):
            done = {rule: search(faces, looks, chosen, enrolled, searching, rule) for rule in RULES}
            told[half][name] = compared(done, len(chosen))
            say(f"{half}, {name}: {len(done['best'].people)} searches")
    return told | {"interval": f"95 %, bootstrap over people, {DRAWS} draws"}


def roles(faces: KnownFaces) -> tuple[Flags, Flags]:
    """Return which photographs (n,) are enrolled and which search, of people who have enough of both."""
    random = np.random.default_rng(SEED)
    enrolled, searching = np.zeros((2, len(faces.people)), bool)
    for person in np.unique(faces.people):
        own = np.flatnonzero(faces.people == person)
        own = own[np.unique(faces.digests[own], return_index=True)[1]]  # a copy of an enrolled file tells nothing
        usable = own[faces.plain.usable[own]]
        if len(usable) > ENROLLED:
            taken = random.permutation(usable)[:ENROLLED]
            enrolled[taken] = True
            searching[np.setdiff1d(own, taken)] = True
    return enrolled, searching


def search(
    faces: KnownFaces, looks: tuple[Look, ...], people: Index, enrolled: Flags, searching: Flags, rule: str
) -> Searches:
    """Search a gallery of these people for each usable face of theirs in each look."""
    own = [np.flatnonzero(enrolled & (faces.people == person)) for person in people]
    templates = Templates(
        np.stack([faces.plain.vectors[rows] for rows in own]).astype(np.float64),
        np.stack([faces.plain.measures[rows, MEASURES.index("quality")] for rows in own]),
    )
    rows = [np.flatnonzero(searching & look.usable & np.isin(faces.people, people)) for look in looks]
    probes = np.concatenate([look.vectors[chosen] for look, chosen in zip(looks, rows, strict=True)]).astype(np.float64)
    who = np.searchsorted(people, faces.people[np.concatenate(rows)])
    similarities = RULES[rule][0](np.einsum("pd,ged->pge", probes, templates.vectors), templates, probes)
    mine = np.zeros(similarities.shape, bool)
    mine[np.arange(len(who)), who] = True
    return Searches(who, similarities[mine], np.where(mine, -np.inf, similarities).max(axis=1))


def compared(done: dict[str, Searches], people: int) -> dict[str, Any]:
    """Return FNIR at each of `FPIRS` and FPIR and FNIR at the product's threshold, and how much more than by `best`."""
    embedder = Embedder(shipped("embedder"))
    targets = {rule: embedder.threshold(people * RULES[rule][1](ENROLLED), TARGET_FPIR) for rule in done}

    def rates(times: Scores) -> Scores:
        return np.array([rate for rule, one in done.items() for rate in _rates(one, targets[rule], times)])

    found, draws = rates(np.ones(people)), drawn(people, rates)
    columns = [*(f"fnir_at_{name}" for name in FPIRS), "target_fpir", "target_fnir"]
    told: dict[str, Any] = {"searches": len(next(iter(done.values())).people)}
    for place, rule in enumerate(done):
        told[rule] = {"threshold": rounded(targets[rule])}
        for offset, name in enumerate(columns):
            column = place * len(columns) + offset
            told[rule][name] = {
                "rate": rounded(found[column]),
                "interval": interval(draws[:, column]),
                "more_than_best": rounded(found[column] - found[offset]),
                "more_interval": interval(draws[:, column] - draws[:, offset]),
            }
    return told


def inflation(faces: KnownFaces, people: Index) -> dict[str, dict[str, float | None]]:
    """Return how much more often strangers reach a cosine with the middle of k photographs than with one, k from 2 on.

    Every photograph of the others is a stranger's.
    """
    random = np.random.default_rng(SEED)
    counts: dict[int, Scores] = {}
    for enrolled in range(1, MIDDLES + 1):
        totals = np.zeros(len(COSINES))
        for _ in range(ROUNDS):
            middles = np.stack([_middle_of(faces, person, enrolled, random) for person in people])
            cosines = faces.plain.vectors[faces.plain.usable] @ middles.T
            strange = faces.people[faces.plain.usable][:, None] != people
            totals += [(strange & (cosines >= cosine)).sum() for cosine in COSINES]
        counts[enrolled] = totals
    return {
        str(enrolled): {
            f"{cosine:g}": rounded(more / one) if one else None
            for cosine, more, one in zip(COSINES, counts[enrolled], counts[1], strict=True)
        }
        for enrolled in range(2, MIDDLES + 1)
    }


def _middle_of(faces: KnownFaces, person: int, enrolled: int, random: np.random.Generator) -> Array:
    rows = random.permutation(np.flatnonzero(faces.plain.usable & (faces.people == person)))[:enrolled]
    middle = faces.plain.vectors[rows].sum(axis=0)
    return np.asarray(middle / np.linalg.norm(middle))


def _rates(done: Searches, target: float, times: Scores) -> list[float]:
    """Return FNIR at each of `FPIRS`, and FPIR and FNIR at a threshold, when each person (g,) counts so many times."""
    weights = times[done.people]
    first, right = np.maximum(done.mates, done.others), done.mates > done.others
    missed = [fnir(first, right, threshold_at(done.others, rate, weights), weights) for rate in FPIRS.values()]
    return [*missed, accepted(done.others, target, weights), fnir(first, right, target, weights)]


def _to_middle(templates: Templates, probes: Scores, weights: Scores) -> Scores:
    middle = np.einsum("ged,ge->gd", templates.vectors, weights)
    return np.asarray(probes @ (middle / np.linalg.norm(middle, axis=1, keepdims=True)).T)
