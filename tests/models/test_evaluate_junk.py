"""What the quality gate makes of finds that are no usable face, on real faces: far away, cut off, and as they are."""

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app.types import Reason
from app.vision.artefact import shipped
from app.vision.detector import Detector
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from models.__main__ import main
from models.evaluate.junk import Film, Find, Nets, matches, watched
from models.pictures import decoded


@pytest.fixture(scope="session")
def nets() -> Nets:
    return Nets(Detector(shipped("detector")), FaceFinder(shipped("face_finder")), Embedder(shipped("embedder")))


@pytest.fixture(scope="session")
def portraits_small(portrait_files: dict[str, bytes]) -> list[np.ndarray]:
    return [cv2.resize(one, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for one in decoded(portrait_files)]


def packed(path: Path, pictures: dict[str, np.ndarray]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, picture in pictures.items():
            archive.writestr(name, cv2.imencode(".png", picture)[1].tobytes())
    return path


def poster(picture: np.ndarray) -> np.ndarray:
    """A wall with two small pictures of the same face."""
    wall = np.full((360, 480, 3), 150, np.uint8)
    small = cv2.resize(picture, (160, 160), interpolation=cv2.INTER_AREA)
    wall[40:200, 40:200], wall[40:200, 280:440] = small, small
    return wall


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["evaluate", "junk", *words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_small_faces_of_a_poster_are_refused_and_match_without_the_gate(
    portraits_small: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collins, hopper = portraits_small
    junk = packed(tmp_path / "junk.zip", {"poster.png": poster(collins), "wall.png": np.full_like(collins, 90)})
    people = packed(
        tmp_path / "people.zip", {"E_C_0001.png": collins, "G_H_0001.png": hopper, "Wall_0001.png": hopper * 0}
    )
    figures = told(capsys, "--images", str(junk), "--gallery", str(people))
    assert figures["gallery"] == 2  # a black picture cannot be enrolled
    assert figures["clips"]["junk"] == {
        "frames": 2,
        "finds": 2,
        "passed": 0,
        "refused_for": {Reason.FACE_TOO_SMALL: 2} | figures["clips"]["junk"]["refused_for"],
    }
    assert figures["passed"]["rate"] == 0 and figures["with_gate"]["finds"] == 0
    assert figures["with_gate"]["gallery"] == {"rate": None, "of": 0, "matches": 0}
    assert figures["without_gate"]["between_tracks"] == {"matches": 1, "pairs": 1}


def test_a_face_that_is_there_for_several_frames_is_one_track(portraits_small: list[np.ndarray], nets: Nets) -> None:
    collins, hopper = portraits_small
    frames = [*enumerate([collins] * 3), *((number, hopper[:256, :256]) for number in range(60, 62))]
    film = watched("clip", iter(frames), nets, still=False)
    assert [find.track for find in film.finds] == [0, 0, 0, 1, 1]
    assert not any(find.reasons for find in film.finds)
    assert [find.track for find in watched("set", iter(frames[:3]), nets, still=True).finds] == [0, 1, 2]


def test_matches_are_counted_between_clips_and_between_tracks_never_within_one() -> None:
    axes = np.eye(3, dtype=np.float32)

    def find(axis: int, track: int) -> Find:
        return Find(np.zeros(4, np.float32), (), axes[axis], track)

    films = [Film("a", 9, [find(0, 0), find(0, 0), find(0, 1)]), Film("b", 9, [find(0, 0), find(1, 1)])]
    counted = matches(films, axes[1:2], 0.5, 0.9)
    assert counted["finds"] == 5
    assert counted["between_clips"] == {"matches": 3, "pairs": 6}
    assert counted["between_tracks"] == {"matches": 2, "pairs": 3}
    assert counted["gallery"]["matches"] == 1 and counted["gallery"]["rate"] == 0.2


def test_without_anything_to_look_at_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "junk", "--gallery", str(tmp_path)]) == 1
    assert "give clips or pictures" in capsys.readouterr().err
    (tmp_path / "clip").mkdir()
    assert main(["evaluate", "junk", "--images", str(tmp_path), "--gallery", str(tmp_path)]) == 1
    assert "nobody in" in capsys.readouterr().err
