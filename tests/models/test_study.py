"""The study: its file, who is trained on and who judges, every method's lesson, and a study that is stopped."""

import hashlib
import io
import json
import zipfile
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from fixtures_starter import take_or_skip

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from app.errors import SetupError  # noqa: E402
from models.__main__ import main  # noqa: E402
from models.evaluate import recognition_metrics  # noqa: E402
from models.labels import SFACE  # noqa: E402
from models.recognition import study as studying  # noqa: E402
from models.recognition.crops import INDEX, SIDE, CropSet  # noqa: E402
from models.recognition.held_out import FIGURES, held_out  # noqa: E402
from models.recognition.hints import MAPS, teacher_hints  # noqa: E402
from models.recognition.study_lesson import Lesson  # noqa: E402
from models.recognition.study_people import Learners, People, gather, place  # noqa: E402
from models.recognition.study_plan import RULES, TERMS, Method, StudyPlan  # noqa: E402
from models.recognition.study_report import difference  # noqa: E402
from models.recognition.teachers import Teacher, open_teachers  # noqa: E402
from models.starter.recipes import EMBEDDER  # noqa: E402

FILE = Path(__file__).parents[2] / "models" / "runs" / "study.toml"
PLAN = StudyPlan.read(FILE)
SMALLEST = """
teacher = "sface"
width = 0.1
seeds = [1, 2]
least = 2
people = 4
each = 2
steps = 4
rate = 1e-3
warmup = 1
decay = 1e-4
compared = ["arcface"]
[sets]
drawn = 0.4
[methods.arcface]
group = "margins"
terms = { margin = 1.0 }
[methods.published]
group = "distilled"
layer = "frozen"
rule = "published"
terms = { margin = 1.0, cosine = 1.0 }
"""
PEOPLE, PHOTOGRAPHS = 40, 4


def pack(folder: Path, name: str, people: Sequence[str], seed: int = 0) -> Path:
    """Write a set of crops, each person a pattern of colours, and beside it what a teacher has seen in them."""
    lines, vectors = ["file,source,identity,eye_distance,outside"], []
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as packed:
        for number, person in enumerate(people):
            own = np.random.default_rng(int(hashlib.sha256(person.encode()).hexdigest()[:8], 16))
            pattern = cv2.resize(own.integers(0, 256, (4, 4, 3), dtype=np.uint8), (SIDE, SIDE))
            centre, random = own.standard_normal(128), np.random.default_rng([seed, number])
            for photograph in range(PHOTOGRAPHS):
                file = f"{number:03}-{photograph}.jpg"
                noisy = np.clip(pattern + random.normal(0, 20, pattern.shape), 0, 255).astype(np.uint8)
                packed.writestr(file, io.BytesIO(cv2.imencode(".jpg", noisy)[1].tobytes()).getvalue())
                lines.append(f"{file},{file},{person},40.0,0.0")
                vectors.append(centre + 0.6 * random.standard_normal(128))
        packed.writestr(INDEX, "\n".join(lines))
    unit = np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(folder / f"{name}.sface.npy", unit.astype(np.float16))
    return folder / f"{name}.zip"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Generator[None]:
    """Nets this small wait for each other's threads longer than they compute, the more beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the set drawn.zip."""
    folder = tmp_path_factory.mktemp("faces")
    pack(folder, "drawn", [f"person {number}" for number in range(PEOPLE)])
    return folder


@pytest.fixture(scope="module")
def teacher(packages: Path) -> Teacher:
    """SFace."""
    take_or_skip(SFACE), take_or_skip(EMBEDDER.source)
    return open_teachers(packages)[0]


@pytest.fixture(scope="module")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the smallest study."""
    file = tmp_path_factory.mktemp("files") / "study.toml"
    file.write_text(SMALLEST)
    return file


@pytest.fixture(scope="module")
def people(smallest: Path, sets: Path, teacher: Teacher) -> People:
    """Those of the smallest study."""
    return gather(StudyPlan.read(smallest), teacher, [sets], print)


def test_the_study_has_what_is_to_be_compared() -> None:
    assert {rule for method in PLAN.methods.values() for rule in [method.rule]} == set(RULES)
    assert {term for method in PLAN.methods.values() for term in TERMS if method.uses(term)} == set(TERMS)
    assert len(PLAN.seeds) >= 3 and set(PLAN.compared) == {"arcface", "published"}


WRONG = {
    "a missing value": ("width = 0.1\n", "", "width"),
    "a word for a number": ("steps = 4", 'steps = "4"', "steps is '4'"),
    "an unknown value": ("steps = 4", "steps = 4\nepochs = 3", "epochs"),
    "no steps": ("steps = 4", "steps = 0", "steps and each"),
    "one photograph": ("least = 2", "least = 1", "people and least"),
    "no seeds": ("seeds = [1, 2]", "seeds = []", "seeds and methods"),
    "compared with nothing": ('["arcface"]', '["arkface"]', "compared: arkface"),
    "a share of two": ("drawn = 0.4", "drawn = 2", "sets: a share"),
    "nobody held out": ("drawn = 0.4", "drawn = 0.0", "somebody held out"),
    "nobody to train on": ("drawn = 0.4", "drawn = 1.0", "somebody is to be trained on"),
    "a set for measuring": ("drawn = 0.4", "drawn = 0.4\nlfw_pairs_150px = 0.0", "lfw_pairs_150px is for measuring"),
    "an unknown layer": ('"frozen"', '"frosen"', r"methods\.published: layer is 'frosen', none of new, copied"),
    "an unknown rule": ('"published"', '"publisht"', r"methods\.published: rule is 'publisht', none of same"),
    "an unknown term": ("cosine = 1.0", "sine = 1.0", r"methods\.published: terms: sine; there are margin, "),
    "an unknown option": ('layer = "frozen"', 'layers = "frozen"', r"methods\.published: .*layers"),
    "a method that is none": ("[methods.arcface]", "[methods]\nb = 1\n[methods.arcface]", "methods.b"),
    "a part without terms": ('"margins"', '"margins"\nfirst_share = 0.5', r"methods\.arcface: first and first_share"),
    "a term that only ends": ('"margins"', '"margins"\nfinal = { cosine = 1.0 }', r"methods\.arcface: terms: .*final"),
    "a margin of one": ('"margins"', '"margins"\nmargin = [0.5]', r"methods\.arcface: margin is"),
}


@pytest.mark.parametrize(("old", "new", "said"), WRONG.values(), ids=WRONG)
def test_wrong_files_are_refused_and_name_the_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in SMALLEST
    (tmp_path / "a.toml").write_text(SMALLEST.replace(old, new))
    with pytest.raises(SetupError, match=said):
        StudyPlan.read(tmp_path / "a.toml")


def test_hints_of_a_teacher_whose_maps_are_not_at_hand_are_refused(tmp_path: Path) -> None:
    text = SMALLEST.replace('"sface"', '"starter"')
    (tmp_path / "a.toml").write_text(text)
    assert StudyPlan.read(tmp_path / "a.toml").teacher == "starter"
    (tmp_path / "a.toml").write_text(text.replace("cosine = 1.0", "hint = 1.0"))
    with pytest.raises(SetupError, match=r"methods\.published: hint needs the teacher sface"):
        StudyPlan.read(tmp_path / "a.toml")


def test_weights_move_in_a_line_behind_the_first_part() -> None:
    method = Method("g", {"margin": 1.0, "hinton": 4.0}, {"hinton": 1.0}, {"hint": 2.0}, 0.2)
    assert method.weights(0.1) == {"hint": 2.0}
    assert method.weights(0.2) == {"margin": 1.0, "hinton": 4.0}
    assert method.weights(0.6) == pytest.approx({"margin": 1.0, "hinton": 2.5})


def test_who_is_held_out_is_not_trained_on(people: People, sets: Path) -> None:
    names = {f"person {number}" for number in range(PEOPLE)}
    held = {name for name in names if place(name) < 0.4}
    assert int(people.held["drawn"].people.max()) + 1 == len(held) >= 4
    assert people.learners.classes == len(names - held) and people.alike == 0
    assert len(people.learners.labels) == PHOTOGRAPHS * people.learners.classes
    shown = {face.tobytes() for face in people.learners.faces}
    assert not shown & {face.tobytes() for face in people.held["drawn"].faces}


def test_whom_the_teacher_takes_for_somebody_held_out_is_not_trained_on(
    tmp_path: Path, smallest: Path, teacher: Teacher
) -> None:
    names = [f"person {number}" for number in range(PEOPLE)]
    pack(tmp_path, "drawn", names)
    held = next(row for row, name in enumerate(names) if place(name) < 0.4)
    double = next(row for row, name in enumerate(names) if place(name) >= 0.4)
    vectors = np.load(tmp_path / "drawn.sface.npy").reshape(PEOPLE, PHOTOGRAPHS, -1)
    vectors[double] = vectors[held]
    np.save(tmp_path / "drawn.sface.npy", vectors.reshape(PEOPLE * PHOTOGRAPHS, -1))
    found = gather(StudyPlan.read(smallest), teacher, [tmp_path], print)
    assert found.alike == 1
    assert found.learners.classes == sum(place(name) >= 0.4 for name in names) - 1


def test_too_few_people_are_told(tmp_path: Path, smallest: Path, teacher: Teacher) -> None:
    plan = StudyPlan.read(smallest)
    pack(tmp_path, "drawn", [name for name in (f"person {number}" for number in range(9)) if place(name) >= 0.4])
    with pytest.raises(SetupError, match=r"0 people with two photographs are held out, 4 at least"):
        gather(plan, teacher, [tmp_path], print)
    pack(tmp_path, "drawn", [f"person {number}" for number in range(PEOPLE)])
    with pytest.raises(SetupError, match="people are left to train on, 200 are in a batch"):
        gather(replace(plan, people=200), teacher, [tmp_path], print)


def vectors(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Unit vectors in all directions."""
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_figures_of_one_who_knows_all_and_of_one_who_knows_nothing(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognition_metrics, "DRAWS", 20)
    names = [f"person {number}" for number in range(60)]
    crops = CropSet(pack(tmp_path, "many", names))
    held = held_out(crops, np.load(tmp_path / "many.sface.npy").astype(np.float32), names)
    everything = vectors(60, 64)[held.people]
    assert held.figures(everything, everything)[0].tolist() == pytest.approx([1, 1, 1, 1, 0])
    nothing = held.figures(*[vectors(len(held.people), 64)] * 2)
    assert nothing.shape == (21, len(FIGURES))
    assert (nothing[:, [0, 1, 3]] < 0.2).all() and (nothing[:, 2] < 0.65).all() and (nothing[:, 4] > 0.8).all()
    turned = everything @ np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))[0].astype(np.float32)
    assert held.figures(turned, turned)[0].tolist() == pytest.approx([1, 1, 1, 1, 0])
    other_space = held.figures(everything, turned)[0]
    assert other_space[0] < 0.1 and other_space[3] < 0.2  # a space of one's own cannot be searched by another


def test_adifference_is_only_told_beyond_its_interval() -> None:
    random = np.random.default_rng(0)
    base = random.normal(0.5, 0.02, (1 + recognition_metrics.DRAWS, len(FIGURES)))
    better = difference([base + 0.1 - base, base + 0.1 - base])
    assert [value["verdict"] for value in better.values()] == ["better"] * 4 + ["worse"]
    wide = difference([random.normal(0.01, 0.02, base.shape)])
    assert {value["verdict"] for value in wide.values()} == {"no difference"}
    assert all(value["detectable"] == pytest.approx(2.8 * 0.02, rel=0.1) for value in wide.values())
    unknown = difference([np.full_like(base, np.nan)])["accuracy"]
    assert unknown == {"difference": None, "interval": None, "detectable": None, "verdict": "not measured"}


@pytest.mark.parametrize("name", PLAN.methods)
def test_every_method_teaches(name: str, people: People, packages: Path, tmp_path: Path) -> None:
    method, plan = PLAN.methods[name], replace(PLAN, people=4, each=3, width=0.1, steps=10)
    hints = None
    if method.uses("hint"):
        take_or_skip(SFACE)
        hints = teacher_hints(people.learners.faces[:6], packages, tmp_path / "hints.npy", print)
        assert hints.maps.shape == (6, 1024, 7, 7), MAPS
    lesson = Lesson(method, plan, people.learners, hints, seed=1)
    for step in (0, 9):
        loss = lesson.loss(step)
        loss.backward()
        gradients = [value.grad for value in lesson.student.parameters() if value.grad is not None]
        assert loss.isfinite() and gradients and all(gradient.isfinite().all() for gradient in gradients)
        assert any(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("name", ["arcface", "copied", "frozen", "published", "clamped_angular"])
def test_a_frozen_layer_is_the_teacher_s_to_the_last_bit(name: str, people: People) -> None:
    method, plan = PLAN.methods[name], replace(PLAN, people=4, each=2, width=0.1, steps=5, warmup=1)
    lesson = Lesson(method, plan, people.learners, None, seed=1)
    before, first = digest(lesson.layer.weight), digest(next(lesson.student.parameters()))
    lesson.teach(print)
    assert (digest(lesson.layer.weight) == before) is (method.layer == "frozen")
    assert digest(next(lesson.student.parameters())) != first
    if method.layer != "new":
        centres = Lesson(PLAN.methods["frozen"], plan, people.learners, None, seed=9).layer.weight
        assert before == digest(centres)


def digest(values: torch.Tensor) -> str:
    return hashlib.sha256(values.detach().numpy().tobytes()).hexdigest()


def test_labels_in_another_order_are_refused(people: People) -> None:
    learners = people.learners
    mixed = Learners(learners.faces, learners.teacher, np.random.default_rng(0).permutation(learners.labels))
    with pytest.raises(SetupError, match="the centres do not fit the labels"):
        Lesson(PLAN.methods["published"], replace(PLAN, people=4, width=0.1), mixed, None, seed=1)


def test_a_student_learns_whom_it_sees(people: People) -> None:
    plan = replace(PLAN, people=6, each=4, width=0.1, steps=40, warmup=5)
    lesson = Lesson(Method("g", {"cosine": 1.0}), plan, people.learners, None, seed=1)
    before = lesson.loss(0).item()
    lesson.teach(print)
    assert lesson.loss(0).item() < 0.6 * before


def test_a_study_is_made_stopped_and_resumed(
    sets: Path, smallest: Path, teacher: Teacher, packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognition_metrics, "DRAWS", 20)
    out = tmp_path / "study"
    words = ["study", str(smallest), "--out", str(out), "--sets", str(sets), "--cache", str(packages)]
    assert main(words) == 0
    table = json.loads((out / "study.json").read_text())
    assert list(table["methods"]) == ["arcface", "published"]
    told = table["methods"]["published"]
    assert told["seeds"] == [1, 2] and set(told["figures"]["drawn"]) == set(FIGURES)
    assert len(told["figures"]["drawn"]["accuracy"]["seeds"]) == 2
    assert table["teacher"]["drawn"]["rank1"]["mean"] == 1.0
    assert set(told["minus"]) == {"arcface"} and "verdict" in told["minus"]["arcface"]["drawn"]["accuracy"]
    assert "verdict" in told["teacher_gallery_minus_own"]["drawn"]["tar_at_far_1e-2"]
    drawn = (out / "study.svg").read_text()
    ElementTree.fromstring(drawn)
    assert ">published</text>" in drawn and drawn.count("<circle") == 3  # the teacher and both methods

    cells = {path.name: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert sorted(cells) == ["arcface-1.npz", "arcface-2.npz", "published-1.npz", "published-2.npz"]
    (out / "cells" / "published-1.npz").unlink()
    (out / "study.json").unlink()
    assert main([*words, "--resume", "--only", "arcface"]) == 0  # somebody else may be at the other one
    assert not (out / "cells" / "published-1.npz").exists()
    assert json.loads((out / "study.json").read_text())["methods"]["published"]["seeds"] == [2]
    assert main([*words, "--resume"]) == 0
    again = {path.name: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert {name for name in cells if again[name] != cells[name]} == {"published-1.npz"}
    resumed = json.loads((out / "study.json").read_text())["methods"]
    for name, method in table["methods"].items():
        assert resumed[name]["figures"] == method["figures"]


def test_what_cannot_be_resumed_is_told(smallest: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="holds no study to resume"):
        studying.Study(smallest, tmp_path / "none", resume=True)
    with pytest.raises(SetupError, match="exists; resume it"):
        studying.Study(smallest, tmp_path, resume=False)
    (tmp_path / "study.toml").write_text(SMALLEST.replace("steps = 4", "steps = 5"))
    with pytest.raises(SetupError, match=r"no method 'margins'; it has arcface, published"):
        studying.Study(smallest, tmp_path / "none", resume=False, only=["arcface", "margins"])
    with pytest.raises(SetupError, match="has changed since"):
        studying.Study(smallest, tmp_path, resume=True)
    with pytest.raises(SetupError, match=r"cut\.npz cannot be read"):
        (tmp_path / "cut.npz").write_bytes(b"PK")
        studying.load_cell(tmp_path / "cut.npz")
