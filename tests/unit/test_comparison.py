"""Two embedders on one gallery: every figure is the one that pair after pair would give."""

from itertools import combinations

import numpy as np
import pytest

from app import comparison
from app.comparison import Comparison, Confused, Side, compare
from app.types import Array

PEOPLE, PHOTOS, D = 30, 90, 8  # few numbers make people look alike
THRESHOLDS = (0.75, 0.8)


def unit_rows(seed: int) -> Array:
    """Photos of people: a direction for each person and some noise, (PHOTOS, D)."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((PEOPLE, D))
    rows = centres[np.arange(PHOTOS) % PEOPLE] + 0.5 * generator.standard_normal((PHOTOS, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def sides() -> tuple[Side, Side]:
    return Side("old", unit_rows(1), THRESHOLDS[0]), Side("new", unit_rows(2), THRESHOLDS[1])


@pytest.fixture(scope="module")
def owners() -> list[str]:
    return [f"person {row % PEOPLE:02}" for row in range(PHOTOS)]


@pytest.fixture(params=[comparison.BLOCK, 7])
def found(
    request: pytest.FixtureRequest, sides: tuple[Side, Side], owners: list[str], monkeypatch: pytest.MonkeyPatch
) -> Comparison:
    monkeypatch.setattr(comparison, "BLOCK", request.param)
    return compare(owners, *sides)


def similarities(side: Side, owners: list[str], same: bool) -> list[float]:
    pairs = [(a, b) for a, b in combinations(range(PHOTOS), 2) if (owners[a] == owners[b]) is same]
    return [float(side.vectors[a] @ side.vectors[b]) for a, b in pairs]


def test_the_distributions_are_those_of_all_pairs(
    found: Comparison, sides: tuple[Side, Side], owners: list[str]
) -> None:
    for figures, side in zip((found.before, found.after), sides, strict=True):
        genuine, impostor = similarities(side, owners, True), similarities(side, owners, False)
        assert (found.genuine_pairs, found.impostor_pairs) == (len(genuine), len(impostor)) == (90, 3915)
        for told, true in ((figures.genuine, genuine), (figures.impostor, impostor)):
            assert list(told.values()) == pytest.approx(
                np.quantile(true, [float(share) for share in told], method="inverted_cdf"), abs=0.0011
            )
        false = sum(value >= side.threshold for value in impostor if side.threshold)
        assert figures.false_matches == false > 0
        assert figures.fpir == pytest.approx(min(PHOTOS * false / len(impostor), 1))


def test_who_no_longer_matches_the_other_own_photos_is_named(
    found: Comparison, sides: tuple[Side, Side], owners: list[str]
) -> None:
    nearest = []
    for side in sides:
        table = side.vectors @ side.vectors.T
        own = [
            max(table[row, other] for other in range(PHOTOS) if other != row and owners[other] == owners[row])
            for row in range(PHOTOS)
        ]
        nearest.append(np.array(own))
    matching = [row >= threshold for row, threshold in zip(nearest, THRESHOLDS, strict=True)]
    assert (found.before.matching, found.after.matching) == (matching[0].sum(), matching[1].sum())
    lost = {owners[row] for row in np.flatnonzero(matching[0] & ~matching[1])}
    assert set(found.no_longer_matching) == lost and lost
    assert found.with_others == PHOTOS


def test_pairs_of_people_who_newly_match_are_named(
    found: Comparison, sides: tuple[Side, Side], owners: list[str]
) -> None:
    best: list[dict[tuple[str, str], float]] = [{}, {}]
    for side, pairs in zip(sides, best, strict=True):
        for a, b in combinations(range(PHOTOS), 2):
            if owners[a] != owners[b]:
                key = (min(owners[a], owners[b]), max(owners[a], owners[b]))
                pairs[key] = max(pairs.get(key, -1), float(side.vectors[a] @ side.vectors[b]))
    old, new = best
    newly = {key for key in new if new[key] >= THRESHOLDS[1] and old[key] < THRESHOLDS[0]}
    assert {pair.persons for pair in found.newly_confused} == newly and newly
    assert [pair.after for pair in found.newly_confused] == sorted((round(new[key], 4) for key in newly), reverse=True)
    gone = sum(old[key] >= THRESHOLDS[0] and new[key] < THRESHOLDS[1] for key in new)
    assert found.no_longer_confused == gone > 0


def test_nobody_and_a_single_photo_are_a_gallery_too(sides: tuple[Side, Side]) -> None:
    for count in (0, 1):
        cut = [Side(side.embedder, side.vectors[:count], side.threshold) for side in sides]
        found = compare(["somebody"][:count], *cut)
        assert (found.photos, found.genuine_pairs, found.impostor_pairs) == (count, 0, 0)
        assert (found.after.genuine, found.after.matching95, found.after.fpir95) == ({}, None, None)


def test_an_embedder_whose_threshold_nobody_knows_matches_nobody(sides: tuple[Side, Side]) -> None:
    rows = sides[1].vectors[:1].repeat(2, axis=0)
    found = compare(["a", "b"], Side("old", rows, None), Side("new", rows, 0.8))
    assert (found.before.threshold, found.before.false_matches) == (None, 0)
    assert found.newly_confused == [Confused(("a", "b"), 1.0, 1.0)]
