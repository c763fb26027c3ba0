"""One contract for all predictors, what each of them must find, and figures of how good they are."""

import argparse
import json
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn")
torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from app.errors import SetupError  # noqa: E402
from models.commands import latency  # noqa: E402
from models.latency import boosting, graph_net, measuring, scores  # noqa: E402
from models.latency.card import Card, fitted  # noqa: E402
from models.latency.cells import SPACES, drawn_plans  # noqa: E402
from models.latency.dataset import DataSet, Target, Timed  # noqa: E402
from models.latency.features import Figures, Operator, figures  # noqa: E402
from models.latency.nets import built  # noqa: E402
from models.latency.predictors import PREDICTORS, FlopLines, OperatorTable, new_predictor  # noqa: E402
from models.latency.scores import ceiling, mape, r2, within  # noqa: E402

TARGET = Target("a device", "onnxruntime", "1", 1, "fp32", "thread")
RATES = {"conv3x3": 3e-8, "conv1x1": 2e-8, "conv": 3e-8, "depthwise": 2e-7, "dense": 1e-7}  # ms a MAC
VALUE = 5e-7  # ms a value of operators without MACs


def operator(kind: str, macs: int, values: int = 1000, sources: tuple[int, ...] = ()) -> Operator:
    return Operator(kind, macs, 10, values, values, 16, 16, sources)


def chain(random: np.random.Generator) -> Figures:
    """A net of up to 12 operators one after the other."""
    kinds = random.choice([*RATES, "pool", "elementwise"], random.integers(2, 13)).tolist()
    operators = tuple(
        operator(
            kind,
            int(2 ** random.uniform(15, 22)) if kind in RATES else 0,
            int(2 ** random.uniform(12, 16)),
            (place - 1,) if place else (),
        )
        for place, kind in enumerate(kinds)
    )
    return Figures(operators, 1000, max(8 * each.read for each in operators), "fp32")


def true_time(net: Figures) -> float:
    parts = [
        each.macs * RATES[each.kind] if each.macs else (each.read + each.written) * VALUE for each in net.operators
    ]
    return 0.01 + sum(parts)


RANDOM = np.random.default_rng(0)
NETS = [chain(RANDOM) for _ in range(160)]
TIMES = np.array([true_time(net) for net in NETS])


def dataset(precision: str = "fp32") -> DataSet:
    target = replace(TARGET, precision=precision)
    return DataSet(
        target, tuple(Timed(net, str(n), (time,)) for n, (net, time) in enumerate(zip(NETS, TIMES, strict=True)))
    )


@pytest.fixture(autouse=True)
def short_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "TREES", 60)
    monkeypatch.setattr(boosting, "RATE", 0.2)
    monkeypatch.setattr(graph_net, "EPOCHS", 8)


OPTIONAL = {"xgboost", "lightgbm", "catboost"}


@pytest.mark.parametrize("name", PREDICTORS)
def test_every_predictor_learns_and_survives_its_file(name: str, tmp_path: Path) -> None:
    for library in OPTIONAL & {str(PREDICTORS[name][2].get("library"))}:
        pytest.importorskip(library)
    card = fitted(dataset(), name, training=110)
    card.save(tmp_path / "a.json")
    again = Card.load(tmp_path / "a.json")
    predicted = card.predict(NETS[110:])
    assert predicted.shape == (50,) and (predicted > 0).all()
    assert again.predict(NETS[110:]) == pytest.approx(predicted, rel=1e-6)
    assert (again.name, again.target, again.training, again.scores) == (name, TARGET, 110, card.scores)
    guess = np.full(len(NETS), np.exp(np.log(TIMES).mean()))
    assert card.scores["mape"] < mape(guess, TIMES)


def test_a_predictor_is_scored_on_nets_that_it_did_not_learn_from() -> None:
    card, (learned, others) = fitted(dataset(), "boosting.sklearn", 110), dataset().split(110)
    assert card.scores == scores.scores(card.predict(others.figures), others.milliseconds)
    assert card.scores["mape"] > 2 * mape(card.predict(learned.figures), learned.milliseconds)


@pytest.mark.parametrize("name", PREDICTORS)
def test_the_same_lesson_gives_the_same_predictor(name: str) -> None:
    for library in OPTIONAL & {str(PREDICTORS[name][2].get("library"))}:
        pytest.importorskip(library)
    twins = [fitted(dataset(), name, training=110).predict(NETS[110:]) for _ in range(2)]
    assert twins[0] == pytest.approx(twins[1], rel=1e-9)


def two_clusters() -> tuple[list[Figures], np.ndarray]:
    """40 nets, every second one of four times the memory and on another line; three are far off."""
    work = np.linspace(1, 10, 40)
    memory = np.where(np.arange(40) % 2, 8, 2)
    times = 3 * work + 2 + (memory > 5) * (2 * work + 7)
    times[[3, 12, 27]] += 60
    macs = [round(each * 1e6) for each in work]
    return [Figures((operator("conv", n),), 1, int(m), "fp32") for n, m in zip(macs, memory, strict=True)], times


def test_one_line_over_two_clusters() -> None:
    nets, times = two_clusters()
    lines = FlopLines(robust=False, clusters=1)
    lines.fit(nets, times)
    assert lines.lines[0].slope == pytest.approx(3.341463, abs=1e-5)
    assert r2(lines.predict(nets), times) == pytest.approx(0.1805, abs=1e-4)


def test_robust_lines_of_two_clusters() -> None:
    nets, times = two_clusters()
    lines = FlopLines(robust=True, clusters=2, residual=1.0)
    lines.fit(nets, times)
    low, high = sorted(lines.lines, key=lambda line: line.centre)
    assert (low.slope, low.intercept) == pytest.approx((3, 2), abs=1e-5)
    assert (high.slope, high.intercept) == pytest.approx((5, 9), abs=1e-5)
    assert (low.kept, high.kept) == (19, 18)


def test_a_net_that_is_alone_in_its_cluster_has_a_line() -> None:
    nets, times = two_clusters()
    huge = replace(nets[0], peak_bytes=10**9)
    lines = FlopLines(robust=True, clusters=2)
    lines.fit([*nets, huge], np.append(times, 500.0))
    assert sorted(line.kept for line in lines.lines)[0] == 1
    assert lines.predict([huge]) == pytest.approx([500.0])


def test_a_line_predicts_no_time_below_the_fastest_known() -> None:
    nets, _ = two_clusters()
    lines = FlopLines(robust=False, clusters=1)
    lines.fit(nets, np.array([10 * net.macs / 1e6 - 9 for net in nets]))
    nothing = Figures((operator("conv", 0),), 1, 2, "fp32")
    assert lines.lines[0].intercept == pytest.approx(-9)
    assert lines.predict([nothing]) == pytest.approx([1.0])


def test_the_table_finds_the_rates_of_operators() -> None:
    """The times of `true_time` are sums over operators, so a table explains nets of any length."""
    table = OperatorTable()
    table.fit(NETS, TIMES)
    long = Figures(tuple(each for net in NETS for each in net.operators), 1000, 1000, "fp32")
    assert table.predict([long])[0] == pytest.approx(true_time(long), rel=0.05)
    assert scores.scores(table.predict(NETS), TIMES)["within_10_percent"] > 0.95


def test_the_table_predicts_no_time_below_the_fastest_known() -> None:
    table = OperatorTable()
    table.fit(NETS, TIMES)
    assert table.predict([Figures((operator("conv", 1, 1),), 1, 2, "fp32")]) == pytest.approx([TIMES.min()])


def test_trees_alone_do_not_reach_beyond_what_they_saw_and_over_the_table_they_do() -> None:
    long = Figures(tuple(each for net in NETS for each in net.operators), 1000, 1000, "fp32")
    plain, over = (new_predictor(name) for name in ("boosting.sklearn", "table+sklearn"))
    for predictor in (plain, over):
        predictor.fit(NETS, TIMES)
    assert plain.predict([long])[0] < 2 * TIMES.max() < true_time(long) / 5
    assert over.predict([long])[0] == pytest.approx(true_time(long), rel=0.3)


def test_our_walk_through_trees_is_the_librarys() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    random = np.random.default_rng(0)
    table, targets = random.random((80, 5)), random.random(80)
    ours = boosting.Sklearn()
    ours.fit(table, targets)
    theirs = ensemble.GradientBoostingRegressor(
        n_estimators=60, max_depth=boosting.DEPTH, learning_rate=0.2, subsample=boosting.SHARE, random_state=0
    ).fit(table, targets)
    others = random.random((50, 5))
    assert ours.predict(others) == pytest.approx(theirs.predict(others), rel=1e-12)


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(SetupError, match="lightgbm is missing; install it"):
        fitted(dataset(), "boosting.lightgbm")


def test_graph_convolution_averages_over_neighbours() -> None:
    """Three operators in a row, then one alone: each sees itself and those that it is connected with."""
    row = Figures(tuple(operator("conv", 1, sources=(n - 1,) if n else ()) for n in range(3)), 1, 1, "fp32")
    alone = Figures((operator("pool", 0),), 1, 1, "fp32")
    graphs = graph_net.joined([graph_net.graph(row), graph_net.graph(alone)])
    states = torch.tensor([[0.0], [3.0], [6.0], [50.0]])
    assert graph_net.averaged(states, graphs)[:, 0].tolist() == [1.5, 3.0, 4.5, 50.0]
    assert graphs.owners.tolist() == [0, 0, 0, 1]


def test_a_graph_net_learns_on_one_thread_and_gives_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    learning, used, before = graph_net.train, list[int](), torch.get_num_threads()

    def watched(*lesson: object) -> None:
        used.append(torch.get_num_threads())
        learning(*lesson)

    monkeypatch.setattr(graph_net, "train", watched)
    torch.set_num_threads(2)
    try:
        graph_net.GraphNet().fit(NETS[:20], TIMES[:20])
        assert used == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_net_of_the_same_parts_twice_takes_twice_the_time() -> None:
    """Nothing connects the two halves, so their operators' times do not change, and times are sums."""
    net = NETS[0]
    count = len(net.operators)
    shifted = [replace(each, sources=tuple(source + count for source in each.sources)) for each in net.operators]
    twice = replace(net, operators=(*net.operators, *shifted))
    once, both = graph_net.GraphNet().predict([net, twice])
    assert both == pytest.approx(2 * once, rel=1e-5)


def test_figures_of_four_predictions() -> None:
    measured, predicted = np.array([10, 20, 30, 40.0]), np.array([10.9, 17.9, 33, 41])
    assert within(predicted, measured) == 0.75
    assert r2(predicted, measured) == pytest.approx(0.96956, abs=1e-5)
    assert mape(predicted, measured) == pytest.approx(0.08, abs=1e-12)


def test_r2_flatters_where_times_are_wide_and_tenths_tell() -> None:
    measured = np.geomspace(0.1, 100, 100)
    predicted = measured + 0.5
    found = scores.scores(predicted, measured)
    assert found["r2"] > 0.99 and found["mape"] > 0.5
    tenths = [tenth["within_10_percent"] for tenth in found["tenths"]]
    assert tenths[0] == 0 and tenths[-1] == 1 and len(tenths) == 10
    assert found["tenths"][-1]["up_to_ms"] == pytest.approx(100)


def test_the_ceiling_is_one_run_as_the_prediction_of_the_next() -> None:
    found = ceiling([(10.0, 10.5, 20.0), (5.0, 5.0, 5.0)])
    assert found is not None and found["within_10_percent"] == 0.75 and found["nets"] == 4
    assert ceiling([(1.0,), (2.0,)]) is None


def test_one_time_has_no_r2() -> None:
    assert np.isnan(r2(np.array([1.0, 1.0]), np.array([2.0, 2.0])))


def test_another_precision_is_refused() -> None:
    card = fitted(dataset("int8"), "flops")
    with pytest.raises(SetupError, match="precision 'fp32', not 'int8': collect times for that"):
        card.predict(NETS[:1])


@pytest.mark.parametrize(
    "content", ["", "[]", '{"form": "cardea latency 1"}', '{"form": "cardea latency predictor 1"}']
)
def test_damaged_predictors_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(SetupError, match="no latency predictor"):
        Card.load(tmp_path / "a.json")


def test_only_boosting_chooses_its_features() -> None:
    with pytest.raises(SetupError, match="leave out --features"):
        fitted(dataset(), "table", features="cell")


def test_cells_can_be_learned_from_as_leti_does() -> None:
    plans = list(islice((p for p in drawn_plans(SPACES["bench101"], 0) if p.configuration.cells == 1), 12))
    nets = [figures(built(plan), plan) for plan in plans]
    predictor = new_predictor("boosting.sklearn", features="both")
    predictor.fit(nets, np.array([net.macs / 1e6 for net in nets]))
    assert np.isfinite(predictor.predict(nets)).all()
    with pytest.raises(SetupError, match="nets of cells alone"):
        predictor.predict(NETS[:1])


def called(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    latency.add_arguments(parser)
    assert latency.run(parser.parse_args([*words, "--json"])) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_from_random_nets_to_a_prediction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times, file, model = tmp_path / "times.jsonl", tmp_path / "table.json", tmp_path / "net.onnx"
    collect = ["collect", "--count", "8", "--out", str(times), "--runs", "2", "--clock", "thread"]
    assert called(capsys, *collect)["nets"] == 8
    assert called(capsys, *collect, "--resume")["nets"] == 8
    compared = called(capsys, "compare", str(times), "--predictor", "table", "--predictor", "flops", "--training", "5")
    assert isinstance(compared["scores"], dict) and set(compared["scores"]) == {"table", "flops"}
    made = called(capsys, "fit", str(times), "--predictor", "table", "--training", "5", "--out", str(file))
    assert made["ceiling"] is not None and made["training"] == 5
    model.write_bytes(built(measuring.plans_of("mobile", 9, 0)[8]))
    answer = called(capsys, "predict", str(model), "--predictor", str(file), "--measure")
    assert isinstance(answer["measured_milliseconds"], float) and isinstance(answer["milliseconds"], float)
    assert answer["error"] == pytest.approx(answer["milliseconds"] / answer["measured_milliseconds"] - 1)
    elsewhere = json.loads(file.read_text())
    elsewhere["target"]["device"] = "a toaster"
    file.write_text(json.dumps(elsewhere))
    assert "error" not in called(capsys, "predict", str(model), "--predictor", str(file))
    with pytest.raises(SetupError, match="not 'a toaster'"):
        called(capsys, "predict", str(model), "--predictor", str(file), "--measure")


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    fitted(dataset(), "flops").save(tmp_path / "a.json")
    parser = argparse.ArgumentParser()
    latency.add_arguments(parser)
    words = ["predict", str(tmp_path / "none.onnx"), "--predictor", str(tmp_path / "a.json")]
    with pytest.raises(SetupError, match="give an ONNX file"):
        latency.run(parser.parse_args(words))
