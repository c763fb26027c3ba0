"""The motion map against worked values, and the filter that drops who does not move."""

import numpy as np
import pytest

from app.types import Array, Detections
from app.vision.gate import Motion, moving
from app.vision.motion import cosine_distance, covered

SIDE = 12
WIDTH, HEIGHT = 640, 480  # a cell is 53 by 40 pixels
NOBODY = np.zeros((0, 4), np.float32)
PERSON = np.array([(220, 130, 310, 310)], np.float32)  # touches rows 3 to 7, columns 4 and 5


def as_map(*vectors: tuple[float, float]) -> Array:
    """Four vectors as a map of 2 channels, 2 by 2 cells."""
    return np.array(vectors, np.float32).reshape(2, 2, 2).transpose(2, 0, 1).copy()


def test_distance_of_known_maps() -> None:
    background = as_map((1, 0), (0, 2), (1, 1), (3, 4))
    features = as_map((2, 0), (2, 0), (1, 0), (-3, -4))
    distance = cosine_distance(features, background)
    np.testing.assert_allclose(distance, [[0, 1], [0.292893, 1]], atol=1e-6)
    assert distance.mean() == pytest.approx(0.573223, abs=1e-6)


def test_distance_keeps_its_invariants() -> None:
    random = np.random.default_rng(1)
    features, background = random.standard_normal((2, 24, 19, 19)).astype(np.float32)
    distance = cosine_distance(features, background)
    assert distance.min() >= 0
    assert distance.max() <= 1
    np.testing.assert_allclose(cosine_distance(features, features), 0, atol=1e-6)
    for gain in (1e-3, 0.3, 50.0):
        np.testing.assert_allclose(cosine_distance(features * np.float32(gain), background), distance, atol=1e-5)


def test_zero_vectors_have_a_distance() -> None:
    zero, something = np.zeros((2, 1, 1), np.float32), np.ones((2, 1, 1), np.float32)
    assert cosine_distance(zero, zero) == 0
    assert cosine_distance(zero, something) == 1
    assert cosine_distance(something, zero) == 1


def test_a_box_within_one_cell_covers_the_cells_it_touches() -> None:
    # The published slice int(y0 * h):int(y1 * h) gives 1:2 and 2:2 here: no cell at all.
    assert covered(np.array((11, 10, 14, 15)), 100, 100, (19, 19)) == (slice(1, 3), slice(2, 3))


@pytest.mark.parametrize("box", [(-50, -50, -10, -10), (700, 500, 900, 900), (100, 100, 100, 100)])
def test_every_box_covers_at_least_one_cell(box: tuple[int, int, int, int]) -> None:
    rows, columns = covered(np.array(box, np.float32), WIDTH, HEIGHT, (SIDE, SIDE))
    assert 0 <= rows.start < rows.stop <= SIDE
    assert 0 <= columns.start < columns.stop <= SIDE


def motion_with(*cells: tuple[int, int]) -> Motion:
    active = np.zeros((SIDE, SIDE), bool)
    for cell in cells:
        active[cell] = True
    return Motion(active, active.astype(np.float32), open=bool(cells))


def test_regions_surround_connected_cells_and_stay_in_the_picture() -> None:
    motion = motion_with((0, 0), (1, 1), (8, 9))  # two cells touch at a corner
    np.testing.assert_allclose(motion.regions(120, 240), [(0, 0, 30, 60), (80, 140, 110, 200)])
    assert motion_with().regions(120, 240).shape == (0, 4)


def test_share_counts_the_active_cells_of_a_box() -> None:
    motion = motion_with((3, 4), (7, 5))
    assert motion.share(PERSON, WIDTH, HEIGHT).tolist() == pytest.approx([0.2])
    assert motion.share(NOBODY, WIDTH, HEIGHT).shape == (0,)


# --- the motion filter


def persons(boxes: Array) -> Detections:
    return Detections(boxes, np.linspace(0.9, 0.5, len(boxes), dtype=np.float32))


def test_who_moves_stays_and_a_poster_goes() -> None:
    poster = np.array([(500, 20, 600, 200)], np.float32)
    found = persons(np.concatenate([poster, PERSON]))
    kept = moving(found, motion_with((5, 4), (5, 5), (6, 4), (1, 9)), NOBODY, WIDTH, HEIGHT)
    np.testing.assert_array_equal(kept.boxes, PERSON)
    assert kept.scores.tolist() == [0.5]


def test_a_passer_by_does_not_bring_a_poster_to_life() -> None:
    found = persons(PERSON)  # covers ten cells
    assert len(moving(found, motion_with((3, 5), (4, 5)), NOBODY, WIDTH, HEIGHT)) == 0
    assert len(moving(found, motion_with((3, 5), (4, 5), (5, 5)), NOBODY, WIDTH, HEIGHT)) == 1


def test_who_stands_still_stays_while_followed() -> None:
    near = PERSON + 15  # the track's box is never quite the detection's
    assert len(moving(persons(PERSON), motion_with(), near, WIDTH, HEIGHT)) == 1
    assert len(moving(persons(PERSON), motion_with(), PERSON + 80, WIDTH, HEIGHT)) == 0


def test_the_filter_takes_no_detections() -> None:
    assert len(moving(Detections.empty(), motion_with((1, 1)), PERSON, WIDTH, HEIGHT)) == 0
