"""The smallest run file of a compression and the smallest grid of it, with some of their text replaced."""

from collections.abc import Callable
from pathlib import Path

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


GRID = """
run = "run.toml"
[axes]
"base.epochs" = [0]
"stage.0.epochs" = [0]
"stage.0.finetune" = [0]
"stage.1.calibrate" = [200, 300]
"""


def file_of(folder: Path, *changes: tuple[str, str], name: str = "run") -> Path:
    """The smallest run's file with some of its text replaced."""
    text = SMALLEST
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / f"{name}.toml").write_text(text)
    return folder / f"{name}.toml"


def said(lines: list[str]) -> Callable[[str], None]:
    return lines.append
