"""The reader of one camera: keeps a thread reading, whatever happens to it, and says what the camera is doing."""

import logging
from collections.abc import Callable
from threading import Event, RLock, Thread

import av.logging

from app.types import Camera, CameraState
from workers.attention import Attention
from workers.diagnosis import Finding
from workers.light import Experience
from workers.mailbox import Mailbox
from workers.patience import Backoff, Patience
from workers.reading import Reading
from workers.sampling import Counters

log = logging.getLogger(__name__)

_HUNG = Finding(CameraState.STALLED, "reading hangs and was begun anew")


class CameraReader:
    """Reads a camera for ever: `start`, then frames come into the mailbox until `stop`.

    Two threads: one reads (`Reading`), one watches over it and replaces it when it hangs. An abandoned thread cannot
    be ended, only ignored; `abandoned` counts them, so that a process with too many can be replaced.
    """

    def __init__(
        self,
        camera: Camera,
        mailbox: Mailbox,
        on_state: Callable[[CameraState, str], None],
        patience: Patience | None = None,
        attention: Attention | None = None,
    ) -> None:
        """Prepare.

        Args:
            camera: what to read.
            mailbox: gets the frames to be analysed, at most `camera.fps` a second.
            on_state: told each change of state with the reason, which holds no secret. Called by the reader's
                threads, one call at a time, and must not wait.
            patience: time-outs.
            attention: what the analysis sees, so that a still scene is hardly decoded; without one, no scene is still.
        """
        self._camera = camera
        self._mailbox = mailbox
        self._on_state = on_state
        self._patience = patience or Patience()
        self._backoff = Backoff(self._patience.retry_first, self._patience.retry_cap)
        self._experience = Experience(attention or Attention())
        self._stopped = Event()
        self._lock = RLock()  # guards `state` and `_reading`; re-entrant, so that `on_state` may stop the reader
        self.counters = Counters()
        self.state: CameraState | None = None
        self._reading = self._new_reading()
        self._supervisor = Thread(target=self._supervise, name=f"watchdog-{camera.id}", daemon=True)

    @property
    def decoded(self) -> int:
        """Frames decoded since the start."""
        return self.counters.decoded

    @property
    def abandoned(self) -> int:
        """Reading threads that hung and were replaced."""
        return self.counters.abandoned

    def start(self) -> None:
        """Begin to read."""
        av.logging.set_level(None)  # FFmpeg's own messages repeat addresses with their passwords
        self._reading.start(delay=0.0)
        self._supervisor.start()

    def stop(self) -> None:
        """Read no more; returns at once, and no state is reported from now on."""
        with self._lock:
            self._stopped.set()
            self._reading.stopped.set()

    def join(self, seconds: float) -> bool:
        """Wait for the threads to end after `stop`; false when reading hangs."""
        self._supervisor.join(seconds)
        return self._reading.join(seconds) and not self._supervisor.is_alive()

    def _new_reading(self) -> Reading:
        return Reading(
            self._camera,
            self._mailbox,
            self._patience,
            self._backoff,
            self.counters,
            self._experience,
            self._report,
        )

    def _supervise(self) -> None:
        while not self._stopped.wait(self._patience.hang / 8):
            with self._lock:
                if self._reading.hangs and not self._stopped.is_set():
                    self._replace()

    def _replace(self) -> None:
        """Leave the hanging thread alone and start another one."""
        self.counters.abandoned += 1
        self._report(self._reading, _HUNG)
        self._reading.stopped.set()
        self._reading = self._new_reading()
        self._reading.start(self._backoff.next())

    def _report(self, reading: Reading, finding: Finding) -> None:
        """Pass a change of state on, unless it comes from a thread that was given up."""
        with self._lock:
            if reading is not self._reading or self._stopped.is_set() or finding.state is self.state:
                return
            self.state = finding.state
            log.info("camera %s: %s, %s", self._camera.id, finding.state, finding.detail)
            self._on_state(finding.state, finding.detail)
