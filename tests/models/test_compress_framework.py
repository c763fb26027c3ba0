"""What all kinds of compression share: nets, counting, training, runs that are stopped, reports, grids, comparisons."""

import argparse
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")
pytest.importorskip("sklearn", reason="needs the train extra: pip install scikit-learn")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.codes import quantisation, quantised_weights  # noqa: E402
from models.commands import compare as compare_command  # noqa: E402
from models.commands import compress as compress_command  # noqa: E402
from models.commands import grid as grid_command  # noqa: E402
from models.compress.compare import as_text, compare, gains, over_seeds  # noqa: E402
from models.compress.counting import counts, macs, theoretical_bytes  # noqa: E402
from models.compress.distil import Distil, distillation_loss, teacher_cross_entropy  # noqa: E402
from models.compress.export import exported, logits_of  # noqa: E402
from models.compress.grid import SUMMARY, cells, run_grid  # noqa: E402
from models.compress.int8 import Int8  # noqa: E402
from models.compress.layers import layers_of  # noqa: E402
from models.compress.paired import difference, macro_f1, mcnemar, recalls  # noqa: E402
from models.compress.pareto import Panel, Point, front, pareto  # noqa: E402
from models.compress.report import divergence, latencies  # noqa: E402
from models.compress.run import compress, load_net, report_of, trained_base  # noqa: E402
from models.compress.run_file import RunFile  # noqa: E402
from models.compress.stage import Context, Stage  # noqa: E402
from models.compress.tasks import Part, Task, TaskPlan, normalised, open_task  # noqa: E402
from models.compress.training import Progress, Tuning, answers, batches, rate, train  # noqa: E402
from models.nets.classifiers import NETS, NetPlan  # noqa: E402
from models.nets.mobilenetv2 import MobileNetV2  # noqa: E402
from models.nets.resnet import ResNet  # noqa: E402
from models.quantise import float_convolutions  # noqa: E402

SMALLEST = """
seed = 0
[task]
name = "digits"
side = 8
train = 256
validation = 100
test = 200
[net]
name = "resnet8"
width = 8
[base]
epochs = 4
rate = 0.05
batch = 16
[[stage]]
kind = "distil"
epochs = 2
finetune = 1
[[stage]]
kind = "quantise.int8"
calibrate = 200
"""


def fixture(*shape: int) -> np.ndarray:
    """Weights of a shape that depend on nothing: entry t is ((37 t + 11) mod 101) / 50 - 1."""
    return ((37 * np.arange(math.prod(shape)) + 11) % 101 / 50 - 1).reshape(shape)


def parameters(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


def file_of(folder: Path, *changes: tuple[str, str], name: str = "run") -> Path:
    """The smallest run's file with some of its text replaced."""
    text = SMALLEST
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / f"{name}.toml").write_text(text)
    return folder / f"{name}.toml"


@pytest.fixture(scope="module")
def task() -> Task:
    return open_task(TaskPlan(name="digits", side=8, train=256, validation=100, test=200), [])


@pytest.fixture(scope="module")
def finished(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the smallest run."""
    folder = tmp_path_factory.mktemp("runs")
    compress(RunFile.read(file_of(folder)), task, folder / "run", folder / "bases", said([]))
    return folder / "run"


def said(lines: list[str]) -> Callable[[str], None]:
    return lines.append


# Nets


PUBLISHED: dict[str, tuple[Callable[[], nn.Module], int, int, int | None]] = {
    "ResNet18 of 1000 classes": (lambda: ResNet(18, 1000, 64, "large"), 224, 11_689_512, 1_814_073_344),
    "ResNet18 of 10 classes": (lambda: ResNet(18, 10, 64, "large"), 32, 11_181_642, None),
    "ResNet18 with a small stem": (lambda: ResNet(18, 10), 32, 11_173_962, 555_422_720),
    "ResNet18 of the study": (lambda: ResNet(18, 10, 16), 32, 701_466, None),
    "ResNet8 of the study": (lambda: ResNet(8, 10, 16), 32, 78_042, None),
    "ResNet20 of the study": (lambda: ResNet(20, 10, 16), 32, 272_474, None),
    "MobileNetV2 of 1000 classes": (lambda: MobileNetV2(1000, stem="large"), 224, 3_504_872, 300_774_272),
    "MobileNetV2 of 10 classes": (lambda: MobileNetV2(10), 32, 2_236_682, None),
}


@pytest.mark.parametrize(("build", "side", "numbers", "products"), PUBLISHED.values(), ids=PUBLISHED)
def test_nets_have_the_published_sizes(
    build: Callable[[], nn.Module], side: int, numbers: int, products: int | None
) -> None:
    with torch.device("meta"):  # shapes alone, nothing is computed
        net, picture = build(), torch.zeros(1, 3, side, side)
        assert parameters(net) == numbers
        if products is not None:
            assert macs(net, picture) == products


@pytest.mark.parametrize(("depth", "millions"), [(20, 40.550), (32, 68.862), (56, 125.485), (110, 252.887)])
def test_cifar_nets_have_the_published_macs_of_their_3x3_convolutions(depth: int, millions: float) -> None:
    with torch.device("meta"):
        layers = layers_of(ResNet(depth, 10, 16), torch.zeros(1, 3, 32, 32))
    counted = sum(layer.macs for layer in layers if layer.shape[2:] == (3, 3))
    assert counted / 1e6 == pytest.approx(millions, abs=6e-4)


def test_a_net_of_no_known_depth_or_stem_is_refused() -> None:
    for depth, stem in ((9, "small"), (20, "middle")):
        with pytest.raises(ValueError, match="there are"):
            ResNet(depth, 10, 16, stem)


@pytest.mark.parametrize("name", NETS)
def test_multiply_adds_as_they_ran_are_those_of_the_layers(name: str) -> None:
    with torch.device("meta"):
        net, picture = NetPlan(name=name, width=8).build(5), torch.zeros(1, 3, 16, 16)
        assert macs(net, picture) == sum(layer.macs for layer in layers_of(net, picture)) and net.training


def test_bytes_by_how_parameters_are_kept() -> None:
    net = nn.Linear(3, 2)  # six weights, two biases
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]))
        net.bias.copy_(torch.tensor([0.5, 0.0]))
    assert theoretical_bytes(net) == {"fp32": 32, "int8": 6 + 4 * (2 + 2), "sparse": 8 * 4}
    assert counts(net, torch.zeros(1, 3)).nonzero == 4


# Training


def test_the_rate_rises_in_a_line_and_falls_as_half_a_cosine() -> None:
    tuning = Tuning(rate=0.1, warmup=0.2)
    assert rate(tuning, 0.1) == pytest.approx(0.05) and rate(tuning, 0.2) == pytest.approx(0.1)
    assert rate(tuning, 0.6) == pytest.approx(0.0505) and rate(tuning, 1.0) == pytest.approx(0.001)


def part_of(count: int, side: int = 8) -> Part:
    random = np.random.default_rng(0)
    return Part(random.integers(0, 256, (count, 3, side, side), dtype=np.uint8), random.integers(0, 4, count))


def test_an_epoch_shows_every_picture_once_moved_and_mirrored_by_its_seed_alone() -> None:
    part = part_of(20)
    still = list(batches(part, Tuning(rate=0.1, batch=8), 3))
    assert [len(labels) for _, labels in still] == [8, 8]  # four fill no batch
    shown = {picture.numpy().tobytes() for pictures, _ in still for picture in pictures}
    assert len(shown) == 16 and shown < {picture.numpy().tobytes() for picture in normalised(part.pictures)}
    tuning = Tuning(rate=0.1, batch=8, shift=2, mirror=True)
    first, again, other = ([pictures for pictures, _ in batches(part, tuning, seed)] for seed in (3, 3, 4))
    assert all(map(torch.equal, first, again)) and not all(map(torch.equal, first, other))
    assert not all(map(torch.equal, first, [pictures for pictures, _ in still]))


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return ResNet(8, 4, 4)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(optimiser: str) -> None:
    tuning, part = Tuning(rate=0.01, batch=8, shift=1, optimiser=optimiser), part_of(32)
    whole, stopped = small_net(), small_net()
    train(whole, part, tuning, 3, 7, Stage(), Progress(), lambda progress: None)
    kept: dict[str, Any] = {}

    def stop(progress: Progress) -> None:
        content = io.BytesIO()
        torch.save({"net": stopped.state_dict(), "progress": vars(progress)}, content)
        content.seek(0)
        kept.update(torch.load(content, weights_only=True))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train(stopped, part, tuning, 3, 7, Stage(), Progress(), stop)
    fresh = small_net()
    fresh.load_state_dict(kept["net"])
    train(fresh, part, tuning, 3, 7, Stage(), Progress(**kept["progress"]), lambda progress: None)
    assert all(
        torch.equal(one, other)
        for one, other in zip(fresh.state_dict().values(), whole.state_dict().values(), strict=True)
    )
    assert not whole.training


def test_what_no_weight_decay_is_meant_for_has_none() -> None:
    spared = nn.Linear(4, 4)
    spared.weight.no_decay = True  # type: ignore[attr-defined]
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), spared)
    for value in net.parameters():
        nn.init.ones_(value)
    part = Part(np.full((8, 3, 8, 8), 128, np.uint8), np.zeros(8, np.int64))
    before = [value.detach().clone() for value in net.parameters()]

    class Silent(Stage):  # takes the labels' loss away, so that decay alone moves the weights
        task_share = 0.0

    train(net, part, Tuning(rate=0.1, batch=8, decay=0.5), 1, 0, Silent(), Progress(), lambda progress: None)
    same = [torch.equal(value, one) for value, one in zip(net.parameters(), before, strict=True)]
    assert same == [False, True, True, True]


def test_a_loss_that_is_no_number_is_told() -> None:
    endless = nn.Linear(192, 4)
    nn.init.constant_(endless.weight, math.inf)
    net = nn.Sequential(nn.Flatten(), endless)
    with pytest.raises(SetupError, match=r"loss of epoch 0 is no number; lower rate, 0\.1 now"):
        train(net, part_of(8), Tuning(rate=0.1, batch=8), 1, 0, Stage(), Progress(), lambda progress: None)


# Distillation and 8 bits


STUDENT: Tensor = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
TEACHER: Tensor = torch.tensor([[2.0, 1.0, -1.0]], dtype=torch.float64)


def test_distillation_of_worked_logits() -> None:
    label = torch.tensor([0])
    assert distillation_loss(STUDENT, TEACHER, label, 4.0, 1.0).item() == pytest.approx(0.3066576373, abs=5e-8)
    assert distillation_loss(STUDENT, TEACHER, label, 4.0, 1.0).item() / 16 == pytest.approx(0.0191661023, abs=5e-8)
    assert distillation_loss(STUDENT, TEACHER, label, 4.0, 0.0).item() == pytest.approx(0.8619948041, abs=5e-8)
    assert distillation_loss(STUDENT, TEACHER, label, 4.0, 0.9).item() == pytest.approx(0.3621913640, abs=5e-8)
    assert teacher_cross_entropy(STUDENT, TEACHER).item() == pytest.approx(0.8971138310, abs=5e-8)
    smoothed = functional.cross_entropy(TEACHER, label, label_smoothing=0.1).item()
    assert smoothed == pytest.approx(0.4823455502, abs=5e-8)
    assert functional.cross_entropy(TEACHER, label).item() == pytest.approx(0.3490122168, abs=5e-8)


def test_the_loop_adds_up_the_loss_of_distillation() -> None:
    class Fixed(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return TEACHER

    stage = Distil(temperature=4.0, share=0.9)
    inputs = torch.zeros(1, 3, 8, 8)
    stage.prepare(nn.Identity(), Context(inputs, Fixed(), 0))
    outputs = STUDENT.clone().requires_grad_()
    total = stage.task_share * functional.cross_entropy(outputs, torch.tensor([0])) + stage.extra_loss(
        nn.Identity(), inputs, outputs
    )
    assert total.item() == pytest.approx(0.3621913640, abs=5e-8)


def test_codes_of_worked_weights_and_ranges() -> None:
    weights = fixture(2, 4, 3, 3)
    codes, scales = quantised_weights(weights)
    assert scales[0] == pytest.approx(0.00787402, abs=1e-8)
    assert abs(codes[0, 0].ravel()[:5] - np.array([-99, -5, 89, -74, 20])).max() <= 1  # a kernel's sum is kept
    assert abs(codes * scales[:, None, None, None] - weights).max() <= scales.max() * (1 + 1e-6)
    scale, zero = quantisation(-0.3, 2.1)
    assert scale == pytest.approx(0.0094117647, abs=1e-9) and zero == 32
    assert np.rint(1.0 / scale) + zero == 138


def test_an_8_bit_net_answers_nearly_as_its_source(finished: Path, task: Task) -> None:
    report = report_of(finished)
    before, after = (stage["figures"] for stage in report["stages"])
    assert after["parameters"] == before["parameters"] and after["file_bytes"] < 0.7 * before["file_bytes"]
    pictures = normalised(task.test.pictures)
    exact, coarse = (logits_of((finished / name).read_bytes(), pictures) for name in ("net.onnx", "net.int8.onnx"))
    assert (exact.argmax(1) == coarse.argmax(1)).mean() > 0.9
    assert after["accuracy"] == (coarse.argmax(1) == task.test.labels).mean()
    assert float_convolutions((finished / "net.int8.onnx").read_bytes()) == []


def test_8_bits_need_pictures_to_calibrate_on() -> None:
    net = small_net().eval()
    with pytest.raises(SetupError, match="calibrate is 200, the task has 100"):
        Int8(calibrate=200).finish(net, Context(torch.zeros(100, 3, 8, 8), net, 0))


# Export


def test_a_file_that_answers_otherwise_than_its_net_is_refused() -> None:
    class Moody(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            return pictures.flatten(1) * (1.0 if torch.onnx.is_in_onnx_export() else 1.001)

    with pytest.raises(SetupError, match=r"differs from the net by 1\.0e-03 of its logits"):
        exported(Moody(), torch.ones(2, 3, 4, 4))


@pytest.mark.parametrize(("name", "stem"), [("resnet8", "large"), ("resnet18", "small"), ("mobilenetv2", "large")])
def test_nets_are_exported_as_they_answer(name: str, stem: str) -> None:
    torch.manual_seed(0)
    net = NetPlan(name=name, width=4, stem=stem).build(3).train()
    net(torch.randn(8, 3, 16, 16))  # running figures that are not 0 and 1
    pictures = torch.randn(5, 3, 16, 16)
    content = exported(net, pictures)
    assert net.training
    expected = net.eval()(pictures).detach().numpy()
    np.testing.assert_allclose(logits_of(content, pictures), expected, atol=1e-4 * abs(expected).max())


# Answers that are compared


def test_mcnemar_is_the_binomial_of_the_disagreements() -> None:
    assert mcnemar(0, 0) == mcnemar(1, 0) == mcnemar(5, 5) == 1.0
    assert mcnemar(0, 5) == mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(17, 2) == pytest.approx(2 * (1 + 19 + 171) / 2**19)


def test_a_difference_and_its_interval() -> None:
    labels = np.zeros(1000, np.int64)
    first, second = labels.copy(), labels.copy()
    second[:60] = 1  # the first alone is right
    first[60:90] = 1  # the second alone is right
    found = difference(first, second, labels)
    assert found["accuracy"] == pytest.approx(0.03)
    assert (found["only_this_is_right"], found["only_the_other_is_right"]) == (60, 30)
    half = 1.96 * math.sqrt((90 / 1000 - 0.03**2) / 1000)  # of the normal distribution
    assert found["interval"] == pytest.approx([0.03 - half, 0.03 + half], abs=0.002)
    opposite = difference(second, first, labels)
    assert opposite["accuracy"] == -found["accuracy"] and opposite["mcnemar_p"] == found["mcnemar_p"]
    assert difference(first, first, labels)["interval"] == [0.0, 0.0]


def test_recalls_and_f1_of_worked_answers() -> None:
    labels, told = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 2])
    assert recalls(told, labels, 4) == [pytest.approx(2 / 3), 0.5, 1.0, None]
    assert macro_f1(told, labels, 4) == pytest.approx((4 / 6 + 2 / 4 + 1) / 3)


def test_the_divergence_of_answers() -> None:
    worked = divergence((STUDENT / 4).float().numpy(), (TEACHER / 4).float().numpy())
    assert worked == pytest.approx(0.0191661023, abs=5e-8) and divergence(*[TEACHER.float().numpy()] * 2) == 0


def test_nets_are_timed_in_turns() -> None:
    contents = [exported(small_net().eval(), torch.zeros(1, 3, 8, 8))] * 2
    found = latencies(contents, torch.zeros(1, 3, 8, 8))
    assert len(found) == 2 and all(0 < one.least <= one.median for one in found)


# Runs


def test_a_finished_run_says_what_became_of_the_net(finished: Path, task: Task) -> None:
    report = report_of(finished)
    assert report["accepted"] and report["epochs"] == 4 + 2 + 1 and report["data"]["digest"] == task.digest
    assert [stage["kind"] for stage in report["stages"]] == ["distil", "quantise.int8"]
    net = load_net(finished)
    first = report["stages"][0]["figures"]
    assert first["parameters"] == parameters(net) and first["macs"] == macs(net, task.blank)
    logits = answers(net, task.test)
    assert first["accuracy"] == float((logits.argmax(1).numpy() == task.test.labels).mean())
    assert first["of_base"]["parameters"] == first["of_before"]["macs"] == 1.0
    with np.load(finished / "answers.npz") as arrays:
        assert arrays["answers"].shape == (3, 200) and np.array_equal(arrays["labels"], task.test.labels)
        assert np.array_equal(arrays["answers"][1], logits.argmax(1).numpy())
        assert report["base"]["accuracy"] == (arrays["answers"][0] == arrays["labels"]).mean()
    minus = first["minus_base"]["accuracy"]
    assert minus == pytest.approx(first["accuracy"] - report["base"]["accuracy"])
    assert not (finished / "state.pt").exists()


def test_a_finished_run_is_not_done_again(finished: Path, task: Task) -> None:
    plan, lines = RunFile.read(finished.parent / "run.toml"), list[str]()
    stamp = (finished / "report.json").stat().st_mtime_ns
    assert compress(plan, task, finished, finished.parent / "bases", said(lines)) == report_of(finished)
    assert not lines and (finished / "report.json").stat().st_mtime_ns == stamp


def test_a_folder_of_another_run_is_refused(finished: Path, task: Task, tmp_path: Path) -> None:
    plan = RunFile.read(file_of(tmp_path, ("finetune = 1", "finetune = 2")))
    with pytest.raises(SetupError, match="holds another run"):
        compress(plan, task, finished, finished.parent / "bases", said([]))


def test_a_run_that_was_killed_in_any_epoch_ends_as_one_that_was_not(
    finished: Path, task: Task, tmp_path: Path
) -> None:
    plan, deaths = RunFile.read(finished.parent / "run.toml"), 0

    class KilledError(Exception):
        pass

    def kill(line: str) -> None:  # behind every epoch
        nonlocal deaths
        deaths += 1
        raise KilledError

    while not (tmp_path / "run" / "report.json").exists():
        try:
            compress(plan, task, tmp_path / "run", tmp_path / "bases", kill)
        except KilledError:
            assert deaths <= 7
    assert deaths == 7
    whole, pieces = load_net(finished), load_net(tmp_path / "run")
    assert all(map(torch.equal, whole.state_dict().values(), pieces.state_dict().values()))
    assert report_of(tmp_path / "run")["epochs"] == 7


def test_a_run_stops_at_a_stage_that_loses_more_than_is_accepted(finished: Path, task: Task, tmp_path: Path) -> None:
    bad = "[accept]\nmax_drop = 0.0\nmax_params = 0.5\n[[stage]]"
    ruined = ("batch = 16", "batch = 16\n[tuning]\nrate = 30.0")
    stopping = RunFile.read(file_of(tmp_path, ('[[stage]]\nkind = "d', bad + '\nkind = "d'), ruined))
    going_on = RunFile.read(
        file_of(tmp_path, ('[[stage]]\nkind = "d', bad.replace("[[", 'on_fail = "go_on"\n[[') + '\nkind = "d'), ruined)
    )
    for plan, stages in ((stopping, 1), (going_on, 2)):
        report = compress(plan, task, tmp_path / str(stages), finished.parent / "bases", said([]))
        assert not report["accepted"] and len(report["stages"]) == stages
        assert "below the base's validation accuracy, more than max_drop 0.0" in report["failures"][0]
        assert report["failures"][-1] == "1.0000 of the parameters are left, max_params is 0.5"


def test_runs_of_one_base_train_it_once(finished: Path, task: Task) -> None:
    plan, lines = RunFile.read(finished.parent / "run.toml"), list[str]()
    trained_base(plan, task, finished.parent / "bases", said(lines))
    assert not lines and len(list((finished.parent / "bases").iterdir())) == 1


def test_a_folder_without_a_finished_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="holds no finished run"):
        load_net(tmp_path)
    with pytest.raises(SetupError, match=r"report\.json cannot be read"):
        report_of(tmp_path)


# Grids and comparisons


GRID = """
run = "run.toml"
[axes]
"base.epochs" = [0]
"stage.0.epochs" = [0]
"stage.0.finetune" = [0]
"stage.1.calibrate" = [200, 300]
"""


def test_a_grid_does_what_is_left_and_survives_what_fails(tmp_path: Path) -> None:
    file_of(tmp_path)
    (tmp_path / "grid.toml").write_text(GRID)
    assert [cell.values["stage.1.calibrate"] for cell in cells(tmp_path / "grid.toml")] == [200, 300]
    summary = run_grid(tmp_path / "grid.toml", tmp_path / "out", [], said([]))
    good, bad = summary["runs"]
    assert summary["states"] == {"failed": 1, "finished": 1} and summary == json.loads(
        (tmp_path / "out" / SUMMARY).read_text()
    )
    assert bad["error"] == "app.errors.SetupError: calibrate is 300, the task has 256 training pictures"
    assert good["folder"] == report_of(tmp_path / "out" / good["folder"])["hash"]
    lines = list[str]()
    run_grid(tmp_path / "grid.toml", tmp_path / "out", [], said(lines))
    assert not any("calibrate 200" in line for line in lines) and "calibrate 300" in lines[0]


WRONG_GRIDS = {
    "no axes": ("[axes]", "[axis]", "is no grid"),
    "an axis that leads nowhere": ('"stage.0.epochs"', '"stage.7.epochs"', r"axis stage\.7\.epochs leads nowhere"),
    "an axis through a number": ('"stage.0.epochs"', '"seed.0"', r"axis seed\.0 leads nowhere"),
    "an axis without values": ('"stage.0.epochs" = [0]', '"stage.0.epochs" = []', "is a list of one value at least"),
    "a value that cannot be": (
        '"stage.0.epochs" = [0]',
        '"stage.0.epochs" = [-1]',
        r"with base\.epochs 0, .*epochs and",
    ),
}


@pytest.mark.parametrize(("old", "new", "told"), WRONG_GRIDS.values(), ids=WRONG_GRIDS)
def test_wrong_grids_are_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    file_of(tmp_path)
    (tmp_path / "grid.toml").write_text(GRID.replace(old, new))
    with pytest.raises(SetupError, match=told):
        cells(tmp_path / "grid.toml")


def test_ways_are_compared_over_seeds_on_the_same_pictures(tmp_path: Path) -> None:
    short = ("epochs = 2\nfinetune = 1", "epochs = 1")
    ways = [
        file_of(tmp_path, short, name="whole"),
        file_of(tmp_path, short, ('[[stage]]\nkind = "quantise.int8"\ncalibrate = 200\n', ""), name="distilled"),
    ]
    table = compare(ways, [0, 1], tmp_path / "out", [], said([]))
    assert list(table["ways"]) == ["whole", "distilled"] and len(table["base"]["seeds"]) == 2
    found, folder = table["ways"]["whole"], tmp_path / "out"
    assert found["minus_base"]["seeds"] == [float(gains(folder / f"whole-{seed}").mean()) for seed in (0, 1)]
    low, high = found["minus_base"]["interval"]
    assert low <= found["minus_base"]["accuracy"] <= high
    assert len(list((folder / "bases").iterdir())) == 2  # one for each seed, not for each way
    assert as_text(table).splitlines()[1].startswith("whole")
    assert ElementTree.parse(folder / "compare.svg").getroot().tag.endswith("svg")
    assert json.loads((folder / "compare.json").read_text()) == table


def command(module: ModuleType, *words: str) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(words)))


def test_commands_run_what_files_say(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(compress_command, str(finished.parent / "run.toml"), "--out", str(finished.parent)) == 0
    assert json.loads(capsys.readouterr().out)["accepted"] is True
    file_of(tmp_path)
    (tmp_path / "grid.toml").write_text(GRID)
    assert command(grid_command, str(tmp_path / "grid.toml"), "--out", str(tmp_path / "grid")) == 1
    assert json.loads(capsys.readouterr().out)["states"] == {"failed": 1, "finished": 1}
    whole = file_of(tmp_path, ("epochs = 4", "epochs = 0"), ("epochs = 2\nfinetune = 1", "epochs = 0"), name="whole")
    assert command(compare_command, str(whole), "--seeds", "5", "--out", str(tmp_path / "compared")) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("whole")


def test_ways_of_other_bases_are_not_compared(tmp_path: Path) -> None:
    ways = [file_of(tmp_path, name="a"), file_of(tmp_path, ("width = 8", "width = 9"), name="b")]
    with pytest.raises(SetupError, match="same task, net and base"):
        compare(ways, [0], tmp_path / "out", [], said([]))
    with pytest.raises(SetupError, match="different names"):
        compare([ways[0], ways[0]], [0], tmp_path / "out", [], said([]))


def test_seeds_that_disagree_widen_the_interval() -> None:
    same = [np.array([1.0] * 10 + [0.0] * 90, np.float32)] * 3
    apart = [np.array([value] * 20 + [0.0] * 80, np.float32) for value in (1.0, 0.0, -1.0)]
    narrow, wide = over_seeds(same), over_seeds(apart)
    assert narrow["accuracy"] == pytest.approx(0.1) and narrow["seeds"] == pytest.approx([0.1] * 3)
    assert narrow["interval"][1] - narrow["interval"][0] < wide["interval"][1] - wide["interval"][0]


def test_the_front_has_what_is_worth_its_cost() -> None:
    points = [
        Point(name, cost, value, value, value)
        for name, cost, value in (("a", 1, 0.9), ("b", 0.5, 0.8), ("c", 0.6, 0.7), ("d", 0.5, 0.75), ("e", 0.2, 0.8))
    ]
    assert [point.name for point in front(points)] == ["e", "a"]
    drawn = ElementTree.fromstring(pareto([Panel("cost <1>", points), Panel("none", [])], "worth"))
    assert "cost <1>" in "".join(drawn.itertext()) and "nothing to show" in "".join(drawn.itertext())
