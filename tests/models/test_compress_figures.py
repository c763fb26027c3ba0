"""Losses, codes, exported files and figures of answers against values worked out apart."""

import math
from contextlib import nullcontext

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")
pytest.importorskip("sklearn", reason="needs the train extra: pip install scikit-learn")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.codes import quantisation, quantised_weights  # noqa: E402
from models.compress import report  # noqa: E402
from models.compress.binary import Binary, BinaryConv2d  # noqa: E402
from models.compress.binary_size import Size  # noqa: E402
from models.compress.counting import Counts  # noqa: E402
from models.compress.distil import Distil, distillation_loss, teacher_cross_entropy  # noqa: E402
from models.compress.export import exported, logits_of  # noqa: E402
from models.compress.int8 import Int8  # noqa: E402
from models.compress.paired import difference, macro_f1, mcnemar, recalls  # noqa: E402
from models.compress.report import Latency, Measured, divergence, latencies  # noqa: E402
from models.compress.stage import Context  # noqa: E402
from models.compress.tasks import Part, Task, TaskPlan  # noqa: E402
from models.nets.classifiers import NetPlan  # noqa: E402
from models.nets.resnet import ResNet  # noqa: E402


def fixture(*shape: int) -> np.ndarray:
    """Weights of a shape that depend on nothing: entry t is ((37 t + 11) mod 101) / 50 - 1."""
    return ((37 * np.arange(math.prod(shape)) + 11) % 101 / 50 - 1).reshape(shape)


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


def test_8_bits_need_pictures_to_calibrate_on() -> None:
    net = ResNet(8, 4, 4).eval()
    with pytest.raises(SetupError, match="calibrate is 200, the task has 100"):
        Int8(calibrate=200).finish(net, Context(torch.zeros(100, 3, 8, 8), net, 0))


def test_a_file_that_answers_otherwise_than_its_net_is_refused() -> None:
    class Moody(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            return pictures.flatten(1) * (1.0 if torch.onnx.is_in_onnx_export() else 1.001)

    with pytest.raises(SetupError, match=r"differs from the net by 1\.0e-03 of its logits"):
        exported(Moody(), torch.ones(2, 3, 4, 4))


@pytest.mark.parametrize(("binary", "moved", "right"), [(True, 1, True), (True, 3, False), (False, 1, False)])
def test_the_last_bit_of_a_float_may_turn_signs_in_a_few_pictures(binary: bool, moved: int, right: bool) -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            conv = nn.Conv2d(3, 3, 3)
            self.layer = BinaryConv2d(conv, Binary(thresholds=3)) if binary else conv

        def forward(self, pictures: Tensor) -> Tensor:
            if torch.onnx.is_in_onnx_export():
                return pictures.flatten(1)
            return pictures.flatten(1) + (torch.arange(len(pictures)) < moved)[:, None]

    with nullcontext() if right else pytest.raises(SetupError, match="differs from the net"):
        exported(Turned(), torch.ones(5, 3, 4, 4))


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


def test_figures_beside_the_base_and_beside_the_stage_before(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part(np.zeros((3, 3, 8, 8), np.uint8), np.array([0, 1, 2]))
    task = Task(TaskPlan(name="digits", side=8), ("a", "b", "c"), part, part, part, "")

    def measured(logits: list[list[float]], size: int) -> Measured:
        numbers = Counts(parameters=size, nonzero=size, macs=10 * size, operations=10 * size)
        return Measured(numbers, {}, Size(), bytes(size), 2 * size, 0.5, np.array(logits, np.float32))

    base = measured([[9, 0, 0], [0, 9, 0], [0, 9, 0]], 8)
    net = measured([[5, 0, 0], [5, 0, 0], [0, 5, 0]], 2)
    times = [Latency(2.0, 4.0, 9.0), Latency(4.0, 5.0, 6.0), Latency(5.0, 5.0, 6.0)]
    monkeypatch.setattr(report, "latencies", lambda contents, picture: times)
    before = {"parameters": 4, "macs": 80, "file_bytes": 16, "peak_bytes": 2}
    found = report.told(net, base, before, task)
    shares = dict.fromkeys(("parameters", "macs", "file_bytes", "peak_bytes"), 0.25)
    assert found["of_base"] == shares | {"latency": 0.5, "latency_p95": 1.5}
    assert found["of_before"] == {"parameters": 0.5, "macs": 0.25, "file_bytes": 0.125, "peak_bytes": 2.0}
    assert found["latency_ms"]["repeat"] == 0.25 and found["latency_ms"]["base"]["least"] == 4.0
    assert (found["accuracy"], found["agreement_with_base"]) == pytest.approx((1 / 3, 2 / 3))
    assert found["kl_from_base"] == divergence(net.logits, base.logits) != divergence(base.logits, net.logits)
    assert report.told(base, base, None, task)["of_before"] == dict.fromkeys(shares, 1.0)


def test_nets_are_timed_in_turns() -> None:
    contents = [exported(ResNet(8, 4, 4).eval(), torch.zeros(1, 3, 8, 8))] * 2
    found = latencies(contents, torch.zeros(1, 3, 8, 8))
    assert len(found) == 2 and all(0 < one.least <= one.median <= one.p95 for one in found)
    assert Latency.of([float(number) for number in range(100, -1, -1)]) == Latency(0.0, 50.0, 95.0)
