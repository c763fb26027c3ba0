"""Open-set search on real portraits, and the counting of it on drawn vectors."""

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app.vision.artefact import shipped
from app.vision.embedder import Embedder
from models.__main__ import main
from models.evaluate.embedders import EMBEDDERS
from models.evaluate.identification import figures, judge, searches
from models.evaluate.recognition_tables import Roles
from models.evaluate.seen_faces import SeenFaces
from models.pictures import decoded, variants

Truth = tuple[Path, Path]
HEADING = "role,identity,file"


@pytest.fixture(scope="session")
def role_set(tmp_path_factory: pytest.TempPathFactory, portrait_files: dict[str, bytes]) -> Truth:
    """Collins is enrolled with two pictures and searches with two, and once without a face; Hopper is a stranger."""
    folder = tmp_path_factory.mktemp("roles")
    with zipfile.ZipFile(folder / "people.zip", "w") as packed:
        for person, portrait in zip("ch", decoded(portrait_files), strict=True):
            smaller = cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            for number, picture in enumerate(variants(np.asarray(smaller, np.uint8))[:5]):
                packed.writestr(f"{person}{number}.png", cv2.imencode(".png", picture)[1].tobytes())
        packed.writestr("nobody.png", cv2.imencode(".png", np.zeros((150, 150, 3), np.uint8))[1].tobytes())
    lines = ["enrol,c,c0.png", "enrol,c,c2.png", "genuine,c,c1.png", "genuine,c,c3.png", "genuine,c,nobody.png"]
    lines += [f"impostor,h,h{number}.png" for number in range(5)]
    (folder / "roles.csv").write_text("\n".join([HEADING, *lines]))
    return folder / "people.zip", folder / "roles.csv"


def run(capsys: pytest.CaptureFixture[str], truth: Truth, *options: str) -> dict[str, Any]:
    command = ["evaluate", "identification", "--images", str(truth[0]), "--roles", str(truth[1]), *options, "--json"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    return dict(json.loads(printed))


def test_the_whole_chain_knows_one_and_no_other(role_set: Truth, capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, role_set)
    assert (told["gallery"], told["templates"], told["genuine"], told["impostor"]) == (1, 2, 3, 5)
    assert told["failures_to_enrol"] == {"enrol": 0, "genuine": 1, "impostor": 0}
    assert told["rank1"] == 0.6667  # a search without a face is a miss
    assert told["fnir_at_fpir"] == {"0.1": None, "0.01": None, "0.003": None}  # five strangers tell of no such rate
    embedder = Embedder(shipped("embedder"))
    for name, row in told["at_target"].items():
        assert row["threshold"] == pytest.approx(embedder.threshold(2, float(name)), abs=1e-4)
        assert (row["fpir"], row["fnir"], row["misidentified"]) == (0, 0.3333, 0)
    assert told["sha256"][:12] in told["artefact"] == shipped("embedder").card.id


def test_two_embedders_search_the_same(role_set: Truth, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--compare", "cardea", str(shipped("embedder").folder), "--plot", str(tmp_path))
    told = run(capsys, role_set, *words)
    nothing = {"difference": 0, "interval": [0, 0]}
    assert told["a"]["rank1"] == told["b"]["rank1"] and told["b_minus_a"]["rank1"] == nothing
    assert told["b_minus_a"]["at_target"]["0.1"] == {"fpir": nothing, "fnir": nothing}
    assert {path.name for path in tmp_path.iterdir()} == {
        f"identification-{name}.png" for name in ("det", "discard", "scores")
    }


def drawn_searches(people: int = 60, strangers: int = 400) -> tuple[Roles, SeenFaces]:
    """Vectors of people around a centre of their own; the first stranger, one search and one enrolment have no face."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(people + strangers, 192))
    who = np.concatenate([np.arange(people), np.repeat(np.arange(people), 2), people + np.arange(strangers)])
    vectors = centres[who] + 1.2 * random.normal(size=(len(who), 192))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = np.ones(len(who), bool)
    found[[0, people, 3 * people]] = False
    vectors[~found] = 0
    roles = np.repeat(["enrol", "genuine", "impostor"], [people, 2 * people, strangers])
    qualities = np.where(found, random.uniform(size=len(who)), -1)
    return Roles([""] * len(who), roles, who), SeenFaces(found, qualities, [vectors], [1.0], 1.0, "")


def test_who_has_no_face_is_missed_and_strangers_without_one_do_not_count(tmp_path: Path) -> None:
    roles, seen = drawn_searches()
    done = searches(roles, seen, 0)
    assert (done.templates, done.enrolled, len(done.best), len(done.strangers)) == (59, 59, 120, 399)
    assert not done.right[:2].any() and np.isneginf(done.best[0])  # not enrolled, though the second search has a face
    told = figures(judge(done, EMBEDDERS["cardea"](tmp_path)))
    assert told["rank1"] == 0.9833  # all but these two
    rates = told["fnir_at_fpir"]
    assert 0.0167 <= rates["0.1"] <= rates["0.01"] <= rates["0.003"] < 0.2
    for name, fpir in (("0.1", 0.1), ("0.01", 0.01), ("0.003", 0.003)):
        low, high = told["intervals"]["fnir_at_fpir"][name]
        assert low <= rates[name] <= high
        assert (done.strangers >= told["thresholds"][name] + 1e-4).mean() <= fpir
    assert 0 <= told["misidentified"]["0.003"] <= told["misidentified"]["0.1"] <= 1
    assert told["error_versus_discard"]["0.05"] <= told["error_versus_discard"]["0"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("enrol,a,c0.png", "guest,a,c1.png"), "line 3: role must be enrol, genuine or impostor"),
        (("enrol,a,c0.png", "genuine,a,c1.png"), "needs pictures of role impostor"),
        (("enrol,a,c0.png", "genuine,b,c1.png", "impostor,h,h0.png"), "b searches as genuine and is not enrolled"),
        (("enrol,a,c0.png", "genuine,a,c1.png", "impostor,a,h0.png"), "a searches as impostor and is enrolled"),
        (("enrol,a,c0.png", "genuine,,c1.png", "impostor,h,h0.png"), "line 3: no identity"),
        (("enrol,a,nobody.png", "genuine,a,c1.png", "impostor,h,h0.png"), "no picture of role enrol shows a face"),
        (("enrol,a,c9.png", "genuine,a,c1.png", "impostor,h,h0.png"), "names c9.png; of the pictures there 0 fit"),
    ],
)
def test_wrong_roles_are_told(
    role_set: Truth, tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: tuple[str, ...], said: str
) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("\n".join([HEADING, *lines]))
    assert main(["evaluate", "identification", "--images", str(role_set[0]), "--roles", str(wrong)]) == 1
    assert said in capsys.readouterr().err
