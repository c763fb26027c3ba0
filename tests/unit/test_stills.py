"""The portrait of an event: the whole head, from the full-size picture, of a size that enrolment takes."""

import io

import numpy as np
import pytest
from PIL import Image

from app.photos import MIN_SIDE, read_photo
from app.vision.picture import ArrayPicture
from workers.stills import portrait, snapshot


def size_of(jpeg: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(jpeg)).size


@pytest.fixture(scope="module")
def gradient() -> ArrayPicture:
    """A picture that is as red as it is far right and as green as it is far down."""
    picture = np.zeros((720, 1280, 3), np.uint8)
    picture[..., 2] = np.linspace(0, 255, 1280)
    picture[..., 1] = np.linspace(0, 255, 720)[:, None]
    return ArrayPicture(picture)


def centre_of(jpeg: bytes) -> tuple[float, float]:
    """Where in the gradient the middle of a picture lies, in shares."""
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    red, green, _ = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
    return float(red) / 255, float(green) / 255


def test_a_portrait_shows_the_head_around_the_face(gradient: ArrayPicture) -> None:
    made = portrait(gradient, np.array([600, 300, 660, 380], np.float32))
    assert size_of(made) == (176, 176)
    assert centre_of(made) == pytest.approx((630 / 1280, 340 / 720), abs=0.02)


@pytest.mark.parametrize("box", [(0, 0, 30, 40), (1255, 690, 1285, 730), (-20, 300, 10, 340), (600, 350, 608, 360)])
def test_small_faces_and_those_at_the_edge_are_large_enough_to_enrol(
    gradient: ArrayPicture, box: tuple[int, int, int, int]
) -> None:
    photo = read_photo(portrait(gradient, np.array(box, np.float32)))
    assert photo.width == photo.height == 112 > MIN_SIDE


@pytest.mark.parametrize(("box", "size"), [((200, 100, 500, 480), (320, 275)), ((100, 100, 300, 300), (320, 320))])
def test_large_faces_are_scaled_down(
    gradient: ArrayPicture, box: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    assert size_of(portrait(gradient, np.array(box, np.float32))) == size


def test_a_snapshot_is_small_and_never_enlarged(gradient: ArrayPicture) -> None:
    assert size_of(snapshot(gradient)) == (640, 360)
    assert size_of(snapshot(ArrayPicture(np.zeros((240, 320, 3), np.uint8)))) == (320, 240)
