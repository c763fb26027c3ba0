"""Grids of runs, comparisons over seeds, and what is worth its cost."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from compress_runs import GRID, file_of, said

pytest.importorskip("torch", reason="needs the train extra: pip install torch")
pytest.importorskip("sklearn", reason="needs the train extra: pip install scikit-learn")

from app.errors import SetupError
from models.compress.compare import as_text, compare, gains, over_seeds
from models.compress.grid import SUMMARY, cells, run_grid
from models.compress.pareto import Panel, Point, front, pareto
from models.compress.run import report_of


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
    head, row = (line.split() for line in as_text(table).splitlines()[:2])
    assert row[0] == "whole" and head[-2:] == ["p95", "memory"]
    reports = [report_of(folder / f"whole-{seed}")["stages"][-1]["figures"]["of_base"] for seed in (0, 1)]
    for cost, told in (("latency_p95", row[-2]), ("peak_bytes", row[-1])):
        assert float(told) == pytest.approx(sum(one[cost] for one in reports) / 2, abs=6e-4)
    assert ElementTree.parse(folder / "compare.svg").getroot().tag.endswith("svg")
    assert json.loads((folder / "compare.json").read_text()) == table


def test_a_run_that_was_measured_without_a_figure_of_now_is_named(tmp_path: Path) -> None:
    short = ("epochs = 4", "epochs = 0"), ("epochs = 2\nfinetune = 1", "epochs = 0")
    way = file_of(tmp_path, *short, ('[[stage]]\nkind = "quantise.int8"\ncalibrate = 200\n', ""), name="a")
    compare([way], [0], tmp_path / "out", [], said([]))
    path = tmp_path / "out" / "a-0" / "report.json"
    report = json.loads(path.read_text())
    del report["base"]["of_base"]["peak_bytes"]
    path.write_text(json.dumps(report))
    with pytest.raises(SetupError, match=r"a-0 was measured without peak_bytes; remove the folder"):
        compare([way], [0], tmp_path / "out", [], said([]))


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


def test_more_seeds_of_the_same_answers_tell_no_more_of_the_pictures() -> None:
    same = [np.array([1.0] * 10 + [0.0] * 90, np.float32)] * 3
    one, three = over_seeds(same[:1])["interval"], over_seeds(same)["interval"]
    assert three == pytest.approx(one)
    half = 1.96 * (0.1 * 0.9 / 100) ** 0.5  # of the normal distribution
    assert one == pytest.approx([0.1 - half, 0.1 + half], abs=0.01)


def test_the_interval_is_that_of_drawn_seeds_asked_drawn_pictures() -> None:
    random = np.random.default_rng(0)
    hard = random.random(300) < 0.2  # pictures that every seed is tempted by
    seeds = [np.where(hard, random.choice([-1.0, 0.0, 1.0], 300, p=[0.5, 0.4, 0.1]), 0.0) for _ in range(3)]
    means = []
    for _ in range(4000):
        rows, pictures = random.integers(3, size=3), random.integers(300, size=300)
        means.append(np.mean([seeds[row][pictures].mean() for row in rows]))
    found = over_seeds([values.astype(np.float32) for values in seeds])["interval"]
    assert found == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.004)


def test_the_front_has_what_is_worth_its_cost() -> None:
    points = [
        Point(name, cost, value, value, value)
        for name, cost, value in (("a", 1, 0.9), ("b", 0.5, 0.8), ("c", 0.6, 0.7), ("d", 0.5, 0.75), ("e", 0.2, 0.8))
    ]
    assert [point.name for point in front(points)] == ["e", "a"]
    drawn = ElementTree.fromstring(pareto([Panel("cost <1>", points), Panel("none", [])], "worth"))
    assert "cost <1>" in "".join(drawn.itertext()) and "nothing to show" in "".join(drawn.itertext())
