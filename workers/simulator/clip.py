"""A clip ready to be sent: cut into RTP packets once, by FFmpeg, so that sending it only stamps and copies.

FFmpeg's ``rtp`` muxer writes exactly one packet per `write` call, for H.264 (RFC 6184), H.265 (RFC 7798) and JPEG
(RFC 2435). Parameter sets are put before every key frame, as cameras do, so that a stream may change in mid-session.
"""

import base64
import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from app.errors import SetupError
from app.types import Image
from workers.simulator.encode import encode

CLOCK_RATE = 90_000  # RTP ticks per second of every video payload
_PACKET_BYTES = 1400


@dataclass(frozen=True, slots=True)
class Payload:
    """How a codec goes over RTP."""

    name: str  # in the SDP
    type: int
    in_band: str | None  # bit stream filter that writes parameter sets before each key frame


PAYLOADS = {
    "h264": Payload("H264", 96, "h264_mp4toannexb"),
    "hevc": Payload("H265", 96, "hevc_mp4toannexb"),
    "mjpeg": Payload("JPEG", 26, None),
}


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One coded picture. Times are RTP ticks from the start of the clip; with B-frames the two orders differ."""

    due: int  # when it is sent
    timestamp: int  # when it is shown
    key: bool
    packets: tuple[bytes, ...]  # whole RTP packets, to be stamped anew


@dataclass(frozen=True)
class Clip:
    """A clip that begins with a key frame."""

    codec: str
    width: int
    height: int
    format_parameters: str  # value of the SDP's fmtp attribute, may be empty
    units: tuple[AccessUnit, ...]
    duration: int  # ticks, until the first unit comes again

    @property
    def payload(self) -> Payload:
        """How it goes over RTP."""
        return PAYLOADS[self.codec]

    @property
    def seconds(self) -> float:
        """Length of one round."""
        return self.duration / CLOCK_RATE

    @cached_property
    def _dues(self) -> list[int]:
        return [unit.due for unit in self.units]

    @cached_property
    def _keys(self) -> list[int]:
        return [index for index, unit in enumerate(self.units) if unit.key]

    def index_at(self, ticks: int) -> int:
        """Return the unit that is the last one due at this time, 0 <= ticks < duration."""
        return bisect_right(self._dues, ticks) - 1

    def key_at(self, index: int) -> int:
        """Return the key frame that this unit builds on."""
        return self._keys[bisect_right(self._keys, index) - 1]

    @staticmethod
    def load(path: Path, fps: float | None = None) -> "Clip":
        """Read the first video stream of a file.

        H.264 and H.265 are sent as they are. Motion JPEG is encoded anew, since RTP carries only its plainest form,
        and everything else becomes H.264. `fps` plays the clip at another rate than its own.

        Raises:
            SetupError: the file cannot be read, or has no video that RTP can carry.
        """
        try:
            with av.open(str(path.absolute()), "r") as container:
                if not container.streams.video:
                    raise SetupError(f"{path.name} has no video")
                stream = container.streams.video[0]
                codec = stream.codec_context.name
                if codec in ("h264", "hevc"):
                    return _cut(path.name, container, stream, fps)
                rate = fps or float(stream.average_rate or 25)
                return Clip.from_frames(_pictures(container), rate, codec if codec in PAYLOADS else "h264")
        except (FFmpegError, OSError) as error:
            raise SetupError(f"{path.name} cannot be read as a video: {error.strerror}") from error

    @staticmethod
    def from_frames(
        frames: Iterable[Image], fps: float, codec: str = "h264", options: dict[str, str] | None = None
    ) -> "Clip":
        """Encode BGR pictures (H, W, 3) of one size; its sides must be even, for MJPEG multiples of 8 (RFC 2435)."""
        file = io.BytesIO()
        encode(frames, file, fps, codec, options)
        file.seek(0)
        with av.open(file, "r") as container:
            return _cut("the clip", container, container.streams.video[0], None)


def _pictures(container: InputContainer) -> Iterator[Image]:
    """Yield the pictures of the first video stream, cropped to sides that every codec takes."""
    for frame in container.decode(video=0):
        picture = cast(Image, frame.to_ndarray(format="bgr24"))
        height, width = picture.shape[:2]
        yield np.ascontiguousarray(picture[: height // 8 * 8, : width // 8 * 8])


class _PacketSink:
    """What the muxer takes for a file."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> tuple[bytes, ...]:
        """Return the RTP packets written since the last call; RTCP (types 200 to 204) is left out."""
        packets = tuple(data for data in self._written if not 200 <= data[1] <= 204)
        self._written.clear()
        return packets


def _cut(name: str, container: InputContainer, stream: VideoStream, fps: float | None) -> Clip:
    context = stream.codec_context
    if context.name == "mjpeg" and (context.width % 8 or context.height % 8):
        raise SetupError(f"{name}: RTP/JPEG needs width and height in steps of 8")
    pieces, parameter_sets = _packetise(container, stream)
    while pieces and not pieces[0].key:
        del pieces[0]
    if not pieces or any(not piece.packets for piece in pieces):
        raise SetupError(f"{name}: this {context.name} stream cannot be sent over RTP")
    period = round(CLOCK_RATE / (fps or stream.average_rate or 25))
    return Clip(
        context.name,
        context.width,
        context.height,
        _format_parameters(context.name, parameter_sets),
        tuple(_retimed(pieces, period) if fps else _from_zero(pieces)),
        len(pieces) * period if fps else pieces[-1].due - pieces[0].due + period,
    )


def _packetise(container: InputContainer, stream: VideoStream) -> tuple[list[AccessUnit], bytes]:
    """Return the units in sending order, times as in the file, and the parameter sets in Annex B form."""
    payload = PAYLOADS[stream.codec_context.name]
    sink = _PacketSink()
    units: list[AccessUnit] = []
    options = {"packetsize": str(_PACKET_BYTES), "payload_type": str(payload.type), "ssrc": "1", "seq": "0"}
    with av.open(sink, "w", format="rtp", options=options, buffer_size=_PACKET_BYTES + 100) as muxer:
        output = muxer.add_stream_from_template(stream)
        in_band = av.BitStreamFilterContext(payload.in_band, stream, output) if payload.in_band else None
        for packet in container.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            for ready in in_band.filter(packet) if in_band else [packet]:
                due, timestamp, key = _ticks(ready.dts, stream), _ticks(ready.pts, stream), ready.is_keyframe
                ready.stream = output
                muxer.mux(ready)
                units.append(AccessUnit(due, timestamp, key, sink.take()))
        return units, output.codec_context.extradata or b""


def _ticks(value: int | None, stream: VideoStream) -> int:
    return round((value or 0) * (stream.time_base or Fraction(1, CLOCK_RATE)) * CLOCK_RATE)


def _from_zero(units: list[AccessUnit]) -> Iterator[AccessUnit]:
    start = units[0].due
    for unit in units:
        yield AccessUnit(unit.due - start, unit.timestamp - start, unit.key, unit.packets)


def _retimed(units: list[AccessUnit], period: int) -> Iterator[AccessUnit]:
    shown = {timestamp: rank for rank, timestamp in enumerate(sorted(unit.timestamp for unit in units))}
    for rank, unit in enumerate(units):
        yield AccessUnit(rank * period, shown[unit.timestamp] * period, unit.key, unit.packets)


def _format_parameters(codec: str, extradata: bytes) -> str:
    """Return the fmtp value from the parameter sets in Annex B form (RFC 6184 8.2.1, RFC 7798 7.2.1)."""
    units = [unit.rstrip(b"\0") for unit in extradata.split(b"\0\0\1") if unit.rstrip(b"\0")]
    if codec == "h264":
        sets = [unit for unit in units if unit[0] & 31 in (7, 8)]
        encoded = ",".join(base64.b64encode(unit).decode() for unit in sets)
        level = next(unit for unit in sets if unit[0] & 31 == 7)[1:4].hex()
        return f"packetization-mode=1;profile-level-id={level};sprop-parameter-sets={encoded}"
    if codec == "hevc":
        names = {32: "vps", 33: "sps", 34: "pps"}
        sets = [unit for unit in units if unit[0] >> 1 & 63 in names]
        return ";".join(f"sprop-{names[unit[0] >> 1 & 63]}={base64.b64encode(unit).decode()}" for unit in sets)
    return ""
