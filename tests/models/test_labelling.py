"""Labelling by machine: the teachers on real portraits, and a journal that lets a broken run go on."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fixtures_starter import take_or_skip

from app.errors import SetupError
from app.vision.boxes import iou
from models.__main__ import main
from models.detection.centerface import SOURCE, CenterFace
from models.detection.labelled import LabelledPictures
from models.detection.labelling import label
from models.detection.samples import CATEGORIES
from models.detection.teachers import Opinions, Teachers
from models.pictures import decoded

FACES = {"Eileen_Collins.png": (178, 60, 270, 176), "Grace_Hopper.jpg": (178, 118, 350, 328)}
POINTS = {"Eileen_Collins.png": [(204, 102), (248, 104)], "Grace_Hopper.jpg": [(222, 198), (306, 196)]}  # of the eyes


@pytest.fixture(scope="session")
def teachers(packages: Path) -> Teachers:
    take_or_skip(SOURCE)
    return Teachers(packages)


@pytest.fixture
def folder(tmp_path: Path, portrait_files: dict[str, bytes]) -> Path:
    """The portraits as a folder of pictures."""
    made = tmp_path / "people"
    made.mkdir()
    for (name, content), file in zip(portrait_files.items(), FACES, strict=True):
        assert name.replace(" ", "_") == Path(file).stem
        (made / file).write_bytes(content)
    return made


class Impatient(Teachers):
    """Stops the run after some pictures, as an operator may."""

    def __init__(self, cache: Path, count: int) -> None:
        super().__init__(cache)
        self.left = count

    def look(self, image: np.ndarray) -> Opinions:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().look(image)


def quiet(_: str) -> None:
    pass


def test_centerface_finds_the_portraits(packages: Path, portrait_files: dict[str, bytes]) -> None:
    take_or_skip(SOURCE)
    net = CenterFace(packages)
    for picture, file in zip(decoded(portrait_files), FACES, strict=True):
        found = net.find(picture, 416, 0.5)
        assert len(found) == 1
        assert iou(found.boxes, np.array([FACES[file]], np.float32))[0, 0] > 0.7
        np.testing.assert_allclose(found.landmarks[0, :2], POINTS[file], atol=8)


def test_the_command_labels_and_refuses_to_overwrite(
    folder: Path, tmp_path: Path, packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take_or_skip(SOURCE)
    command = ["label", "--images", str(folder), "--out", str(tmp_path / "set.zip"), "--cache", str(packages)]
    assert main(command) == 0
    labelled = LabelledPictures(tmp_path / "set.zip")
    for row, (file, box) in enumerate(FACES.items()):
        sample = labelled.sample(row)
        assert sample.name == f"set/images/{file}" and sample.labelled == {"face", "person"}
        assert [CATEGORIES[category] for category in sample.classes] == ["face", "person"]
        assert iou(sample.boxes[:1], np.array([box], np.float32))[0, 0] > 0.7
        np.testing.assert_allclose(sample.points[0, :2], POINTS[file], atol=8)
    assert main(command) == 1
    assert "must be a new file" in capsys.readouterr().err


def test_a_broken_run_goes_on_where_it_stopped(
    folder: Path, tmp_path: Path, packages: Path, teachers: Teachers
) -> None:
    out, journal = tmp_path / "set.zip", tmp_path / "set.journal"
    with pytest.raises(KeyboardInterrupt):
        label(folder, None, out, Impatient(packages, 1), quiet)
    assert not out.exists() and len(journal.read_text().splitlines()) == 2
    with journal.open("a") as lines:
        lines.write('{"picture": {"wid')  # torn by a power cut
    said: list[str] = []
    label(folder, None, out, Impatient(packages, 1), said.append)
    assert said == ["set: 2 pictures, 1 of them labelled before"] and not journal.exists()
    label(folder, None, tmp_path / "whole" / "set.zip", teachers, quiet)
    with zipfile.ZipFile(out) as once, zipfile.ZipFile(tmp_path / "whole" / "set.zip") as whole:
        assert once.read("set/boxes.json") == whole.read("set/boxes.json")


def test_a_journal_of_other_work_is_refused(folder: Path, tmp_path: Path, teachers: Teachers) -> None:
    (tmp_path / "set.journal").write_text('{"images": "others"}\n')
    with pytest.raises(SetupError, match="belongs to other pictures"):
        label(folder, None, tmp_path / "set.zip", teachers, quiet)


def test_a_set_keeps_what_it_knows(folder: Path, tmp_path: Path, teachers: Teachers) -> None:
    truth = tmp_path / "truth.json"
    image = {"id": 1, "file_name": "Eileen_Collins.png", "width": 512, "height": 512, "labelled": ["face"]}
    mark = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [170, 40, 110, 150], "iscrowd": 0}
    truth.write_text(
        json.dumps({"images": [image], "annotations": [mark], "categories": [{"id": 1, "name": "face_mask"}]})
    )
    label(folder, truth, tmp_path / "set.zip", teachers, quiet)
    labelled = LabelledPictures(tmp_path / "set.zip")
    assert len(labelled) == 1
    np.testing.assert_array_equal(labelled.sample(0).boxes[0], [170, 40, 280, 190])
    assert not np.isnan(labelled.sample(0).points[0]).any()


def test_pictures_of_one_name_are_refused(folder: Path, tmp_path: Path, teachers: Teachers) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "Grace_Hopper.jpg").write_bytes((folder / "Grace_Hopper.jpg").read_bytes())
    with pytest.raises(SetupError, match="several pictures of one name"):
        label(folder, None, tmp_path / "set.zip", teachers, quiet)
