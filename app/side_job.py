"""A job beside the main one: one named thread, told to end, watched by whoever supervises the process."""

import threading
from abc import ABC, abstractmethod


class SideJob(ABC):
    """Runs `_run` in a thread of its own, until `_stopping` is set.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs; it ends by itself only through a defect."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Let what is in hand end, and return when it has; the rest is done by whoever comes next."""
        self._stopping.set()
        self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Work until `_stopping` is set."""
