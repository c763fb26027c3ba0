"""Make video files from pictures with the encoders inside PyAV, set up as intercom cameras set theirs."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import av
from av.video.stream import VideoStream

from app.types import Image

KEY_FRAME_SECONDS = 2.0

# codec -> (encoder, pixel format, options). Cameras send no B-frames. RTP/JPEG (RFC 2435) takes pictures with the plain
# Huffman tables and, as FFmpeg sends them, without restart markers: those come with several threads.
_ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264": ("libx264", "yuv420p", {"preset": "veryfast", "tune": "zerolatency", "bf": "0", "threads": "1"}),
    "hevc": (
        "libx265",
        "yuv420p",
        {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=none:bframes=0:pools=1"},
    ),
    "mjpeg": ("mjpeg", "yuvj420p", {"huffman": "default", "q:v": "4", "threads": "1"}),
}
CODECS = tuple(_ENCODERS)


def encode(
    frames: Iterable[Image],
    target: Path | BinaryIO,
    fps: float,
    codec: str = "h264",
    options: dict[str, str] | None = None,
) -> None:
    """Encode BGR pictures (H, W, 3), all of one size, into an MP4 file.

    Width and height must be even. `codec` is one of `CODECS`; `options` are added to its encoder options, such as
    ``{"crf": "26"}``.

    Raises:
        ValueError: no frames, or a codec that is not in `CODECS`.
    """
    if codec not in _ENCODERS:
        raise ValueError(f"codec {codec}: choose one of {', '.join(CODECS)}")
    encoder, pixels, defaults = _ENCODERS[codec]
    rate = Fraction(fps).limit_denominator(1001)
    count = 0
    with av.open(str(target) if isinstance(target, Path) else target, "w", format="mp4") as container:
        stream = cast(VideoStream, container.add_stream(encoder, rate=rate, options={**defaults, **(options or {})}))
        stream.pix_fmt = pixels
        stream.codec_context.gop_size = round(fps * KEY_FRAME_SECONDS)
        for count, picture in enumerate(frames, 1):
            if count == 1:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        if count:
            container.mux(stream.encode(None))
    if not count:
        raise ValueError("there are no frames to encode")
