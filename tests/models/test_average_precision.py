"""Average precision and the matching of finds with truth: published values and hand-made cases."""

import math

import numpy as np
import pytest

from models.evaluate.average_precision import average_precision, match, recall_precision

NONE = np.zeros((0, 4), np.float32)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_golden_value() -> None:
    scores, hits = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, 0, 1, 1, 0], bool)
    assert average_precision(scores, hits, 4) == pytest.approx(0.628713, abs=1e-6)


def test_a_mistake_in_front_costs_a_quarter() -> None:
    scores, hits = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.95]), np.array([1, 0, 1, 1, 0, 0], bool)
    assert average_precision(scores, hits, 4) == pytest.approx(0.6 * 76 / 101)  # .45 over all points


def test_everything_found_and_nothing_else_is_one() -> None:
    for truths in (1, 3, 7, 29, 100):  # k / truths does not hit the levels exactly
        assert average_precision(np.linspace(1, 0.5, truths), np.ones(truths, bool), truths) == 1


def test_no_find_is_zero_and_no_truth_is_unknown() -> None:
    empty = np.zeros(0, np.float32)
    assert average_precision(empty, empty.astype(bool), 3) == 0
    assert math.isnan(average_precision(np.array([0.5]), np.array([False]), 0))


def test_the_order_of_the_finds_does_not_matter() -> None:
    generator = np.random.default_rng(0)
    scores, hits = generator.permutation(50) / 50, generator.random(50) < 0.5
    order = generator.permutation(50)
    assert average_precision(scores[order], hits[order], 40) == average_precision(scores, hits, 40)


def test_a_truth_is_found_once() -> None:
    finds = boxes((0, 0, 10, 9), (0, 0, 10, 10), (50, 50, 60, 60))
    hits, counted = match(finds, np.array([0.5, 0.9, 0.8]), boxes((0, 0, 10, 10)), NONE)
    assert hits.tolist() == [False, True, False]
    assert counted.all()


def test_a_find_takes_the_truth_that_it_overlaps_with_most() -> None:
    truths = boxes((0, 0, 10, 10), (2, 0, 12, 10))
    hits, _ = match(boxes((2, 0, 12, 10), (0, 0, 10, 10)), np.array([0.9, 0.8]), truths, NONE)
    assert hits.all()


def test_a_find_whose_best_truth_is_taken_takes_the_next() -> None:
    truths = boxes((0, 0, 10, 10), (2, 0, 12, 10))
    hits, _ = match(boxes((0, 0, 10, 10), (0, 0, 10.5, 10)), np.array([0.9, 0.8]), truths, NONE)
    assert hits.all()


def test_ignored_boxes_take_any_number_of_finds_but_no_hit() -> None:
    finds = boxes((0, 0, 10, 10), (20, 0, 30, 10), (21, 1, 29, 9), (40, 0, 60, 10))
    hits, counted = match(finds, np.full(4, 0.5), boxes((0, 0, 10, 10)), boxes((0, 0, 31, 11), (40, 0, 49, 10)))
    assert hits.tolist() == [True, False, False, False]
    assert counted.tolist() == [True, False, False, True]  # the last lies in the ignored box by less than half


def test_a_find_half_in_an_ignored_box_counts_for_nothing() -> None:
    _, counted = match(boxes((0, 0, 10, 10), (3, 3, 3, 9)), np.full(2, 0.5), NONE, boxes((5, 0, 90, 90)))
    assert counted.tolist() == [False, True]


def test_no_find_and_no_truth() -> None:
    hits, counted = match(NONE, np.zeros(0, np.float32), boxes((0, 0, 1, 1)), NONE)
    assert hits.shape == counted.shape == (0,)
    hits, counted = match(boxes((0, 0, 1, 1)), np.ones(1), NONE, NONE)
    assert not hits.any() and counted.all()


def test_recall_and_precision_at_a_threshold() -> None:
    scores, hits = np.array([0.9, 0.8, 0.4]), np.array([True, False, True])
    assert recall_precision(scores, hits, 4, 0.8) == (0.25, 0.5)
    recall, precision = recall_precision(scores, hits, 4, 0.95)
    assert recall == 0 and math.isnan(precision)
