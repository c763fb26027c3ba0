"""A picture that is an array already, such as a photo; pictures of a decoder are in `workers.picture`."""

from typing import cast

import cv2

from app.types import Image


class ArrayPicture:
    """A `Picture` on an array."""

    def __init__(self, image: Image) -> None:
        """Take a BGR picture (H, W, 3)."""
        self._image = image

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self._image.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self._image.shape[0])

    def scaled(self, width: int, height: int) -> Image:
        """Return the whole picture resized by area averaging, BGR (height, width, 3)."""
        return cast(Image, cv2.resize(self._image, (width, height), interpolation=cv2.INTER_AREA))

    def image(self) -> Image:
        """Return the picture itself."""
        return self._image
