"""Zones: who is outside opens no visit and is granted nothing, and what moves there wakes no net."""

from datetime import UTC, datetime

import numpy as np
import pytest
from fixtures_watch import FPS, SIZE, resident_frames

from app.access import Verdict
from app.cli.demo_clip import RESIDENT
from app.gallery import Gallery
from app.photos import enrol, read_photo
from app.types import Camera, Decision, Detections, Faces, Frame, GalleryChanges, Image, Person, Zones
from app.vision.motion import Motion
from app.vision.picture import ArrayPicture
from app.vision.zones import Allowed
from workers.pipeline import CameraPipeline, Nets

LEFT: Zones = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),)
MIDDLE: Zones = (((0.25, 0.0), (0.8, 0.0), (0.8, 1.0), (0.25, 1.0)),)
CORNER: Zones = (((0.0, 0.9), (0.06, 0.9), (0.06, 1.0), (0.0, 1.0)),)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_the_middle_of_a_box_decides() -> None:
    allowed = Allowed(LEFT)
    found = boxes((0, 0, 90, 90), (40, 0, 60, 50), (45, 0, 65, 50), (60, 0, 90, 90))  # middles at 45, 50, 55, 75
    assert allowed.persons(Detections(found, np.arange(4, dtype=np.float32)), 100, 100).scores.tolist() == [0, 1]
    faces = Faces(found, np.arange(4, dtype=np.float32), np.zeros((4, 5, 2), np.float32))
    assert allowed.faces(faces, 100, 100).scores.tolist() == [0, 1]
    assert len(allowed.faces(Faces.empty(), 100, 100)) == 0


def test_any_zone_will_do_and_none_means_everywhere() -> None:
    found = Detections(boxes((0, 0, 10, 10), (90, 90, 100, 100)), np.ones(2, np.float32))
    assert len(Allowed(LEFT + CORNER).persons(found, 100, 100)) == 1
    assert len(Allowed(()).persons(found, 100, 100)) == 2


def test_a_polygon_is_more_than_the_box_around_it() -> None:
    triangle: Zones = (((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)),)
    found = Detections(boxes((20, 20, 30, 30), (70, 70, 80, 80)), np.arange(2, dtype=np.float32))
    assert Allowed(triangle).persons(found, 100, 100).scores.tolist() == [0]


def test_motion_counts_within_the_boxes_around_the_zones() -> None:
    everywhere = Motion(np.ones((10, 10), bool), np.ones((10, 10), np.float32), open=True)
    kept = Allowed(LEFT).within(everywhere).active
    assert kept[:, :5].all() and not kept[:, 5:].any()
    assert Allowed(()).within(everywhere).active.all()


@pytest.fixture(scope="module")
def nets() -> Nets:
    return Nets.open()


@pytest.fixture(scope="module")
def gallery(nets: Nets, portrait_files: dict[str, bytes]) -> Gallery:
    vector = enrol(read_photo(portrait_files[RESIDENT]), nets.finder, nets.embedder).vector
    made = Gallery(nets.embedder.dimension)
    made.apply(GalleryChanges(1, frozenset({"per"}), {"per": Person("per", RESIDENT)}, ("per",), vector[None]))
    return made


@pytest.fixture(scope="module")
def film(nets: Nets, portrait_files: dict[str, bytes]) -> list[Image]:
    return list(resident_frames(portrait_files[RESIDENT], nets.finder, 1.0, 4.0))[::2]


def watch(nets: Nets, gallery: Gallery, film: list[Image], zones: Zones) -> tuple[list[Verdict], CameraPipeline]:
    """All verdicts on a film of one visit that the resident makes from left to right."""
    pipeline = CameraPipeline(Camera("c", "main", "Door", "", zones=zones), nets, lambda: gallery, "cardea")
    verdicts: list[Verdict] = []
    for number, image in enumerate(film):
        frame = Frame("c", number, datetime.now(UTC), 100 + number * 2 / FPS, ArrayPicture(image))
        verdicts += pipeline.process(frame, may_grant=True)
    return verdicts + pipeline.close(200.0), pipeline


@pytest.mark.parametrize("zones", [(), MIDDLE])
def test_who_comes_into_a_zone_is_granted(nets: Nets, gallery: Gallery, film: list[Image], zones: Zones) -> None:
    verdicts, _ = watch(nets, gallery, film, zones)
    assert [verdict.decision for verdict in verdicts] == [Decision.GRANTED]


def test_who_stays_outside_opens_no_visit_and_wakes_no_net(nets: Nets, gallery: Gallery, film: list[Image]) -> None:
    assert film[0].shape[:2] == SIZE[::-1]
    verdicts, pipeline = watch(nets, gallery, film, CORNER)
    assert verdicts == []
    _, everywhere = watch(nets, gallery, film, ())
    # Walking in from the left he crosses the corner; from then on all is still there.
    assert pipeline.stages.exited > everywhere.stages.exited + 5
    assert pipeline.stages.cpu_ms["embed"] == 0
