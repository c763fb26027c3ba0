"""Training from the command line: the smallest run, resumed, and exported; batches and terms of the loss."""

import csv
import importlib
import itertools
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_starter import take_or_skip

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from app.errors import SetupError  # noqa: E402
from app.vision.artefact import Artefact  # noqa: E402
from app.vision.detector import Detector  # noqa: E402
from app.vision.picture import ArrayPicture  # noqa: E402
from models.__main__ import main  # noqa: E402
from models.detection.batches import Batches, open_sources  # noqa: E402
from models.detection.matching import POSITIVE  # noqa: E402
from models.detection.samples import CATEGORIES  # noqa: E402
from models.evaluate.subjects import SplitNet  # noqa: E402
from models.run import Plan, Run  # noqa: E402
from models.starter.recipes import PERSON  # noqa: E402
from models.training import TASKS  # noqa: E402
from models.training import fit as fitting  # noqa: E402
from models.training.fit import Average, rate  # noqa: E402

SMALLEST = Path(__file__).parents[2] / "models" / "runs" / "smallest.toml"


def test_batches_are_functions_of_seed_and_number(drawn_sets: Path) -> None:
    batches = Batches(open_sources({"drawn": 1.0}, [drawn_sets]), (320, 240), (160, 120), 3, seed=1)
    first, again, next_one = batches.batch(4), batches.batch(4), batches.batch(5)
    assert torch.equal(first.pictures, again.pictures) and torch.equal(first.faces.codes, again.faces.codes)
    assert not torch.equal(first.pictures, next_one.pictures)
    stream = batches.stream(4)
    assert torch.equal(next(stream).pictures, first.pictures) and torch.equal(next(stream).pictures, next_one.pictures)
    stream.close()


def test_drawn_faces_become_targets(drawn_sets: Path) -> None:
    batches = Batches(open_sources({"drawn": 1.0}, [drawn_sets]), (320, 240), (320, 240), 16, seed=1)
    batch = batches.batch(0)
    positive = batch.faces.labels == POSITIVE
    assert batch.pictures.shape == (16, 3, 240, 320) and batch.pictures.dtype == torch.uint8
    assert positive.any() and (batch.persons.labels == POSITIVE).any()
    assert not batch.faces.points[positive].isnan().any() and batch.faces.points[~positive].isnan().all()


def test_a_missing_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"nothing\.zip"):
        open_sources({"nothing": 1.0}, [tmp_path])


def test_the_rate_rises_and_falls() -> None:
    plan = Plan.read(SMALLEST)
    rates = [rate(plan, step) for step in range(plan.steps)]
    assert rates[:2] == [plan.rate / 2, plan.rate] and rates == sorted(rates[:2]) + sorted(rates[2:], reverse=True)
    assert rate(plan, plan.steps) == pytest.approx(plan.rate / 100)


def test_the_average_follows_the_weights() -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(0.0)
        average = Average(net, share=0.5)
        net.weight.fill_(1.0)
    average.update(net, step=0)
    assert average.net.weight.item() == pytest.approx(0.9)  # a tenth of the start is left
    average.update(net, step=1000)
    assert average.net.weight.item() == pytest.approx(0.95)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_smallest_run_trains_resumes_and_exports(drawn_sets: Path, tmp_path: Path, packages: Path) -> None:
    runs, sets = tmp_path / "runs", str(drawn_sets)
    arguments = ["train", str(SMALLEST), "--runs", str(runs), "--sets", sets, "--cache", str(packages)]
    assert main(arguments) == 0
    folder = runs / "smallest"
    assert (folder / "run.toml").read_text() == SMALLEST.read_text()
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["3", "6"] and all(row["score"] for row in rows)
    assert main(arguments) == 1  # the folder exists
    before = torch.load(folder / "last.pt", weights_only=True)
    assert main([*arguments, "--resume"]) == 0  # nothing is left to do
    assert before["step"] == torch.load(folder / "last.pt", weights_only=True)["step"] == 6
    exported_equals_its_card(folder, tmp_path / "out", packages)


def exported_equals_its_card(run: Path, out: Path, packages: Path) -> None:
    assert main(["export", str(run), "--out", str(out), "--cache", str(packages)]) == 0
    artefact = Artefact(out)  # verifies the files
    assert set(artefact.card.files) == {"stem.onnx", "tail.onnx"} and artefact.card.name == "smallest"
    detector = Detector(artefact, precision="fp32")
    glance = detector.look(ArrayPicture(np.zeros((241, 321, 3), np.uint8)))
    assert glance.features.shape == (24, 75, 75) and glance.cells is not None
    assert len(detector.finish(glance).boxes) >= 0
    for category in CATEGORIES:
        assert len(SplitNet(artefact, category, "fp32").find(np.zeros((241, 321, 3), np.uint8), 0.5)) == 2


@pytest.mark.parametrize("name", [name for name, kind in TASKS.items() if kind.sets == "sets"])
def test_every_term_that_a_run_file_may_name_is_computed(name: str, drawn_sets: Path, packages: Path) -> None:
    take_or_skip(PERSON.source)
    kind = TASKS[name]
    plan = replace(Plan.read(SMALLEST), window=[96, 96], losses=dict.fromkeys(kind.terms, 1.0))
    task = importlib.import_module(kind.module).Task(plan, packages, packages, [drawn_sets])
    batches = task.batches(0)
    values = task.losses(next(batches))
    batches.close()
    assert set(values) == set(kind.terms) and all(value.isfinite() for value in values.values())


class PulledError(Exception):
    """Somebody pulled the plug."""


def lesson(task: str) -> str:
    """Return the smallest run file, shorter, and for a task that may have other terms."""
    content, terms = SMALLEST.read_text().split("[losses]")
    if task == "gate_stem":
        content = content.replace('"detector"', '"gate_stem"').replace("[160, 120]", "[120, 120]")
        terms = "\nfeatures = 1.0\ndirection = 1.0\n"
    return f"{content}[losses]{terms}".replace("steps = 6", "steps = 4").replace("every = 3", "every = 9")


@pytest.mark.parametrize("task", ["detector", "gate_stem"])
def test_resuming_gives_what_an_unbroken_run_gives(
    task: str, drawn_sets: Path, tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_or_skip(PERSON.source)
    monkeypatch.setattr(fitting, "SAVE_EVERY", 0.0)  # a checkpoint behind every step
    file = tmp_path / "a.toml"
    file.write_text(lesson(task))
    surroundings = (packages, [drawn_sets])
    whole = trained(Run(file, tmp_path / "whole", resume=False), *surroundings)
    with pytest.raises(PulledError):
        trained(Run(file, tmp_path / "broken", resume=False), *surroundings, batches=2)
    resumed = trained(Run(file, tmp_path / "broken", resume=True), *surroundings)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def trained(run: Run, cache: Path, sets: list[Path], batches: int = 99) -> torch.nn.Module:
    """Train, or stop when so many batches were drawn."""
    task = importlib.import_module(TASKS[run.plan.task].module).Task(run.plan, run.folder.parent, cache, sets)
    drawn = task.batches

    def stopping(first: int) -> Generator[Any]:
        stream = drawn(first)
        yield from itertools.islice(stream, batches)
        stream.close()
        raise PulledError

    task.batches = stopping
    fitting.fit(run, task)
    return task.net
