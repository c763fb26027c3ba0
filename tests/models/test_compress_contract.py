"""What every kind of compression keeps to, whatever it does: one contract over the whole table of kinds."""

import json
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")
pytest.importorskip("sklearn", reason="needs the train extra: pip install scikit-learn")

from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.binary_size import size_of  # noqa: E402
from models.compress.export import logits_of  # noqa: E402
from models.compress.grid import cells  # noqa: E402
from models.compress.kinds import KINDS  # noqa: E402
from models.compress.recipe import FORMS  # noqa: E402
from models.compress.run import compress, load_net, load_packed_net, report_of, trained_base  # noqa: E402
from models.compress.run_file import RunFile, digest  # noqa: E402
from models.compress.tasks import Task, TaskPlan, normalised, open_task  # noqa: E402
from models.compress.training import answers  # noqa: E402

RUNS = Path(__file__).parents[2] / "models" / "runs" / "compress"
HEAD = """
seed = 0
task = { name = "digits", side = 8, train = 320, validation = 100, test = 100 }
net = { name = "resnet8", width = 16 }
base = { epochs = 4, rate = 0.05, batch = 32 }
tuning = { rate = 0.01 }
"""
DOING = {  # of each kind: what changes the net, in seconds
    "prune.sfp": "energy = 0.6\nepochs = 3\nfinetune = 1",
    "factorise.musco": "rank = { rule = 'cut', times = 2.0 }\nrounds = 2\nfinetune = 1\nfilter = { kernel_above = 1 }",
    "train.svd": "energy = 0.5\nepochs = 1\nfilter = { kernel_above = 1 }",
    "reduce.ron": "first = 'stages.2'\nranks = [8]\npictures = 200",
    "binarise": "thresholds = 2\nepochs = 1\nfilter = { kernel_above = 1 }",
    "distil": "epochs = 1",
    "quantise.int8": "calibrate = 200",
}
NEUTRAL = {  # of each kind: what leaves every answer as it is
    "prune.sfp": "ratio = 0.0",
    "factorise.musco": "rank = { rule = 'energy', keep = 0.999999 }",
    "train.svd": "energy = 1.0",
    "reduce.ron": "first = 'stages.2'\nenergy = 1.0\npictures = 50",
    "binarise": "filter = { only = ['nothing'] }",
    "distil": "share = 1.0",
    "quantise.int8": "",
}
FILTERED = ("prune.sfp", "factorise.musco", "train.svd", "binarise")  # kinds that ask a filter for layers
LARGER = ("binarise",)  # kinds whose numbers are more, though each takes a bit in place of a float
ANSWERED = 100  # pictures


def plan_of(kind: str, fields: str) -> RunFile:
    return RunFile.of(tomllib.loads(f"{HEAD}\n[[stage]]\nkind = '{kind}'\n{fields}"), kind)


@pytest.fixture(scope="module")
def task() -> Task:
    return open_task(TaskPlan(name="digits", side=8, train=320, validation=100, test=100), [])


Done = Callable[[str, str], Path]  # kind and fields to the folder of a finished run


@pytest.fixture(scope="module")
def done(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Does runs, each once, all with one base."""
    root = tmp_path_factory.mktemp("contract")

    def do(kind: str, fields: str) -> Path:
        plan = plan_of(kind, fields)
        folder = root / digest(plan.resolved())
        compress(plan, task, folder, root / "bases", lambda line: None)
        return folder

    return do


@pytest.fixture(scope="module")
def base(task: Task, tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return trained_base(plan_of("distil", ""), task, tmp_path_factory.mktemp("bases"), lambda line: None)


def test_every_kind_has_its_rows() -> None:
    assert list(DOING) == list(NEUTRAL) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_with_nothing_to_do_answers_stay_as_they_are(kind: str, task: Task, done: Done, base: nn.Module) -> None:
    kept = load_net(done(kind, NEUTRAL[kind]))
    expected, found = answers(base, task.test), answers(kept, task.test)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", FILTERED)
def test_a_filter_that_selects_nothing_leaves_every_bit(kind: str, done: Done, base: nn.Module) -> None:
    kept = load_net(done(kind, "filter = { leave = ['*'] }"))
    expected, found = base.state_dict(), kept.state_dict()
    assert list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_makes_the_same_net_again(kind: str, task: Task, done: Done) -> None:
    folder = done(kind, DOING[kind])
    report, net = report_of(folder), load_net(folder)
    pictures = normalised(task.test.pictures)
    with torch.no_grad():
        expected = net(pictures).numpy()
    told = logits_of((folder / "net.onnx").read_bytes(), pictures)
    np.testing.assert_allclose(told, expected, rtol=0, atol=1e-4 * abs(expected).max())
    figures = report["stages"][0]["figures"]
    if kind != "quantise.int8":  # whose answers are the file's
        assert figures["accuracy"] == (expected.argmax(1) == task.test.labels).mean()
        assert figures["file_bytes"] == (folder / "net.onnx").stat().st_size


@pytest.mark.parametrize("kind", KINDS)
def test_reported_sizes_are_those_of_the_net_that_is_kept(kind: str, task: Task, done: Done) -> None:
    folder = done(kind, DOING[kind])
    figures, net = report_of(folder)["stages"][0]["figures"], load_net(folder)
    assert figures["parameters"] == sum(value.numel() for value in net.parameters())
    assert figures["nonzero"] == sum(int((value != 0).sum()) for value in net.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(task.blank)
    assert 2 * figures["macs"] == counter.get_total_flops()
    assert figures["theoretical_bytes"]["fp32"] >= 4 * figures["parameters"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_enlarges_a_net_and_all_but_the_training_ones_change_it(kind: str, done: Done) -> None:
    stage = report_of(done(kind, DOING[kind]))["stages"][0]
    shares = stage["figures"]["of_base"]
    assert shares["macs"] <= 1 and (shares["parameters"] <= 1 or kind in LARGER)
    if kind in LARGER:
        assert stage["figures"]["theoretical_bytes"]["signs"] < 0.2 * stage["figures"]["theoretical_bytes"]["fp32"]
    trains_alone = kind in ("distil", "quantise.int8")
    assert bool(stage["edits"]) != trains_alone and (trains_alone or shares["macs"] < 1 or kind in LARGER)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_is_plain_values(kind: str, done: Done) -> None:
    recipe = json.loads((done(kind, DOING[kind]) / "recipe.json").read_text())
    for edit in recipe["edits"]:
        assert set(edit) == {"form", "layer", "values"} and edit["form"] in FORMS
    state = torch.load(done(kind, DOING[kind]) / "weights.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())


@pytest.mark.parametrize("shared", ["true", "false"])
def test_a_binary_net_is_made_again_from_a_file_of_bits_as_long_as_reported(
    shared: str, task: Task, done: Done
) -> None:
    folder = done("binarise", f"{DOING['binarise']}\nshared_weights = {shared}")
    figures, whole = report_of(folder)["stages"][0]["figures"], load_net(folder)
    assert (folder / "weights.bits").stat().st_size == figures["theoretical_bytes"]["signs"]
    assert figures["one_bit"] == asdict(size_of(whole)) and figures["one_bit"]["weight_bits"] > 0
    with torch.no_grad():
        pictures = normalised(task.test.pictures)
        assert torch.equal(load_packed_net(folder)(pictures), whole(pictures))


def test_a_run_of_a_net_in_floats_has_no_file_of_bits(done: Done) -> None:
    with pytest.raises(SetupError, match="has no one-bit file"):
        load_packed_net(done("distil", DOING["distil"]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_with_one_seed_always_does_the_same(kind: str, task: Task, done: Done, tmp_path: Path) -> None:
    folder = done(kind, DOING[kind])
    bases = folder.parent / "bases"
    report = compress(plan_of(kind, DOING[kind]), task, tmp_path, bases, lambda line: None)
    first, again = report_of(folder), report
    assert again["stages"][0]["edits"] == first["stages"][0]["edits"] and again["hash"] == first["hash"]
    expected, found = load_net(folder).state_dict(), load_net(tmp_path).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_was_stopped_in_its_epochs_ends_as_if_it_was_not(
    kind: str, task: Task, done: Done, tmp_path: Path
) -> None:
    folder, plan = done(kind, DOING[kind]), plan_of(kind, DOING[kind])

    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        raise StoppedError

    stops = 0
    while not (tmp_path / "report.json").exists():
        try:
            compress(plan, task, tmp_path, folder.parent / "bases", stop)
        except StoppedError:
            stops += 1
    stage = plan.stages[0].make()
    assert stops == stage.rounds * (stage.epochs + stage.finetune)
    assert report_of(tmp_path)["stages"][0]["edits"] == report_of(folder)["stages"][0]["edits"]
    expected, found = load_net(folder).state_dict(), load_net(tmp_path).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


# Run files


def kinds_of(file: Path) -> list[str]:
    plan = cells(file)[0].plan if file.stem == "grid" else RunFile.read(file)
    return [stage.kind for stage in plan.stages]


def test_there_is_a_smallest_run_of_every_kind() -> None:
    alone = [kinds_of(file) for file in sorted(RUNS.glob("*.toml"))]
    assert {kinds[0] for kinds in alone if len(kinds) == 1} == set(KINDS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], dict[str, Any]]:
    """Does the run of a file; all share one base."""
    root, tasks = tmp_path_factory.mktemp("runs"), dict[TaskPlan, Task]()

    def do(file: Path) -> dict[str, Any]:
        plan = RunFile.read(file)
        if plan.task not in tasks:
            tasks[plan.task] = open_task(plan.task, [])
        return compress(plan, tasks[plan.task], root / file.stem, root / "bases", lambda line: None)

    return do


@pytest.mark.parametrize("file", sorted({*RUNS.glob("*.toml")} - {RUNS / "grid.toml"}), ids=lambda file: file.stem)
def test_smallest_runs_keep_most_of_what_the_base_knows(file: Path, runs: Callable[[Path], dict[str, Any]]) -> None:
    report = runs(file)
    assert report["base"]["accuracy"] > 0.95 and report["accepted"]
    figures = report["stages"][-1]["figures"]
    assert figures["accuracy"] > report["base"]["accuracy"] - 0.15
    assert all(stage["edits"] for stage in report["stages"] if stage["kind"] not in ("distil", "quantise.int8"))
