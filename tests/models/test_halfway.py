"""Part of the way from where a net began to what it has learnt."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from models.recognition.halfway import SHARES, best_share, between  # noqa: E402
from models.recognition.judging import Judges  # noqa: E402

SIDE, PEOPLE = 4, 12


def weights(value: float) -> dict[str, "torch.Tensor"]:
    return {"layer": torch.full((2, 2), value), "seen": torch.tensor(int(value))}


def test_a_share_of_the_way_is_a_share_of_each_weight() -> None:
    start, end = weights(2.0), weights(10.0)
    assert torch.equal(between(start, end, 0.25)["layer"], torch.full((2, 2), 4.0))
    assert between(start, end, 0.25)["seen"] == 10  # a counter has no quarter
    for share, expected in ((0.0, start), (1.0, end)):
        assert torch.equal(between(start, end, share)["layer"], expected["layer"])


class Shift(torch.nn.Module):
    """Adds one number to every pixel; so far off that pixels do not matter, all faces look alike."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(()))

    def forward(self, faces: "torch.Tensor") -> "torch.Tensor":
        return faces.flatten(1) - 127.5 + self.shift


def test_the_judges_choose_the_share() -> None:
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(PEOPLE), 4)
    faces = random.integers(0, 256, (PEOPLE, 3, SIDE, SIDE))[people]
    seen = np.clip(faces + random.normal(0, 60, faces.shape), 0, 255).astype(np.uint8)
    judges = Judges(people, seen, seen, np.ones((len(people), 3 * SIDE**2), np.float32))
    start, end = {"shift": torch.tensor(-1000.0)}, {"shift": torch.tensor(1000.0)}
    net = Shift()
    share, said = best_share(net, start, end, judges)
    assert share == 0.5 and share in SHARES and net.shift.item() == 0  # half way nothing is added
    assert said["score"] > judges.figures(_with(net, 1000.0))["score"]


def _with(net: Shift, value: float) -> Shift:
    net.load_state_dict({"shift": torch.tensor(value)})
    return net
