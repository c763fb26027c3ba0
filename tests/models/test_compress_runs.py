"""Runs from a run file: finished, stopped, refused, and what they leave."""

import argparse
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from compress_runs import GRID, file_of, said

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")
pytest.importorskip("sklearn", reason="needs the train extra: pip install scikit-learn")

from torch import nn  # noqa: E402

from app.errors import SetupError  # noqa: E402
from models.commands import compare as compare_command  # noqa: E402
from models.commands import compress as compress_command  # noqa: E402
from models.commands import grid as grid_command  # noqa: E402
from models.compress.counting import macs  # noqa: E402
from models.compress.export import logits_of  # noqa: E402
from models.compress.run import compress, load_net, report_of, trained_base  # noqa: E402
from models.compress.run_file import RunFile  # noqa: E402
from models.compress.tasks import Task, TaskPlan, normalised, open_task  # noqa: E402
from models.compress.training import answers  # noqa: E402
from models.compress.work import save  # noqa: E402
from models.quantise import float_convolutions  # noqa: E402
from models.run import load  # noqa: E402


def parameters(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


@pytest.fixture(scope="module")
def task() -> Task:
    return open_task(TaskPlan(name="digits", side=8, train=256, validation=100, test=200), [])


@pytest.fixture(scope="module")
def finished(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the smallest run."""
    folder = tmp_path_factory.mktemp("runs")
    compress(RunFile.read(file_of(folder)), task, folder / "run", folder / "bases", said([]))
    return folder / "run"


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
    # Memory comes in pages, and so small a net takes some eighty: the same net may differ from itself by a third.
    assert first["file_bytes"] < first["peak_bytes"] and 0.4 < first["of_base"]["peak_bytes"] < 2.5
    times = first["latency_ms"]
    assert first["of_base"]["latency_p95"] == times["p95"] / times["base"]["p95"] and "one_bit" not in first
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


def test_a_run_that_was_stopped_tells_how_long_its_stages_took_in_all(
    finished: Path, task: Task, tmp_path: Path
) -> None:
    plan, state = RunFile.read(finished.parent / "run.toml"), tmp_path / "state.pt"

    def stop(line: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        compress(plan, task, tmp_path, finished.parent / "bases", stop)
    kept = load(state)
    assert kept["seconds"] > 0
    save(kept | {"seconds": 1000.0}, state)
    first, second = compress(plan, task, tmp_path, finished.parent / "bases", said([]))["stages"]
    assert 1000 < first["seconds"] < 1500 and second["seconds"] < 500


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


def test_an_8_bit_net_answers_nearly_as_its_source(finished: Path, task: Task) -> None:
    report = report_of(finished)
    before, after = (stage["figures"] for stage in report["stages"])
    assert after["parameters"] == before["parameters"] and after["file_bytes"] < 0.7 * before["file_bytes"]
    pictures = normalised(task.test.pictures)
    exact, coarse = (logits_of((finished / name).read_bytes(), pictures) for name in ("net.onnx", "net.int8.onnx"))
    assert (exact.argmax(1) == coarse.argmax(1)).mean() > 0.9
    assert after["accuracy"] == (coarse.argmax(1) == task.test.labels).mean()
    assert float_convolutions((finished / "net.int8.onnx").read_bytes()) == []


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
