"""Plays a file as slowly as a camera would have sent it."""

import time
from threading import Event

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_USUAL_FPS = 25  # for a file that does not say


class Pace:
    """Holds every frame back until its time has come, counted from the first one."""

    def __init__(self, stream: VideoStream, stopped: Event, longest: float) -> None:
        """Begin; no wait is longer than `longest` seconds, whatever the file's times say."""
        self._interval = 1 / float(stream.average_rate or _USUAL_FPS)
        self._stopped = stopped
        self._longest = longest
        self._origin: float | None = None  # monotonic time of the file's zero
        self._due = time.monotonic()

    def wait(self, frame: VideoFrame) -> None:
        """Return when the frame is due, or at once when `stopped` is set."""
        self._due += self._interval
        if frame.time is not None:
            if self._origin is None:
                self._origin = time.monotonic() - frame.time
            self._due = self._origin + frame.time
        self._sleep()

    def finish(self) -> None:
        """Let the last frame stand for as long as the others."""
        self._due += self._interval
        self._sleep()

    def _sleep(self) -> None:
        self._stopped.wait(min(max(0.0, self._due - time.monotonic()), self._longest))
