"""The memory that a net takes in ONNX Runtime, against what it must hold at least."""

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from torch import Tensor, nn  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.compress.export import exported  # noqa: E402
from models.compress.sessions import peak_bytes  # noqa: E402

MEGABYTE = 2**20


class Wide(nn.Module):
    """Few weights and one large map: 64 channels of the picture's size."""

    def __init__(self) -> None:
        super().__init__()
        self.widened, self.narrowed = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 4, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        cells: Tensor = self.narrowed(self.widened(pictures).sigmoid())
        return cells.mean((2, 3))


@pytest.mark.parametrize("side", [128, 192])
def test_activations_count(side: int) -> None:
    content = exported(Wide().eval(), torch.zeros(1, 3, side, side))
    held = 4 * 64 * side**2  # bytes of the map
    assert len(content) < 0.1 * MEGABYTE and held < peak_bytes(content, (1, 3, side, side)) < 3 * held


def test_weights_count_and_what_this_process_holds_does_not() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 1024), nn.Linear(1024, 10))
    content = exported(net.eval(), torch.zeros(1, 3, 32, 32))
    first = peak_bytes(content, (1, 3, 32, 32))
    assert 12 * MEGABYTE < first < 4 * 12 * MEGABYTE
    ballast = torch.ones(30 * MEGABYTE)  # 120 MB
    assert peak_bytes(content, (1, 3, 32, 32)) == pytest.approx(first, rel=0.1) and ballast.sum() > 0


def test_what_is_no_net_is_told() -> None:
    with pytest.raises(SetupError, match=r"memory of a net cannot be measured: .*(P|p)rotobuf"):
        peak_bytes(b"none", (1, 3, 8, 8))
