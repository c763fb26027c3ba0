"""The evaluation of detectors: figures on hand-made finds, and the real nets on real portraits."""

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app.vision.artefact import Artefact, shipped
from app.vision.detector import Detector
from app.vision.faces import FaceFinder
from app.vision.picture import ArrayPicture
from models.__main__ import main
from models.detection.finding import FLOOR
from models.evaluate.detection import DETECTORS, Measured, figures
from models.evaluate.subjects import fingerprint
from models.pictures import decoded

KEYS = {"images", "truths", "ap50", "recall", "precision", "ms_per_image", "sha256", "detector", "by_size"}
PICTURES = {  # face and person of each portrait, x1 y1 x2 y2
    "Eileen Collins": ((178, 60, 270, 176), (10, 5, 500, 510)),
    "Grace Hopper": ((178, 118, 350, 328), (20, 40, 500, 595)),
}


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def measured(finds: np.ndarray, scores: list[float], truths: np.ndarray, ignored: np.ndarray | None = None) -> Measured:
    return Measured(finds, np.array(scores, np.float32), truths, boxes() if ignored is None else ignored, 1.0)


@pytest.fixture
def portrait_set(tmp_path: Path, portrait_files: dict[str, bytes]) -> tuple[Path, Path]:
    """Zip file and truth of the portraits, and a picture without anybody."""
    images, marks = [], []
    with zipfile.ZipFile(tmp_path / "people.zip", "w") as packed:
        pictures = dict(zip(portrait_files, decoded(portrait_files), strict=True))
        for number, (name, picture) in enumerate({**pictures, "nobody": np.zeros((480, 640, 3), np.uint8)}.items()):
            packed.writestr(f"images/{number}.jpg", cv2.imencode(".jpg", picture)[1].tobytes())
            images.append({"id": number, "file_name": f"images/{number}.jpg"})
            for category, (x1, y1, x2, y2) in enumerate(PICTURES.get(name, ()), 1):
                bbox = [x1, y1, x2 - x1, y2 - y1]
                marks.append({"id": len(marks), "image_id": number, "category_id": category, "bbox": bbox})
    categories = [{"id": 1, "name": "face"}, {"id": 2, "name": "person"}]
    truth = tmp_path / "people.coco.json"
    truth.write_text(json.dumps({"images": images, "annotations": marks, "categories": categories}))
    return tmp_path / "people.zip", truth


def run(capsys: pytest.CaptureFixture[str], pictures: tuple[Path, Path], *options: str) -> dict[str, Any]:
    command = ["evaluate", "detection", "--images", str(pictures[0]), "--coco", str(pictures[1]), *options, "--json"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    return dict(json.loads(printed))


@pytest.mark.parametrize(
    ("detector", "category"),
    [("cardea", "face"), ("cardea", "person"), ("starter-person", "person"), ("yunet", "face"), ("yunet-320", "face")],
)
def test_real_nets_on_portraits(
    portrait_set: tuple[Path, Path],
    starter_detector: Artefact,
    capsys: pytest.CaptureFixture[str],
    detector: str,
    category: str,
) -> None:
    assert detector in DETECTORS
    told = run(capsys, portrait_set, "--category", category, "--detector", detector)
    assert told.keys() >= KEYS
    assert (told["images"], told["truths"], told["ap50"], told["recall"], told["precision"]) == (3, 2, 1, 1, 1)
    assert told["intervals"]["ap50"] == [1, 1] and told["images_with_a_find"] == pytest.approx(2 / 3, abs=1e-4)
    role = "detector" if category == "person" else "face_finder"
    card = (starter_detector if detector == "starter-person" else shipped(role)).card
    assert told["sha256"] == fingerprint(card) and told["sha256"][:12] in card.id


@pytest.mark.parametrize("category", ["person", "face"])
def test_average_precision_sees_what_a_camera_leaves_out(
    category: str, portrait_files: dict[str, bytes], portrait_set: tuple[Path, Path]
) -> None:
    subject, picture = DETECTORS["cardea"](category), decoded(portrait_files)[0]
    detector, finder = Detector(shipped("detector")), FaceFinder(shipped("face_finder"))
    seen = finder.find(picture) if category == "face" else detector.finish(detector.look(ArrayPicture(picture)))
    boxes, scores = subject.find(picture, FLOOR)
    assert FLOOR <= scores.min() < 0.2 and len(scores) > len(seen.scores)
    np.testing.assert_array_equal(boxes[: len(seen.boxes)], seen.boxes)
    np.testing.assert_array_equal(subject.find(picture, subject.threshold)[1], scores[scores >= subject.threshold])


def test_a_folder_on_trial_is_the_starter_when_it_is_the_same(
    portrait_set: tuple[Path, Path], starter_detector: Artefact, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = f"folder:{starter_detector.folder}@fp32"
    options = ("--category", "person", "--detector")
    told, other = (run(capsys, portrait_set, *options, name) for name in (folder, "starter-person"))
    assert {key: told[key] for key in ("ap50", "sha256")} == {key: other[key] for key in ("ap50", "sha256")}


def test_small_truths_are_neither_missed_nor_mistakes(
    portrait_set: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    told = run(capsys, portrait_set, "--category", "face", "--detector", "yunet", "--min-size", "100")
    assert (told["truths"], told["ap50"], told["precision"]) == (1, 1, 1)  # the smaller face is 92 wide


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--category", "person", "--detector", "yunet"), "YuNet finds faces alone"),
        (("--category", "face", "--detector", "starter-person"), "finds no face"),
        (("--category", "face", "--detector", "another"), "there is no detector another"),
        (("--category", "face", "--detector", "folder:absent"), "absent"),
    ],
)
def test_what_cannot_be_measured_is_said(
    portrait_set: tuple[Path, Path], capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    command = ["evaluate", "detection", "--images", str(portrait_set[0]), "--coco", str(portrait_set[1]), *options]
    assert main(command) == 1
    assert said in capsys.readouterr().err


def test_figures_of_hand_made_finds() -> None:
    told = figures(
        [
            measured(boxes((0, 0, 20, 20), (50, 50, 90, 90)), [0.9, 0.6], boxes((0, 0, 20, 22), (100, 100, 140, 160))),
            measured(boxes((0, 0, 10, 10)), [0.4], boxes((0, 0, 10, 10))),
        ],
        threshold=0.5,
        least=0,
    )
    assert (told["images"], told["truths"], told["score_threshold"]) == (2, 3, 0.5)
    assert told["recall"] == pytest.approx(1 / 3, abs=1e-4) and told["precision"] == 0.5
    assert told["ap50"] == pytest.approx(
        (34 * 1 + 33 * 2 / 3) / 101, abs=1e-4
    )  # 1 up to a recall of 1/3, 2/3 up to 2/3
    assert told["by_size"] == {
        "0-16": {"truths": 1, "recall": 0.0},
        "16-24": {"truths": 1, "recall": 1.0},
        "32-48": {"truths": 1, "recall": 0.0},
    }
    assert told["images_with_a_find"] == 0.5 and told["intervals"]["recall"][0] == 0


def test_a_small_mistake_counts_for_nothing_as_in_coco() -> None:
    truth = boxes((0, 0, 40, 40))
    for finds, precision in (((100, 0, 110, 10), 1), ((100, 0, 130, 30), 0.5)):
        told = figures([measured(np.concatenate([boxes(finds), truth]), [0.9, 0.8], truth)], 0.5, 24)
        assert (told["precision"], told["ap50"], told["recall"]) == (precision, precision, 1)
    told = figures([measured(boxes((0, 0, 23, 40)), [0.9], boxes((0, 0, 25, 40)))], 0.5, 24)
    assert told["ap50"] == 1  # a hit is no mistake, however small


def test_finds_in_unknown_regions_count_for_nothing() -> None:
    finds = boxes((0, 0, 20, 20), (200, 0, 240, 40), (210, 0, 250, 40))
    told = figures([measured(finds, [0.7, 0.9, 0.8], boxes((0, 0, 20, 20)), boxes((190, 0, 260, 60)))], 0.5, 0)
    assert (told["ap50"], told["recall"], told["precision"]) == (1, 1, 1)


def test_faces_drawn_from_hair_to_neck_are_found_by_centre() -> None:
    finds, heads = boxes((40, 40, 60, 65), (5, 5, 10, 10), (200, 0, 220, 20)), boxes((20, 10, 80, 90), (0, 0, 15, 15))
    told = figures([measured(finds, [0.9, 0.9, 0.9], heads)], 0.5, 24)
    assert (told["truths"], told["recall"]) == (1, 0)
    assert told["by_centre"] == {"recall": 1.0, "precision": 0.5}  # the small head counts for neither


def test_pictures_without_truths_or_finds_have_no_figures() -> None:
    told = figures([measured(boxes(), [], boxes())], 0.5, 0)
    assert (told["ap50"], told["recall"], told["precision"]) == (None, None, None)
    assert told["intervals"]["ap50"] == [None, None] and told["by_size"] == {}
    assert told["by_centre"] == {"recall": None, "precision": None}
    assert json.dumps(told, allow_nan=False)
