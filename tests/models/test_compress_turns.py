"""Rounds of a stage that are taken in groups of layers, and that end when too much is lost."""

from pathlib import Path

import pytest
from compress_runs import SMALLEST, file_of, said

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")
pytest.importorskip("sklearn", reason="needs the train extra: pip install scikit-learn")

from models.compress.run import compress, load_net, report_of  # noqa: E402
from models.compress.run_file import RunFile  # noqa: E402
from models.compress.tasks import Task, TaskPlan, open_task  # noqa: E402

STAGES = SMALLEST[SMALLEST.index("[[stage]]") :]
CUT = """
[[stage]]
kind = "factorise.musco"
rank = { rule = "cut", times = 1.2 }
rounds = 2
filter = { kernel_above = 1, min_inputs = 8 }
"""


@pytest.fixture(scope="module")
def task() -> Task:
    return open_task(TaskPlan(name="digits", side=8, train=256, validation=100, test=200), [])


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bases")


def plan_of(folder: Path, *changes: tuple[str, str]) -> RunFile:
    stage = CUT
    for old, new in changes:
        assert old in stage
        stage = stage.replace(old, new)
    return RunFile.read(file_of(folder, (STAGES, stage)))


def test_the_net_is_trained_behind_each_group_of_each_round(task: Task, bases: Path, tmp_path: Path) -> None:
    plan, lines = plan_of(tmp_path, ("rounds = 2", "rounds = 2\nft_every = 4\nfinetune = 1\nepochs = 1")), list[str]()
    report = compress(plan, task, tmp_path / "run", bases, said(lines))
    stage = report["stages"][0]
    assert (stage["turns"], stage["trained_epochs"], report["epochs"]) == (4, 8, 12)  # six layers: groups of 4 and 2
    assert sum("stage 1 of 1" in line for line in lines) == 8
    once = compress(
        plan_of(tmp_path, ("rounds = 2", "rounds = 2\nfinetune = 4")), task, tmp_path / "once", bases, said([])
    )
    assert once["epochs"] == report["epochs"] and once["stages"][0]["turns"] == 2
    shapes = [{edit["layer"]: edit["values"]["ranks"] for edit in one["stages"][0]["edits"]} for one in (report, once)]
    assert shapes[0] == shapes[1] and len(shapes[0]) >= 4  # as small, whatever was trained between


def test_a_run_in_groups_that_was_killed_in_any_epoch_ends_as_one_that_was_not(
    task: Task, bases: Path, tmp_path: Path
) -> None:
    plan = plan_of(tmp_path, ("rounds = 2", "rounds = 1\nft_every = 4\nfinetune = 1\nepochs = 1"))
    whole = compress(plan, task, tmp_path / "whole", bases, said([]))

    class KilledError(Exception):
        pass

    def kill(line: str) -> None:
        raise KilledError

    deaths = 0
    while not (tmp_path / "pieces" / "report.json").exists():
        try:
            compress(plan, task, tmp_path / "pieces", bases, kill)
        except KilledError:
            deaths += 1
    pieces = report_of(tmp_path / "pieces")
    assert deaths == 4 and pieces["stages"][0]["edits"] == whole["stages"][0]["edits"]
    states = [load_net(tmp_path / name).state_dict() for name in ("whole", "pieces")]
    assert all(map(torch.equal, *(state.values() for state in states)))


@pytest.mark.parametrize(("on_fail", "turns"), [("stop", 1), ("go_on", 3)])
def test_rounds_end_when_more_is_lost_than_is_accepted(
    on_fail: str, turns: int, task: Task, bases: Path, tmp_path: Path
) -> None:
    ruin = ("times = 1.2", "times = 4.0"), ("rounds = 2", "rounds = 3")
    accept = f'\n[accept]\nmax_drop = 0.02\non_fail = "{on_fail}"\n[[stage]]'
    report = compress(plan_of(tmp_path, *ruin, ("\n[[stage]]", accept)), task, tmp_path / "run", bases, said([]))
    (stage,) = report["stages"]
    assert stage["turns"] == turns and not report["accepted"]
    assert "more than max_drop 0.02" in report["failures"][0]


def test_rounds_go_on_while_enough_is_kept(task: Task, bases: Path, tmp_path: Path) -> None:
    accept = "\n[accept]\nmax_drop = 0.9\n[[stage]]"
    report = compress(plan_of(tmp_path, ("\n[[stage]]", accept)), task, tmp_path / "run", bases, said([]))
    assert report["stages"][0]["turns"] == 2 and report["accepted"]
