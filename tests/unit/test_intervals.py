"""Shares with their intervals."""

import pytest

from app.intervals import rate, wilson


def test_rates_carry_intervals() -> None:
    assert wilson(46, 49) == pytest.approx((0.8348, 0.9790), abs=1e-4)
    pooled = rate([90, 50], [100, 100])
    assert pooled["rate"] == 0.7
    assert pooled["clips95"] == [0.5, 0.9]
    assert rate([10, 10], [10, 10])["wilson95"][0] == pytest.approx(0.8389, abs=1e-4)


def test_one_group_has_no_interval_over_groups_and_none_has_no_rate() -> None:
    assert set(rate([3, 0], [5, 0])) == {"rate", "of", "wilson95"}
    assert rate([0], [0]) == {"rate": None, "of": 0}
