"""Between a camera and the nets the newest frame wins, and every frame that nobody took is counted."""

from threading import Event, Lock

from app.types import Frame


class Mailbox:
    """One slot. A reader puts, the inference loop takes.

    All mailboxes of a worker share one `ready` event, so that the loop waits for any camera: it waits, clears, then
    tries every mailbox. In that order no frame is overlooked, for whatever comes after the clearing sets it again.
    """

    def __init__(self, ready: Event) -> None:
        self._ready = ready
        self._lock = Lock()
        self._frame: Frame | None = None
        self._dropped = 0

    def put(self, frame: Frame) -> None:
        """Leave a frame in place of the one before it and wake the loop."""
        with self._lock:
            self._dropped += self._frame is not None
            self._frame = frame
        self._ready.set()

    def take(self) -> Frame | None:
        """Return the newest frame and empty the slot."""
        with self._lock:
            frame, self._frame = self._frame, None
        return frame

    @property
    def dropped(self) -> int:
        """Frames that were replaced before anybody took them."""
        return self._dropped
