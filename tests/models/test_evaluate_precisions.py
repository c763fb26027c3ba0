"""The comparison of the 8-bit detector with its float twin, on two portraits and a generated clip."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.types import Detections
from app.vision.artefact import shipped
from models.__main__ import main
from models.evaluate.precisions import Agreement

ONE = ((0.0, 0.0, 10.0, 20.0),)


def found(*rows: tuple[float, ...], scores: tuple[float, ...]) -> Detections:
    return Detections(np.array(rows, np.float32).reshape(-1, 4), np.array(scores, np.float32))


def test_pictures_and_videos_are_compared(
    portrait_files: dict[str, bytes],
    visits: list[tuple[Path, Path]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    portraits = tmp_path / "portraits.zip"
    with zipfile.ZipFile(portraits, "w") as archive:
        for number, content in enumerate(portrait_files.values()):
            archive.writestr(f"{number}.jpg", content)
    words = ["--pictures", str(portraits), "--videos", str(visits[0][0]), "--frames", "9", "--json"]
    assert main(["evaluate", "precisions", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["artefact"] == shipped("detector").card.id and told["videos"]["pictures"] == 9
    figures = told["pictures"][str(portraits)]
    assert (figures["pictures"], figures["persons"], figures["lost"], figures["new"]) == (2, 2, 0, 0)
    assert figures["iou"]["mean"] > 0.9 and figures["score"]["mean_absolute"] < 0.1


def test_what_is_lost_and_what_is_new() -> None:
    agreement, nobody = Agreement(), Detections.empty()
    agreement.add(found(*ONE, scores=(0.9,)), nobody)
    agreement.add(nobody, found(*ONE, scores=(0.8,)))
    agreement.add(found(*ONE, scores=(0.9,)), found(*ONE, scores=(0.4,)))  # with a low score, but found
    agreement.add(found(*ONE, scores=(0.4,)), nobody)  # not certain
    told = agreement.figures()
    assert {part: told[part] for part in ("pictures", "persons", "lost", "new")} == {
        "pictures": 4,
        "persons": 2,
        "lost": 1,
        "new": 1,
    }
    assert told["iou"] == {"mean": 1.0, "p1": 1.0} and told["score"]["mean"] == -0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to look at"),
        (("--pictures", "absent.zip"), "absent.zip is neither a folder nor a zip file"),
        (("--videos", "absent.mp4"), "absent.mp4 cannot be opened as a video"),
        (("--artefact", "absent", "--pictures", "absent.zip"), "absent: the card cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_told(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "precisions", *words]) == 1
    assert said in capsys.readouterr().err


def test_a_damaged_picture_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "damaged.zip", "w") as archive:
        archive.writestr("0.jpg", b"no picture")
    assert main(["evaluate", "precisions", "--pictures", str(tmp_path / "damaged.zip")]) == 1
    assert "0.jpg cannot be decoded" in capsys.readouterr().err
