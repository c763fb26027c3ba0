"""Who judges an embedder: people spread over a set, nobody as his own impostor."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from app.types import Array
from models.recognition import judging
from models.recognition.crops import INDEX, SIDE, CropSet
from models.recognition.judging import choose_judges

PHOTOGRAPHS = 3  # of each name


def crops_of(names: Sequence[str], path: Path) -> CropSet:
    """Pack crops that show nobody under these names."""
    random, lines = np.random.default_rng(0), ["file,source,identity,eye_distance,outside"]
    with zipfile.ZipFile(path, "w") as packed:
        for number, name in enumerate(names):
            texture = cv2.GaussianBlur(random.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8), (0, 0), 4)
            packed.writestr(f"{number}.jpg", cv2.imencode(".jpg", texture)[1].tobytes())
            lines.append(f"{number}.jpg,texture,{name},35.0,0.0")
        packed.writestr(INDEX, "\n".join(lines))
    return CropSet(path)


def vectors_of(faces: Sequence[int]) -> Array:
    """Return unit vectors: photographs with one number show one person, others somebody who looks like nobody else."""
    noise = 0.1 * np.random.default_rng(0).normal(size=(len(faces), 40))
    rows = np.eye(40)[list(faces)] + noise / np.sqrt(40)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_two_names_of_one_person_have_one_number(tmp_path: Path) -> None:
    names = np.repeat(["anna", "berta", "carla", "dora"], PHOTOGRAPHS).tolist()
    faces = np.repeat([0, 1, 2, 1], PHOTOGRAPHS).tolist()  # dora is berta
    judges = choose_judges(crops_of(names, tmp_path / "a.zip"), vectors_of(faces))
    assert judges.people.tolist() == faces
    assert len(judges.clean) == len(judges.damaged) == len(judges.teacher) == 12


@pytest.mark.parametrize("joined", [False, True])
def test_names_are_chosen_whoever_is_joined(joined: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "PEOPLE", 5)
    monkeypatch.setattr(judging, "PHOTOGRAPHS", 2)
    order = np.random.default_rng(1).permutation(36)
    names = np.repeat([""] + [f"person {number:02}" for number in range(11)], PHOTOGRAPHS)[order]
    faces = np.repeat(range(12), PHOTOGRAPHS)[order]
    faces[names == "person 04"] = [20, 21, 22]  # several people under one name
    if joined:
        faces[names == "person 06"] = faces[names == "person 01"][0]  # neither of them judges
    vectors = vectors_of(faces.tolist())
    judges = choose_judges(crops_of(names.tolist(), tmp_path / "a.zip"), vectors)
    chosen = ["person 00", "person 02", "person 05", "person 07", "person 10"]  # of ten, the spread of five
    rows = [row for name in chosen for row in np.flatnonzero(names == name)[:2]]
    assert judges.people.tolist() == np.repeat(range(5), 2).tolist()
    np.testing.assert_array_equal(judges.teacher, vectors[rows])
