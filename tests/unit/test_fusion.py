"""Several templates of one person as one, and as how many they count."""

import numpy as np
import pytest

from app.fusion import comparisons, counted, middles


def test_a_person_is_the_middle_of_the_own_templates() -> None:
    vectors = np.eye(4, dtype=np.float32)
    persons, middle = middles(["ann", "ben", "ann", "cid"], vectors)
    assert persons == ("ann", "ben", "cid")
    np.testing.assert_allclose(middle[0], [2**-0.5, 0, 2**-0.5, 0], atol=1e-6)
    np.testing.assert_allclose(middle[1:], vectors[[1, 3]])
    np.testing.assert_array_equal(vectors, np.eye(4))  # nothing was changed


def test_one_template_is_itself() -> None:
    vector = np.array([[0.6, 0.8001]], np.float32)
    assert middles(["ann"], vector)[1].tobytes() == vector.tobytes()


def test_nobody_has_no_middle() -> None:
    for nothing in (np.zeros((0, 0), np.float32), np.zeros((0, 192), np.float32)):
        persons, middle = middles([], nothing)
        assert persons == () and len(middle) == 0


def test_a_photograph_of_somebody_else_opens_nothing_to_that_one() -> None:
    """Three templates of which one is another person's; photographs of one person are .7 alike, of two 0."""
    ann, eve = np.eye(5)[0], np.eye(5)[1]
    own = [0.7**0.5 * ann + 0.3**0.5 * np.eye(5)[row] for row in (2, 3)]
    wrong = 0.7**0.5 * eve + 0.3**0.5 * np.eye(5)[4]
    middle = middles(["ann"] * 3, np.array([*own, wrong], np.float32))[1][0]
    assert float(middle @ wrong) < 0.546 < float(middle @ own[0])
    assert float(middle @ eve) < 0.546 and max(float(one @ eve) for one in (*own, wrong)) > 0.8


def test_several_templates_of_one_person_count_less_than_of_several() -> None:
    assert comparisons([]) == counted([]) == 0
    assert comparisons(["ann", "ben", "cid"]) == 3
    assert comparisons(["ann"] * 4 + ["ben"]) == counted([4, 1]) == pytest.approx(3)
