"""Error rates of recognition against values worked out by hand."""

import math

import numpy as np
import pytest

from models.evaluate.recognition_metrics import (
    DRAWS,
    accepted,
    best_candidate,
    det,
    drawn,
    equal_error_rate,
    error_versus_discard,
    fnir,
    fold_accuracy,
    interval,
    mcnemar,
    misidentified,
    rejected_by_share,
    rounded,
    tar_at_far,
    threshold_at,
)

GENUINE = np.array([0.9, 0.8, 0.75, 0.6, 0.4])
IMPOSTORS = np.array([0.5, 0.45, 0.3, 0.2, 0.1, 0.05, 0, -0.1, -0.2, -0.3])

SEARCHES = np.array(  # rows search, columns are enrolled people
    [[0.9, 0.2, 0.1], [0.3, 0.5, 0.4], [0.2, 0.7, 0.6], [0.1, 0.2, 0.35], [0.55, 0.3, 0.2], [0.1, 0.0, 0.05]]
)
MATES = np.array([0, 1, 2, 2])  # the last two are strangers


@pytest.mark.parametrize(("rate", "above", "tar"), [(0.1, 0.45, 0.8), (0.15, 0.45, 0.8), (0.2, 0.3, 1.0)])
def test_the_threshold_lies_just_above_the_first_impostor_too_many(rate: float, above: float, tar: float) -> None:
    threshold = threshold_at(IMPOSTORS, rate)
    assert threshold == np.nextafter(above, 1) and accepted(IMPOSTORS, threshold) <= rate
    assert tar_at_far(GENUINE, IMPOSTORS, rate) == tar
    assert accepted(GENUINE, np.nextafter(0.5, 1)) == 0.8  # with no false accept at all


def test_a_rate_below_one_impostor_is_not_told() -> None:
    assert math.isnan(threshold_at(IMPOSTORS, 0.09)) and math.isnan(tar_at_far(GENUINE, IMPOSTORS, 0.09))
    assert math.isnan(threshold_at(np.zeros(0), 0.5))
    assert threshold_at(IMPOSTORS, 1.0) == -math.inf
    assert threshold_at(np.arange(30.0), 0.1) == np.nextafter(26, 27)  # .1 of 30 is 3, whatever floats make of it


def test_ties_go_against_the_system() -> None:
    tied = np.array([0.5, 0.5, 0.5, 0.1])
    assert threshold_at(tied, 0.5) == np.nextafter(0.5, 1) and accepted(tied, threshold_at(tied, 0.5)) == 0
    assert accepted(np.array([0.5]), 0.5) == 1  # who reaches the threshold is accepted


def test_a_weight_counts_like_that_many_scores() -> None:
    random = np.random.default_rng(3)
    scores, times = random.normal(size=40).round(1), random.integers(0, 4, 40)
    genuine, often = random.normal(2, 1, 30).round(1), random.integers(0, 3, 30)
    many, much = np.repeat(scores, times), np.repeat(genuine, often)
    for rate in (0.1, 0.25, 0.5):
        threshold = threshold_at(scores, rate, times.astype(float))
        assert threshold == threshold_at(many, rate)
        weights = often.astype(float), times.astype(float)
        assert tar_at_far(genuine, scores, rate, weights) == pytest.approx(tar_at_far(much, many, rate))
        assert equal_error_rate(genuine, scores, weights) == pytest.approx(equal_error_rate(much, many))


def test_the_equal_error_rate_is_where_both_meet() -> None:
    assert equal_error_rate(GENUINE, IMPOSTORS) == pytest.approx(0.2)  # at .45
    assert equal_error_rate(np.array([0.9, -np.inf]), np.array([0.1, 0.2])) == 0.5  # nobody's face: refused at any
    assert math.isnan(equal_error_rate(np.zeros(0), IMPOSTORS))


def test_the_trade_off_is_monotone_and_ends_at_one_impostor() -> None:
    random = np.random.default_rng(0)
    genuine = np.append(random.normal(0.6, 0.1, 300), [-np.inf] * 4)
    far, frr = det(genuine, random.normal(0.1, 0.1, 200))
    assert (np.diff(far) < 0).all() and (np.diff(frr) >= 0).all()
    assert far[0] == 1 and far[-1] == pytest.approx(1 / 200) and frr[0] == pytest.approx(4 / 304)
    np.testing.assert_allclose(det(GENUINE, IMPOSTORS)[0][-3:], [0.3, 0.2, 0.1])
    np.testing.assert_allclose(det(GENUINE, IMPOSTORS)[1][-3:], [0, 0.2, 0.2])


def test_each_fold_is_judged_by_the_others_threshold() -> None:
    order = np.array([0, 5, 1, 6, 2, 7, 3, 8, 4, 9])
    distances = np.array([0.2, 0.3, 0.5, 1.3, 0.4, 1.1, 1.5, 1.8, 1.2, 0.45])[order]
    same = (np.arange(10) < 5)[order]
    accuracies, right = fold_accuracy(1 - distances / 2, same, np.arange(10) // 2)
    np.testing.assert_array_equal(accuracies, [1, 1, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(right.reshape(5, 2).mean(axis=1), accuracies)


def test_a_pair_without_a_face_is_wrong_whatever_the_truth() -> None:
    same = np.array([True, False] * 4)
    scores = np.where(same, 0.9, 0.1)
    scores[[0, 3]] = -np.inf
    accuracies, right = fold_accuracy(scores, same, np.arange(8) // 4)
    assert not right[0] and not right[3] and accuracies.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("threshold", "fpir", "missed", "wrong"), [(0.3, 0.5, 0.25, 1), (0.5, 0.5, 0.5, 1), (0.6, 0, 0.75, 1)]
)
def test_open_set_search(threshold: float, fpir: float, missed: float, wrong: int) -> None:
    who, best = best_candidate(SEARCHES, np.arange(3))
    right = who[:4] == MATES
    assert accepted(best[4:], threshold) == fpir
    assert fnir(best[:4], right, threshold) == missed
    assert misidentified(best[:4], right, threshold) == wrong and misidentified(best[:4], right, math.nan) is None


def test_the_best_of_a_persons_templates_counts() -> None:
    who, best = best_candidate(np.array([[0.2, 0.4, 0.6], [0.5, 0.1, 0.3]]), np.array([7, 8, 7]))
    assert who.tolist() == [7, 7] and best.tolist() == [0.6, 0.5]


def test_discarding_the_worst_faces() -> None:
    qualities, errors = np.arange(1, 11) / 10, np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0], bool)
    left = error_versus_discard(qualities, errors, (0, 0.1, 0.2, 0.3, 0.4, 0.5))
    np.testing.assert_allclose(left, [0.3, 0.2222, 0.125, 0.1429, 0, 0], atol=5e-5)
    by_share = rejected_by_share(qualities, np.where(errors, 0.1, 0.9), 0.5)
    assert by_share["0"] == 0.3 and by_share["0.2"] == 0.125 and by_share["0.5"] == 0
    assert set(rejected_by_share(qualities, qualities, math.nan).values()) == {None}


def test_the_exact_test_of_paired_answers() -> None:
    assert mcnemar(9, 4) == mcnemar(4, 9) == pytest.approx(0.267, abs=5e-4)
    assert mcnemar(0, 0) == mcnemar(5, 5) == 1
    assert mcnemar(900, 400) < 1e-40  # also where powers of two leave the range of floats


def test_the_interval_draws_people_and_holds_what_was_measured() -> None:
    right = np.array([1.0] * 90 + [0.0] * 10)
    values = drawn(100, lambda times: np.array([right @ times / times.sum(), np.nan]))
    assert values.shape == (DRAWS, 2)
    low, high = interval(values[:, 0]) or (1, 0)
    assert 0.83 < low < 0.86 and 0.94 < high < 0.97  # Wilson: .826 to .945
    assert interval(values[:, 1]) is None
    assert (rounded(0.12345), rounded(math.nan), rounded(-math.inf)) == (0.1235, None, None)
