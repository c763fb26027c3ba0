"""The early exit: its rules on scenes made of feature maps."""

from collections.abc import Iterator

import numpy as np
import pytest

from app.types import Array, Detections
from app.vision.gate import GATES, AdaptiveGate, Gate, Motion, OpenGate, make_gate, moving
from app.vision.motion import Why

CHANNELS, SIDE = 8, 12
WIDTH, HEIGHT = 640, 480  # a cell is 53 by 40 pixels
NOBODY = np.zeros((0, 4), np.float32)
PERSON = np.array([(220, 130, 310, 310)], np.float32)  # touches rows 3 to 7, columns 4 and 5
PLACE = (slice(3, 8), slice(4, 6))


class Scene:
    """A room as the stem sees it: the same map in every frame, with noise, and things put into it."""

    def __init__(self, fps: float = 12.5, noise: float = 0.05) -> None:
        self.random = np.random.default_rng(7)
        self.room = self.random.standard_normal((CHANNELS, SIDE, SIDE)).astype(np.float32)
        self.thing = self.random.standard_normal((CHANNELS, 5, 2)).astype(np.float32)
        self.noise = noise
        self.fps = fps
        self.clock = 1000.0

    def with_thing(self, room: Array | None = None) -> Array:
        picture = (self.room if room is None else room).copy()
        picture[:, *PLACE] = self.thing
        return picture

    def frames(self, picture: Array, seconds: float) -> Iterator[tuple[Array, float]]:
        for _ in range(round(seconds * self.fps)):
            self.clock += 1 / self.fps
            noise = self.random.standard_normal(picture.shape).astype(np.float32)
            yield picture + noise * np.float32(self.noise), self.clock

    def show(
        self, gate: Gate, picture: Array, seconds: float, hold: bool = False, person: Array | None = None
    ) -> list[Motion]:
        motions = []
        for features, clock in self.frames(picture, seconds):
            motions.append(gate.update(features, clock, hold))
            if person is not None:
                gate.protect(person, WIDTH, HEIGHT, clock)
        return motions


def open_share(motions: list[Motion]) -> float:
    return float(np.mean([motion.open for motion in motions]))


# --- what all rules keep


@pytest.mark.parametrize("mode", sorted(GATES))
def test_a_gate_opens_for_hold_and_never_says_nan(mode: str) -> None:
    gate, scene = make_gate(mode), Scene()
    scene.show(gate, scene.room, 2)
    broken = scene.room.copy()
    broken[:, 2, 3] = np.nan
    broken[0, 5, 5] = np.inf
    broken[:, 8, 8] = 0
    huge, tiny = np.full_like(broken, 3e38), np.full_like(broken, 1e-40)
    huge[::2] *= -1
    for picture in (broken, np.zeros_like(broken), huge, tiny, scene.room):
        for motion in scene.show(gate, picture, 1, hold=True):
            assert motion.open
            assert np.isfinite(motion.distance).all()
            assert motion.distance.min() >= 0
            assert motion.distance.max() <= 1
    after = scene.show(gate, scene.room, 1)
    assert all(np.isfinite(motion.distance).all() for motion in after)


@pytest.mark.parametrize(("mode", "warm_up"), [("cardea", 5), ("published", 0)])
@pytest.mark.parametrize("fps", [2.0, 5.0, 12.5, 25.0])
def test_a_still_scene_exits_on_every_frame_after_the_warm_up(mode: str, warm_up: int, fps: float) -> None:
    scene = Scene(fps, noise=0.0)
    motions = scene.show(make_gate(mode), scene.room, 40 / fps)
    assert [motion.open for motion in motions] == [True] * warm_up + [False] * (40 - warm_up)


@pytest.mark.parametrize("mode", ["cardea", "published"])
def test_broken_features_open_the_gate_and_are_forgotten(mode: str) -> None:
    gate, scene = make_gate(mode), Scene()
    scene.show(gate, scene.room, 2)
    for value in (np.nan, np.inf, 3e38):
        scene.clock += 0.08
        assert gate.update(np.full_like(scene.room, value), scene.clock, hold=False).open
    assert open_share(scene.show(gate, scene.room, 2)[-12:]) == 0


def test_open_gate_drops_nothing() -> None:
    motion = OpenGate().update(np.zeros((CHANNELS, SIDE, SIDE), np.float32), 0.0, hold=False)
    boxes = np.concatenate([PERSON, PERSON + 100, PERSON - 300])
    found = Detections(boxes, np.array([0.9, 0.7, 0.5], np.float32))
    kept = moving(found, motion, NOBODY, WIDTH, HEIGHT)
    assert motion.open
    np.testing.assert_array_equal(kept.boxes, found.boxes)
    np.testing.assert_array_equal(kept.scores, found.scores)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(KeyError):
        make_gate("ajar")


def test_a_gate_says_why_it_is_open() -> None:
    gate, scene = AdaptiveGate(), Scene(noise=0.0)
    assert [motion.why for motion in scene.show(gate, scene.room, 0.8)] == [Why.WARMING_UP] * 5 + [None] * 5
    assert {motion.why for motion in scene.show(gate, scene.room, 0.8, hold=True)} == {Why.FOLLOWED}
    assert {motion.why for motion in scene.show(gate, scene.with_thing(), 0.8, hold=True)} == {Why.MOTION}
    assert gate.update(np.full_like(scene.room, np.nan), scene.clock + 1, hold=True).why == Why.BROKEN


def test_strength_says_how_clearly_the_gate_is_open() -> None:
    gate, scene = AdaptiveGate(), Scene()
    scene.show(gate, scene.room, 10)
    still, moving_ = scene.show(gate, scene.room, 4), scene.show(gate, scene.with_thing(), 4)
    assert all(motion.open == (motion.strength > 1) for motion in still + moving_)
    assert min(motion.strength for motion in moving_) > 2 * max(motion.strength for motion in still)


# --- the adaptive rule, at the frame rates of real cameras


@pytest.fixture(params=[5.0, 12.5, 25.0])
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


@pytest.fixture
def gate(scene: Scene) -> AdaptiveGate:
    """A gate that has known the scene for ten seconds and left it still."""
    gate = AdaptiveGate()
    assert open_share(scene.show(gate, scene.room, 10)[-round(8 * scene.fps) :]) < 0.02
    return gate


def test_noise_is_learnt(scene: Scene, gate: AdaptiveGate) -> None:
    scene.noise = 0.2
    scene.show(gate, scene.room, 30)
    assert open_share(scene.show(gate, scene.room, 20)) < 0.05


def test_motion_opens_at_once_and_where_it_is(scene: Scene, gate: AdaptiveGate) -> None:
    motions = scene.show(gate, scene.with_thing(), 1)
    assert open_share(motions) == 1
    expected = np.zeros((SIDE, SIDE), bool)
    expected[PLACE] = True
    np.testing.assert_array_equal(motions[-1].active, expected)


def test_what_stays_is_absorbed_and_known_again(scene: Scene, gate: AdaptiveGate) -> None:
    motions = scene.show(gate, scene.with_thing(), 12)
    assert open_share(motions[: round(7 * scene.fps)]) == 1
    assert open_share(motions[round(9 * scene.fps) :]) == 0
    assert open_share(scene.show(gate, scene.room, 2)[round(0.8 * scene.fps) :]) == 0  # the second background
    assert open_share(scene.show(gate, scene.with_thing(), 2)[round(0.8 * scene.fps) :]) == 0


def test_a_person_who_stands_is_not_absorbed(scene: Scene, gate: AdaptiveGate) -> None:
    assert open_share(scene.show(gate, scene.with_thing(), 60, person=PERSON)) == 1
    assert open_share(scene.show(gate, scene.room, 3)[round(1 * scene.fps) :]) == 0


def test_protection_ends_soon_after_the_last_detection(scene: Scene, gate: AdaptiveGate) -> None:
    scene.show(gate, scene.with_thing(), 20, person=PERSON)
    after = scene.show(gate, scene.with_thing(), 12)
    assert open_share(after[: round(7 * scene.fps)]) == 1  # the whole dwell time
    assert open_share(after[round(9 * scene.fps) :]) == 0


@pytest.mark.parametrize("found", [0.5, 0.1])
def test_a_person_whom_the_net_finds_now_and_then_is_not_absorbed(found: float) -> None:
    gate, scene = AdaptiveGate(), Scene(12.5)
    scene.show(gate, scene.room, 10)
    motions = []
    for features, clock in scene.frames(scene.with_thing(), 60):
        motions.append(gate.update(features, clock, hold=False))
        if scene.random.random() < found:
            gate.protect(PERSON, WIDTH, HEIGHT, clock)
    assert open_share(motions) == 1


def test_a_coat_that_looks_like_a_person_is_furniture_in_the_end(scene: Scene, gate: AdaptiveGate) -> None:
    motions = scene.show(gate, scene.with_thing(), 130, person=PERSON)
    assert open_share(motions[: round(115 * scene.fps)]) == 1
    assert open_share(motions[round(124 * scene.fps) :]) == 0


def test_someone_who_moves_is_never_furniture(scene: Scene, gate: AdaptiveGate) -> None:
    other = scene.with_thing()
    other[:, *PLACE] = scene.random.standard_normal((CHANNELS, 5, 2))
    for _ in range(40):  # three minutes and more of shifting from foot to foot
        assert open_share(scene.show(gate, scene.with_thing(), 3, person=PERSON)) == 1
        assert open_share(scene.show(gate, other, 2, person=PERSON)) == 1


def test_another_light_is_absorbed_everywhere(scene: Scene, gate: AdaptiveGate) -> None:
    offset = scene.random.standard_normal((CHANNELS, 1, 1)).astype(np.float32)
    motions = scene.show(gate, scene.room * np.float32(0.6) + offset, 12)
    assert motions[round(1 * scene.fps)].active.mean() > 0.6
    assert open_share(motions[: round(2 * scene.fps)]) == 1
    assert open_share(motions[round(4 * scene.fps) :]) == 0  # sooner than what changed in one place


def test_a_person_in_the_new_light_is_not_absorbed_with_it(scene: Scene, gate: AdaptiveGate) -> None:
    offset = scene.random.standard_normal((CHANNELS, 1, 1)).astype(np.float32)
    dark = scene.room * np.float32(0.6) + offset
    motions = scene.show(gate, scene.with_thing(dark), 30, person=PERSON)
    assert open_share(motions) == 1
    expected = np.zeros((SIDE, SIDE), bool)
    expected[2:9, 3:7] = True  # the box and its margin
    assert not motions[-1].active[~expected].any()


def test_noise_that_grows_everywhere_is_no_motion(scene: Scene, gate: AdaptiveGate) -> None:
    scene.noise *= 1.6  # the camera raises its gain
    assert open_share(scene.show(gate, scene.room, 20)) < 0.02


def test_nobody_vanishes_between_two_frames(scene: Scene, gate: AdaptiveGate) -> None:
    cut = scene.room.copy()
    cut[:, 1:3, 1:3] = scene.thing[:, :2]  # what is left where nobody was found is no person
    crowd = scene.room.copy()
    crowd[:, 1:9, 1:9] = scene.random.standard_normal((CHANNELS, 8, 8))
    assert open_share(scene.show(gate, crowd, 2)) == 1
    assert open_share(scene.show(gate, cut, 3)[round(1.6 * scene.fps) :]) == 0


def test_who_stays_where_others_vanish_stays_if_found(scene: Scene, gate: AdaptiveGate) -> None:
    crowd = scene.with_thing()
    crowd[:, 0:3, :] = scene.random.standard_normal((CHANNELS, 3, SIDE))
    scene.show(gate, crowd, 2, person=PERSON)
    assert open_share(scene.show(gate, scene.with_thing(), 10, person=PERSON)) == 1


@pytest.mark.parametrize("fps", [2.5, 3.0, 5.0])
def test_who_stood_still_before_others_vanished_is_no_background(fps: float) -> None:
    gate, scene = AdaptiveGate(), Scene(fps)
    scene.show(gate, scene.room, 10)
    crowd = scene.with_thing()
    crowd[:, 0:3, :] = scene.random.standard_normal((CHANNELS, 3, SIDE))
    scene.show(gate, crowd, 3, person=PERSON)
    motions = scene.show(gate, scene.with_thing(), 3, person=PERSON)
    assert all(motion.active[PLACE].mean() > 0.5 for motion in motions)


def test_a_person_who_is_there_from_the_first_frame_on(scene: Scene) -> None:
    gate = AdaptiveGate()
    scene.show(gate, scene.with_thing(), 2)
    other = scene.room.copy()
    other[:, *PLACE] = scene.random.standard_normal((CHANNELS, 5, 2))
    assert open_share(scene.show(gate, other, 3)) == 1
    assert open_share(scene.show(gate, scene.room, 12)[round(9 * scene.fps) :]) == 0


def test_a_person_shows_in_the_new_light(scene: Scene, gate: AdaptiveGate) -> None:
    offset = scene.random.standard_normal((CHANNELS, 1, 1)).astype(np.float32)
    dark = scene.room * np.float32(0.6) + offset
    scene.show(gate, dark, 12)
    assert open_share(scene.show(gate, scene.with_thing(dark), 3)) == 1


def test_a_gap_in_the_stream_teaches_little(scene: Scene, gate: AdaptiveGate) -> None:
    scene.clock += 3600
    first = scene.show(gate, scene.with_thing(), 1)
    assert open_share(first) == 1  # an hour did not pass as dwell time
    assert open_share(scene.show(gate, scene.room, 3)[round(1 * scene.fps) :]) == 0


@pytest.mark.parametrize("gap", [1.0, 2.0, 4.0])
def test_key_frames_alone_neither_open_nor_blind_the_gate(gap: float, scene: Scene, gate: AdaptiveGate) -> None:
    scene.fps = 1 / gap
    scene.noise *= 1.5  # a key frame is coded otherwise than the frames between
    assert open_share(scene.show(gate, scene.room, 60 * gap)) < 0.04
    assert scene.show(gate, scene.with_thing(), gap)[0].open


def test_a_map_need_not_be_square() -> None:
    scene = Scene()
    scene.room = scene.random.standard_normal((24, 15, 20)).astype(np.float32)
    gate = AdaptiveGate()
    assert not scene.show(gate, scene.room, 4)[-1].open
    motion = scene.show(gate, -scene.room, 1)[-1]
    assert motion.open
    assert motion.active.shape == (15, 20)


def test_a_clock_that_stands_or_runs_back_breaks_nothing() -> None:
    gate, scene = AdaptiveGate(), Scene()
    for features, _ in scene.frames(scene.room, 2):
        gate.update(features, 5.0, hold=False)
    for features, clock in scene.frames(scene.room, 2):
        assert np.isfinite(gate.update(features, -clock, hold=False).distance).all()
