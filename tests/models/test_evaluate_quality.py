"""Error against discard: the arithmetic on drawn numbers, and the whole chain on two real faces."""

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fixtures_starter import take_or_skip

from app.vision.artefact import shipped
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from models.__main__ import main
from models.evaluate.discard import AREA, curve, gain, perfect
from models.evaluate.quality_faces import EYES, MEASURES, Observer, at_a_door
from models.evaluate.quality_fit import factors, judged_by_others, mean_cosines, weights
from models.labels import SFACE
from models.pictures import decoded, variants

SHARES = (0, 0.1, 0.2, 0.3, 0.4, 0.5)
QUALITIES, ERRORS = np.arange(1, 11) / 10, np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0], bool)


def test_the_curve_falls_when_the_worst_are_set_aside() -> None:
    np.testing.assert_allclose(curve(QUALITIES, ERRORS, SHARES), [0.3, 0.2222, 0.125, 0.1429, 0, 0], atol=5e-5)
    assert np.isnan(curve(QUALITIES, ERRORS, SHARES, np.zeros(10))).all()


def test_a_weight_counts_like_that_many_comparisons() -> None:
    times = np.array([2, 0, 1, 3, 1, 1, 0, 2, 1, 1])
    by_weight = curve(QUALITIES, ERRORS, SHARES, times.astype(float))
    np.testing.assert_allclose(by_weight[0], np.repeat(ERRORS, times).mean())
    whole = (0, 2 / 12, 3 / 12, 6 / 12)  # shares at which no comparison is divided
    np.testing.assert_allclose(
        curve(QUALITIES, ERRORS, whole, times.astype(float)),
        curve(np.repeat(QUALITIES, times), np.repeat(ERRORS, times), whole),
    )


def test_a_perfect_score_gains_all_and_chance_nothing() -> None:
    errors = np.zeros(1000, bool)
    errors[:200] = True
    assert gain(errors, np.ones(1000)) == pytest.approx(1)
    assert perfect(0.2, (0, 0.1, 0.2, 0.5)) == pytest.approx([0.2, 0.1 / 0.9, 0, 0])
    by_chance = [gain(np.random.default_rng(seed).permutation(errors), np.ones(1000)) for seed in range(200)]
    assert abs(np.mean(by_chance)) < 0.02
    assert gain(errors[::-1], np.ones(1000)) < -0.5
    assert np.isnan(gain(np.zeros(5, bool), np.ones(5)))
    assert AREA[0] == 0 and AREA[-1] == 0.5


def test_weights_are_found_and_never_turn_a_factor_round() -> None:
    logs = np.log(np.random.default_rng(0).uniform(0.1, 1, (500, 3)))
    found = weights(logs, 0.8 + logs @ [0.3, -0.4, 0.1])
    assert found[2] == 0 and found[1] == pytest.approx(0.3, abs=0.05)
    np.testing.assert_allclose(weights(logs, 0.8 + logs @ [0.3, 0, 0.1]), [0.8, 0.3, 0, 0.1], atol=1e-9)


def test_a_fit_is_judged_by_people_whom_it_has_not_seen() -> None:
    random = np.random.default_rng(1)
    logs, halves = np.log(random.uniform(0.1, 1, (400, 2))), np.arange(400) % 2 == 1
    targets = np.where(halves, 0.5 + 0.2 * logs[:, 0], 0.9 + 0.1 * logs[:, 1])
    said, (of_second, of_first) = judged_by_others(logs, targets, halves)
    np.testing.assert_allclose(of_second, [0.5, 0.2, 0], atol=1e-9)
    np.testing.assert_allclose(of_first, [0.9, 0, 0.1], atol=1e-9)
    np.testing.assert_allclose(said, np.where(halves, 0.9 + 0.1 * logs[:, 1], 0.5 + 0.2 * logs[:, 0]), atol=1e-9)


def test_mean_cosines_are_by_face() -> None:
    means = mean_cosines(np.array([0, 0, 2]), np.array([0.2, 0.4, 0.9]), 3)
    np.testing.assert_allclose(means, [0.3, np.nan, 0.9])


def test_factors_are_the_products_own() -> None:
    logs = factors(np.array([[11.0, 3.0, 1.0, 0.775], [0.0, 0.0, 0.0, 0.5]]), np.array([100.0, 0.0]))
    np.testing.assert_allclose(np.exp(logs[0]), [0.75, 0.5, 0.5, 0.5, 1])
    np.testing.assert_allclose(np.exp(logs[1]), [0.01, 0.01, 1, 0.01, 0.01])


def test_the_cut_net_gives_the_products_vector_and_its_length(portrait_files: dict[str, bytes]) -> None:
    observer = Observer(FaceFinder(shipped("face_finder")), shipped("embedder"))
    portrait = decoded(portrait_files)[0]
    face = observer.look(portrait)
    assert face is not None and face.usable
    np.testing.assert_allclose(face.vector, Embedder(shipped("embedder")).embed([face.crop])[0], atol=1e-5)
    blurred = observer.look(np.asarray(cv2.GaussianBlur(portrait, (0, 0), 6), np.uint8))
    assert blurred is not None
    assert blurred.measures[MEASURES.index("length")] < face.measures[MEASURES.index("length")]
    assert observer.look(np.zeros((96, 96, 3), np.uint8)) is None


def test_a_face_at_a_door_is_as_small_as_drawn_and_the_same_each_time(portrait_files: dict[str, bytes]) -> None:
    observer = Observer(FaceFinder(shipped("face_finder")), shipped("embedder"))
    portrait = decoded(portrait_files)[0]
    face = observer.look(portrait)
    assert face is not None
    doors = [at_a_door(portrait, face.landmarks, seed) for seed in range(8)]
    np.testing.assert_array_equal(doors[3], at_a_door(portrait, face.landmarks, 3))
    sides = [door.shape[0] - 40 for door in doors]
    assert len(set(sides)) > 4 and min(sides) >= EYES[0] / 0.28 - 1
    assert sum(observer.look(door) is not None for door in doors) >= 6


def test_the_whole_chain(
    portrait_files: dict[str, bytes], tmp_path: Path, packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take_or_skip(SFACE)
    with zipfile.ZipFile(tmp_path / "people.zip", "w") as packed:
        for name, portrait in zip("ch", decoded(portrait_files), strict=True):
            for number, picture in enumerate(variants(portrait)[:4]):
                packed.writestr(f"{name}_{number}.png", cv2.imencode(".png", picture)[1].tobytes())
    command = ["evaluate", "quality", "--faces", str(tmp_path / "people.zip"), "--cache", str(packages)]
    assert main([*command, "--plot", str(tmp_path), "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["photographs"], told["people"]) == (8, 2)
    assert told["plain"]["found"]["comparisons"] == 12 and told["door"]["found"]["comparisons"] <= 24
    scores = told["door"]["found"]["scores"]
    assert list(scores) == [*MEASURES, "refit", "refit_with_length"]
    assert scores["quality"]["more_than_quality"] in (0, None)
    assert (tmp_path / "quality-door-usable.png").stat().st_size > 1000


def test_pictures_of_nobody_known_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "list.txt").write_text("other.jpg 12\n")
    words = ["evaluate", "quality", "--faces", str(tmp_path), "--identities", str(tmp_path / "list.txt")]
    assert main(words) == 1
    assert "no photograph is of a known person" in capsys.readouterr().err
