"""One watched camera: its reader, its pipeline, and the events that carry its name and number."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event as Signal
from threading import Lock

import numpy as np

from app.access import Verdict
from app.store.records import CameraStats
from app.types import AccessEvent, Array, Camera, CameraEvent, CameraState, Decision, Event, Frame, TamperEvent
from app.vision.tamper import Change, TamperWatch
from workers import stills
from workers.attention import Attention
from workers.live import LiveView
from workers.mailbox import Mailbox
from workers.pipeline import CameraPipeline
from workers.reader import CameraReader


@dataclass(slots=True)
class Numbering:
    """What outlives a watch of a camera within one owner epoch: the number of its last event, and its tampering.

    What was said of tampering may still wait to be stored when the camera is opened anew. States come from the reader's
    thread.
    """

    camera: Camera
    last: int = 0
    tampered_since: datetime | None = field(init=False)
    _tamper: TamperWatch = field(init=False)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Begin with what the store knows."""
        said = self.camera.tampering
        self.tampered_since = None if said is None else said.since
        self._tamper = TamperWatch(None if said is None else said.kind)

    def tamper_of(self, camera: Camera) -> TamperWatch:
        """Return the watch over the view of the camera as it is now; with another source it begins anew."""
        if camera.source != self.camera.source:
            self._tamper = TamperWatch(self._tamper.told)
        self.camera = camera
        return self._tamper

    def publish(self, make: Callable[[str, int], Event], publish: Callable[[Event], None]) -> None:
        """Make the next event from its id and sequence number, and publish it before any later one."""
        with self._lock:
            self.last += 1
            publish(make(f"{self.camera.id}.{self.camera.owner_epoch}.{self.last}", self.last))


class WatchedCamera:
    """A camera that this worker owns. `step` and `close` belong to the inference loop."""

    def __init__(
        self,
        camera: Camera,
        pipeline: CameraPipeline,
        numbering: Numbering,
        nets: dict[str, str],
        grant_seconds: float,
        publish: Callable[[Event], None],
        ready: Signal,
        live: LiveView,
    ) -> None:
        self.camera = camera
        self.pipeline = pipeline
        self.state: CameraState | None = None
        self._numbering = numbering
        self._nets = nets
        self._grant = timedelta(seconds=grant_seconds)
        self._publish = publish
        self.ready = ready  # wakes the inference loop that this camera belongs to
        self._live = live
        self._since, self._opened = datetime.now(UTC), time.monotonic()
        self._lag = 0.0  # seconds
        self._lost: deque[float] = deque(maxlen=1)  # when the camera was last lost, until the loop has seen it
        self.mailbox = Mailbox(ready)
        self.attention = Attention(lambda: live.shows(camera.id))
        self.reader = CameraReader(camera, self.mailbox, self._state_changed, attention=self.attention)

    def step(self, may_grant: Callable[[float], bool]) -> None:
        """Analyse the newest frame, if there is one, and publish what was decided.

        Args:
            may_grant: tells whether the gallery is known to be up to date at a monotonic time.
        """
        if self._lost:
            self._close_visits(self._lost.pop())
        frame = self.mailbox.take()
        if frame is None:
            return
        started = time.monotonic()
        worth = started - frame.clock < self._grant.total_seconds()  # no longer, after this process stood still
        for verdict in self.pipeline.process(frame, may_grant=worth and may_grant(started)):
            self._announce(verdict, frame, started)
        if self.pipeline.tampering is not None:
            self._announce_tampering(self.pipeline.tampering, frame)
        self._record(frame)
        self._lag = time.monotonic() - frame.clock
        self._live.offer(self.camera, frame, self.pipeline)

    def stats(self) -> CameraStats:
        """Return what was counted since this camera was opened."""
        stages = self.pipeline.stages
        return CameraStats(
            since=self._since,
            seconds=round(time.monotonic() - self._opened, 3),
            fps=self.camera.fps,
            lag=round(self._lag, 4),
            decoded=self.reader.decoded,
            analysed=stages.analysed,
            exited=stages.exited,
            dropped=self.mailbox.dropped,
            cpu_ms={stage: round(ms, 3) for stage, ms in stages.cpu_ms.items()},
        )

    def close(self) -> None:
        """Have the last word on all visits: this camera is watched no longer, or not by us."""
        self._close_visits(time.monotonic())

    def _record(self, frame: Frame) -> None:
        """Let the reader know whether anything is worth decoding for."""
        sight = self.pipeline.sight
        if sight is not None:
            self.attention.record(frame.clock, still=not sight.motion.open, people=bool(sight.tracks))

    def _close_visits(self, clock: float) -> None:
        for verdict in self.pipeline.close(clock):
            self._announce(verdict, verdict.frame, verdict.frame.clock)

    def _announce(self, verdict: Verdict, frame: Frame, started: float) -> None:
        self._numbering.publish(
            lambda identity, sequence: self._access_event(identity, sequence, verdict, frame, started), self._publish
        )

    def _state_changed(self, state: CameraState, detail: str) -> None:
        """Publish a new state; called by the reader's thread."""
        previous, self.state = self.state, state
        if previous is CameraState.ONLINE:
            self._lost.append(time.monotonic())
            self.ready.set()
        camera = self.camera
        self._numbering.publish(
            lambda identity, sequence: CameraEvent(
                identity,
                sequence,
                camera.owner_epoch,
                camera.building,
                camera.id,
                state,
                previous,
                detail,
                datetime.now(UTC),
            ),
            self._publish,
        )

    def _announce_tampering(self, change: Change, frame: Frame) -> None:
        """Say that tampering began or ended; an end goes with the beginning that was said last, by whomever."""
        camera, turned = self.camera, frame.captured_at - timedelta(seconds=frame.clock - change.since)
        ended, said = change.ended_by is not None, self._numbering.tampered_since
        since = said if ended and said is not None else turned
        self._numbering.tampered_since = None if ended else since
        self._numbering.publish(
            lambda identity, sequence: TamperEvent(
                identity,
                sequence,
                camera.owner_epoch,
                camera.building,
                camera.id,
                change.kind,
                since,
                turned if ended else None,
                change.ended_by,
                change.detail,
                datetime.now(UTC),
            ),
            self._publish,
        )

    def _access_event(
        self, identity: str, sequence: int, verdict: Verdict, frame: Frame, started: float
    ) -> AccessEvent:
        """Write a verdict down; its times follow the monotonic clock from the capture on."""
        camera, shot = self.camera, verdict.shot
        decided = time.monotonic()
        width, height = verdict.frame.picture.width, verdict.frame.picture.height
        latency = self.pipeline.stages.wall_ms | {
            "wait": (started - frame.clock) * 1e3,
            "capture_to_decision": (decided - frame.clock) * 1e3,
        }
        return AccessEvent(
            id=identity,
            sequence=sequence,
            owner_epoch=camera.owner_epoch,
            building=camera.building,
            camera=camera.id,
            door=camera.door,
            visit=verdict.visit,
            decision=verdict.decision,
            reasons=verdict.reasons,
            person=verdict.person.id if verdict.person else None,
            person_name=verdict.person.name if verdict.person else None,
            similarity=verdict.similarity,
            threshold=verdict.threshold,
            margin=verdict.margin,
            quality=shot.quality.score if shot else None,
            box=_share(shot.box, width, height) if shot else None,
            nets=self._nets,
            captured_at=frame.captured_at,
            decided_at=frame.captured_at + timedelta(seconds=decided - frame.clock),
            expires_at=frame.captured_at + (self._grant if verdict.decision is Decision.GRANTED else timedelta()),
            latency_ms={name: round(ms, 3) for name, ms in latency.items()},
            snapshot=stills.snapshot(verdict.frame.picture),
            portrait=stills.portrait(verdict.frame.picture, shot.box) if shot else None,
        )


def _share(box: Array, width: int, height: int) -> tuple[float, float, float, float]:
    """Return a pixel box as shares of the picture, clipped to it."""
    x1, y1, x2, y2 = np.clip(box / np.array([width, height, width, height]), 0, 1).round(4).tolist()
    return x1, y1, x2, y2
