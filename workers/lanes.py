"""Inference loops and the cameras that they analyse.

A camera belongs to one loop, so its state is touched by one thread, and people at many doors at once do not queue for a
single core.
"""

import logging
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Event as Signal
from threading import Lock

from workers.watched import WatchedCamera

log = logging.getLogger(__name__)

LOOPS = 8  # more would wait for memory, not for cores
IDLE = 0.5  # seconds after which a loop looks around although nobody woke it


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """One inference loop: what wakes it, and the cameras that it has to say goodbye to."""

    ready: Signal = field(default_factory=Signal)
    retired: deque[WatchedCamera] = field(default_factory=deque)


class Lanes:
    """All loops, one per core, and every camera that is watched.

    Attributes:
        watched: by id; replaced whole by any thread that adds or drops, so whoever reads it needs no lock.
    """

    def __init__(self) -> None:
        self._lanes = [Lane() for _ in range(min(len(os.sched_getaffinity(0)), LOOPS))]
        self._changing = Lock()
        self.watched: dict[str, WatchedCamera] = {}

    def loops(self, stopping: Signal, may_grant: Callable[[float], bool]) -> list[Callable[[], None]]:
        """Return the body of each loop's thread; it returns soon after `stopping` is set and `wake` called."""
        return [partial(self._infer, lane, stopping, may_grant) for lane in self._lanes]

    def wake(self) -> None:
        """Let every loop look around."""
        for lane in self._lanes:
            lane.ready.set()

    def least_busy(self) -> Signal:
        """Return what wakes the loop with the fewest cameras."""
        return min(self._lanes, key=lambda lane: len(self._watched_in(lane))).ready

    def add(self, watched: WatchedCamera) -> None:
        """Take on a camera, which wakes one of our loops, and begin to read it."""
        with self._changing:
            self.watched = self.watched | {watched.camera.id: watched}
        watched.reader.start()
        log.info("watching %s (%s)", watched.camera.name, watched.camera.id)

    def drop(self, watched: WatchedCamera) -> None:
        """Read a camera no more; its loop has the last word on its visits. Without effect when it is gone already."""
        with self._changing:
            if watched not in self.watched.values():
                return  # somebody else did
            self.watched = {key: value for key, value in self.watched.items() if value is not watched}
        watched.reader.stop()
        lane = next(lane for lane in self._lanes if lane.ready is watched.ready)
        lane.retired.append(watched)
        lane.ready.set()
        log.info("no longer watching %s (%s)", watched.camera.name, watched.camera.id)

    def close(self) -> None:
        """Stop reading everything and have the last word on all visits; for use once the loops have ended."""
        for watched in self.watched.values():
            watched.reader.stop()
        for watched in [*(camera for lane in self._lanes for camera in lane.retired), *self.watched.values()]:
            self._step(watched, watched.close)

    def _infer(self, lane: Lane, stopping: Signal, may_grant: Callable[[float], bool]) -> None:
        while not stopping.is_set():
            lane.ready.wait(timeout=IDLE)
            lane.ready.clear()  # before looking, so that a frame that comes now wakes us again
            while lane.retired:
                retired = lane.retired.popleft()
                self._step(retired, retired.close)
            for watched in self._watched_in(lane):
                self._step(watched, partial(watched.step, may_grant))

    def _watched_in(self, lane: Lane) -> list[WatchedCamera]:
        return [watched for watched in self.watched.values() if watched.ready is lane.ready]

    def _step(self, watched: WatchedCamera, body: Callable[[], None]) -> None:
        """Do something for one camera; a camera that fails is begun anew and harms no other door."""
        try:
            body()
        except Exception:
            log.exception("the analysis of %s failed and is begun anew", watched.camera.id)
            self.drop(watched)
