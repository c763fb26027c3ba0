import av
import cv2
import numpy as np
import pytest

from app.types import Image, Picture
from app.vision.picture import ArrayPicture, Converter, DecodedPicture


def gradient(width: int, height: int) -> Image:
    x, y = np.meshgrid(np.linspace(30, 220, width), np.linspace(30, 220, height))
    return np.dstack([x, y, (x + y) / 2]).astype(np.uint8)


def decoded(image: Image) -> DecodedPicture:
    frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")
    return DecodedPicture(frame, Converter())


@pytest.mark.parametrize(("width", "height"), [(640, 360), (826, 540), (322, 178)])
@pytest.mark.parametrize("make", [decoded, ArrayPicture])
def test_pictures_are_bgr_of_the_right_size_and_in_one_piece(make: type, width: int, height: int) -> None:
    image = gradient(width, height)
    picture: Picture = make(image)
    assert (picture.width, picture.height) == (width, height)
    for pixels, expected in (
        (picture.image(), image),
        (picture.scaled(160, 90), cv2.resize(image, (160, 90), interpolation=cv2.INTER_AREA)),
    ):
        assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
        assert pixels.shape == expected.shape
        assert np.abs(pixels.astype(int) - expected).mean() < 3


def test_scaling_averages_areas() -> None:
    stripes = np.zeros((360, 640, 3), np.uint8)
    stripes[::2] = 200  # thinner than a pixel of the small picture
    small = decoded(stripes).scaled(160, 90)
    assert np.abs(small.astype(int) - 100).max() < 12


@pytest.mark.parametrize("make", [decoded, ArrayPicture])
def test_luma_is_the_grey_of_the_small_picture(make: type) -> None:
    image = gradient(640, 360)
    picture: Picture = make(image)
    luma = picture.luma(150, 150)
    assert luma.dtype == np.uint8 and luma.flags.c_contiguous and luma.shape == (150, 150)
    expected = cv2.cvtColor(cv2.resize(image, (150, 150), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    assert np.abs(luma.astype(int) - expected).mean() < 2


def test_the_whole_picture_is_converted_once_and_only_on_demand() -> None:
    picture = decoded(gradient(640, 360))
    assert picture.image() is picture.image()


def test_one_converter_serves_changing_sizes() -> None:
    converter = Converter()
    for width, height in ((640, 360), (320, 176), (640, 360)):
        frame = av.VideoFrame.from_ndarray(gradient(width, height), format="bgr24").reformat(format="yuv420p")
        picture = DecodedPicture(frame, converter)
        assert picture.image().shape == (height, width, 3)
        assert picture.scaled(64, 36).shape == (36, 64, 3)
