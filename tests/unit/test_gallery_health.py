"""What is said of a gallery whose likenesses are known."""

from collections.abc import Sequence

import numpy as np
import pytest

from app.access import MARGIN
from app.gallery_health import WEAK_QUALITY, LookAlikes, Weakness, examine
from app.types import Array, Enrolled

THRESHOLD = 0.6
GOOD, POOR = 0.9, 0.5
W = Weakness


def plane(*degrees: float) -> Array:
    """Unit vectors in a plane: their similarity is the cosine of the angle between them."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def enrolled(persons: str, vectors: Array, qualities: Sequence[float] | None = None) -> Enrolled:
    """One template a letter, of the person of this letter."""
    photos = tuple(f"{person}{number}" for number, person in enumerate(persons))
    return Enrolled(tuple(persons), photos, tuple(qualities or [GOOD] * len(persons)), vectors)


def test_nobody_is_a_normal_gallery() -> None:
    health = examine(enrolled("", np.zeros((0, 2), np.float32)), [], THRESHOLD)
    assert (health.look_alikes, health.weak, health.missed, health.again) == ([], [], None, {})


def test_pairs_are_told_from_a_margin_below_the_threshold_on() -> None:
    # Cosines: a and b .602, b and c .559, a and c below 0.
    health = examine(enrolled("abc", plane(0, 53, 109)), [], THRESHOLD)
    assert health.look_alikes == [
        LookAlikes("a", "b", pytest.approx(np.cos(np.radians(53)), abs=1e-6), confused=True),
        LookAlikes("b", "c", pytest.approx(np.cos(np.radians(56)), abs=1e-6), confused=False),
    ]
    assert set(health.again) == {"a", "b"}
    assert health.again["a"] == (W.LOOKS_LIKE_SOMEBODY, W.ONLY_ONE_PHOTO)
    assert not examine(enrolled("abc", plane(0, 90, 170)), [], THRESHOLD).look_alikes


def test_a_pair_of_people_counts_once_by_their_nearest_photos() -> None:
    health = examine(enrolled("aabb", plane(0, 10, 50, 60)), [], THRESHOLD)
    assert [(pair.first, pair.second) for pair in health.look_alikes] == [("a", "b")]
    assert health.look_alikes[0].similarity == pytest.approx(np.cos(np.radians(40)), abs=1e-6)


def test_a_poor_photo_is_weak_and_a_better_one_beside_it_spares_a_new_one() -> None:
    vectors = plane(0, 10, 180)
    health = examine(enrolled("aab", vectors, [POOR, GOOD, POOR]), [], THRESHOLD)
    assert [(one.photo, one.reasons) for one in health.weak] == [
        ("a0", (W.LOW_QUALITY,)),
        ("b2", (W.LOW_QUALITY, W.ONLY_ONE_PHOTO)),
    ]
    assert (
        health.weak[0].likeness == pytest.approx(np.cos(np.radians(10)), abs=1e-6) and health.weak[1].likeness is None
    )
    assert health.again == {"b": (W.LOW_QUALITY, W.ONLY_ONE_PHOTO)}
    assert not examine(enrolled("a", vectors[:1], [WEAK_QUALITY]), [], THRESHOLD).weak


def test_a_photo_of_somebody_else_is_unlike_the_others() -> None:
    health = examine(enrolled("aaa", plane(0, 10, 120)), [], THRESHOLD)
    assert [(one.photo, one.reasons) for one in health.weak] == [("a2", (W.UNLIKE_OWN_PHOTOS,))]
    assert health.again == {"a": (W.UNLIKE_OWN_PHOTOS,)}


def test_who_has_no_template_comes_first() -> None:
    health = examine(enrolled("a", plane(0), [POOR]), ["z"], THRESHOLD)
    assert list(health.again.items()) == [("z", (W.NO_TEMPLATE,)), ("a", (W.LOW_QUALITY, W.ONLY_ONE_PHOTO))]


def test_missed_is_what_a_door_would_not_know_by_the_other_photos() -> None:
    # a: 10 degrees apart, known. b: 60 apart, below the threshold. c has one photo and is not asked.
    health = examine(enrolled("aabbc", plane(0, 10, 120, 180, 260)), [], THRESHOLD)
    assert health.missed is not None
    assert (health.missed.share, health.missed.photos, health.missed.persons) == (0.5, 4, 2)
    assert health.missed.low < 0.5 < health.missed.high
    alone = examine(enrolled("aab", plane(0, 10, 180)), [], THRESHOLD)
    assert alone.missed is not None and alone.missed.share == 0
    assert examine(enrolled("abc", plane(0, 120, 240)), [], THRESHOLD).missed is None


def test_a_second_person_as_near_as_the_own_photos_is_missed_too() -> None:
    near = np.degrees(np.arccos(np.cos(np.radians(10)) - MARGIN / 2))
    health = examine(enrolled("aab", plane(0, 10, -near)), [], THRESHOLD)
    assert health.missed is not None and health.missed.share == 0.5


def test_all_pairs_of_a_larger_gallery_are_found() -> None:
    generator = np.random.default_rng(5)
    vectors = generator.standard_normal((300, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    persons = [f"p{row // 2:03}" for row in range(300)]
    photos = tuple(map(str, range(300)))
    health = examine(Enrolled(tuple(persons), photos, (GOOD,) * 300, vectors.copy()), [], THRESHOLD)
    likeness = vectors.astype(np.float64) @ vectors.T
    expected: dict[tuple[str, str], float] = {}
    for row in range(300):
        for column in range(row + 1, 300):
            if persons[row] != persons[column] and likeness[row, column] >= THRESHOLD - MARGIN:
                pair = (persons[row], persons[column])
                expected[pair] = max(expected.get(pair, -1), likeness[row, column])
    assert {(pair.first, pair.second): pair.similarity for pair in health.look_alikes} == pytest.approx(
        expected, abs=1e-5
    )
    similarities = [pair.similarity for pair in health.look_alikes]
    assert similarities == sorted(similarities, reverse=True) and len(similarities) > 100
