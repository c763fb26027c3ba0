"""A camera that is opened anew, after an edit or a failure, goes on with what was known and said of its view."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from app.gallery import Gallery
from app.types import Camera, Ending, Event, Frame, Image, TamperEvent, Tampering, TamperKind
from app.vision.picture import ArrayPicture
from app.vision.tamper import ACCEPTANCE
from workers.live import LiveView
from workers.pipeline import CameraPipeline, Nets
from workers.simulator.people import hallway
from workers.watched import Numbering, WatchedCamera

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COVERED: Image = np.full((360, 640, 3), 128, np.uint8)
CAMERA = Camera("cam-1", "main", "Door", "door.mp4")


class Door:
    """A camera whose frames are put in by hand, a second apart; nothing that is published is ever stored."""

    def __init__(self, nets: Nets, camera: Camera = CAMERA) -> None:
        self.nets = nets
        self.numbering = Numbering(camera)
        self.published: list[Event] = []
        self.clock = 1000.0
        self.open(camera)

    def open(self, camera: Camera) -> None:
        """Open the camera, anew if it was open."""
        gallery = Gallery(self.nets.embedder.dimension)
        tamper = self.numbering.tamper_of(camera)
        pipeline = CameraPipeline(camera, self.nets, lambda: gallery, "cardea", tamper)
        live = LiveView("redis://127.0.0.1:1/0", "none", list)
        publish: Callable[[Event], None] = self.published.append
        self.watched = WatchedCamera(
            camera, pipeline, self.numbering, self.nets.ids, 5.0, publish, threading.Event(), live
        )

    def show(self, seen: Image, seconds: int) -> list[tuple[TamperKind, datetime, Ending | None]]:
        """Return kind, beginning and ending of what was said meanwhile."""
        before = len(self.published)
        for _ in range(seconds):
            self.clock += 1
            self.watched.mailbox.put(Frame("cam-1", 0, datetime.now(UTC), self.clock, ArrayPicture(seen)))
            self.watched.step(lambda clock: False)
        said = [event for event in self.published[before:] if isinstance(event, TamperEvent)]
        return [(event.kind, event.since, event.ended_by) for event in said]


@pytest.fixture(scope="module")
def nets() -> Nets:
    return Nets.open()


@pytest.fixture
def door(nets: Nets) -> Door:
    """A camera that knows its view."""
    made = Door(nets)
    assert made.show(hallway(640, 360), 40) == []
    return made


def test_a_beginning_has_one_end_although_the_camera_was_opened_anew_before_it_was_stored(door: Door) -> None:
    ((kind, since, how),) = door.show(COVERED, 20)
    assert (kind, how) == (TamperKind.COVERED, None)
    door.open(replace(CAMERA, name="Renamed", revision=2))
    assert door.show(COVERED, 20) == []
    assert door.show(hallway(640, 360), 20) == [(kind, since, Ending.RECOVERED)]
    door.open(replace(CAMERA, revision=3, tampering=Tampering(kind, "", since)))  # the store is behind
    assert door.show(hallway(640, 360), 20) == []


def test_the_view_is_known_after_an_edit(door: Door) -> None:
    door.open(replace(CAMERA, name="Renamed", revision=2))
    assert [kind for kind, _, _ in door.show(COVERED, 20)] == [TamperKind.COVERED]


def test_another_source_has_another_view(door: Door) -> None:
    door.open(replace(CAMERA, source="other.mp4", revision=2))
    assert door.show(COVERED, 40) == []


def test_another_worker_goes_on_under_the_beginning_that_is_stored(nets: Nets) -> None:
    door = Door(nets, replace(CAMERA, tampering=Tampering(TamperKind.TURNED, "", NOON)))
    said = door.show(hallway(640, 360), round(ACCEPTANCE) + 40)
    assert said == [(TamperKind.TURNED, NOON, Ending.ACCEPTED)]
