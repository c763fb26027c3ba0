"""What training does to pictures, and that truth goes with them."""

import cv2
import numpy as np
import pytest

from models.detection.augment import DAMAGES, augmented, cut, h264, mirrored
from models.detection.samples import Sample

RED = (0, 0, 255)


def sample(ignored: tuple[tuple[float, ...], ...] = ()) -> Sample:
    """A grey picture with a red face from (40, 30) to (80, 90) and points whose places are all different."""
    image = np.full((120, 160, 3), 128, np.uint8)
    cv2.rectangle(image, (40, 30), (79, 89), RED, -1)
    points = np.array([[[50, 45], [70, 46], [60, 60], [52, 75], [68, 76]]], np.float32)
    return Sample(
        "a.jpg",
        image,
        np.array([[40, 30, 80, 90]], np.float32),
        np.zeros(1, np.int64),
        points,
        np.array(ignored, np.float32).reshape(-1, 4),
        frozenset({"face"}),
    )


def outline(image: np.ndarray) -> list[float]:
    """The box around what is red."""
    rows, columns = np.nonzero((image[:, :, 2] > 180) & (image[:, :, 0] < 80))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_a_mirror_swaps_left_and_right() -> None:
    seen = mirrored(sample())
    assert seen.boxes.tolist() == [[80, 30, 120, 90]] and outline(seen.image) == [80, 30, 120, 90]
    assert seen.points[0].tolist() == [[90, 46], [110, 45], [100, 60], [92, 76], [108, 75]]
    twice = mirrored(seen)
    np.testing.assert_array_equal(twice.points, sample().points)
    np.testing.assert_array_equal(twice.image, sample().image)


@pytest.mark.parametrize(
    "window", [(0, 0, 160, 120), (20, 10, 100, 110), (-40, -20, 200, 130), (35.9, 26.9, 91.1, 102.1)]
)
def test_boxes_and_points_go_with_the_cut(window: tuple[float, ...]) -> None:
    seen = cut(sample(), np.array(window, np.float32), 320, 240)
    assert seen.image.shape == (240, 320, 3)
    np.testing.assert_allclose(seen.boxes[0], outline(seen.image), atol=2)
    low, high = np.floor(window[:2]), np.ceil(window[2:])
    np.testing.assert_allclose(seen.points, (sample().points - low) * [320, 240] / (high - low), rtol=1e-6)


def test_of_what_is_mostly_outside_nothing_is_known() -> None:
    seen = cut(sample(((0, 0, 5, 5),)), np.array([70, 0, 160, 120], np.float32), 90, 120)
    assert len(seen.boxes) == len(seen.points) == len(seen.classes) == 0
    assert seen.ignored.tolist() == [[0, 30, 10, 90]]  # the old region is outside


def test_pictures_without_objects_can_be_cut() -> None:
    bare = cut(sample(), np.array([100, 0, 160, 120], np.float32), 60, 120)
    assert len(mirrored(bare).boxes) == 0 and len(bare.ignored) == 0


@pytest.mark.parametrize("damage", [damage for _, damage in DAMAGES], ids=lambda damage: damage.__name__)
def test_damage_keeps_the_form_and_is_repeatable(damage: object) -> None:
    image = cv2.resize(sample().image, (320, 240))
    assert callable(damage)
    first, again = (damage(image, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == image.shape and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != image).any()


def test_h264_leaves_the_picture_recognisable() -> None:
    image = cv2.resize(sample().image, (320, 240))
    assert np.abs(h264(image, np.random.default_rng(0)).astype(int) - image).mean() < 15


def test_the_same_seed_gives_the_same_sample() -> None:
    first, again = (augmented(sample(), 320, 240, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert first.labelled == {"face"}
