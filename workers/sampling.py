"""From the frames a camera sends to those that are analysed: at most so many a second, the others only decoded."""

import time
from dataclasses import dataclass
from datetime import datetime

from av.video.frame import VideoFrame

from app.types import Camera, Frame
from app.vision.picture import Converter, DecodedPicture
from workers.mailbox import Mailbox

_EARLY = 0.1  # share of the interval by which a frame may come too soon: cameras are not punctual


@dataclass(slots=True)
class Counters:
    """What a camera's readers have seen since the first was started."""

    opened: int = 0  # sessions
    decoded: int = 0  # frames
    damaged: int = 0  # frames that the decoder itself called damaged, not used
    undecodable: int = 0  # packets
    abandoned: int = 0  # readers that hung
    skipped: int = 0  # packets that were never decoded
    woken: int = 0  # times that packets told of motion while only key frames were decoded
    missed_by_packets: int = 0  # visits of which they did not tell


class Sampler:
    """Puts frames into the mailbox at the camera's rate of analysis."""

    def __init__(self, camera: Camera, mailbox: Mailbox, counters: Counters) -> None:
        """Begin; for use by the thread that decodes, whose CPU time is counted."""
        self._camera = camera
        self._mailbox = mailbox
        self._counters = counters
        self._converter = Converter()
        self._interval = 1 / camera.fps
        self._due = float("-inf")
        self._cpu = time.thread_time()

    def due(self, clock: float) -> bool:
        """Tell whether a frame of this monotonic time would come into the mailbox."""
        return clock >= self._due - _EARLY * self._interval

    def hurry(self) -> None:
        """Let the next frame be analysed however soon it comes."""
        self._due = float("-inf")

    def offer(self, frame: VideoFrame, captured_at: datetime, clock: float) -> None:
        """Count a decoded frame and put it into the mailbox if its time has come.

        Args:
            frame: the picture.
            captured_at: when it came.
            clock: the same in monotonic seconds.
        """
        index = self._counters.decoded
        self._counters.decoded += 1
        if not self.due(clock):
            return
        # On a grid, so that small delays do not add up; a new grid after a gap.
        self._due = (self._due if clock - self._due < self._interval else clock) + self._interval
        cpu = time.thread_time()
        picture = DecodedPicture(frame, self._converter)
        self._mailbox.put(Frame(self._camera.id, index, captured_at, clock, picture, (cpu - self._cpu) * 1e3))
        self._cpu = cpu
