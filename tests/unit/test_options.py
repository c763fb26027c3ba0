"""Numbers on a command line."""

import argparse

import pytest

from app.options import at_least_one, positive


def test_what_is_in_range() -> None:
    assert (positive("12.5"), positive("1e-3")) == (12.5, 0.001)
    assert (at_least_one("1"), at_least_one("30")) == (1, 30)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "-inf", "1e999"])
def test_no_positive_number(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="above 0"):
        positive(text)


@pytest.mark.parametrize("text", ["0", "-3"])
def test_less_than_one(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="1 or more"):
        at_least_one(text)


@pytest.mark.parametrize("text", ["", "many", "1.5"])
def test_no_whole_number(text: str) -> None:
    with pytest.raises(ValueError):
        at_least_one(text)
