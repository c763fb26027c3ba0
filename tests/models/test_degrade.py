"""The six degradations on real portraits: deterministic, and each does to a picture what its name says."""

import cv2
import numpy as np
import pytest

from app.types import Image
from models.pictures import decoded
from models.recognition.degrade import DEGRADATIONS, EYES, SMALL_EYES

SIDE = 150
NAMES = [name for name in DEGRADATIONS if name != "none"]


@pytest.fixture(scope="module")
def portrait(portrait_files: dict[str, bytes]) -> Image:
    """A portrait as sets of faces have it: cut around the head, its eyes some 42 pixels apart."""
    picture = decoded(portrait_files)[0][20:190, 140:310]
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def detail(picture: Image) -> float:
    """How much changes from pixel to pixel."""
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_decides(name: str, portrait: Image) -> None:
    before = portrait.copy()
    once, again, other = (DEGRADATIONS[name](portrait, seed) for seed in (5, 5, 6))
    assert once.dtype == np.uint8 and once.ndim == 3
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(portrait, before)
    assert np.array_equal(once, other) == (name == "small")  # shrinking leaves nothing to chance


@pytest.mark.parametrize("name", [*NAMES, "none"])
@pytest.mark.parametrize("shape", [(151, 97, 3), (33, 40, 3), (480, 640, 3)])
def test_any_size_is_taken_and_kept(name: str, shape: tuple[int, int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    kept = DEGRADATIONS[name](picture, 0)
    if name == "small":
        assert kept.shape[1] == min(shape[1], round(SMALL_EYES / EYES))
    else:
        assert kept.shape == shape


def test_compressed_loses_detail_and_keeps_the_place(portrait: Image) -> None:
    seen = DEGRADATIONS["compressed"](portrait, 1)
    apart = np.abs(seen.astype(int) - portrait)
    assert detail(seen) < 0.6 * detail(portrait) and 2 < apart.mean() < 15
    moved = [np.abs(np.roll(seen, step, axis).astype(int) - portrait).mean() for step in (-3, 3) for axis in (0, 1)]
    assert apart.mean() < min(moved)


def test_night_is_grey_flat_and_dark_at_the_corners(portrait: Image) -> None:
    seen = DEGRADATIONS["night"](portrait, 1)
    assert (seen[..., 0] == seen[..., 1]).all() and (seen[..., 0] == seen[..., 2]).all()
    even = DEGRADATIONS["night"](np.full_like(portrait, 200), 1)[..., 0].astype(float)
    assert even[65:85, 65:85].mean() > 1.8 * even[:20, :20].mean()
    assert cv2.GaussianBlur(seen, (0, 0), 3)[50:100, 50:100].std() < 0.6 * portrait[50:100, 50:100].std()


def test_blur_takes_detail_away_most_of_all_along_the_motion(portrait: Image) -> None:
    seen = DEGRADATIONS["blur"](portrait, 1)
    assert detail(seen) < 0.05 * detail(portrait)
    assert abs(float(seen.mean()) - float(portrait.mean())) < 2


def test_small_has_the_eyes_so_many_pixels_apart(portrait: Image) -> None:
    assert DEGRADATIONS["small"](portrait, 1).shape == (71, 71, 3)
    assert abs(EYES * 71 - SMALL_EYES) < 0.2


def test_noise_is_larger_where_it_is_bright_and_differs_by_colour() -> None:
    for level, deviation in ((40, 15.3), (128, 20.8)):
        seen = DEGRADATIONS["noise"](np.full((200, 200, 3), level, np.uint8), 1).astype(float)
        assert seen.std() == pytest.approx(deviation, rel=0.07)
        assert abs(np.corrcoef(seen[..., 0].ravel(), seen[..., 2].ravel())[0, 1]) < 0.05


def test_dark_has_a_fraction_of_the_light(portrait: Image) -> None:
    seen = DEGRADATIONS["dark"](np.full((200, 200, 3), 200, np.uint8), 1).astype(float)
    assert seen.mean() == pytest.approx(200 * 2 ** (-5 / 2.2), rel=0.05) and 1 < seen.std() < 6
    assert DEGRADATIONS["dark"](portrait, 1).max() < 80
