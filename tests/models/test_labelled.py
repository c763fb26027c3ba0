"""Pictures with truth as others publish them: where they lie, what is read, what is said when something is wrong."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.errors import SetupError
from models.detection.labelled import LabelledPictures, Pictures
from models.detection.samples import CATEGORIES

NAMES = ("person", "face", "face_mask", "head")
MARKS = [
    {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40], "iscrowd": 0},
    {"id": 2, "image_id": 7, "category_id": 3, "bbox": [12, 22, 8, 8], "keypoints": [1, 2, 2] * 4 + [0, 0, 0]},
    {"id": 3, "image_id": 7, "category_id": 4, "bbox": [0, 0, 5, 5]},
    {"id": 4, "image_id": 7, "category_id": 1, "bbox": [50, 0, 14, 48], "iscrowd": 1},
]


def coco(file: str = "images/a.jpg", **more: object) -> dict[str, object]:
    image = {"id": 7, "file_name": file, "width": 64, "height": 48, **more}
    categories = [{"id": row + 1, "name": name} for row, name in enumerate(NAMES)]
    return {"images": [image], "annotations": MARKS, "categories": categories}


def jpeg(value: int = 90) -> bytes:
    return cv2.imencode(".jpg", np.full((48, 64, 3), value, np.uint8))[1].tobytes()


def packed(path: Path, **entries: bytes | str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """A set of our own form."""
    return packed(tmp_path / "set.zip", **{"set/images/a.jpg": jpeg(), "set/boxes.json": json.dumps(coco())})


def test_what_is_read(inside: Path) -> None:
    pictures = LabelledPictures(inside)
    sample = pictures.sample(0)
    assert len(pictures) == 1 and sample.name == "set/images/a.jpg" and sample.image.shape == (48, 64, 3)
    assert [CATEGORIES[row] for row in sample.classes] == ["person", "face"]  # a head is no face
    np.testing.assert_array_equal(sample.boxes, [[10, 20, 40, 60], [12, 22, 20, 30]])
    np.testing.assert_array_equal(sample.ignored, [[50, 0, 64, 48]])
    assert np.isnan(sample.points[0]).all() and np.isnan(sample.points[1, 4]).all()
    np.testing.assert_array_equal(sample.points[1, :4], [[1, 2]] * 4)
    assert sample.labelled == {"face", "person"} == pictures.categories


def test_joints_of_persons_are_no_points_of_faces(tmp_path: Path) -> None:
    person = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40], "keypoints": [5, 6, 2] * 17}
    entries = {"set/images/a.jpg": jpeg(), "set/boxes.json": json.dumps(coco() | {"annotations": [person]})}
    points = LabelledPictures(packed(tmp_path / "set.zip", **entries)).sample(0).points
    assert points.shape == (1, 5, 2) and np.isnan(points).all()


def test_what_a_set_says_of_a_picture_counts(tmp_path: Path) -> None:
    entries = {"set/images/a.jpg": jpeg(), "set/boxes.json": json.dumps(coco(labelled=["face"]))}
    assert LabelledPictures(packed(tmp_path / "set.zip", **entries)).sample(0).labelled == {"face"}


@pytest.mark.parametrize("file", ["a.jpg", "images/a.jpg", "data/images/a.jpg"])
def test_truth_beside_the_pictures_is_matched_by_the_end_of_the_path(tmp_path: Path, file: str) -> None:
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(coco(file)))
    archive = packed(tmp_path / "p.zip", **{"images/a.jpg": jpeg(), "masks/a.png": jpeg(), "other/b.jpg": jpeg()})
    assert LabelledPictures(archive, truth).sample(0).boxes.shape == (2, 4)


def test_a_folder_does_as_well(tmp_path: Path) -> None:
    (tmp_path / "folder" / "images").mkdir(parents=True)
    (tmp_path / "folder" / "images" / "a.jpg").write_bytes(jpeg())
    (tmp_path / "folder" / "boxes.json").write_text(json.dumps(coco()))
    pictures = LabelledPictures(tmp_path / "folder")
    assert pictures.entry(0) == "images/a.jpg" and pictures.sample(0).name == "folder/images/a.jpg"


def test_errors_name_file_and_entry(tmp_path: Path, inside: Path) -> None:
    with pytest.raises(SetupError, match="neither a folder nor a zip"):
        Pictures(tmp_path / "absent.zip")
    truth = tmp_path / "truth.json"
    for content, said in [
        ("[]", "truth.json is not in the COCO form"),
        ("{", "truth.json cannot be read"),
        (json.dumps({"images": [{}], "annotations": [], "categories": []}), "truth.json is not in the COCO form"),
        (
            json.dumps({"images": [{"file_name": "images/a.jpg"}], "annotations": [], "categories": []}),
            "truth.json is not in the COCO form .*'id'",
        ),
        (json.dumps(coco("images/b.jpg")), "truth.json names images/b.jpg; of the pictures there 0 fit"),
    ]:
        truth.write_text(content)
        with pytest.raises(SetupError, match=said):
            LabelledPictures(inside, truth)
    with pytest.raises(SetupError, match=r"holds 0 files boxes\.json"):
        LabelledPictures(packed(tmp_path / "bare.zip", **{"a.jpg": jpeg()}))


def test_several_pictures_that_fit_are_an_error(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(coco("a.jpg")))
    with pytest.raises(SetupError, match="2 fit, not one"):
        LabelledPictures(packed(tmp_path / "two.zip", **{"x/a.jpg": jpeg(), "y/a.jpg": jpeg()}), truth)


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    entries = {"set/images/a.jpg": b"no picture", "set/boxes.json": json.dumps(coco())}
    with pytest.raises(SetupError, match=r"set/images/a\.jpg cannot be decoded"):
        LabelledPictures(packed(tmp_path / "set.zip", **entries)).sample(0)


def test_damaged_marks_are_named(tmp_path: Path) -> None:
    listed = coco() | {"annotations": [{"id": 1, "image_id": 7, "category_id": 1}]}
    entries = {"set/images/a.jpg": jpeg(), "set/boxes.json": json.dumps(listed)}
    with pytest.raises(SetupError, match=r"images/a\.jpg has damaged marks"):
        LabelledPictures(packed(tmp_path / "set.zip", **entries)).sample(0)
