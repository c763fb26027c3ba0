"""The tracker on scenes with a known answer, at five and at twenty-five frames a second."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from app.types import Array, Detections, Faces, Track
from app.vision.association import bodies_of, continuity, distance_iou, nearness, pair, sitting
from app.vision.tracker import LEFT_AFTER, LOST_AFTER, TENTATIVE_AFTER, Tracker

WIDTH, HEIGHT = 640, 360
FPS = pytest.mark.parametrize("fps", [5, 25])
FIRM = 0.5  # score that starts a track

Box = Sequence[float]


def body(x: float, y: float = 60, width: float = 80, height: float = 200) -> list[float]:
    """Somebody whose middle is at x, as far as the picture shows him."""
    box = [x - width / 2, y, x + width / 2, y + height]
    return np.clip(box, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]).tolist()


def face_on(x: float, y: float = 60, width: float = 80) -> list[float]:
    """The face of such a body."""
    return [x - 0.15 * width, y + 0.08 * width, x + 0.15 * width, y + 0.48 * width]


def persons(boxes: Sequence[Box], scores: Sequence[float] | None = None) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([0.9] * len(boxes) if scores is None else scores, np.float32),
    )


def looks(boxes: Sequence[Box]) -> Faces:
    return Faces(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), 0.9, np.float32),
        np.zeros((len(boxes), 5, 2), np.float32),
    )


def update(tracker: Tracker, clock: float, bodies: Sequence[Box] = (), faces: Sequence[Box] = ()) -> list[Track]:
    return tracker.update(persons(bodies), looks(faces), clock, WIDTH, HEIGHT)


def at(tracks: Sequence[Track], x: float) -> Track:
    """The track whose box is around x."""
    found = [track for track in tracks if abs((track.box[0] + track.box[2]) / 2 - x) < 20]
    assert len(found) == 1, f"{len(found)} tracks at {x}"
    return found[0]


def ids(tracks: Sequence[Track]) -> list[int]:
    return [track.id for track in tracks]


@FPS
def test_somebody_who_walks_by_is_one_track(fps: int) -> None:
    tracker = Tracker(FIRM)
    for step in range(3 * fps):
        tracks = update(tracker, step / fps, [body(60 + 170 * step / fps)])  # two body widths a second
        assert ids(tracks) == [1]
        assert tracks[0].confirmed == (step >= 1)
    np.testing.assert_allclose(tracks[0].box, body(60 + 170 * step / fps), atol=1e-3)
    assert tracks[0].hits == 3 * fps


@FPS
def test_two_who_cross_keep_their_ids(fps: int) -> None:
    tracker = Tracker(FIRM)
    for step in range(4 * fps):
        clock = step / fps
        left, right = 100 + 110 * clock, 540 - 110 * clock
        hidden = abs(left - right) < 45  # the one behind is not detected
        bodies = [body(left)] if hidden else [body(left), body(right, y=66)]
        tracks = update(tracker, clock, bodies)
        if step == 1:
            first, second = at(tracks, left).id, at(tracks, right).id
    assert at(tracks, left).id == first
    assert at(tracks, right).id == second
    assert len(tracks) == 2


@FPS
def test_two_who_meet_and_turn_back_keep_their_faces(fps: int) -> None:
    """Where they go says they crossed; their faces, always in sight, say that they did not."""
    tracker = Tracker(FIRM)
    for step in range(4 * fps):
        clock = step / fps
        away = abs(2 - clock) * 90 + 20
        left, right = 320 - away, 320 + away
        tracks = update(tracker, clock, [body(left), body(right)], [face_on(left), face_on(right)])
        if step == 1:
            first, second = at(tracks, left).id, at(tracks, right).id
    assert (at(tracks, left).id, at(tracks, right).id) == (first, second)


@FPS
def test_one_who_is_hidden_for_a_second_goes_on(fps: int) -> None:
    tracker = Tracker(FIRM)
    for step in range(4 * fps):
        clock = step / fps
        hidden = 1.5 <= clock < 2.5
        tracks = update(tracker, clock, [body(340)] if hidden else [body(340), body(300, y=40)])
        if step == 1:
            front, behind = at(tracks, 340).id, at(tracks, 300).id
        if hidden and clock > 1.6:
            assert {track.id: track.seen == clock for track in tracks} == {front: True, behind: False}
    assert (at(tracks, 340).id, at(tracks, 300).id) == (front, behind)
    assert tracker.ended == []


@FPS
def test_who_walks_out_of_the_picture_is_given_up_sooner_than_who_vanishes(fps: int) -> None:
    def given_up(scene: Callable[[float], list[Box]]) -> float:
        tracker, seen = Tracker(FIRM), 0.0
        for step in range(10 * fps):
            clock = step / fps
            bodies = scene(clock)
            seen = clock if bodies else seen
            update(tracker, clock, bodies)
            if tracker.ended:
                assert ids(tracker.ended) == [1]
                assert not tracker.alive
                return clock - seen
        raise AssertionError("never given up")

    def leaves(clock: float) -> list[Box]:
        x = 500 + 150 * clock
        return [body(x)] if x - 40 < WIDTH - 12 else []

    frame = 1 / fps + 1e-6
    assert LEFT_AFTER < given_up(leaves) <= LEFT_AFTER + frame
    assert LOST_AFTER < given_up(lambda clock: [body(320)] if clock < 2 else []) <= LOST_AFTER + frame


def test_a_single_find_is_no_visit() -> None:
    tracker = Tracker(FIRM)
    assert not update(tracker, 0.0, [body(300)])[0].confirmed
    assert update(tracker, TENTATIVE_AFTER)
    assert update(tracker, TENTATIVE_AFTER + 0.01) == []
    assert ids(tracker.ended) == [1]


def test_ended_tells_of_the_last_update_alone() -> None:
    tracker = Tracker(FIRM)
    update(tracker, 0.0, [body(300)])
    update(tracker, 5.0)
    assert ids(tracker.ended) == [1]
    update(tracker, 5.2)
    assert tracker.ended == []


def test_a_faint_find_goes_on_with_a_track_and_starts_none() -> None:
    tracker = Tracker(FIRM)
    faint = persons([body(300)], [0.35])
    assert tracker.update(faint, looks([]), 0.0, WIDTH, HEIGHT) == []
    update(tracker, 0.2, [body(300)])
    tracks = tracker.update(faint, looks([]), 0.4, WIDTH, HEIGHT)
    assert [(track.id, track.seen) for track in tracks] == [(1, 0.4)]


def test_a_faint_find_with_a_face_starts_a_track() -> None:
    tracks = Tracker(FIRM).update(persons([body(300)], [0.35]), looks([face_on(300)]), 0.0, WIDTH, HEIGHT)
    assert [track.face for track in tracks] == [0]


def test_a_second_box_around_one_body_starts_no_track() -> None:
    tracker = Tracker(FIRM)
    assert ids(update(tracker, 0.0, [body(300), body(304, height=170)])) == [1]
    assert ids(update(tracker, 0.2, [body(300), body(304, height=170)])) == [1]


@FPS
def test_a_close_face_without_a_body_is_followed_and_gets_its_body(fps: int) -> None:
    tracker = Tracker(FIRM)
    for step in range(2 * fps):
        clock = step / fps
        size = 80 + 20 * clock
        face = [300 - size / 2, 60.0, 300 + size / 2, 60 + 1.3 * size]
        tracks = update(tracker, clock, faces=[face])
        assert ids(tracks) == [1]
        assert tracks[0].face == 0
        np.testing.assert_allclose(tracks[0].face_box, face, atol=1e-3)
    assert tracks[0].confirmed
    box = tracks[0].box
    assert box[0] < face[0]
    assert box[2] > face[2]
    assert box[3] > face[3]
    shoulders = [150, 20, 450, 360]
    tracks = update(tracker, 2.0, [shoulders], [face])
    assert ids(tracks) == [1]
    np.testing.assert_allclose(tracks[0].box, shoulders)


@FPS
def test_a_body_that_is_lost_goes_along_with_its_face(fps: int) -> None:
    tracker = Tracker(FIRM)
    update(tracker, 0.0, [body(200)], [face_on(200)])
    for step in range(1, 3 * fps):
        x = 200 + 60 * step / fps
        tracks = update(tracker, step / fps, faces=[face_on(x)])
        assert ids(tracks) == [1]
        np.testing.assert_allclose(tracks[0].box, body(x), atol=1)


def test_a_face_outside_of_the_head_region_goes_to_the_track_that_had_it() -> None:
    tracker = Tracker(FIRM)
    update(tracker, 0.0, [body(300)], [face_on(300)])
    legs = body(300, y=130, height=130)  # this time the net boxed him from the chest down
    tracks = update(tracker, 0.2, [legs], [face_on(300)])
    assert [(track.id, track.face) for track in tracks] == [(1, 0)]


def test_each_face_goes_to_its_own_body() -> None:
    bodies = [body(300, width=120), body(370, y=75, width=110)]
    faces = [face_on(370, y=75, width=110), face_on(300, width=120)]
    tracks = update(Tracker(FIRM), 0.0, bodies, faces)
    assert {round(float(track.box[1])): track.face for track in tracks} == {60: 1, 75: 0}


def test_a_small_face_behind_a_shoulder_is_somebody_else() -> None:
    near, far = body(300, width=240), [235.0, 70.0, 251.0, 90.0]
    tracks = update(Tracker(FIRM), 0.0, [near], [far])
    assert [track.face for track in tracks] == [None, 0]


def test_split_goes_on_under_a_new_id() -> None:
    tracker = Tracker(FIRM)
    for step in range(3):
        tracks = update(tracker, step / 5, [body(300)], [face_on(300)])
    old = replace(tracks[0])
    new = tracker.split(old.id)
    assert (old.id, new.id) == (1, 2)
    assert (new.born, new.seen, new.face) == (0.4, 0.4, 0)
    assert new.confirmed
    assert tracker.ids == [2]
    tracks = update(tracker, 0.6, [body(310), body(500)], [face_on(310)])
    assert ids(tracks) == [2, 3]
    assert tracker.ended == []
    with pytest.raises(KeyError):
        tracker.split(1)


def test_boxes_lie_in_the_picture_and_match_the_ids() -> None:
    tracker = Tracker(FIRM)
    for step in range(5):
        update(tracker, step / 5, [body(500 + 30 * step), body(100)])
    update(tracker, 1.2, [body(100)])
    assert tracker.ids == [1, 2]
    boxes = tracker.boxes()
    assert boxes.shape == (2, 4)
    assert (boxes >= 0).all()
    assert (boxes <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
    assert Tracker(FIRM).boxes().shape == (0, 4)


def crowd(seed: int) -> list[tuple[Detections, Faces]]:
    """Frames in which bodies and faces come, go and overlap as they like."""
    rng = np.random.default_rng(seed)
    frames = []
    places = rng.uniform(0, WIDTH, 6)
    for _ in range(60):
        places = places + rng.normal(0, 25, 6)
        seen, facing = places[rng.uniform(size=6) < 0.8], places[rng.uniform(size=6) < 0.6]
        bodies = persons([body(x) for x in seen], rng.uniform(0.3, 1, len(seen)).tolist())
        frames.append((bodies, looks([face_on(x) for x in facing])))
    return frames


@pytest.mark.parametrize("seed", range(5))
def test_no_two_tracks_share_a_face_and_every_face_has_a_track(seed: int) -> None:
    tracker, known = Tracker(FIRM), 0
    for step, (bodies, faces) in enumerate(crowd(seed)):
        tracks = tracker.update(bodies, faces, step / 5, WIDTH, HEIGHT)
        owned = [track.face for track in tracks if track.face is not None]
        assert sorted(owned) == list(range(len(faces)))
        for track in tracks:
            if track.face is not None:
                assert track.seen == step / 5
                np.testing.assert_array_equal(track.face_box, faces.boxes[track.face])
        assert ids(tracks) == sorted(set(ids(tracks)))
        assert not set(ids(tracks)) & set(ids(tracker.ended))
        assert all(number > known for number in ids(tracks) if number not in range(1, known + 1))
        known = max([known, *ids(tracks)])
        assert np.isfinite(tracker.boxes()).all()


def test_the_same_frames_give_the_same_tracks() -> None:
    def told() -> list[list[tuple[int, bool, int | None, bytes]]]:
        tracker = Tracker(FIRM)
        return [
            [
                (track.id, track.confirmed, track.face, track.box.tobytes())
                for track in tracker.update(bodies, faces, step / 5, WIDTH, HEIGHT)
            ]
            for step, (bodies, faces) in enumerate(crowd(7))
        ]

    assert told() == told()


def boxes(*rows: Box) -> Array:
    return np.array(rows, np.float32)


def test_distance_iou() -> None:
    one = boxes([0, 0, 10, 10])
    others = boxes([0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10])
    np.testing.assert_allclose(distance_iou(one, others), [[1, 1 / 3 - 25 / 325, -400 / 1000]], rtol=1e-5)


def test_nearness_is_measured_in_shoulders() -> None:
    face = boxes([0, 0, 10, 12])
    others = boxes([0, 0, 10, 12], [15, 0, 25, 12], [300, 0, 310, 12], [np.nan] * 4)
    np.testing.assert_allclose(nearness(face, others), [[1, 0.5, -1, np.nan]], rtol=1e-5)


def test_continuity_forbids_leaps_and_changes_of_size() -> None:
    ahead, nobody = boxes([0, 0, 40, 100]), np.full((4, 4), np.nan, np.float32)
    found = boxes([0, 0, 40, 100], [30, 0, 70, 100], [90, 0, 130, 100], [0, 0, 16, 40])
    affinity = continuity(ahead, nobody[:1], found, nobody, np.array([1.0], np.float32))[0]
    assert affinity[0] == pytest.approx(1)
    assert 0 < affinity[1] < affinity[0]
    assert affinity[2] == affinity[3] == -np.inf


def test_a_face_sits_under_the_upper_edge() -> None:
    bodies = boxes(body(300), body(300, y=110))
    heads = boxes([260, 50, 340, 170], [260, 100, 340, 230])
    fit = sitting(boxes(face_on(300), face_on(300, y=200)), bodies, heads)
    assert fit[0, 0] > 0.95
    assert fit[0, 1] == -np.inf
    assert fit[1, 0] == -np.inf


def test_the_body_of_a_face_is_guessed_within_the_picture() -> None:
    np.testing.assert_allclose(
        bodies_of(boxes([300, 50, 330, 90], [0, 300, 60, 380]), WIDTH, HEIGHT),
        [[270, 44, 360, 330], [0, 288, 120, 360]],
        atol=0.01,
    )


@pytest.mark.parametrize("seed", range(20))
def test_pairs_are_one_to_one_allowed_and_leave_nothing_that_fits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    affinity = rng.uniform(-1, 1, (4, 3)).astype(np.float32)
    affinity[rng.uniform(size=(4, 3)) < 0.4] = -np.inf
    pairs = pair(affinity)
    rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
    assert len(rows) == len(columns) == len(pairs)
    for row, column in np.argwhere(affinity > -np.inf).tolist():
        assert row in rows or column in columns
    assert all(affinity[one] > -np.inf for one in pairs)


def test_pairing_takes_the_greatest_first() -> None:
    assert pair(boxes([0.9, 0.8, -np.inf], [0.85, 0.1, 0.0])) == [(0, 0), (1, 1)]
    assert pair(np.zeros((0, 3), np.float32)) == []
    assert pair(np.zeros((2, 0), np.float32)) == []
    assert all(
        pair(np.ones((3, 3), np.float32)[list(order)]) == [(0, 0), (1, 1), (2, 2)] for order in permutations(range(3))
    )
