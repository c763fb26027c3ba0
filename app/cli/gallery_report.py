"""The report of `cardea gallery compare`: what a switch would change in one building, for programs and for people."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from app.comparison import Comparison, Figures, Side, compare
from app.errors import EmbedderError
from app.fusion import comparisons
from app.reembedding import trouble
from app.store import buildings, embedders, galleries, people
from app.store.embedders import LeftBehind
from app.store.engine import Store
from app.types import Array
from app.vision.embedders import Embedders
from app.vision.faces import FaceFinder

NOT_YET = "not_reembedded"  # a face is there: the run was cut off, or the photo is newer
SHOWN = 20  # people and pairs that the text names


@dataclass(frozen=True, slots=True)
class Without:
    """Somebody who would not be recognised any more, and why."""

    person: str
    name: str
    reasons: list[str]  # one for each photo that has no template, each once


@dataclass(frozen=True, slots=True)
class Report:
    """What a switch would change in one building."""

    building: str
    target_fpir: float
    persons: int  # with templates of the new embedder
    without: list[Without]
    comparison: Comparison
    by_card: tuple[float | None, float | None]  # FPIR to expect by the cards of both; None: not at hand
    names: dict[str, str]  # of the people whom the comparison names

    def as_json(self) -> dict[str, Any]:
        """Return all of it, JSON-safe."""
        return asdict(self)


def report(store: Store, building: str, live: str, new: str, at_hand: Embedders, finder: FaceFinder) -> Report:
    """Compare the templates of two embedders in a building.

    Raises:
        NotFoundError: there is no such building.
        StoreUnavailableError: the database does not answer.
    """
    with store.reading() as session:
        target = buildings.get(session, building).fields.target_fpir
        found = [galleries.templates_by_photo(session, building, embedder) for embedder in (live, new)]
        missing = embedders.left_behind(session, new, building)
    both = sorted(set(found[0][0]) & set(found[1][0]))
    counted = [comparisons(person for _, person in rows) for rows, _ in found]
    limits = [_limits(at_hand, *one, target) for one in zip((live, new), counted, strict=True)]
    before, after = (
        Side(name, _of(both, rows, vectors), threshold)
        for name, (rows, vectors), (threshold, _) in zip((live, new), found, limits, strict=True)
    )
    told = compare([person for _, person in both], before, after)
    named = {person for pair in told.newly_confused for person in pair.persons} | set(told.no_longer_matching)
    with store.reading() as session:
        names = people.names(session, building, named)
    persons = len({person for _, person in found[1][0]})
    without = _reasons(store, finder, new, missing)
    return Report(building, target, persons, without, told, (limits[0][1], limits[1][1]), names)


def as_text(found: Report) -> str:
    """Return the report for people."""
    told, lines = found.comparison, [f"building {found.building}, target FPIR {found.target_fpir:g}"]
    lines += [f"  {found.persons} persons have templates of {told.after.embedder}; {len(found.without)} have none"]
    lines += _shown([f"    {one.person} {one.name}: {', '.join(one.reasons)}" for one in found.without])
    lines += [f"  {told.photos} photos have templates of both", ""]
    lines += [f"  {name:38}{before:>24}{after:>24}" for name, before, after in _table(found)]
    lines += ["", f"  {len(told.newly_confused)} pairs of people match newly; {told.no_longer_confused} no longer"]
    lines += _shown(
        [
            f"    {found.names.get(one.persons[0])} and {found.names.get(one.persons[1])}: "
            f"{one.before:.3f} -> {one.after:.3f}"
            for one in told.newly_confused
        ]
    )
    lines += [f"  {len(told.no_longer_matching)} persons have a photo that their others no longer match"]
    lines += _shown([f"    {person} {found.names.get(person)}" for person in told.no_longer_matching])
    return "\n".join(lines)


def _of(both: list[tuple[str, str]], rows: list[tuple[str, str]], vectors: Array) -> Array:
    """Return the vectors of some of the rows, in their order."""
    places = {row: place for place, row in enumerate(rows)}
    return vectors[np.array([places[row] for row in both], np.int64)]


def _limits(
    at_hand: Embedders, embedder: str, templates: float, target_fpir: float
) -> tuple[float | None, float | None]:
    """Return the threshold of the doors and the FPIR that the card expects there."""
    try:
        found = at_hand.of(embedder)
    except EmbedderError:
        return None, None
    threshold = found.threshold(templates, target_fpir)
    return threshold, found.expected_fpir(templates, threshold)


def _reasons(store: Store, finder: FaceFinder, embedder: str, missing: list[LeftBehind]) -> list[Without]:
    with store.reading() as session:
        left = embedders.unfinished(session, embedder)
    found = []
    for one in missing:
        photos = [photo for photo in left if photo.person == one.person]
        reasons = sorted({trouble(store, finder, photo) or NOT_YET for photo in photos})
        found.append(Without(one.person, one.name, reasons))
    return found


def _table(found: Report) -> list[tuple[str, str, str]]:
    """Return rows of a name and the figures of both embedders."""
    told = found.comparison
    sides = (told.before, told.after)

    def row(name: str, *values: str) -> tuple[str, str, str]:
        return (name, values[0], values[1])

    def quantiles(name: str, of: str) -> list[tuple[str, str, str]]:
        shares = getattr(told.after, of)
        return [
            row(f"{name} at {float(share):.2%}", *(f"{getattr(side, of)[share]:.3f}" for side in sides))
            for share in shares
        ]

    return [
        row("", *(side.embedder.rpartition("@")[2] for side in sides)),
        row("threshold", *("unknown" if side.threshold is None else f"{side.threshold:.4f}" for side in sides)),
        *quantiles(f"{told.genuine_pairs} genuine pairs", "genuine"),
        *quantiles(f"{told.impostor_pairs} impostor pairs", "impostor"),
        row(f"match another own photo, of {told.with_others}", *(_share(side, told.with_others) for side in sides)),
        row("impostor pairs that match", *(str(side.false_matches) for side in sides)),
        row("expected FPIR by these pairs (95 %)", *(_fpir(side) for side in sides)),
        row("expected FPIR by the cards", *("unknown" if rate is None else f"{rate:.2g}" for rate in found.by_card)),
    ]


def _share(side: Figures, of: int) -> str:
    if side.matching95 is None:
        return "-"
    low, high = side.matching95
    return f"{side.matching / of:.3f} ({low:.3f}-{high:.3f})"


def _fpir(side: Figures) -> str:
    if side.fpir95 is None:
        return "-"
    return f"{side.fpir:.2g} ({side.fpir95[0]:.2g}-{side.fpir95[1]:.2g})"


def _shown(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return lines[:SHOWN] + ([f"    and {more} more: see --json"] if more > 0 else [])
