"""A worker: follows the store, owns cameras, runs inference loops over their newest frames.

Threads: one reader per camera, one that follows the store, one inference loop per core (`workers.lanes`). A worker that
has not reached the store for `STALE` seconds still watches, but grants nothing: somebody may have been erased.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from threading import Event as Signal
from threading import Thread

import cv2

from app.errors import EmbedderError, StoreUnavailableError, WorkerError
from app.gallery import Gallery
from app.memory import give_back
from app.store import cameras, events, following, workers
from app.store.engine import Store
from app.store.records import CameraStats
from app.types import Camera, Event
from app.vision.embedder import Embedder
from app.vision.processor import describe, read_cpuinfo
from workers.clocks import Clocks
from workers.galleries import Galleries
from workers.lanes import Lanes
from workers.live import LiveView
from workers.pipeline import CameraPipeline, Nets
from workers.watched import Numbering, WatchedCamera

log = logging.getLogger(__name__)

FOLLOW = 0.5  # seconds between looks at the store: each costs as much as reading a dozen packets
BEAT = 1.0  # seconds between heartbeats; the lease in the store is five times as long
TRIM = 60.0  # seconds between returns of free memory: cameras that come and go leave holes in it
TELL = 2.0  # seconds between reports of what was counted, which go with a heartbeat
ABANDONED = 20  # threads that hang in a decoder and cannot be ended; with more the process is to be replaced
STALE = 3.0  # seconds; less than the lease, so that an erasure which waits for the lease is safe


@dataclass(frozen=True, slots=True)
class Choices:
    """What an operator chose for all cameras of a worker."""

    name: str
    gate: str
    grant_seconds: float


class Worker:
    """Watches every camera that it can claim.

    Args:
        publish: takes each event; it must not wait.
        delivering: tells whether what takes the events on still runs; a worker without it stops.
        live: is offered every analysed frame.
        forget: drops what may be in memory of rows that are gone; called when a gallery has changed.
    """

    def __init__(
        self,
        store: Store,
        nets: Nets,
        publish: Callable[[Event], None],
        delivering: Callable[[], bool],
        choices: Choices,
        live: LiveView,
        forget: Callable[[], None],
    ) -> None:
        self._store = store
        self._forget = forget
        self._nets = nets
        self._publish = publish
        self._delivering = delivering
        self._choices = choices
        self._live = live
        self._incarnation = secrets.token_hex(8)
        self._galleries = Galleries(nets.embedder)
        self._compared = nets.embedder.card.id  # the live embedder, at hand or not
        self._clocks = Clocks()
        self._numbering: dict[str, Numbering] = {}  # of each camera in the newest owner epoch that was ours
        self._lanes = Lanes()
        self._stopping = Signal()
        self._followed = float("-inf")  # monotonic time at which the store was last seen, gallery and all
        self._beat = float("-inf")
        self._told = float("-inf")
        self._threads: list[Thread] = []
        self.failure: BaseException | None = None

    @property
    def watched(self) -> Mapping[str, WatchedCamera]:
        """The cameras that are watched now, by id."""
        return self._lanes.watched

    def start(self) -> None:
        """Enter the worker's name in the store and start its threads.

        Raises:
            StoreUnavailableError: the store cannot be reached.
        """
        cv2.setNumThreads(1)
        with self._store.session() as session:
            workers.start(session, self._choices.name, self._incarnation)
        log.info("nets: %s; processor: %s", ", ".join(self._nets.ids.values()), describe(read_cpuinfo()))
        self._follow()
        bodies = [self._keep_following, *self._lanes.loops(self._stopping, self.may_grant)]
        for number, body in enumerate(bodies):
            name = f"inference-{number}" if number else "following"
            thread = Thread(target=self._guard, args=(body,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop reading and have the last word on open visits. The cameras stay ours until `leave`."""
        self._end()
        for thread in self._threads:
            thread.join(timeout=10)
        self._lanes.close()

    def leave(self) -> None:
        """Give the cameras back, once the last events are stored: a new owner would make the store refuse them."""
        try:
            with self._store.session() as session:
                workers.stop(session, self._choices.name, self._incarnation)
        except StoreUnavailableError:
            log.warning("the store is away: the cameras become free when the lease ends")

    def may_grant(self, clock: float) -> bool:
        """Return whether the gallery is known to be as it was `STALE` seconds ago or later."""
        return clock - self._followed < STALE

    def lose(self, camera: str, owner_epoch: int) -> None:
        """Stop watching a camera that somebody else owns now; called when the store refused its event.

        Args:
            owner_epoch: of the event. One of an earlier watch of ours says nothing about the present one.
        """
        watched = self.watched.get(camera)
        if watched is not None and watched.camera.owner_epoch == owner_epoch:
            self._lanes.drop(watched)

    def _guard(self, body: Callable[[], None]) -> None:
        """Let the process end when a thread does: half a worker would be worse than none."""
        try:
            body()
        except BaseException as error:
            log.exception("a thread of the worker ended")
            self.failure = error
            self._end()
            raise

    def _end(self) -> None:
        self._stopping.set()
        self._lanes.wake()

    def wait(self, seconds: float) -> bool:
        """Wait until the worker stops, of itself or by `stop`; return whether it did."""
        return self._stopping.wait(seconds)

    def _keep_following(self) -> None:
        away = False
        trimmed = time.monotonic()
        while not self._stopping.wait(FOLLOW):
            self._check()
            if time.monotonic() - trimmed >= TRIM:
                give_back()
                trimmed = time.monotonic()
            trouble = self._try_to_follow()
            if trouble and not away:
                log.warning("%s; nothing is granted until that is over", trouble)
            if away and not trouble:
                log.info("the store is back")
            away = bool(trouble)

    def _try_to_follow(self) -> str:
        """Follow the store; return what kept us from granting by it, nothing if all is well."""
        began = time.monotonic()
        try:
            self._follow()
        except StoreUnavailableError as error:
            return str(error)
        spent = time.monotonic() - began
        return f"following the store takes {spent:.1f} s" if spent > STALE else ""

    def _check(self) -> None:
        """Make sure that this process is still worth running.

        Raises:
            WorkerError: it is not; whoever supervises it starts another.
        """
        if not self._delivering():
            raise WorkerError("events are no longer taken on")
        if sum(watched.reader.abandoned for watched in self.watched.values()) > ABANDONED:
            raise WorkerError(f"more than {ABANDONED} reading threads hang in a decoder")

    def _follow(self) -> None:
        """Bring gallery and cameras up to date and renew the lease.

        Raises:
            StoreUnavailableError: the store does not answer.
            StaleOwnerError: another process works under our name.
        """
        started, claimed = time.monotonic(), False
        with self._store.reading() as session:
            marks = following.marks(session, self._choices.name)
            self._compare_by(marks.embedder)
            changed = self._galleries.follow(session, marks.buildings)
        if changed:
            self._forget()  # before the heartbeat says that who left the gallery is gone from here
        if changed or started - self._beat >= BEAT:
            claimed = self._renew(started)
            self._beat = started
        self._followed = started
        watching = {each.camera.id: (each.camera.revision, each.camera.owner_epoch) for each in self.watched.values()}
        if claimed or marks.cameras != watching:
            self._watch(self._ours())

    def _renew(self, clock: float) -> bool:
        """Say that we live and how far we have followed; take cameras that are free, and return whether there were."""
        with self._store.session() as session:
            name, before = self._choices.name, datetime.now(UTC)
            sequences, stats = self._galleries.sequences(), self._stats(clock)
            theirs = workers.heartbeat(session, name, self._incarnation, sequences, stats)
            self._clocks.compare(before, theirs, datetime.now(UTC))
            return bool(cameras.claim(session, name))

    def _ours(self) -> dict[str, Camera]:
        """Return the cameras that are ours, and know how many events each has had in this owner epoch."""
        with self._store.reading() as session:
            ours = {camera.id: camera for camera in cameras.watched(session, self._choices.name)}
            for camera in ours.values():
                known = self._numbering.get(camera.id)
                if known is None or known.camera.owner_epoch != camera.owner_epoch:
                    last = events.last_sequence(session, camera.id, camera.owner_epoch)
                    self._numbering[camera.id] = Numbering(camera, last)
        return ours

    def _compare_by(self, live: str | None) -> None:
        """Go over to the embedder that is live now; without it, know nobody until somebody switches to one at hand."""
        if live is None or live == self._compared:
            return
        self._compared, embedder = live, None
        try:
            embedder = self._nets.embedders.of(live)
            self._nets = self._nets.embedding_by(embedder)
            log.info("embedder %s compares from now on; all cameras are opened anew", live)
        except EmbedderError as error:
            log.error("%s: nobody is recognised; `cardea db check` says what to do", error)
        former, self._galleries = self._galleries, Galleries(embedder)
        for watched in list(self.watched.values()):
            self._lanes.drop(watched)
        former.clear()

    def _gallery(self, embedder: Embedder, building: str) -> Gallery | None:
        """Return whom vectors of this embedder may be compared with, None when another one is live by now."""
        galleries = self._galleries
        return galleries.of(building) if galleries.embedder is embedder else None

    def _stats(self, clock: float) -> dict[str, CameraStats] | None:
        """Return what was counted of each camera, None when that was told lately."""
        if clock - self._told < TELL:
            return None
        self._told = clock
        return {identity: watched.stats() for identity, watched in self.watched.items()}

    def _watch(self, ours: dict[str, Camera]) -> None:
        """Start and stop readers so that exactly the cameras that are ours are watched, each as it is now."""
        for identity, watched in list(self.watched.items()):
            if ours.get(identity) != watched.camera:
                self._lanes.drop(watched)
        for identity, camera in ours.items():
            if identity not in self.watched:
                self._lanes.add(self._open(camera))

    def _open(self, camera: Camera) -> WatchedCamera:
        choices = self._choices
        numbering = self._numbering[camera.id]
        pipeline = CameraPipeline(
            camera,
            self._nets,
            partial(self._gallery, self._nets.embedder, camera.building),
            choices.gate,
            numbering.tamper_of(camera),
        )
        ready = self._lanes.least_busy()
        return WatchedCamera(
            camera, pipeline, numbering, self._nets.ids, choices.grant_seconds, self._publish, ready, self._live
        )
