"""The maintainers' page: its example runs as it stands, and its table is that of the kinds."""

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from models.compress.kinds import KINDS  # noqa: E402

PAGE = (Path(__file__).parents[2] / "models" / "compress" / "README.md").read_text()


def test_the_ten_lines_compress_a_net_and_make_it_again() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, torch.nn.Module] = {}
    exec(code, names)
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(names["fresh"](pictures), names["net"](pictures))
    kept = sum(value.numel() for layer in list(names["net"])[1:-2] for value in layer.parameters())
    assert kept < 0.5 * 3 * (32 * 32 * 9 + 32)


def test_every_kind_is_in_the_table() -> None:
    assert re.findall(r"^\| `([a-z.0-9]+)` \|", PAGE, re.MULTILINE) == list(KINDS)
