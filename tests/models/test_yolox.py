"""YOLOX as a second opinion on persons: what its cells say, and that only the named weights are opened."""

from pathlib import Path

import numpy as np
import pytest

from app.errors import SetupError
from models.__main__ import main
from models.detection.yolox import OBJECT, PERSON, SIDE, STRIDES, YoloX, decode

CELLS = [(SIDE // stride) ** 2 for stride in STRIDES]


def written(persons: list[tuple[int, tuple[float, float, float, float], float, float]]) -> np.ndarray:
    """Return an output of the net that says persons: stride, centre and size in pixels, object, share of person."""
    output = np.zeros((sum(CELLS), 85), np.float32)
    for stride, (x, y, width, height), sure, person in persons:
        level, column, row = STRIDES.index(stride), int(x / stride), int(y / stride)
        place = sum(CELLS[:level]) + row * (SIDE // stride) + column
        output[place, :4] = x / stride - column, y / stride - row, np.log(width / stride), np.log(height / stride)
        output[place, OBJECT], output[place, PERSON] = sure, person
    return output


def test_each_stride_says_its_persons_best_first() -> None:
    found = decode(written([(8, (20, 30, 12, 40), 0.5, 0.8), (32, (200, 210, 100, 300), 0.9, 1.0)]), 0.3)
    np.testing.assert_allclose(found.boxes, [[150, 60, 250, 360], [14, 10, 26, 50]], rtol=1e-5)
    np.testing.assert_allclose(found.scores, [0.9, 0.4], rtol=1e-6)


def test_what_is_said_twice_is_one_person_and_what_is_doubtful_none() -> None:
    twice = [(16, (100, 100, 50, 120), 0.9, 0.9), (8, (101, 101, 50, 120), 0.8, 0.9)]
    doubtful = (16, (300, 100, 50, 99), 0.5, 0.5)
    assert len(decode(written([*twice, doubtful]), 0.3).boxes) == 1


@pytest.mark.parametrize("content", [None, b"another net"])
def test_other_weights_are_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "yolox_nano.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SetupError, match=r"is not the yolox_nano\.onnx"):
        YoloX(file)


def test_the_command_says_so(tmp_path: Path, packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["label", "--images", str(tmp_path), "--out", str(tmp_path / "set.zip"), "--cache", str(packages)]
    assert main([*command, "--yolox", str(tmp_path / "missing.onnx")]) == 1
    assert "missing.onnx is not the yolox_nano.onnx" in capsys.readouterr().err
