"""When the teachers are believed: hand-made finds."""

import numpy as np

from app.types import Detections, Faces
from models.detection.agreement import FACE, PERSON, believed_faces, believed_persons, labels
from models.detection.samples import Sample
from models.detection.teachers import Opinions, cut, parts

FACE_BOX, BODY_BOX = (100.0, 40.0, 140.0, 90.0), (60.0, 30.0, 190.0, 400.0)
NO_FACES, NOBODY = Faces.empty(), Detections.empty()


def faces(*rows: tuple[tuple[float, float, float, float], float], mark: float = 0.0) -> Faces:
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    points = np.full((len(rows), 5, 2), mark, np.float32)
    return Faces(boxes, np.array([score for _, score in rows], np.float32), points)


def persons(*rows: tuple[tuple[float, float, float, float], float]) -> Detections:
    found = faces(*rows)
    return Detections(found.boxes, found.scores)


def sample(*marks: tuple[int, tuple[float, float, float, float]], labelled: tuple[str, ...] = ()) -> Sample:
    return Sample(
        name="set/images/a.jpg",
        image=np.zeros((480, 640, 3), np.uint8),
        boxes=np.array([box for _, box in marks], np.float32).reshape(-1, 4),
        classes=np.array([row for row, _ in marks], np.int64),
        points=np.full((len(marks), 5, 2), np.nan, np.float32),
        ignored=np.zeros((0, 4), np.float32),
        labelled=frozenset(labelled),
    )


def moved(box: tuple[float, float, float, float], by: float) -> tuple[float, float, float, float]:
    return box[0] + by, box[1], box[2] + by, box[3]


def test_a_face_that_two_scales_see_is_believed() -> None:
    found = believed_faces([(0.5, faces((FACE_BOX, 0.7))), (1.0, faces((moved(FACE_BOX, 4), 0.8)))], NO_FACES)
    assert len(found.boxes) == 1 and not len(found.doubtful)


def test_a_face_that_both_nets_see_is_believed() -> None:
    found = believed_faces([(1.0, faces((FACE_BOX, 0.7)))], faces((moved(FACE_BOX, 4), 0.5)))
    assert len(found.boxes) == 1 and not len(found.doubtful)


def test_a_face_that_one_look_sees_is_doubtful() -> None:
    for looks, other in [
        ([(1.0, faces((FACE_BOX, 0.95)))], NO_FACES),
        ([(1.0, NO_FACES)], faces((FACE_BOX, 0.95))),
        ([(0.5, faces((FACE_BOX, 0.7))), (1.0, faces((FACE_BOX, 0.4)))], NO_FACES),
        ([(0.5, faces((FACE_BOX, 0.7))), (1.0, faces((moved(FACE_BOX, 20), 0.7)))], NO_FACES),  # IoU of a third
    ]:
        found = believed_faces(looks, other)
        assert not len(found.boxes) and len(found.doubtful) >= 1


def test_points_come_from_the_scale_at_which_the_face_is_of_middle_size() -> None:
    looks = [(scale, faces((FACE_BOX, 0.9), mark=scale)) for scale in (0.5, 2.0, 4.0)]  # 22, 89 and 179 pixels
    assert (believed_faces(looks, faces((FACE_BOX, 0.9), mark=9)).points == 2).all()


def test_a_person_is_believed_when_sure_seconded_or_headed() -> None:
    face = np.array([FACE_BOX], np.float32)
    none = np.zeros((0, 4), np.float32)
    for looks, heads in [
        ([persons((BODY_BOX, 0.7))], none),
        ([persons((BODY_BOX, 0.45)), persons((moved(BODY_BOX, 10), 0.5))], none),
        ([persons((BODY_BOX, 0.45))], face),
        ([NOBODY, persons((BODY_BOX, 0.45))], face),
    ]:
        assert len(believed_persons(looks, heads).boxes) == 1
    for looks in ([persons((BODY_BOX, 0.5))], [NOBODY, persons((BODY_BOX, 0.9))]):
        found = believed_persons(looks, none)
        assert not len(found.boxes) and len(found.doubtful) == 1


def test_a_face_at_somebodys_feet_is_not_his() -> None:
    feet = np.array([[100, 350, 140, 390]], np.float32)
    assert not len(believed_persons([persons((BODY_BOX, 0.45))], feet).boxes)


def opinions(face: float = 0.9, person: float = 0.9) -> Opinions:
    look = faces((FACE_BOX, face))
    return Opinions(((1.0, look),), look, (persons((BODY_BOX, person)) if person else NOBODY,))


def test_a_picture_without_marks_is_labelled() -> None:
    found = labels(opinions(), sample())
    assert found.classes.tolist() == [FACE, PERSON] and not len(found.ignored)
    assert found.labelled == {"face", "person"}
    assert not np.isnan(found.points[0]).any() and np.isnan(found.points[1]).all()


def test_where_only_a_face_is_found_the_body_is_unknown() -> None:
    found = labels(opinions(person=0), sample())
    assert found.classes.tolist() == [FACE]
    np.testing.assert_allclose(found.ignored, [[60, 15, 180, 390]])


def test_marks_are_kept_and_get_points() -> None:
    generous = (90.0, 20.0, 160.0, 110.0)  # hair and chin: the find lies inside, its IoU is a third
    found = labels(opinions(), sample((FACE, generous), labelled=("face",)))
    np.testing.assert_allclose(found.boxes, [generous, BODY_BOX])
    assert not np.isnan(found.points[0]).any() and not len(found.ignored)


def test_what_a_complete_source_does_not_mark_is_doubtful_else_added() -> None:
    elsewhere = (400.0, 100.0, 480.0, 300.0)
    complete = labels(opinions(), sample((PERSON, elsewhere), labelled=("person",)))
    np.testing.assert_allclose(complete.boxes, [FACE_BOX, elsewhere])
    np.testing.assert_allclose(complete.ignored, [BODY_BOX])
    mistaken = labels(opinions(person=0.3), sample((PERSON, elsewhere), labelled=("person",)))
    assert not len(mistaken.ignored)
    added = labels(opinions(), sample((PERSON, elsewhere)))
    np.testing.assert_allclose(added.boxes, [FACE_BOX, elsewhere, BODY_BOX])


def test_a_picture_full_of_doubts_is_not_marked_throughout() -> None:
    crowd = persons(*(((20.0 * step, 100.0, 20.0 * step + 15, 150.0), 0.3) for step in range(8)))
    found = labels(Opinions(((1.0, NO_FACES),), NO_FACES, (crowd,)), sample())
    assert found.labelled == {"face"} and len(found.ignored) == 8


def test_nothing_found() -> None:
    found = labels(Opinions(((1.0, NO_FACES),), NO_FACES, (NOBODY,)), sample())
    assert found.boxes.shape == (0, 4) and found.labelled == {"face", "person"}


def test_parts_cover_the_picture_and_know_what_they_cut() -> None:
    four = parts(640, 480)
    assert four.tolist() == [[0, 0, 384, 288], [256, 0, 640, 288], [0, 192, 384, 480], [256, 192, 640, 480]]
    boxes = np.array([[0, 0, 100, 200], [300, 10, 384, 200], [100, 100, 200, 287]], np.float32)
    assert cut(boxes, four[0], 640, 480).tolist() == [False, True, True]  # the picture's own border cuts nothing
