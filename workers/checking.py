"""One look at a camera, with the means of the reader: what `cardea check-camera` does. It may hang: see its caller."""

import base64
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from threading import Event, Timer

import av.logging
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame

from app.camera_check import Look
from app.types import Camera, CameraState, Frame
from workers.diagnosis import Finding, explain_opening
from workers.mailbox import Mailbox
from workers.opening import open_source, trusted_certificates
from workers.patience import Patience
from workers.reading import ONLINE
from workers.sampling import Counters, Sampler
from workers.session import Session
from workers.stills import encoded

PATIENCE = Patience(open=4.0, read=2.0, first_picture=6.0)  # all of it together stays below the process's limit
LOOK = 1.5  # seconds of pictures that tell their rate
STILL_WIDTH = 640  # pixels
STILL_QUALITY = 80


class _Timed(Sampler):
    """Keeps the stream's own times of the pictures: what was buffered while it was opened comes in one burst."""

    def __init__(self, camera: Camera, mailbox: Mailbox) -> None:
        super().__init__(replace(camera, fps=30.0), mailbox, Counters())
        self._times: list[float] = []

    def offer(self, frame: VideoFrame, captured_at: datetime, clock: float) -> None:
        """Take a picture and note its time."""
        super().offer(frame, captured_at, clock)
        if frame.time is not None:
            self._times.append(frame.time)

    @property
    def fps(self) -> float | None:
        """Pictures a second, None when the stream tells no times."""
        seconds = self._times[-1] - self._times[0] if self._times else 0.0
        return round((len(self._times) - 1) / seconds, 1) if seconds > 0 else None


def check(camera: Camera) -> Look:
    """Open a camera, decode for `LOOK` seconds and say what came."""
    av.logging.set_level(None)  # FFmpeg's own messages repeat addresses with their passwords
    started = time.monotonic()

    def passed() -> float:
        return round(time.monotonic() - started, 3)

    with trusted_certificates(camera) as ca_file:
        try:
            container = open_source(camera, PATIENCE, ca_file)
        except (FFmpegError, OSError) as error:
            finding = explain_opening(error, camera.source, ca_file, passed(), PATIENCE.answer)
            return Look(finding.state, finding.detail, passed())
    with container:
        return _watch(camera, container, passed)


def _watch(camera: Camera, container: InputContainer, passed: Callable[[], float]) -> Look:
    mailbox, stopped = Mailbox(Event()), Event()
    first: list[float] = []
    timer = Timer(LOOK, stopped.set)

    def on_picture() -> None:
        first.append(passed())
        timer.start()

    sampler = _Timed(camera, mailbox)
    session = Session(camera, PATIENCE, Counters(), sampler, stopped, lambda seconds: None, on_picture)
    finding = session.watch(container)
    timer.cancel()
    frame = mailbox.take()
    if frame is None:
        return Look(finding.state, finding.detail, passed(), _codec(container))
    # It ended because we had seen enough, or because a short file was over: both are well.
    stalled = finding.state is CameraState.STALLED and not stopped.is_set()
    return _seen(finding if stalled else ONLINE, frame, first[0], _codec(container), sampler.fps)


def _seen(finding: Finding, frame: Frame, first: float, codec: str | None, fps: float | None) -> Look:
    picture = frame.picture
    width = min(picture.width, STILL_WIDTH)
    small = picture.scaled(width, round(picture.height * width / picture.width))
    return Look(
        state=finding.state,
        detail=finding.detail,
        seconds=first,
        codec=codec,
        width=picture.width,
        height=picture.height,
        fps=fps,
        still=base64.b64encode(encoded(small, STILL_QUALITY)).decode(),
    )


def _codec(container: InputContainer) -> str | None:
    stream = next(iter(container.streams.video), None)
    return None if stream is None or stream.codec_context is None else stream.codec_context.name
