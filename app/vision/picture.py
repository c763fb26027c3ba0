"""Pictures, whether an array already, such as a photo, or of a decoder.

A decoder hands over planes of luma and chroma. A still frame needs one small grey picture of them, which is the luma
scaled, so scaling and conversion are one step of FFmpeg's swscale, and the whole picture in colours is made for those
frames alone that need it.
"""

from collections import defaultdict
from typing import cast

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

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

    def luma(self, width: int, height: int) -> Image:
        """Return the whole picture resized by area averaging, grey (height, width)."""
        return cast(Image, cv2.cvtColor(self.scaled(width, height), cv2.COLOR_BGR2GRAY))

    def image(self) -> Image:
        """Return the picture itself."""
        return self._image


class Converter:
    """The swscale contexts of one camera: of small and of whole pictures. For one thread at a time."""

    def __init__(self) -> None:
        self._scaling: defaultdict[tuple[int, int, str], VideoReformatter] = defaultdict(VideoReformatter)
        self._copying = VideoReformatter()

    def scaled(self, frame: VideoFrame, width: int, height: int, pixels: str) -> Image:
        """Return the frame resized by area averaging, in a format by FFmpeg's name of one or three bytes a pixel."""
        scaling = self._scaling[width, height, pixels]  # a context that changes its size is made anew: .1 ms
        return _array(scaling.reformat(frame, width, height, pixels, interpolation="AREA", threads=1))

    def whole(self, frame: VideoFrame) -> Image:
        """Return the frame, BGR (frame.height, frame.width, 3)."""
        return _array(self._copying.reformat(frame, format="bgr24", threads=1))


def _array(frame: VideoFrame) -> Image:
    """Return the pixels in one piece; FFmpeg pads the lines of some widths."""
    return cast(Image, np.ascontiguousarray(frame.to_ndarray()))


def as_camera(image: Image, converter: Converter) -> "DecodedPicture":
    """Return a BGR picture (H, W, 3) as a camera's decoder would hand it over: luma, and chroma at half the size."""
    return DecodedPicture(VideoFrame.from_ndarray(image, "bgr24").reformat(format="yuv420p"), converter)


class DecodedPicture:
    """A picture from a decoder."""

    def __init__(self, frame: VideoFrame, converter: Converter) -> None:
        self._frame = frame
        self._converter = converter
        self._image: Image | None = None

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self._frame.width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self._frame.height

    def scaled(self, width: int, height: int) -> Image:
        """Return the whole picture resized by area averaging, BGR (height, width, 3)."""
        return self._converter.scaled(self._frame, width, height, "bgr24")

    def luma(self, width: int, height: int) -> Image:
        """Return the whole picture resized by area averaging, grey (height, width)."""
        return self._converter.scaled(self._frame, width, height, "gray")

    def image(self) -> Image:
        """Return the whole picture, BGR (self.height, self.width, 3); converted once, so do not write into it."""
        if self._image is None:
            self._image = self._converter.whole(self._frame)
        return self._image
