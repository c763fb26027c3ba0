"""The stopwatch, the data set that it writes, and what happens when it is stopped halfway."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from app.errors import SetupError
from models.commands import latency
from models.latency import measuring, stand_alone
from models.latency.cells import SPACES, Plan, drawn_plans
from models.latency.dataset import DataSet, Target, Timed, read
from models.latency.features import figures
from models.latency.nets import built

TARGET = Target("a device", "onnxruntime", "1", 1, "fp32", "thread")
HEAD = measuring.surroundings(1, "fp32", "thread")


def plans(count: int, seed: int = 0) -> list[Plan]:
    """Plans of the fewest operators, which are built and timed fastest."""
    small = (plan for plan in drawn_plans(SPACES["mobile"], seed) if plan.configuration.stages == 1)
    return list(islice((plan for plan in small if plan.configuration.cells == 1), count))


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nets, two runs."""
    path = tmp_path_factory.mktemp("times") / "times.jsonl"
    measuring.measure(path, HEAD, plans(3), 2, False, lambda text: None)
    return path


def test_a_data_set_tells_what_was_timed_on_what(collected: Path) -> None:
    head, *lines = [json.loads(line) for line in collected.read_text().splitlines()]
    assert head == HEAD and head["form"] == stand_alone.FORM
    assert [line["run"] for line in lines] == [1, 1, 1, 2, 2, 2]
    assert [set(line["net"]) == {"fingerprint"} for line in lines] == [False] * 3 + [True] * 3
    assert all(len(line["milliseconds"]) == stand_alone.ROUNDS for line in lines)


def test_what_is_read_is_what_was_timed(collected: Path) -> None:
    data = read(collected)
    assert [timed.net for timed in data.nets] == [figures(built(plan), plan) for plan in plans(3)]
    assert all(len(timed.runs) == 2 and timed.milliseconds == min(timed.runs) > 0 for timed in data.nets)
    assert data.target.threads == 1 and data.target.version == HEAD["version"]


def test_a_stopped_collection_goes_on_where_it_was(collected: Path, tmp_path: Path) -> None:
    lines = collected.read_text().splitlines(keepends=True)
    path = tmp_path / "times.jsonl"
    path.write_text("".join(lines[:5]) + lines[5][:40])  # killed while it wrote a line
    measuring.measure(path, HEAD, plans(3), 2, True, lambda text: None)
    assert path.read_text().splitlines(keepends=True)[:5] == lines[:5]
    names = [(line["net"]["fingerprint"], line["run"]) for line in map(json.loads, path.read_text().splitlines()[1:])]
    assert len(names) == len(set(names)) == 6 and len(read(path).nets) == 3


def test_more_nets_are_added_to_a_finished_set(collected: Path, tmp_path: Path) -> None:
    path = tmp_path / "times.jsonl"
    path.write_bytes(collected.read_bytes())
    measuring.measure(path, HEAD, plans(4), 2, True, lambda text: None)
    assert len(read(path).nets) == 4


def test_nets_whose_last_run_is_missing_are_left_out(collected: Path, tmp_path: Path) -> None:
    path = tmp_path / "times.jsonl"
    path.write_text("".join(collected.read_text().splitlines(keepends=True)[:-1]))
    assert len(read(path).nets) == 2


def test_a_data_set_is_not_overwritten(collected: Path) -> None:
    with pytest.raises(SetupError, match="go on with it with --resume"):
        measuring.measure(collected, HEAD, plans(1), 1, False, lambda text: None)


@pytest.mark.parametrize("change", [{"device": "another"}, {"version": "0"}, {"threads": 2}, {"precision": "int8"}])
def test_times_of_other_surroundings_are_not_added(collected: Path, change: dict[str, object]) -> None:
    (name,) = change
    with pytest.raises(SetupError, match=name):
        measuring.measure(collected, HEAD | change, plans(1), 1, True, lambda text: None)


CORE = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0{}\n"
CPUINFO = {  # what systems tell of two processors each, and the names that tell them apart
    "x86": ("model\t\t: 85\nmodel name\t: {} CPU\n" * 2, "one", "other", "{} CPU, a machine"),
    "board": (CORE.format(8) + "\nModel\t\t: Raspberry Pi {}\n", "4", "5", "Raspberry Pi {}, a machine"),
    "chip": ("Processor\t: AArch64\nHardware\t: Kirin {}\n", "970", "980", "Kirin {}, a machine"),
    "cores": (CORE, "8", "b", "0xd0{}, a machine"),
}


@pytest.mark.parametrize(("text", "first", "second", "name"), CPUINFO.values(), ids=CPUINFO)
def test_two_processors_have_two_names(
    text: str, first: str, second: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_alone.platform, "machine", lambda: "a machine")
    for which in (first, second):
        monkeypatch.setattr(Path, "read_text", lambda path, which=which: text.replace("{}", which))
        assert stand_alone.processor() == name.format(which)


def test_the_thread_clock_times_one_thread() -> None:
    with pytest.raises(SetupError, match="clock"):
        measuring.surroundings(2, "fp32", "thread")


@pytest.mark.parametrize("content", ["", "{}\n", '{"form": "cardea latency 1"}\n', json.dumps(HEAD) + "\n[]\n"])
def test_damaged_data_sets_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "times.jsonl"
    path.write_text(content)
    with pytest.raises(SetupError, match="no data set of times"):
        read(path)


def test_nets_take_turns_and_each_visit_begins_untimed() -> None:
    """What is written down is the least of the timed passes: the slow first ones do not count."""
    order: list[str] = []

    def spending(name: str) -> Callable[[], None]:
        def spend() -> None:
            order.append(name)
            if order[-2:-1] != [name]:  # somebody else came before
                until = time.thread_time() + 0.02
                while time.thread_time() < until:
                    pass

        return spend

    times = stand_alone.time_block([spending("a"), spending("b")], "thread")
    visits = [name for place, name in enumerate(order) if order[place - 1 : place] != [name]]
    assert visits == ["a", "b"] * (1 + stand_alone.ROUNDS)
    assert [len(rounds) for rounds in times] == [stand_alone.ROUNDS] * 2
    assert max(map(max, times)) < 10


def test_isomorphic_cells_stay_on_one_side() -> None:
    net = figures(built(plans(1)[0]), plans(1)[0])
    data = DataSet(TARGET, tuple(Timed(net, f"cell {place % 20}", (1.0 + place,)) for place in range(100)))
    for seed in range(5):
        learned, others = data.split(70, seed)
        assert {timed.cell for timed in learned.nets}.isdisjoint(timed.cell for timed in others.nets)
        assert len(learned.nets) == 70 and len(others.nets) == 30
    assert data.split(70, 0)[0].nets == data.split(70, 0)[0].nets != data.split(70, 1)[0].nets
    with pytest.raises(SetupError, match="too few"):
        data.split(100)


def test_int8_nets_are_timed_as_such(tmp_path: Path) -> None:
    path = tmp_path / "times.jsonl"
    measuring.measure(path, measuring.surroundings(1, "int8", "thread"), plans(1), 1, False, lambda text: None)
    (timed,) = read(path).nets
    assert timed.net.precision == "int8" and timed.net.macs == figures(built(plans(1)[0])).macs


def test_a_folder_is_timed_by_a_program_that_knows_nothing_of_cardea(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "nets", tmp_path / "times.jsonl"
    parser = argparse.ArgumentParser()
    latency.add_arguments(parser)
    assert latency.run(parser.parse_args(["nets", "--count", "2", "--out", str(folder), "--json"])) == 0
    assert json.loads(capsys.readouterr().out)["nets"] == 2
    words = [sys.executable, "-I", str(folder / "stand_alone.py"), str(folder), str(out), "--runs", "2"]
    done = subprocess.run([*words, "--device", "a toaster"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["run 1: 2 of 2 nets", "run 2: 2 of 2 nets"]
    data = read(out)
    assert data.target.device == "a toaster" and data.target.clock == "wall"
    expected = measuring.plans_of("mobile", 2, 0)
    assert [timed.net for timed in data.nets] == [figures(built(plan), plan) for plan in expected]
    again = subprocess.run([*words, "--device", "a kettle", "--resume"], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 2 and "give another name" in again.stderr


def test_a_folder_of_nets_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / stand_alone.INDEX).touch()
    with pytest.raises(SetupError, match="give another folder"):
        measuring.write_folder(tmp_path, plans(1), "fp32")
