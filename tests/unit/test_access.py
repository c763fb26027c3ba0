"""Votes, visits and decisions, on hand-made vectors: the cases that would open a door to the wrong person."""

from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import pytest

from app.access import Rules, Verdict, Visits
from app.types import Decision, FaceShot, Frame, Match, Person, Quality, Reason, Track

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
THRESHOLD = 0.4
STEP = 0.4  # seconds between two shots
ANNA = Person("anna", "Anna", frozenset({"residents"}))
BORIS = Person("boris", "Boris", frozenset({"residents"}))
NOBODY = None


class Scene:
    """Drives `Visits` as the pipeline does, with a shot of each face in every frame."""

    def __init__(self) -> None:
        self.visits = Visits(Rules(alike=0.3))
        self.people = {"anna": ANNA, "boris": BORIS}
        self.clock = 100.0
        self.groups: frozenset[str] = frozenset()
        self.may_grant = True
        self.now = NOON
        self._new = count(1000)

    def frame(
        self, faces: dict[int, tuple[np.ndarray, Person | None, float, float]], empty=(), missed=(), after: float = STEP
    ) -> list[Verdict]:
        """One frame: track -> (vector, nearest person, similarity, margin); `empty` show no face, `missed` no body."""
        self.clock += after
        frame = Frame("door", 0, self.now, self.clock, None)  # type: ignore[arg-type]  # pixels are never asked for
        box = np.array([0, 0, 10, 10], np.float32)
        tracks = [Track(i, box, 0.0, self.clock, confirmed=True) for i in [*faces, *empty]]
        tracks += [Track(i, box, 0.0, self.clock - after, confirmed=True) for i in missed]
        self.visits.follow(tracks, frame)
        for track, (vector, person, similarity, margin) in faces.items():
            quality = Quality(0.8, (), 40.0, 100.0, 120.0, 0.0)
            shot = FaceShot(track, self.clock, self.now, np.zeros((112, 112, 3), np.uint8), box, quality)
            if self.visits.hear(frame, shot, vector, Match(person, similarity, margin), THRESHOLD):
                self.visits.split(track, next(self._new))
        return self.visits.decide(self.people.get, self.groups, self.now, self.clock, may_grant=self.may_grant)

    def wait(self, seconds: float) -> list[Verdict]:
        return self.frame({}, after=seconds)


def face(axis: int) -> np.ndarray:
    vector = np.zeros(8, np.float32)
    vector[axis] = 1
    return vector


A, B = face(0), face(1)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_three_agreeing_shots_grant_once(scene: Scene) -> None:
    verdicts = [scene.frame({1: (A, ANNA, 0.7, 0.4)}) for _ in range(10)]
    assert [len(v) for v in verdicts] == [0, 0, 1] + [0] * 7
    (verdict,) = verdicts[2]
    assert verdict.decision is Decision.GRANTED and verdict.person == ANNA
    assert verdict.similarity == pytest.approx(0.7) and verdict.margin == pytest.approx(0.4)


def test_three_shots_of_one_moment_are_not_enough(scene: Scene) -> None:
    verdicts = [scene.frame({1: (A, ANNA, 0.7, 0.4)}, after=0.25) for _ in range(4)]
    assert [len(v) for v in verdicts] == [0, 0, 0, 1], "three span .5 s, four .75 s"
    assert verdicts[3][0].decision is Decision.GRANTED


def test_who_is_gone_after_a_moment_ends_undecided(scene: Scene) -> None:
    for _ in range(3):
        assert not scene.frame({1: (A, ANNA, 0.7, 0.4)}, after=0.25)
    (verdict,) = scene.frame({})
    assert verdict.decision is Decision.UNDECIDED and verdict.reasons == (Reason.TOO_FEW_SHOTS,)


def test_shots_that_name_nobody_do_not_make_the_moment_longer(scene: Scene) -> None:
    scene.frame({1: (A, ANNA, 0.3, 0.4)})
    for _ in range(3):
        assert not scene.frame({1: (A, ANNA, 0.7, 0.4)}, after=0.2)
    (verdict,) = scene.frame({1: (A, ANNA, 0.7, 0.4)})
    assert verdict.decision is Decision.GRANTED and verdict.similarity == pytest.approx(0.7)


def test_two_shots_are_not_enough_and_end_undecided(scene: Scene) -> None:
    assert not scene.frame({1: (A, ANNA, 0.7, 0.4)}) and not scene.frame({1: (A, ANNA, 0.7, 0.4)})
    (verdict,) = scene.frame({})
    assert verdict.decision is Decision.UNDECIDED and verdict.reasons == (Reason.TOO_FEW_SHOTS,)


def test_a_resident_near_a_second_one_is_not_named(scene: Scene) -> None:
    for _ in range(8):
        assert not scene.frame({1: (A, ANNA, 0.7, 0.01)})
    (verdict,) = scene.frame({})
    assert verdict.decision is Decision.UNDECIDED and Reason.AMBIGUOUS in verdict.reasons


def test_votes_for_two_people_name_neither(scene: Scene) -> None:
    for index in range(12):
        assert not scene.frame({1: (A, (ANNA, BORIS)[index % 2], 0.7, 0.4)})


def test_a_stranger_is_announced_once_after_some_seconds(scene: Scene) -> None:
    verdicts = [v for _ in range(40) for v in scene.frame({1: (A, ANNA, 0.2, 0.1)})]
    assert [v.decision for v in verdicts] == [Decision.UNKNOWN]
    assert not scene.frame({})


def test_a_stranger_who_leaves_early_is_announced_when_he_leaves(scene: Scene) -> None:
    for _ in range(4):
        assert not scene.frame({1: (A, NOBODY, -1.0, 2.0)})
    (verdict,) = scene.frame({})
    assert verdict.decision is Decision.UNKNOWN and verdict.person is None


def test_one_chance_match_among_strangers_votes_changes_nothing(scene: Scene) -> None:
    for index in range(9):
        assert not scene.frame({1: (A, ANNA, 0.45 if index == 4 else 0.2, 0.2)})
    (verdict,) = scene.frame({})
    assert verdict.decision is Decision.UNKNOWN


def test_another_face_on_the_track_splits_it_and_votes_never_mix(scene: Scene) -> None:
    scene.frame({1: (A, ANNA, 0.7, 0.4)})
    scene.frame({1: (A, ANNA, 0.7, 0.4)})
    assert not scene.frame({1: (B, ANNA, 0.7, 0.4)})  # odd: counts for nobody yet
    verdicts = scene.frame({1: (B, ANNA, 0.7, 0.4)})  # it was another face: a new track from here
    assert [(v.track, v.decision) for v in verdicts] == [(1, Decision.UNDECIDED)]
    (verdict,) = scene.frame({1000: (B, ANNA, 0.7, 0.4)})
    assert verdict.track == 1000 and verdict.decision is Decision.GRANTED
    assert verdict.shot is not None and verdict.shot.clock == verdict.frame.clock  # its picture shows this very face


def test_one_odd_shot_is_dropped(scene: Scene) -> None:
    scene.frame({1: (A, ANNA, 0.7, 0.4)})
    scene.frame({1: (A, ANNA, 0.7, 0.4)})
    scene.frame({1: (B, BORIS, 0.7, 0.4)})
    (verdict,) = scene.frame({1: (A, ANNA, 0.7, 0.4)})
    assert verdict.person == ANNA


def test_a_wrong_first_shot_is_forgotten(scene: Scene) -> None:
    scene.frame({1: (B, NOBODY, 0.1, 0.1)})
    scene.frame({1: (A, ANNA, 0.7, 0.4)})
    scene.frame({1: (A, ANNA, 0.7, 0.4)})
    (verdict,) = scene.frame({1: (A, ANNA, 0.7, 0.4)})
    assert verdict.track == 1 and verdict.person == ANNA


def test_nobody_is_twice_in_one_picture(scene: Scene) -> None:
    verdicts = []
    for _ in range(10):
        verdicts += scene.frame({1: (A, ANNA, 0.8, 0.4), 2: (B, ANNA, 0.5, 0.3)})
    assert [(v.track, v.decision) for v in verdicts] == [(1, Decision.GRANTED)]
    (verdict,) = scene.frame({1: (A, ANNA, 0.8, 0.4)})
    assert verdict.track == 2 and verdict.decision is Decision.UNDECIDED
    assert Reason.ELSEWHERE_IN_PICTURE in verdict.reasons


@pytest.mark.parametrize("missed_after", [1, 2, 3, 10])
def test_nor_while_the_net_misses_one_of_the_two(scene: Scene, missed_after: int) -> None:
    verdicts = []
    for _ in range(missed_after):
        verdicts += scene.frame({1: (A, ANNA, 0.8, 0.4), 2: (B, ANNA, 0.5, 0.4)})
    for _ in range(3):  # the tracker keeps a body that it does not see for 1.5 s
        verdicts += scene.frame({2: (B, ANNA, 0.5, 0.4)}, missed=[1])
    for _ in range(10):
        verdicts += scene.frame({1: (A, ANNA, 0.8, 0.4), 2: (B, ANNA, 0.5, 0.4)})
    assert [(verdict.track, verdict.decision) for verdict in verdicts] == [(1, Decision.GRANTED)]


def test_a_stale_gallery_never_grants(scene: Scene) -> None:
    scene.may_grant = False
    for _ in range(8):
        assert not scene.frame({1: (A, ANNA, 0.8, 0.4)})
    (verdict,) = scene.frame({})
    assert verdict.decision is Decision.UNDECIDED and verdict.reasons == (Reason.GALLERY_STALE,)


def test_a_person_erased_between_votes_is_not_granted(scene: Scene) -> None:
    scene.frame({1: (A, ANNA, 0.8, 0.4)})
    scene.frame({1: (A, ANNA, 0.8, 0.4)})
    del scene.people["anna"]
    assert not scene.frame({1: (A, ANNA, 0.8, 0.4)})
    assert [v.person for v in scene.frame({})] == [None]


@pytest.mark.parametrize(
    ("person", "groups", "reason"),
    [
        (Person("anna", "Anna", frozenset({"staff"})), {"residents"}, Reason.GROUP_NOT_ALLOWED),
        (Person("anna", "Anna", valid_from=NOON + timedelta(seconds=1)), set(), Reason.NOT_YET_VALID),
        (Person("anna", "Anna", valid_until=NOON), set(), Reason.EXPIRED),
    ],
)
def test_a_known_person_without_the_right_is_denied(scene: Scene, person: Person, groups: set, reason: Reason) -> None:
    scene.people["anna"], scene.groups = person, frozenset(groups)
    verdicts = [v for _ in range(3) for v in scene.frame({1: (A, person, 0.8, 0.4)})]
    assert [(v.decision, v.reasons) for v in verdicts] == [(Decision.DENIED, (reason,))]


def test_a_face_that_comes_back_at_once_goes_on_with_its_visit(scene: Scene) -> None:
    for _ in range(4):
        scene.frame({1: (A, ANNA, 0.8, 0.4)})
    scene.wait(2.0)
    assert not [v for _ in range(6) for v in scene.frame({2: (A, ANNA, 0.8, 0.4)})]


def test_a_face_that_comes_back_later_is_a_new_visit(scene: Scene) -> None:
    for _ in range(4):
        scene.frame({1: (A, ANNA, 0.8, 0.4)})
    scene.wait(9.0)
    assert [v.decision for _ in range(6) for v in scene.frame({2: (A, ANNA, 0.8, 0.4)})] == [Decision.GRANTED]


def test_a_resident_recognised_late_is_still_let_in(scene: Scene) -> None:
    first = [v for _ in range(20) for v in scene.frame({1: (A, ANNA, 0.2, 0.1)})]
    late = [v for _ in range(6) for v in scene.frame({1: (A, ANNA, 0.7, 0.4)})]
    assert [v.decision for v in first + late] == [Decision.UNKNOWN, Decision.GRANTED]
    assert first[0].visit != late[0].visit


def test_a_resident_who_comes_back_after_a_moment_is_let_in(scene: Scene) -> None:
    for _ in range(2):
        assert not scene.frame({1: (A, ANNA, 0.7, 0.4)})
    (first,) = scene.wait(1.6)
    assert first.decision is Decision.UNDECIDED
    verdicts = [verdict for _ in range(5) for verdict in scene.frame({2: (A, ANNA, 0.7, 0.4)})]
    assert [verdict.decision for verdict in verdicts] == [Decision.GRANTED]
    assert verdicts[0].visit != first.visit, "the first has had its event"


def test_a_resident_is_let_in_once_the_store_is_back(scene: Scene) -> None:
    scene.may_grant = False
    for _ in range(5):
        assert not scene.frame({1: (A, ANNA, 0.7, 0.4)})
    (first,) = scene.wait(1.6)
    assert first.decision is Decision.UNDECIDED and Reason.GALLERY_STALE in first.reasons
    scene.may_grant = True
    verdicts = [verdict for _ in range(5) for verdict in scene.frame({2: (A, ANNA, 0.7, 0.4)})]
    assert [verdict.decision for verdict in verdicts] == [Decision.GRANTED]


def test_another_face_for_a_moment_is_no_reason_for_a_second_grant(scene: Scene) -> None:
    verdicts = [verdict for _ in range(4) for verdict in scene.frame({1: (A, ANNA, 0.8, 0.4)})]
    for track, vector, person in ((1, B, NOBODY), (1, B, NOBODY), (1000, A, ANNA), (1000, A, ANNA)):
        verdicts += scene.frame({track: (vector, person, 0.8 if person else 0.1, 0.4)})
    for _ in range(6):
        verdicts += scene.frame({1001: (A, ANNA, 0.8, 0.4)})
    assert [verdict.decision for verdict in verdicts].count(Decision.GRANTED) == 1


def test_nobody_is_named_after_he_left(scene: Scene) -> None:
    scene.may_grant = False
    for _ in range(4):
        scene.frame({1: (A, ANNA, 0.8, 0.4)})
    scene.may_grant = True
    scene.clock += 3
    assert not scene.frame({}, empty=(1,))
    assert [v.decision for v in scene.frame({})] == [Decision.UNDECIDED]


def test_a_body_without_a_face_is_undecided_with_the_reason(scene: Scene) -> None:
    for _ in range(10):
        scene.frame({}, empty=(1,))
        scene.visits.note(1, Reason.FACE_TOO_SMALL)
    (verdict,) = scene.frame({})
    assert verdict.decision is Decision.UNDECIDED and verdict.reasons == (Reason.FACE_TOO_SMALL,)


def test_a_body_that_only_passes_is_nobodys_business(scene: Scene) -> None:
    scene.frame({}, empty=(1,))
    scene.frame({}, empty=(1,))
    assert not scene.frame({})
