"""One thread that opens a camera and decodes it, again and again, until it is told to stop.

A decoder that hangs cannot be interrupted. So the thread says beforehand until when it must be back from a blocking
call; whoever sees that time pass sets `stopped` and starts another thread in its place.
"""

import logging
import math
import time
import traceback
from collections.abc import Callable
from threading import Event, Thread

from av.error import FFmpegError

from app.types import Camera, CameraState
from workers.diagnosis import Finding, explain_opening
from workers.light import Experience
from workers.mailbox import Mailbox
from workers.opening import open_source, trusted_certificates
from workers.patience import Backoff, Patience
from workers.sampling import Counters, Sampler
from workers.session import END_OF_FILE, Session

log = logging.getLogger(__name__)

ONLINE = Finding(CameraState.ONLINE, "pictures come")


class Reading:
    """The thread and what it shares with its owner."""

    def __init__(
        self,
        camera: Camera,
        mailbox: Mailbox,
        patience: Patience,
        backoff: Backoff,
        counters: Counters,
        experience: Experience,
        report: Callable[["Reading", Finding], None],
    ) -> None:
        """Prepare; `report` is told what the camera does, from this thread."""
        self.stopped = Event()
        self._camera = camera
        self._mailbox = mailbox
        self._patience = patience
        self._backoff = backoff
        self._counters = counters
        self._experience = experience
        self._report = report
        self._deadline = math.inf
        self._delay = 0.0
        self._thread = Thread(target=self._run, name=f"reader-{camera.id}", daemon=True)

    def start(self, delay: float) -> None:
        """Start the thread; it opens the camera after `delay` seconds."""
        self._delay = delay
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end and tell whether it did."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def hangs(self) -> bool:
        """Whether a call that cannot be interrupted takes longer than it possibly should."""
        return time.monotonic() > self._deadline

    def _expect(self, seconds: float) -> None:
        """Say that the next sign of life will come within so many seconds."""
        self._deadline = time.monotonic() + seconds + self._patience.hang

    def _run(self) -> None:
        delay = self._delay
        sampler = Sampler(self._camera, self._mailbox, self._counters)
        while not self._wait(delay):
            session = self._session(sampler)
            finding = self._attempt(session)
            if self.stopped.is_set():
                break
            if finding is END_OF_FILE and not self._camera.loop:
                self._report(self, finding)
                break
            delay = 0.0 if finding is END_OF_FILE else self._after_failure(finding, session.seconds)
        self._deadline = math.inf

    def _wait(self, seconds: float) -> bool:
        self._expect(seconds)
        return self.stopped.wait(seconds)

    def _session(self, sampler: Sampler) -> Session:
        def on_picture() -> None:
            self._report(self, ONLINE)

        return Session(
            self._camera,
            self._patience,
            self._counters,
            sampler,
            self.stopped,
            self._expect,
            on_picture,
            self._experience,
        )

    def _attempt(self, session: Session) -> Finding:
        """Open the camera and watch it until that fails; return why it did."""
        try:
            return self._open_and_watch(session)
        except Exception as error:
            # Whatever FFmpeg or a camera comes up with, the others go on and this one is tried again. The error's own
            # text is not logged, for it may hold the address.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("camera %s: unforeseen %s\n%s", self._camera.id, type(error).__name__, where)
            return Finding(CameraState.NO_VIDEO, f"reading failed: {type(error).__name__}")

    def _open_and_watch(self, session: Session) -> Finding:
        camera, patience = self._camera, self._patience
        started = time.monotonic()
        self._expect(2 * patience.open)  # FFmpeg opens, then looks for streams, each with this time-out
        with trusted_certificates(camera) as ca_file:
            try:
                container = open_source(camera, patience, ca_file)
            except (FFmpegError, OSError) as error:
                waited = time.monotonic() - started
                self._expect(patience.open)
                return explain_opening(error, camera.source, ca_file, waited, patience.answer)
        with container:
            self._counters.opened += 1
            self._expect(patience.read)
            return session.watch(container)

    def _after_failure(self, finding: Finding, seconds: float) -> float:
        """Report a failure after so many seconds of pictures; return how long to wait before the next attempt.

        A camera that was well and drops the line is tried once before it is called lost: most are back at once.
        """
        steady = seconds >= self._patience.steady
        if steady:
            self._backoff.reset()
        if not steady or finding.state is CameraState.STALLED:
            self._report(self, finding)
        if finding.state is CameraState.AUTH_FAILED:
            return self._backoff.longest()
        return self._backoff.next()
