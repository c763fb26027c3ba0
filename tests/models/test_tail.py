"""The fit of the tail, what it promises to people whom it has not seen, and the card that it goes into."""

from pathlib import Path

import numpy as np
import pytest

from app.vision.tail import Tail
from models.impostors import BIN, ImpostorTable, PairCounts
from models.measured import Measurement, with_measurements
from models.tail import DECADES, beyond, fitted, impostors_of, interval
from models.tail_checks import Kept, kept_rates, kept_targets, trusted
from models.thresholds import BANDS, Sample, strictest

SCALE = 0.03


def counts_of(cosines: np.ndarray) -> np.ndarray:
    return np.bincount((cosines / BIN).astype(int).clip(0, 499), minlength=500)


def drawn(shape: float, pairs: int = 2_000_000) -> np.ndarray:
    """Cosines above .2 whose excesses follow the distribution, by the inverse of its function."""
    depth = -np.log(np.random.default_rng(1).random(pairs))
    return 0.2 + SCALE * (np.expm1(shape * depth) / shape if shape else depth)


def crowd(people: int, photographs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (n, 16) that scatter about a direction of their own per person, and who they are (n,)."""
    generator = np.random.default_rng(seed)
    centres = np.repeat(generator.normal(size=(people, 16)), photographs, axis=0)
    vectors = centres + 0.4 * generator.normal(size=centres.shape)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.repeat(np.arange(people), photographs)


@pytest.mark.parametrize("shape", [-0.2, -0.1, 0.0, 0.1])
def test_a_fit_finds_the_distribution_again(shape: float) -> None:
    tail = fitted(counts_of(drawn(shape)), share=1e-2)
    assert tail.share == pytest.approx(1e-2, rel=0.1)
    assert tail.shape == pytest.approx(shape, abs=0.03)
    assert tail.scale == pytest.approx(SCALE + shape * (tail.start - 0.2), rel=0.05)  # it grows with the start


def test_past_the_table_there_is_the_fit_without_an_end() -> None:
    fit = Tail(0.4, 1e-3, SCALE, -0.1, 0.0)
    similarity = fit.similarity(1e-6)
    past = beyond(fit, 1e-6, similarity)
    assert (past.start, past.share, past.shape, past.least_rate) == (similarity, 1e-6, 0.0, 1e-8)
    assert past.scale == pytest.approx(SCALE - 0.1 * (similarity - 0.4))
    assert past.similarity(1e-8) > fit.similarity(1e-8)
    rising = beyond(Tail(0.4, 1e-3, SCALE, 0.1, 0.0), 1e-6, 0.7)
    assert rising.shape == 0.1 and rising.rate(0.8) < 1e-6


def test_table_and_tail_of_some_pairs_go_on_from_each_other() -> None:
    cosines = drawn(0.0)
    impostors = impostors_of(counts_of(cosines))
    assert impostors.rates[-1] == 1e-5  # of two million pairs 3e-6 is less than ten
    assert impostors.least_rate == pytest.approx(1e-5 / 10**DECADES)
    for rate in (1e-3, 1e-4, 1e-5):
        assert impostors.similarity_at(rate) == pytest.approx(0.2 - SCALE * np.log(rate), abs=0.02)
    assert impostors.similarity_at(1e-7) == pytest.approx(0.2 - SCALE * np.log(1e-7), abs=0.05)
    assert (np.diff([impostors.similarity_at(rate) for rate in np.geomspace(1e-2, 1e-7, 40)]) > 0).all()


def test_promises_are_kept_by_people_like_those_of_the_fit() -> None:
    vectors, people = crowd(120, 6)
    pairs = PairCounts.of(vectors, people)
    rows = kept_rates(pairs)
    assert {row.fitted_on for row in rows} == {"half of the people", "a tenth of the people"}
    assert any(row.past_table > 0 for row in rows) and any(row.past_table <= 0 for row in rows)
    half = [row for row in rows if row.fitted_on == "half of the people"]
    assert all(row.low <= row.times <= row.high and 0.5 < row.times < 2 for row in half if row.promised >= 1e-4)
    assert trusted(rows)
    targets = kept_targets(vectors, people, pairs)
    assert [row.promised for row in targets] == [1e-2, 1e-3]
    assert 0.3 < targets[0].times < 3


def test_a_tail_that_promises_too_much_is_not_trusted() -> None:
    def row(fitted_on: str, past: float, times: float) -> Kept:
        return Kept(fitted_on, 1e-6, past, times, 0.0, times)

    fine = [row("half of the people", 0.5, 1.9), row("half of the people", -1.0, 9.0), row("a tenth", 1.0, 9.0)]
    assert trusted(fine) and not trusted([*fine, row("half of the people", 1.0, 2.1)])


def test_the_interval_holds_the_tail() -> None:
    vectors, people = crowd(60, 4)
    pairs = PairCounts.of(vectors, people)
    impostors = impostors_of(pairs.counts.sum(axis=0))
    rate = impostors.least_rate * 10
    (low,), (high,) = interval(pairs, [rate])
    assert low <= impostors.similarity_at(rate) <= high


def table(low: list[float], high: list[float]) -> ImpostorTable:
    middle = [(one + other) / 2 for one, other in zip(low, high, strict=True)]
    return ImpostorTable([1e-3, 1e-4, 1e-5], middle, low, high, [1, 1, 1], 10, 10, 10, 10)


def test_a_band_of_quality_counts_only_when_it_is_clearly_more_alike() -> None:
    pooled = table([0.46, 0.54, 0.60], [0.48, 0.56, 0.62])
    same = table([0.45, 0.53, 0.59], [0.49, 0.57, 0.63])
    apart = table([0.49, 0.55, 0.60], [0.52, 0.60, 0.66])
    rare = table([0.46, 0.54, 0.70], [0.48, 0.56, 0.80])  # too few pairs of a third reach this
    assert strictest(pooled, dict(zip(BANDS, (same, pooled, rare), strict=True))) is None
    assert strictest(pooled, dict(zip(BANDS, (apart, pooled, same), strict=True))) == "lowest"


def test_bands_are_thirds_by_quality() -> None:
    vectors, people = crowd(30, 4)
    qualities = np.linspace(0.2, 0.9, 120)
    sample = Sample(vectors, people, people, np.arange(120), qualities)
    bands = sample.bands()
    assert [len(band.vectors) for band in bands.values()] == [40, 40, 40]
    assert bands["lowest"].qualities.max() < bands["middle"].qualities.min()


def test_a_measurement_goes_into_a_card_whoever_wrote_it(tmp_path: Path) -> None:
    card = {"name": "net", "parameters": {"dimension": 3, "floor": 1.0}, "figures": [], "licence": "MIT"}
    measured = Measurement("command", [{"what": "x", "value": 1, "n": 2}], {"floor": 0.5, "tail": None}, "2026-01-01")
    written = with_measurements(card, [measured])
    assert written["parameters"] == {"dimension": 3, "floor": 0.5, "tail": None} and written["licence"] == "MIT"
    assert written["figures"] == [{"what": "x", "value": 1, "n": 2, "command": "command", "date": "2026-01-01"}]
    assert card["parameters"] == {"dimension": 3, "floor": 1.0}
