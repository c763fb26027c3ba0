"""The shipped person net: look and finish, on drawn pictures, and with the gate in front."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.errors import ArtefactError
from app.types import Image
from app.vision.artefact import Artefact, shipped
from app.vision.boxes import iou
from app.vision.detector import Detector
from app.vision.gate import make_gate, moving
from app.vision.gate_adaptive import LEAST_DISTANCE
from app.vision.motion import cosine_distance
from app.vision.picture import ArrayPicture
from app.vision.processor import preferred_precision, read_cpuinfo

NOBODY = np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module")
def half() -> Detector:
    return Detector(shipped("detector"), "half")


@pytest.fixture(scope="module")
def cut() -> Detector:
    return Detector(shipped("detector"), "cut")


def room(width: int = 640, height: int = 360) -> Image:
    """A room with a window, a door and a floor of boards."""
    picture = np.full((height, width, 3), (150, 165, 170), np.uint8)
    cv2.rectangle(picture, (40, 40), (200, 160), (230, 215, 200), -1)
    cv2.rectangle(picture, (420, 60), (540, 300), (60, 80, 110), -1)
    for x in range(0, width, 40):
        cv2.line(picture, (x, 300), (x - 60, height), (90, 110, 130), 2)
    return picture


def figure(picture: Image, x: int) -> Image:
    """Draw somebody at x: head, coat, legs."""
    drawn = picture.copy()
    cv2.circle(drawn, (x, 110), 22, (120, 150, 200), -1)
    cv2.rectangle(drawn, (x - 30, 132), (x + 30, 240), (110, 40, 30), -1)
    cv2.rectangle(drawn, (x - 24, 240), (x - 4, 340), (30, 30, 30), -1)
    cv2.rectangle(drawn, (x + 4, 240), (x + 24, 340), (30, 30, 30), -1)
    return drawn


def noisy(picture: Image, random: np.random.Generator) -> ArrayPicture:
    noise = random.normal(0, 2, picture.shape)
    return ArrayPicture(np.clip(picture + noise, 0, 255).astype(np.uint8))


def test_looking_gives_features_for_the_gate(half: Detector, cut: Detector) -> None:
    picture = ArrayPicture(room())
    assert half.look(picture).features.shape == (24, 19, 19)
    assert cut.look(picture).features.shape == (24, 75, 75)  # the whole map: this stem gives no averages
    assert half.look(picture).features.dtype == np.float32


def test_both_stems_end_in_the_same_persons(half: Detector, cut: Detector) -> None:
    picture = ArrayPicture(figure(room(), 320))
    first, second = half.finish(half.look(picture)), cut.finish(cut.look(picture))
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_a_room_without_people_has_no_certain_person(half: Detector) -> None:
    for picture in (room(), np.zeros((360, 640, 3), np.uint8), np.full((360, 640, 3), 255, np.uint8)):
        assert not (half.finish(half.look(ArrayPicture(picture))).scores >= 0.5).any()


@pytest.fixture(scope="module")
def portrait(portrait_files: dict[str, bytes]) -> Image:
    """Somebody from the waist up, 360x360."""
    return sized(portrait_files["Eileen Collins"], 360, 360)


@pytest.fixture(scope="module")
def poster(portrait_files: dict[str, bytes]) -> Image:
    """A room with somebody's picture on the wall."""
    picture = room()
    picture[:300, 20:276] = sized(portrait_files["Grace Hopper"], 256, 300)
    return picture


def sized(encoded: bytes, width: int, height: int) -> Image:
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize("left", [0, 140, 280])
def test_a_person_is_found_where_she_is(half: Detector, portrait: Image, left: int) -> None:
    picture = room()
    picture[:, left : left + 360] = portrait
    found = half.finish(half.look(ArrayPicture(picture)))
    assert (found.scores >= 0.5).sum() == 1
    x1, _, x2, y2 = found.boxes[0]
    assert found.scores[0] > 0.8
    assert left <= (x1 + x2) / 2 <= left + 300
    assert y2 > 300


def test_a_visitor_stays_and_the_poster_behind_her_goes(half: Detector, portrait: Image, poster: Image) -> None:
    gate, random = make_gate("cardea"), np.random.default_rng(4)
    for frame in range(30):
        gate.update(half.look(noisy(poster, random)).features, frame / 5, hold=False)
    visited = poster.copy()
    visited[:, 280:] = portrait
    picture = noisy(visited, random)
    glance = half.look(picture)
    motion = gate.update(glance.features, 6.0, hold=False)
    found = half.finish(glance)
    kept = moving(found, motion, NOBODY, picture.width, picture.height)
    assert motion.open
    on_the_wall = found.boxes[:, [0, 2]].mean(axis=1) < 280
    assert on_the_wall.any()  # the net takes the poster for a person
    np.testing.assert_array_equal(kept.boxes, found.boxes[~on_the_wall])
    assert len(kept)


@pytest.mark.parametrize("shape", [(300, 300), (1080, 1920), (1280, 720), (17, 23)])
def test_boxes_lie_in_the_picture(half: Detector, shape: tuple[int, int]) -> None:
    height, width = shape
    picture = cv2.resize(figure(room(), 320), (width, height))
    found = half.finish(half.look(ArrayPicture(np.asarray(picture, np.uint8))))
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert (found.boxes[:, 0] < found.boxes[:, 2]).all()
    assert (found.boxes[:, 1] < found.boxes[:, 3]).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [width, height, width, height]).all()
    assert (found.scores >= 0.3).all()
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("stem", ["half", "cut"])
def test_with_the_gate_held_open_the_boxes_are_the_plain_detectors(stem: str, request: pytest.FixtureRequest) -> None:
    detector: Detector = request.getfixturevalue(stem)
    gate = make_gate("off")
    for x in range(100, 500, 80):
        picture = ArrayPicture(figure(room(), x))
        glance = detector.look(picture)
        motion = gate.update(glance.features, x / 10, hold=False)
        plain = detector.finish(detector.look(picture))
        kept = moving(detector.finish(glance), motion, NOBODY, picture.width, picture.height)
        np.testing.assert_array_equal(kept.boxes, plain.boxes)
        np.testing.assert_array_equal(kept.scores, plain.scores)


@pytest.mark.parametrize("stem", ["half", "cut"])
@pytest.mark.parametrize("mode", ["cardea", "published"])
def test_the_gate_exits_on_a_still_room_and_opens_for_a_visitor(
    stem: str, mode: str, request: pytest.FixtureRequest
) -> None:
    detector: Detector = request.getfixturevalue(stem)
    gate, random = make_gate(mode), np.random.default_rng(3)

    def is_open(picture: Image, frame: int) -> bool:
        return gate.update(detector.look(noisy(picture, random)).features, frame / 5, hold=False).open

    still = [is_open(room(), frame) for frame in range(30)]
    assert still[:5] == [mode == "cardea"] * 5  # the published rule has no warm-up
    assert sum(still[5:]) <= 1
    assert all(is_open(figure(room(), 620 - 15 * frame), 30 + frame) for frame in range(20))
    assert not any([is_open(room(), 50 + frame) for frame in range(10)][3:])


@pytest.mark.parametrize("left", [0, 140, 280])
def test_both_precisions_find_the_same_person(portrait: Image, left: int) -> None:
    picture = room()
    picture[:, left : left + 360] = portrait
    floats, integers = (Detector(shipped("detector"), precision=precision) for precision in ("fp32", "int8"))
    expected, found = (net.finish(net.look(ArrayPicture(picture))) for net in (floats, integers))
    certain = expected.scores >= 0.5
    assert certain.sum() == 1 and (found.scores >= 0.5).sum() == 1
    assert iou(expected.boxes[:1], found.boxes[:1]).item() > 0.9
    assert abs(expected.scores[0] - found.scores[0]) < 0.05


@pytest.mark.parametrize("stem", ["half", "cut"])
def test_the_gate_sees_nearly_the_same_in_both_precisions(stem: str) -> None:
    floats, integers = (Detector(shipped("detector"), stem, precision) for precision in ("fp32", "int8"))
    picture = ArrayPicture(room())
    distance = cosine_distance(floats.look(picture).features, integers.look(picture).features)
    assert distance.max() < LEAST_DISTANCE and np.median(distance) < LEAST_DISTANCE / 10


def test_the_processor_chooses_and_the_id_says_what() -> None:
    chosen = Detector(shipped("detector"))
    assert chosen.precision == preferred_precision(read_cpuinfo())
    assert chosen.id == f"{shipped('detector').card.id}/{chosen.precision}"
    assert Detector(shipped("detector"), precision="fp32").id.endswith("/fp32")


def test_a_card_with_floats_alone_gives_floats(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(shipped("detector").folder, folder)
    card = json.loads((folder / "card.json").read_text())
    del card["parameters"]["precisions"]["int8"]
    (folder / "card.json").write_text(json.dumps(card))
    assert Detector(Artefact(folder)).precision == "fp32"
    with pytest.raises(ArtefactError, match="int8"):
        Detector(Artefact(folder), precision="int8")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"gate_stem": "quarter"}, "gate_stem"), ({"anchors": {"grids": [19]}}, "anchors|argument"), ({}, "nms_iou")],
)
def test_a_card_that_describes_no_detector_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = tmp_path / "net"
    shutil.copytree(shipped("detector").folder, folder)
    card = json.loads((folder / "card.json").read_text())
    card["parameters"].update(change)
    if not change:
        del card["parameters"]["nms_iou"]
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(ArtefactError, match=message):
        Detector(Artefact(folder))
