"""Pictures whose pixels are converted only when somebody asks for them.

A decoder hands over planes of luma and chroma. A still frame needs one small BGR picture of them, so scaling and
conversion are one step of FFmpeg's swscale, and the full-size picture is made for those frames alone that need it.
"""

from collections import defaultdict
from typing import cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from app.types import Image


class Converter:
    """The swscale contexts of one camera: one for each small size, one for whole pictures. For one thread at a time."""

    def __init__(self) -> None:
        self._scaling: defaultdict[tuple[int, int], VideoReformatter] = defaultdict(VideoReformatter)
        self._copying = VideoReformatter()

    def scaled(self, frame: VideoFrame, width: int, height: int) -> Image:
        """Return the frame resized by area averaging, BGR (height, width, 3)."""
        scaling = self._scaling[width, height]  # a context that changes its size is made anew: .1 ms
        small = scaling.reformat(frame, width, height, "bgr24", interpolation="AREA", threads=1)
        return _array(small)

    def whole(self, frame: VideoFrame) -> Image:
        """Return the frame, BGR (frame.height, frame.width, 3)."""
        return _array(self._copying.reformat(frame, format="bgr24", threads=1))


def _array(frame: VideoFrame) -> Image:
    """Return the pixels in one piece; FFmpeg pads the lines of some widths."""
    return cast(Image, np.ascontiguousarray(frame.to_ndarray()))


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
        return self._converter.scaled(self._frame, width, height)

    def image(self) -> Image:
        """Return the whole picture, BGR (self.height, self.width, 3); converted once, so do not write into it."""
        if self._image is None:
            self._image = self._converter.whole(self._frame)
        return self._image
