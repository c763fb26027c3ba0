"""Run files, and what is kept of a run: wrong ones are refused with the field's name, a resumed one tells the truth."""

import csv
import math
from collections.abc import Generator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from app.errors import SetupError  # noqa: E402
from models.__main__ import main  # noqa: E402
from models.run import Plan, Run, load  # noqa: E402
from models.training import fit as fitting  # noqa: E402

RUNS = Path(__file__).parents[2] / "models" / "runs"
SMALLEST = (RUNS / "smallest.toml").read_text()


def run_file(folder: Path, *changes: tuple[str, str]) -> Path:
    """The smallest run's file with some of its text replaced."""
    text = SMALLEST
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "a.toml").write_text(text)
    return folder / "a.toml"


@pytest.mark.parametrize("file", sorted({*RUNS.glob("*.toml")} - {RUNS / "study.toml"}), ids=lambda file: file.stem)
def test_run_files_can_be_read(file: Path) -> None:
    assert Plan.read(file).steps > 0


WRONG = {
    "a missing value": ("seed = 7\n", "", "seed"),
    "a word for a number": ("steps = 6", 'steps = "6"', "steps is '6'"),
    "no steps": ("steps = 6", "steps = 0", "steps, batch and validate_every"),
    "an unknown task": ('"detector"', '"detecter"', "task is 'detecter', none of gate_stem, "),
    "an unknown loss": ("face_boxes", "face_box", "losses: face_box; the terms of a detector are maps, "),
    "another task's losses": ('"detector"', '"persons"', "losses: face, "),
    "a weight below 0": ("face_points = 0.2", "face_points = -0.2", "losses: a weight"),
    "no set": ("drawn = 1.0", "", "sets: one at least"),
    "sets of no weight": ("drawn = 1.0", "drawn = 0.0", "sets: one at least"),
    "a set for measuring": (
        "drawn = 1.0",
        "pennfudan_persons_170 = 1.0",
        "sets: pennfudan_persons_170 is for measuring",
    ),
    "a window of three": ("[160, 120]", "[160, 120, 3]", r"window is \[160, 120, 3\], not"),
    "a window of words": ("[160, 120]", '["160", "120"]', "window is"),
    "a window beyond the picture": ("[160, 120]", "[640, 480]", r"up to \[300, 300\]"),
}


@pytest.mark.parametrize(("old", "new", "said"), WRONG.values(), ids=WRONG)
def test_wrong_run_files_are_refused_and_name_the_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        Plan.read(run_file(tmp_path, (old, new)))


def test_losses_that_weigh_nothing_are_refused(tmp_path: Path) -> None:
    head = SMALLEST.partition("[losses]")[0]
    for losses in ("", "face = 0.0"):
        (tmp_path / "a.toml").write_text(f"{head}[losses]\n{losses}")
        with pytest.raises(SetupError, match="losses: one at least"):
            Plan.read(tmp_path / "a.toml")


def test_a_set_for_measuring_may_keep_its_likes_out(tmp_path: Path) -> None:
    file = run_file(tmp_path, ("drawn = 1.0", "drawn = 1.0\ncctv_room_persons_90 = 0.0"))
    assert Plan.read(file).sets["cctv_room_persons_90"] == 0


def test_a_run_that_could_not_begin_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sets").mkdir()
    arguments = ["train", str(run_file(tmp_path)), "--runs", str(tmp_path / "runs"), "--sets", str(tmp_path / "sets")]
    assert main(arguments) == 1
    assert "no drawn.zip" in capsys.readouterr().err and not (tmp_path / "runs").exists()


def test_a_changed_run_file_is_not_resumed(tmp_path: Path) -> None:
    Run(run_file(tmp_path), tmp_path / "runs", resume=False).begin(0)
    file = run_file(tmp_path, ("seed = 7", "seed = 8"))
    with pytest.raises(SetupError, match="has changed"):
        Run(file, tmp_path / "runs", resume=True)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x02}q", b"PK\x03\x04"], ids=range(4))
def test_damaged_checkpoints_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(SetupError, match=r"last\.pt cannot be read"):
        load(tmp_path / "last.pt")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_torn_checkpoints_are_told(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.pt"
    torch.save({"step": 3, "net": {"weight": torch.zeros(99)}}, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(SetupError, match=r"last\.pt cannot be read"):
        load(path)


class PulledError(Exception):
    """Somebody pulled the plug."""


class Counting:
    """A task whose loss in step n is n, and whose plug is pulled behind step `last`."""

    def __init__(self, last: int) -> None:
        self.net = torch.nn.Linear(1, 1)
        self.last = last

    def batches(self, first: int) -> Generator[int]:
        yield from range(first + 1, self.last + 1)
        raise PulledError

    def losses(self, batch: int) -> dict[str, torch.Tensor]:
        return {"face": self.net.weight.sum() * 0 + batch}

    def validate(self, net: torch.nn.Module) -> dict[str, float]:
        return {"score": 1.0}


def test_metrics_are_right_after_resuming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = SMALLEST.partition("[losses]")[2]
    changes = (("steps = 6", "steps = 60"), ("every = 3", "every = 99"), (losses, "\nface = 1.0\n"))
    file, runs = run_file(tmp_path, *changes), tmp_path / "runs"
    monkeypatch.setattr(fitting, "SAVE_EVERY", 0.0)  # a checkpoint behind every step: the last one behind step 30
    with pytest.raises(PulledError):
        fitting.fit(Run(file, runs, resume=False), Counting(30))
    monkeypatch.setattr(fitting, "SAVE_EVERY", math.inf)  # none at all: step 40 is told, and done again
    with pytest.raises(PulledError):
        fitting.fit(Run(file, runs, resume=True), Counting(45))
    fitting.fit(Run(file, runs, resume=True), Counting(60))
    rows = list(csv.DictReader((runs / "a" / "metrics.csv").read_text().splitlines()))
    # Means of steps 1 to 20, of 31 to 40 (what came before the checkpoint is lost), of 41 to 60.
    assert [(row["step"], float(row["face"])) for row in rows] == [("20", 10.5), ("40", 35.5), ("60", 50.5)]


def test_the_clock_of_a_resumed_run_goes_on(tmp_path: Path) -> None:
    file, runs = run_file(tmp_path), tmp_path / "runs"
    Run(file, runs, resume=False).begin(0)
    path = runs / "a" / "metrics.csv"
    path.write_text("step,seconds,loss\n20,100.0,1\n40,200.0,1\n")
    resumed = Run(file, runs, resume=True)
    resumed.begin(30)
    resumed.log(40, {"loss": 2.0, "score": 0.5})
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["step"], row["loss"], row["score"]) for row in rows] == [("20", "1", ""), ("40", "2.0", "0.5")]
    assert 100 <= float(rows[1]["seconds"]) < 160
