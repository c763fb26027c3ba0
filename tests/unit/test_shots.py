"""Which faces of a track are worth an embedding; at the end everything together on a portrait that walks."""

from dataclasses import replace
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from app.types import Faces, FaceShot, Frame, Image, Reason, Track
from app.vision.artefact import shipped
from app.vision.detector import Detector
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from app.vision.picture import ArrayPicture
from app.vision.regions import head_regions
from app.vision.shots import APART, BETTER, ENOUGH, FIRST, INTERVAL, REFRESH, BestShots
from app.vision.tracker import Tracker

COLLINS = "Eileen Collins"


@pytest.fixture(scope="module")
def portrait(portrait_files: dict[str, bytes]) -> Image:
    return cv2.imdecode(np.frombuffer(portrait_files[COLLINS], np.uint8), cv2.IMREAD_COLOR)


def frame(image: Image, clock: float) -> Frame:
    return Frame("door", round(clock * 25), datetime(2025, 5, 5, tzinfo=UTC), clock, ArrayPicture(image))


def track(number: int, face: int | None) -> Track:
    return Track(number, np.array([0, 0, 100, 200], np.float32), born=0, seen=0, confirmed=True, face=face)


class Scene:
    """One picture, shown again and again."""

    def __init__(self, finder: FaceFinder, image: Image) -> None:
        self.image = image
        self.faces = finder.find(image)
        self.shots = BestShots()

    def offer(self, clock: float, number: int = 1, faces: Faces | None = None) -> list[FaceShot]:
        return self.shots.offer(frame(self.image, clock), [track(number, 0)], self.faces if faces is None else faces)

    def times(self, fps: int, seconds: float) -> list[float]:
        """When shots are taken."""
        return [step / fps for step in range(int(seconds * fps)) if self.offer(step / fps)]


@pytest.fixture
def scene(face_nets: tuple[FaceFinder, Embedder], portrait: Image) -> Scene:
    return Scene(face_nets[0], portrait)


def smaller(finder: FaceFinder, portrait: Image, scale: float) -> Scene:
    return Scene(finder, cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def test_a_shot_holds_the_aligned_face(scene: Scene) -> None:
    (shot,) = scene.offer(3.0, number=7)
    assert (shot.track, shot.clock, shot.captured_at) == (7, 3.0, datetime(2025, 5, 5, tzinfo=UTC))
    assert shot.crop.shape == (112, 112, 3)
    assert shot.quality.usable
    np.testing.assert_array_equal(shot.box, scene.faces.boxes[0])


@pytest.mark.parametrize("fps", [5, 25])
def test_the_first_shots_come_at_once_and_later_ones_seldom(scene: Scene, fps: int) -> None:
    times = scene.times(fps, 30)
    gaps = np.diff(times)
    frame_time = 1 / fps
    assert times[0] == 0
    assert (gaps[: FIRST - 1] <= APART + frame_time + 1e-9).all()
    assert (gaps[FIRST - 1 : ENOUGH - 1] >= INTERVAL - 1e-9).all()
    assert (gaps[FIRST - 1 : ENOUGH - 1] <= INTERVAL + frame_time + 1e-9).all()
    assert (gaps[ENOUGH - 1 :] >= REFRESH - 1e-9).all()
    assert (gaps[ENOUGH - 1 :] <= REFRESH + frame_time + 1e-9).all()
    assert gaps.min() >= APART - 1e-9


def test_a_clearly_better_face_does_not_wait(face_nets: tuple[FaceFinder, Embedder], portrait: Image) -> None:
    scene = Scene(face_nets[0], cv2.GaussianBlur(portrait, (0, 0), 1.8))
    taken = [scene.offer(clock) for clock in (0.0, 0.2, 0.4)]
    assert all(taken)
    assert not scene.offer(0.6), "the same once more"
    closer = Scene(face_nets[0], portrait)
    scene.image, scene.faces = closer.image, closer.faces
    (shot,) = scene.offer(0.65)
    assert shot.quality.score > BETTER * taken[0][0].quality.score


def test_tracks_do_not_wait_for_each_other(scene: Scene) -> None:
    assert scene.times(5, 2)
    assert scene.offer(2.01, number=2)


def test_a_face_is_refused_with_its_reason_until_one_is_usable(
    face_nets: tuple[FaceFinder, Embedder], portrait: Image
) -> None:
    scene = Scene(face_nets[0], portrait)
    doubtful = replace(scene.faces, scores=np.full(1, 0.65, np.float32))
    far = smaller(face_nets[0], portrait, 0.25)
    assert scene.shots.rejected == {}
    assert not scene.offer(0.0, faces=doubtful)
    assert scene.shots.rejected == {1: Reason.LOW_DETECTION_SCORE}
    assert not scene.shots.offer(frame(far.image, 0.2), [track(1, 0)], far.faces)
    assert scene.shots.rejected == {1: Reason.FACE_TOO_SMALL}
    assert not scene.offer(0.4, faces=doubtful)
    assert scene.shots.rejected == {1: Reason.FACE_TOO_SMALL}, "the better of the two"

    assert scene.offer(0.6)
    assert scene.shots.rejected == {}
    assert not scene.offer(0.8, faces=doubtful)
    assert scene.shots.rejected == {}, "there was a usable one"


def test_what_is_forgotten_starts_anew(scene: Scene) -> None:
    assert scene.times(5, 0.8) == [0.0, 0.2, 0.4]
    assert not scene.offer(0.7)
    scene.shots.forget(1)
    assert scene.offer(0.7)
    scene.shots.forget(99)


def test_nobody_and_bodies_without_a_face_give_nothing(scene: Scene) -> None:
    assert scene.shots.offer(frame(scene.image, 0.0), [track(1, None)], Faces.empty()) == []
    assert scene.shots.offer(frame(scene.image, 0.2), [], scene.faces) == []
    assert scene.shots.rejected == {}


def test_a_portrait_that_walks_is_one_track_of_one_person(
    face_nets: tuple[FaceFinder, Embedder], portrait: Image
) -> None:
    finder, embedder = face_nets
    # In floats, so that every processor finds the same: the net is hardly sure of half a portrait on plain grey.
    detector = Detector(shipped("detector"), precision="fp32")
    tracker, best = Tracker(detector.sure), BestShots()
    rng = np.random.default_rng(5)
    taken: list[FaceShot] = []
    for step in range(15):
        size = 220 + 8 * step  # comes nearer
        canvas = np.full((360, 640, 3), 140, np.uint8)
        figure = cv2.resize(portrait, (size, size), interpolation=cv2.INTER_AREA)[: min(size, 360)]
        left = 10 + 18 * step
        canvas[360 - len(figure) :, left : left + size] = figure
        canvas = (canvas + rng.normal(0, 3, canvas.shape)).clip(0, 255).astype(np.uint8)
        shown = frame(canvas, step / 5)
        persons = detector.finish(detector.look(shown.picture))
        searched = head_regions(np.concatenate([persons.boxes, tracker.boxes()]), 640, 360)
        faces = finder.find_in(shown.picture, searched)
        tracks = tracker.update(persons, faces, shown.clock, 640, 360)
        taken += best.offer(shown, tracks, faces)
        assert [one.face for one in tracks] == [0]
    assert {shot.track for shot in taken} == {1}
    assert len(taken) >= FIRST + 3
    vectors = embedder.embed([shot.crop for shot in taken])
    assert (vectors @ vectors.T).min() > 0.7
