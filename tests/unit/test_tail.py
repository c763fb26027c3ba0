"""The tail of the impostor distribution: published values, the way back, and no word about what nobody knows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.vision.impostors import Impostors
from app.vision.tail import Tail

TAIL = Tail(start=0.25, share=0.01, scale=0.03, shape=0.0, least_rate=1e-6)
TABLE = {"fmr": [0.1, 0.01], "similarity": [0.1, 0.25]}
PAST = {"start": 0.25, "share": 0.01, "scale": 0.03, "shape": 0.0, "least_rate": 1e-4}


@pytest.mark.parametrize(
    ("shape", "rate", "similarity"),
    [(0.0, 1e-4, 0.388155), (0.0, 1e-5, 0.457233), (-0.1, 1e-4, 0.360713), (-0.1, 1e-5, 0.399644)],
)
def test_the_similarity_of_a_rate(shape: float, rate: float, similarity: float) -> None:
    tail = replace(TAIL, shape=shape)
    assert tail.similarity(rate) == pytest.approx(similarity, abs=5e-7)
    assert tail.rate(similarity) == pytest.approx(rate, rel=1e-4)


def test_without_a_shape_every_decade_costs_the_same() -> None:
    steps = np.diff([TAIL.similarity(rate) for rate in (1e-3, 1e-4, 1e-5, 1e-6)])
    np.testing.assert_allclose(steps, 0.069078, atol=5e-7)


def test_a_shape_below_0_has_an_end() -> None:
    tail = replace(TAIL, shape=-0.1)
    assert tail.rate(0.5499) > 0 and tail.rate(0.5501) == 0  # the end is at .25 + .03 / .1
    assert tail.similarity(1e-6) < 0.55


@pytest.mark.parametrize("rate", [0.0101, 0.99e-6, 0.0])
def test_nothing_is_said_of_other_rates(rate: float) -> None:
    with pytest.raises(ValueError, match="is not between"):
        TAIL.similarity(rate)


def test_the_tail_goes_on_where_the_table_ends() -> None:
    impostors = Impostors.read({"impostors": TABLE, "tail": PAST})
    assert impostors.similarity_at(0.01) == pytest.approx(0.25)
    assert impostors.similarity_at(1e-3) == pytest.approx(0.25 + 0.069078, abs=1e-6)
    rates = np.geomspace(0.1, 1e-4, 50)
    similarities = [impostors.similarity_at(rate) for rate in rates]
    assert (np.diff(similarities) > 0).all()
    np.testing.assert_allclose([impostors.rate_at(one) for one in similarities], rates, rtol=1e-6)


def test_below_the_least_rate_the_strictest_similarity_holds() -> None:
    impostors = Impostors.read({"impostors": TABLE, "tail": PAST})
    assert impostors.least_rate == 1e-4
    assert impostors.similarity_at(1e-9) == impostors.similarity_at(1e-4)
    assert impostors.rate_at(0.9) == 1e-4
    bare = Impostors.read({"impostors": TABLE})
    assert (bare.least_rate, bare.similarity_at(1e-9), bare.rate_at(0.9)) == (0.01, 0.25, pytest.approx(0.01))


@pytest.mark.parametrize(
    "wrong",
    [{"start": 0.24}, {"start": 0.26}, {"share": 0.02}, {"scale": 0.0}, {"least_rate": 0.0}, {"scale": float("nan")}],
)
def test_a_tail_that_does_not_go_on_from_the_table_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="does not go on"):
        Impostors.read({"impostors": TABLE, "tail": PAST | wrong})
