"""One session with a camera: from the open stream to the reason why it ended."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from app.sources import is_stream
from app.types import Camera, CameraState
from workers.diagnosis import Finding, explain_reading
from workers.light import Experience, LightDecoding
from workers.pace import Pace
from workers.patience import Patience
from workers.sampling import Counters, Sampler

NAP = 0.12  # seconds that a camera at rest is not listened to, so that its packets are read several at a time
WAITED = 0.003  # seconds: whoever waits longer for a packet has read all there was
END_OF_FILE = Finding(CameraState.OFFLINE, "end of file")
_CLOSED = Finding(CameraState.OFFLINE, "the camera closed the connection")
_NO_STREAM = Finding(CameraState.NO_VIDEO, "there is no video that can be decoded")
_LATE = Finding(CameraState.OFFLINE, "the stream stood still and what comes now may be old")
_NO_PICTURE = Finding(CameraState.NO_VIDEO, "packets come, but no picture")


class Session:
    """Decodes packet by packet, so that a broken one costs no more than itself."""

    def __init__(
        self,
        camera: Camera,
        patience: Patience,
        counters: Counters,
        sampler: Sampler,
        stopped: Event,
        expect: Callable[[float], None],
        on_picture: Callable[[], None],
        experience: Experience | None = None,
    ) -> None:
        """Prepare.

        Args:
            camera: whose stream it is.
            patience: when a stream without pictures is given up.
            counters: raised as packets and frames come.
            sampler: takes the pictures.
            stopped: ends the session when set.
            expect: told the seconds within which the session will show life again.
            on_picture: called once, at the first picture.
            experience: what is known of the camera's packets and of who is there; without it, all is decoded.
        """
        self._patience = patience
        self._counters = counters
        self._sampler = sampler
        self._stopped = stopped
        self._expect = expect
        self._on_picture = on_picture
        self._experience = experience
        self._light: LightDecoding | None = None
        self._live = is_stream(camera.source)
        self._began = time.monotonic()
        self._first: float | None = None  # when the first picture came
        self._last = 0.0
        self._heard: float | None = None  # when the last packet came
        self._asked = self._began  # when it was asked for
        self._barren = 0  # packets since the last picture

    @property
    def seconds(self) -> float:
        """From the first picture to the last."""
        return self._last - self._first if self._first is not None else 0.0

    def watch(self, container: InputContainer) -> Finding:
        """Read until the stream ends, fails or is stopped, and say why."""
        stream = next(iter(container.streams.video), None)
        if stream is None or stream.codec_context is None:
            return _NO_STREAM
        stream.thread_type = "NONE"  # decoding in several threads costs CPU and gains nothing with many cameras
        pace = None if self._live else Pace(stream, self._stopped, self._patience.read)
        if self._live and self._experience is not None:
            self._light = LightDecoding(stream.codec_context, self._experience, self._counters, self._sampler.due)
        try:
            for packet in container.demux(stream):
                self._expect(self._patience.read)
                finding = self._follow(packet, pace)
                if finding is not None:
                    return finding
                self._nap()
        except FFmpegError as error:
            return explain_reading(error)
        if pace is None:
            return _CLOSED
        pace.finish()
        return END_OF_FILE if self._first is not None else _NO_STREAM

    def _follow(self, packet: "Packet[VideoStream]", pace: Pace | None) -> Finding | None:
        """Decode the next packet; return why it was the last one, if it was."""
        if self._stopped.is_set():
            return _CLOSED
        if self._live and self._late():
            return _LATE
        self._take(packet, pace)
        return _NO_PICTURE if self._hopeless() else None

    def _nap(self) -> None:
        """Wait a moment when nothing moves and all packets are read: to wake up costs more than to read one."""
        resting = self._light is not None and self._light.resting
        if resting and self._heard is not None and self._heard - self._asked > WAITED:
            time.sleep(NAP)
        self._asked = time.monotonic()

    def _late(self) -> bool:
        """Tell whether packets may be older than they seem: network or this process stood still, buffers did not.

        Who was at the door half a minute ago must not be taken for somebody who is there now.
        """
        clock = time.monotonic()
        before, self._heard = self._heard, clock
        return before is not None and clock - before > self._patience.silence

    def _take(self, packet: "Packet[VideoStream]", pace: Pace | None) -> None:
        arrived, clock = datetime.now(UTC), time.monotonic()
        chosen = [packet] if self._light is None else self._light.choose(packet, clock)
        for frame, fresh in ((frame, one is packet) for one in chosen for frame in self._decode(one)):
            if pace is not None:
                pace.wait(frame)
                arrived, clock = datetime.now(UTC), time.monotonic()
            if self._stopped.is_set():
                return
            if frame.is_corrupt:
                self._counters.damaged += 1
                continue
            self._barren = 0
            self._last = clock
            if self._first is None:
                self._first = clock
                self._on_picture()
            if fresh:
                if self._light is not None and self._light.resting:
                    self._sampler.hurry()  # for a while it is the only one
                self._sampler.offer(frame, arrived, clock)
            else:
                self._counters.decoded += 1  # only so that the decoder catches up

    def _decode(self, packet: "Packet[VideoStream]") -> list[VideoFrame]:
        self._barren += 1
        frames: list[VideoFrame] = []
        started = time.thread_time()
        try:
            frames = packet.decode()
        except FFmpegError:
            self._counters.undecodable += 1
        if self._light is not None:
            self._light.decoded(packet, frames, time.thread_time() - started)
        return frames

    def _hopeless(self) -> bool:
        """Tell whether waiting for a picture has become useless, as after a change of codec."""
        if self._first is None:
            return time.monotonic() - self._began > self._patience.first_picture
        return self._barren >= self._patience.undecodable
