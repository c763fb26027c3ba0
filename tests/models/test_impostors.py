"""Thresholds from impostor pairs, and labels that another net does not believe."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from models.impostors import PairCounts, impostor_table, interval, threshold_at
from models.labels import check_labels
from models.measured import Measurement, compact_json, measurements, record

IMPOSTORS = np.array([0.5, 0.45, 0.3, 0.2, 0.1, 0.05, 0, -0.1, -0.2, -0.3])


def people(count: int, photographs: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors that scatter about a direction of their own per person, and the labels."""
    generator = np.random.default_rng(seed)
    centres = np.repeat(generator.normal(size=(count, 64)), photographs, axis=0)
    vectors = centres + spread * generator.normal(size=centres.shape)
    labels = np.repeat([f"p{number:03}" for number in range(count)], photographs)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def distinct(count: int) -> np.ndarray:
    return np.array([f"file{number}" for number in range(count)])


@pytest.mark.parametrize(("rate", "threshold"), [(0.0, 0.5001), (0.1, 0.4501), (0.2, 0.3001), (0.25, 0.3001)])
def test_a_threshold_lies_just_above_the_first_pair_that_is_too_many(rate: float, threshold: float) -> None:
    assert threshold_at(IMPOSTORS, rate) == threshold
    assert (threshold <= IMPOSTORS).mean() <= rate


def test_ties_go_against_the_system() -> None:
    tied = np.array([0.5, 0.5, 0.5, 0.1])
    assert threshold_at(tied, 0.5) == 0.5001


def test_the_table_counts_all_pairs() -> None:
    vectors, labels = people(30, 4, 0.5)
    table = impostor_table(vectors, labels, labels, distinct(120))
    assert table.impostor_pairs == 120 * 119 // 2 - 30 * 6
    assert (table.genuine_pairs, table.groups) == (30 * 6, 30)
    assert table.rates[-1] == 3e-4  # 1e-4 of 6960 pairs is less than one
    cosines = vectors @ vectors.T
    impostors = cosines[np.triu(labels[:, None] != labels)]
    for rate, threshold in zip(table.rates, table.similarities, strict=True):
        assert (impostors >= threshold).mean() <= rate < (impostors >= threshold - 2e-4).mean() + 1 / len(impostors)
    assert table.accepted[0] == 1 and np.all(np.diff(table.accepted) <= 0)


def test_copies_of_a_photograph_are_no_genuine_pair() -> None:
    vectors, labels = people(5, 3, 0.5)
    files = distinct(15)
    files[1] = files[0]
    assert impostor_table(vectors, labels, labels, files).genuine_pairs == 5 * 3 - 1


def test_the_interval_holds_the_measured_value_and_narrows_with_more_people() -> None:
    widths = []
    for count in (20, 80):
        vectors, labels = people(count, 3, 0.5)
        table = impostor_table(vectors, labels, labels, distinct(3 * count))
        low, high = (np.array(column) for column in interval(PairCounts.of(vectors, labels), table.rates))
        middle = np.array(table.similarities)
        assert (low[:3] - 0.003 <= middle[:3]).all() and (middle[:3] <= high[:3] + 0.003).all()
        widths.append(high[2] - low[2])
    assert widths[1] < widths[0]


def test_sound_labels_are_believed() -> None:
    vectors, labels = people(20, 5, 0.5)
    checked = check_labels(labels, distinct(100), vectors)
    assert checked.kept.all() and (checked.joined, checked.mixed, checked.misplaced) == (0, [], 0)
    assert len(np.unique(checked.groups)) == 20


def test_one_person_under_two_names_is_one() -> None:
    vectors, labels = people(20, 6, 0.5)
    labels = labels.copy()
    labels[:3] = "somebody"  # the other half of p000
    checked = check_labels(labels, distinct(120), vectors)
    assert checked.joined == 1 and checked.kept.all()
    assert len(set(checked.groups[:6])) == 1


def test_a_shared_photograph_makes_two_people_one() -> None:
    vectors, labels = people(20, 5, 0.5)
    files = distinct(100)
    files[5] = files[0]
    checked = check_labels(labels, files, vectors)
    assert checked.joined == 1 and checked.groups[0] == checked.groups[5]


def test_a_misplaced_photograph_is_left_out() -> None:
    vectors, labels = people(20, 5, 0.5)
    labels = labels.copy()
    labels[0] = "p007"
    checked = check_labels(labels, distinct(100), vectors)
    assert checked.misplaced == 1 and not checked.kept[0] and checked.kept[1:].all()


def test_a_folder_of_several_people_is_left_out() -> None:
    vectors, labels = people(20, 5, 0.5)
    labels = labels.copy()
    labels[[0, 5, 10, 15, 20]] = "pmix"
    checked = check_labels(labels, distinct(100), vectors)
    assert checked.mixed == ["pmix"] and not checked.kept[[0, 5, 10, 15, 20]].any()
    assert checked.kept.sum() == 95


def test_measurements_belong_to_exact_files(tmp_path: Path) -> None:
    first, second = (
        Measurement("command", [{"what": "x", "value": 1, "n": 2}]),
        Measurement("other", [], {"floor": 0.5}),
    )
    record("net", {"a.onnx": "1"}, "parity", first, tmp_path)
    record("net", {"a.onnx": "1"}, "thresholds", second, tmp_path)
    assert [asdict(kept) for kept in measurements("net", {"a.onnx": "1"}, tmp_path)] == [asdict(first), asdict(second)]
    assert measurements("net", {"a.onnx": "2"}, tmp_path) == []
    record("net", {"a.onnx": "2"}, "parity", first, tmp_path)
    assert len(measurements("net", {"a.onnx": "2"}, tmp_path)) == 1


def test_numbers_stay_on_one_line() -> None:
    assert compact_json({"a": [1, 2.5], "b": ["x"], "c": [[1, 2], [3]]}) == (
        '{\n  "a": [1, 2.5],\n  "b": [\n    "x"\n  ],\n  "c": [\n    [1, 2],\n    [3]\n  ]\n}\n'
    )
